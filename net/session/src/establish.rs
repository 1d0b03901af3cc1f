//! How a connection comes to carry a session, and how both end.
//!
//! Of two nodes the one with the *lower* id chooses the connection: it says `Open` on it, and the
//! other side follows and answers. So the dials of two nodes that call each other at once cannot
//! destroy one another, and a node whose old connection died unnoticed is believed at once: the
//! newest connection wins, and only one side decides what is newest.

use crate::cert::Certificate;
use crate::conn::{Conn, Failure, Phase, Purpose};
use crate::event::{ConnId, Event, LostWhy, Peer, Refusal};
use crate::limit::{DEAD_MAX, HALF_OPEN_MAX, PEERS_MAX, TOOLS_MAX, TOOLS_PER_CERTIFICATE_MAX};
use crate::link::{Opened, Violation};
use crate::noise::{Handshake, Side};
use crate::sessions::{LinkKey, Sessions};
use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{Incarnation, Instant, NodeId};
use craton_wire::{Frame, Kind, Lane, Role};
use rand_core::Rng;

/// What the first record carries, in the clear.
const VERSION: u8 = 1;

impl From<Violation> for Failure {
    fn from(_: Violation) -> Self {
        Failure::Violation
    }
}

impl Sessions {
    pub(crate) fn begin_accepted(&mut self, conn: ConnId, now: Instant) {
        if conn.is_dialled() || self.conns.contains_key(&conn) {
            return;
        }
        self.make_room_for_half_open(now);
        let seed = self.random();
        let handshake = Handshake::new(Side::Acceptor, self.config.identity.secret(), seed);
        let Some(mut handshake) = handshake else { return };
        let mut record = Vec::new();
        handshake.write(&[VERSION], &mut record);
        let mut state = Conn::new(Purpose::Accepted, Phase::Shaking(Box::new(handshake)), now);
        state.tx().append(&mut record);
        self.conns.insert(conn, state);
        self.announce(conn);
    }

    pub(crate) fn begin_dialled(&mut self, conn: ConnId, _now: Instant) {
        let seed = self.random();
        let handshake = Handshake::new(Side::Dialler, self.config.identity.secret(), seed);
        if let Some(state) = self.conns.get_mut(&conn)
            && matches!(state.phase, Phase::Dialling)
            && let Some(handshake) = handshake
        {
            state.phase = Phase::Shaking(Box::new(handshake));
        }
    }

    /// Throws an accepted connection out at random if there are too many that carry no session.
    fn make_room_for_half_open(&mut self, now: Instant) {
        let is_half_open =
            |state: &Conn| state.purpose == Purpose::Accepted && state.deadline.is_some();
        let half_open: Vec<ConnId> =
            self.conns.iter().filter(|(_, state)| is_half_open(state)).map(|(id, _)| *id).collect();
        if half_open.len() >= HALF_OPEN_MAX {
            let victim = half_open[self.rng.next_u32() as usize % half_open.len()];
            self.drop_conn(victim, Failure::Refused(Refusal::Crowded), now);
        }
    }

    pub(crate) fn on_record(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
        record: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        match &mut state.phase {
            Phase::Dialling => Err(Failure::Refused(Refusal::Malformed)),
            Phase::Shaking(_) => self.on_handshake(conn, state, record, now),
            Phase::Secure { transport, link, .. } => {
                let key = *link;
                let mut plain = core::mem::take(&mut self.plain);
                let result = if transport.open(record, &mut plain) {
                    self.on_frames(conn, state, key, &plain, now)
                } else {
                    Err(Failure::Broken)
                };
                self.plain = plain;
                result
            }
        }
    }

    fn on_handshake(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
        record: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let malformed = Failure::Refused(Refusal::Malformed);
        let Phase::Shaking(handshake) = &mut state.phase else { return Err(malformed) };
        let payload = handshake.read(record).ok_or(malformed)?;
        let Some(peer_key) = handshake.peer_key() else {
            // The acceptor's first record: it shows no key yet. Answer with ours.
            if payload != [VERSION] {
                return Err(Failure::Refused(Refusal::Version));
            }
            let hello = self.hello();
            let mut reply = Vec::new();
            handshake.write(&hello, &mut reply);
            state.tx().append(&mut reply);
            return Ok(());
        };
        let peer =
            self.believe(&payload, peer_key, state.purpose, now).map_err(Failure::Refused)?;
        let Phase::Shaking(mut handshake) = core::mem::replace(&mut state.phase, Phase::Dialling)
        else {
            return Err(malformed);
        };
        if state.purpose == Purpose::Accepted {
            let hello = self.hello();
            let mut reply = Vec::new();
            handshake.write(&hello, &mut reply);
            state.tx().append(&mut reply);
        }
        let transport = Box::new(handshake.finish().ok_or(malformed)?);
        let link = LinkKey::of_peer(&peer);
        state.phase = Phase::Secure { transport, link, peer: peer.clone() };
        if let Purpose::Anybody(address) = state.purpose {
            self.dial_at(peer.node, address);
        }
        if self.me < peer.node { self.choose(conn, peer, now) } else { Ok(()) }
    }

