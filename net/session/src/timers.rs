//! What time does to sessions and connections.
//!
//! Owns `tick`, `deadline` and the decision to dial. Every wait has its end in `limit`.

use crate::conn::{Conn, Failure, Purpose};
use crate::event::{ConnId, Event, LostWhy, Refusal};
use crate::link::Link;
use crate::sessions::{LinkKey, Sessions};
use alloc::vec::Vec;
use craton_abi::Instant;

impl Sessions {
    /// When `tick` has something to do next, unless something happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let conns = self.conns.values().filter_map(|state| state.deadline);
        conns.chain(self.links.values().filter_map(Link::deadline)).min()
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) {
        self.time_out_conns(now);
        let is_due = |link: &Link| link.deadline().is_some_and(|at| now >= at);
        let due: Vec<LinkKey> =
            self.links.iter().filter(|(_, link)| is_due(link)).map(|(key, _)| *key).collect();
        for key in due {
            self.tick_link(key, now);
        }
    }

    fn time_out_conns(&mut self, now: Instant) {
        let is_due = |state: &Conn| state.deadline.is_some_and(|at| now >= at);
        let due: Vec<ConnId> =
            self.conns.iter().filter(|(_, state)| is_due(state)).map(|(id, _)| *id).collect();
        for conn in due {
            self.drop_conn(conn, Failure::Refused(Refusal::TimedOut), now);
        }
    }

    fn tick_link(&mut self, key: LinkKey, now: Instant) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.end_at.is_some_and(|at| now >= at) {
            self.end_link(key, LostWhy::TimedOut, now);
            return;
        }
        let alive = link.on_time(now);
        match link.conn() {
            Some(conn) if !alive => self.drop_conn(conn, Failure::Broken, now),
            Some(conn) => self.announce(conn),
            None => self.dial_if_due(key, now),
        }
    }

    /// Dials for a session that wants a connection, if its time has come and an address is known.
    pub(crate) fn dial_if_due(&mut self, key: LinkKey, now: Instant) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let wants = link.conn().is_none() && link.dialling.is_none();
        if !wants || link.dial_at.is_none_or(|at| now < at) {
            return;
        }
        link.dial_at = None;
        // Tools are never dialled: they come back by themselves or not at all.
        let Some(to) = self.addresses.get(&key.node).copied().filter(|_| key.tool.is_none()) else {
            return;
        };
        let conn = self.dial(Purpose::Node(key.node), to, now);
        if let Some(link) = self.links.get_mut(&key) {
            link.dialling = Some(conn);
        }
    }

    /// Closes a connection over which both sides said that they are at rest.
    pub(crate) fn close_if_at_rest(&mut self, conn: ConnId, now: Instant) {
        let at_rest = self.links.values().any(|link| link.conn() == Some(conn) && link.may_close());
        if at_rest && let Some(state) = self.conns.remove(&conn) {
            self.emit(Event::Close { conn });
            self.settle(conn, state, Failure::Broken, now);
        }
    }
}