    /// What we say about ourselves in the handshake.
    fn hello(&self) -> Vec<u8> {
        let mut hello = self.config.incarnation.get().to_le_bytes().to_vec();
        hello.extend_from_slice(&self.config.identity.certificate().to_bytes());
        hello
    }

    /// Decides whether to believe what a peer says about itself.
    fn believe(
        &self,
        hello: &[u8],
        key: [u8; 32],
        purpose: Purpose,
        now: Instant,
    ) -> Result<Peer, Refusal> {
        let (incarnation, certificate) = hello.split_first_chunk().ok_or(Refusal::Malformed)?;
        let incarnation = Incarnation::new(u64::from_le_bytes(*incarnation));
        let certificate = Certificate::from_bytes(certificate).map_err(Refusal::Certificate)?;
        if certificate.noise.0 != key {
            return Err(Refusal::KeyMismatch);
        }
        certificate
            .verify(&self.config.authorities, self.wall_clock_secs(now))
            .map_err(Refusal::Certificate)?;
        let node = certificate.node();
        let we_are_node = self.config.identity.certificate().role == Role::Node;
        if node == self.me {
            return Err(Refusal::Ourselves);
        }
        if !we_are_node && certificate.role != Role::Node {
            return Err(Refusal::Role);
        }
        match purpose {
            Purpose::Node(wanted) if wanted != node => return Err(Refusal::WrongNode),
            // Tools listen nowhere: whoever answers a dial must be a node.
            Purpose::Node(_) | Purpose::Anybody(_) if certificate.role != Role::Node => {
                return Err(Refusal::Role);
            }
            _ => {}
        }
        let peer = Peer { node, incarnation, role: certificate.role, name: certificate.name };
        if self.is_dead(&peer) { Err(Refusal::Dead) } else { Ok(peer) }
    }

    fn is_dead(&self, peer: &Peer) -> bool {
        peer.role == Role::Node && self.dead.get(&peer.node) == Some(&peer.incarnation)
    }

    /// Carries the session over this connection from now on, and says so to the peer.
    fn choose(&mut self, conn: ConnId, peer: Peer, now: Instant) -> Result<(), Failure> {
        let key = LinkKey::of_peer(&peer);
        self.attach(conn, key, peer, now)?;
        if let Some(link) = self.links.get_mut(&key) {
            link.say_open();
        }
        Ok(())
    }

    fn attach(
        &mut self,
        conn: ConnId,
        key: LinkKey,
        peer: Peer,
        now: Instant,
    ) -> Result<(), Failure> {
        // It may have been declared dead since its handshake.
        if self.is_dead(&peer) {
            return Err(Failure::Refused(Refusal::Dead));
        }
        self.ensure_link(key, now)?;
        let link = self.links.get(&key).ok_or(Failure::Violation)?;
        let (old, dialling) = (link.conn(), link.dialling);
        let other_life =
            link.established().is_some_and(|known| known.incarnation != peer.incarnation);
        for other in [old, dialling].into_iter().flatten() {
            if other != conn {
                self.discard_conn(other);
            }
        }
        if other_life {
            self.start_over(key, LostWhy::Restarted)?;
        }
        if let Some(link) = self.links.get_mut(&key) {
            link.dialling = None;
            link.attach(conn, peer, now);
        }
        Ok(())
    }

    fn ensure_link(&mut self, key: LinkKey, now: Instant) -> Result<(), Failure> {
        if self.links.contains_key(&key) {
            return Ok(());
        }
        if self.is_crowded(key)
            && let Some(gone) = self.tool_longest_gone(key)
        {
            // One person's short commands in a row: each was another tool, and none comes back.
            self.end_link(gone, LostWhy::TimedOut, now);
        }
        let link = if self.is_crowded(key) { None } else { self.new_link() };
        let link = link.ok_or(Failure::Refused(Refusal::Crowded))?;
        self.links.insert(key, link);
        Ok(())
    }

    fn is_crowded(&self, key: LinkKey) -> bool {
        let tools = || self.links.keys().filter(|other| other.tool.is_some());
        let its = || tools().filter(|other| other.node == key.node);
        self.links.len() >= PEERS_MAX
            || (key.tool.is_some()
                && (tools().count() >= TOOLS_MAX || its().count() >= TOOLS_PER_CERTIFICATE_MAX))
    }

    /// Of the tools with the same certificate, the one that has been without a connection longest.
    fn tool_longest_gone(&self, key: LinkKey) -> Option<LinkKey> {
        key.tool?;
        let its =
            self.links.iter().filter(|(other, _)| other.tool.is_some() && other.node == key.node);
        let gone = its.filter(|(_, link)| link.conn().is_none());
        gone.min_by_key(|(_, link)| link.end_at).map(|(other, _)| *other)
    }

    fn on_frames(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
        key: LinkKey,
        plain: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let mut rest = plain;
        while !rest.is_empty() {
            let (frame, after) = Frame::prove(rest).map_err(|_| Failure::Violation)?;
            rest = after;
            if frame.header.kind == Kind::Open {
                self.on_open(conn, state, key, &frame, now)?;
            } else {
                self.on_frame(conn, state, key, &frame, now)?;
            }
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        conn: ConnId,
        state: &Conn,
        key: LinkKey,
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        let Phase::Secure { peer, .. } = &state.phase else { return Err(Failure::Violation) };
        let link = self.links.get_mut(&key).ok_or(Failure::Broken)?;
        if link.conn() != Some(conn) {
            return Err(Failure::Broken);
        }
        // A tool has no pairs of processes; sixteen bodies of each under way would only cost room.
        if key.tool.is_some() && frame.header.lane != Lane::CONTROL {
            return Err(Failure::Violation);
        }
        let Some(whole) = link.on_frame(frame, now)? else { return Ok(()) };
        if !whole.body.allowed_from(&peer.role) {
            return Err(Failure::Violation);
        }
        let epoch = link.epoch();
        let event = Event::Body {
            peer: peer.clone(),
            app: frame.header.app,
            trace: frame.header.trace,
            body: whole.body,
        };
        self.emit_charged(event, key, epoch, whole.cost);
        Ok(())
    }

    fn on_open(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
        key: LinkKey,
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        let Phase::Secure { peer, .. } = &state.phase else { return Err(Failure::Violation) };
        let peer = peer.clone();
        let attached = self.links.get(&key).is_some_and(|link| link.conn() == Some(conn));
        if !attached {
            // Only the lower id chooses a connection; we follow the other, never ourselves.
            if self.me < peer.node {
                return Err(Failure::Broken);
            }
            self.attach(conn, key, peer.clone(), now)?;
        }
        let link = self.links.get_mut(&key).ok_or(Failure::Broken)?;
        let mut opened = link.on_open(frame, now)?;
        if opened == Opened::Foreign {
            self.start_over(key, LostWhy::PeerLost)?;
            let link = self.links.get_mut(&key).ok_or(Failure::Broken)?;
            opened = link.on_open(frame, now)?;
        }
        let link = self.links.get_mut(&key).ok_or(Failure::Broken)?;
        link.say_open();
        if link.is_open() {
            state.deadline = None;
        }
        if opened == Opened::Begun {
            self.emit(Event::Up { peer });
        }
        Ok(())
    }

    /// Ends the epoch and begins another over the same connection.
    fn start_over(&mut self, key: LinkKey, why: LostWhy) -> Result<(), Failure> {
        let epoch = self.new_epoch().ok_or(Failure::Refused(Refusal::Crowded))?;
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        let known = link.established().map(Peer::key);
        link.start_over(epoch);
        if let Some(known) = known {
            let (node, incarnation) = (known.node, known.incarnation);
            self.emit(Event::Lost { node, incarnation, why });
        }
        Ok(())
    }

    // --- endings ---

    /// Closes a connection whose session goes on over another.
    fn discard_conn(&mut self, conn: ConnId) {
        if self.conns.remove(&conn).is_some() {
            self.emit(Event::Close { conn });
        }
    }

    /// Closes a connection and settles what depended on it.
    pub(crate) fn drop_conn(&mut self, conn: ConnId, failure: Failure, now: Instant) {
        if let Some(state) = self.conns.remove(&conn) {
            self.emit(Event::Close { conn });
            self.settle(conn, state, failure, now);
        }
    }

    /// Settles what depended on a connection that is gone.
    pub(crate) fn settle(&mut self, conn: ConnId, state: Conn, failure: Failure, now: Instant) {
        let key = match (&state.phase, state.purpose) {
            (Phase::Secure { link, .. }, _) => Some(*link),
            (_, Purpose::Node(node)) => Some(LinkKey::of_node(node)),
            _ => None,
        };
        if state.deadline.is_some() {
            let why = match failure {
                Failure::Refused(why) => why,
                Failure::Broken => Refusal::Closed,
                Failure::Violation => Refusal::Malformed,
            };
            self.emit(Event::Refused { conn, why });
        }
        let Some(key) = key else { return };
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.conn() == Some(conn) {
            if failure == Failure::Violation {
                self.end_link(key, LostWhy::Violation, now);
                return;
            }
            link.detach(now);
        } else if link.dialling == Some(conn) {
            link.dial_failed(now);
        }
        if link.is_over() {
            self.links.remove(&key);
        } else {
            self.dial_if_due(key, now);
        }
    }

    /// Ends a session: its connections are closed and its owner is told.
    pub(crate) fn end_link(&mut self, key: LinkKey, why: LostWhy, _now: Instant) {
        let Some(link) = self.links.remove(&key) else { return };
        for conn in [link.conn(), link.dialling].into_iter().flatten() {
            self.discard_conn(conn);
        }
        match link.established() {
            Some(peer) => {
                let (node, incarnation) = (peer.node, peer.incarnation);
                self.emit(Event::Lost { node, incarnation, why });
            }
            None if !link.is_blank() => self.emit(Event::Unreachable { node: key.node }),
            None => {}
        }
    }

    pub(crate) fn remember_dead(&mut self, node: NodeId, life: Incarnation) {
        if self.dead.len() >= DEAD_MAX && !self.dead.contains_key(&node) {
            self.dead.pop_first();
        }
        self.dead.insert(node, life);
    }
}
