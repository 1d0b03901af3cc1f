//! All peer links of one node, or of the operator's tool.
//!
//! Owns [`Sessions`]: the tables of connections and sessions, what the owner may call, and the
//! queue of events. How a connection comes to carry a session is in `establish`, what time does in
//! `timers`, the session itself in `link`.

use crate::cert::{AUTHORITIES_MAX, Identity};
use crate::conn::{Conn, Failure, Phase, Purpose};
use crate::event::{ConnId, Event, LostWhy, Peer, PeerKey, Refusal, SendError};
use crate::key::AuthorityKey;
use crate::limit::{PEERS_MAX, SILENCE_MAX};
use crate::link::Link;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::net::SocketAddr;
use craton_abi::{AppId, Duration, Incarnation, Instant, NodeId, TraceId};
use craton_wire::{Body, Lane, Role};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// What sessions are made from.
#[derive(Clone)]
pub struct Config {
    /// Who we are.
    pub identity: Identity,
    /// Whom we believe; the first [`AUTHORITIES_MAX`] are used.
    pub authorities: Vec<AuthorityKey>,
    /// Our life.
    pub incarnation: Incarnation,
    /// Randomness for everything that is drawn. Never to be used again.
    pub seed: [u8; 32],
    /// Seconds since 1970 at [`Instant::ZERO`], if known.
    pub wall_clock_secs: Option<u64>,
}

impl fmt::Debug for Config {
    /// Without the seed, from which the keys of every connection can be told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("identity", &self.identity)
            .field("authorities", &self.authorities)
            .field("incarnation", &self.incarnation)
            .field("wall_clock_secs", &self.wall_clock_secs)
            .finish_non_exhaustive()
    }
}

/// Names a session. A node has one, whichever life it is in; tools that share a certificate have
/// one each.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct LinkKey {
    pub(crate) node: NodeId,
    /// `None` for a node.
    pub(crate) tool: Option<Incarnation>,
}

impl LinkKey {
    pub(crate) fn of_node(node: NodeId) -> Self {
        LinkKey { node, tool: None }
    }

    pub(crate) fn of_peer(peer: &Peer) -> Self {
        let tool = (peer.role != Role::Node).then_some(peer.incarnation);
        LinkKey { node: peer.node, tool }
    }
}

/// What a body in the event queue is charged to.
struct Charge {
    link: LinkKey,
    epoch: u32,
    cost: u64,
}

/// All peer links of one node, or of the operator's tool.
pub struct Sessions {
    pub(crate) config: Config,
    pub(crate) me: NodeId,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) links: BTreeMap<LinkKey, Link>,
    pub(crate) addresses: BTreeMap<NodeId, SocketAddr>,
    /// The life of each node that was last declared dead.
    pub(crate) dead: BTreeMap<NodeId, Incarnation>,
    pub(crate) rng: ChaCha20Rng,
    events: VecDeque<(Event, Option<Charge>)>,
    next_conn: u64,
    next_epoch: u32,
    silence_max: Duration,
    /// Scratch for one record's content.
    pub(crate) plain: Vec<u8>,
    /// Scratch for one encoded body.
    encoded: Vec<u8>,
}

impl Sessions {
    /// Nobody is connected yet.
    pub fn new(mut config: Config) -> Self {
        config.authorities.truncate(AUTHORITIES_MAX);
        Sessions {
            silence_max: SILENCE_MAX,
            me: config.identity.node(),
            rng: ChaCha20Rng::from_seed(config.seed),
            config,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            dead: BTreeMap::new(),
            events: VecDeque::new(),
            next_conn: 0,
            next_epoch: 0,
            plain: Vec::new(),
            encoded: Vec::new(),
        }
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.config.identity
    }

    /// The wall clock became known: seconds since 1970 at [`Instant::ZERO`].
    pub fn set_wall_clock(&mut self, secs_at_zero: u64) {
        self.config.wall_clock_secs = Some(secs_at_zero);
    }

    /// Lets connections be silent for so long from now on, for who talks to one whose clock goes
    /// slower: [`SILENCE_MAX`] unless this says otherwise. What this side says itself is as often
    /// as ever.
    pub fn bear_silence(&mut self, silence_max: Duration) {
        self.silence_max = silence_max;
        self.links.values_mut().for_each(|link| link.silence_max = silence_max);
    }

    /// The peers with whom an epoch is agreed.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.links.values().filter_map(Link::established)
    }

    /// Bytes that wait to be sent to this node or to be acknowledged by it.
    pub fn backlog_bytes(&self, node: NodeId) -> usize {
        self.links.get(&LinkKey::of_node(node)).map_or(0, Link::backlog_bytes)
    }

    /// Where a node is found. Nothing is dialled until something is sent.
    pub fn dial_at(&mut self, node: NodeId, to: SocketAddr) {
        if self.addresses.len() < PEERS_MAX || self.addresses.contains_key(&node) {
            self.addresses.insert(node, to);
        }
    }

    /// Dials somebody whose id is not known yet. One attempt, answered by [`Event::Up`] or
    /// [`Event::Refused`]; the address is remembered for the node that answers.
    pub fn dial_any(&mut self, to: SocketAddr, now: Instant) -> ConnId {
        self.dial(Purpose::Anybody(to), to, now)
    }

    /// Says something to a node, whichever life it is in; opens the session at first use. The body
    /// is encoded at once, so a reference will do.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing changed.
    pub fn send(
        &mut self,
        to: NodeId,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        body: impl Borrow<Body>,
        now: Instant,
    ) -> Result<(), SendError> {
        let key = LinkKey::of_node(to);
        if !self.links.contains_key(&key) {
            if !self.addresses.contains_key(&to) {
                return Err(SendError::Unknown);
            }
            if self.links.len() >= PEERS_MAX {
                return Err(SendError::Crowded);
            }
        }
        self.encode(body.borrow())?;
        if !self.links.contains_key(&key) {
            let link = self.new_link().ok_or(SendError::Crowded)?;
            self.links.insert(key, link);
        }
        self.push(key, lane, app, trace, now)
    }

    /// Says something to one life of a peer with whom an epoch is agreed: how a tool is answered.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing changed.
    pub fn send_to(
        &mut self,
        to: PeerKey,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        body: impl Borrow<Body>,
        now: Instant,
    ) -> Result<(), SendError> {
        let tool = LinkKey { node: to.node, tool: Some(to.incarnation) };
        let keys = [tool, LinkKey::of_node(to.node)];
        let is_meant = |key: &LinkKey| {
            let peer = self.links.get(key).and_then(Link::established);
            peer.is_some_and(|peer| peer.key() == to)
        };
        let key = keys.into_iter().find(is_meant).ok_or(SendError::Unknown)?;
        self.encode(body.borrow())?;
        self.push(key, lane, app, trace, now)
    }

    /// This life of a node was declared dead: its epoch ends at once, and it is refused from now
    /// on. What is with a later life of the node, be it only on its way, goes on; otherwise the
    /// node's address is forgotten.
    pub fn lose(&mut self, node: NodeId, life: Incarnation, now: Instant) {
        self.remember_dead(node, life);
        let key = LinkKey::of_node(node);
        // Believed, but not carrying the session (yet): the peer may choose it any moment.
        let is_its = |state: &Conn| match &state.phase {
            Phase::Secure { link, peer, .. } => *link == key && peer.incarnation == life,
            _ => false,
        };
        let its: Vec<ConnId> =
            self.conns.iter().filter(|(_, state)| is_its(state)).map(|(conn, _)| *conn).collect();
        let with = self.links.get(&key).and_then(Link::peer).map(|peer| peer.incarnation);
        if with.is_none_or(|with| with == life) {
            self.addresses.remove(&node);
            self.end_link(key, LostWhy::Declared, now);
        }
        for conn in its {
            self.drop_conn(conn, Failure::Refused(Refusal::Dead), now);
        }
    }

    /// What happened. Call until `None` after every other call.
    pub fn poll(&mut self) -> Option<Event> {
        let (event, charge) = self.events.pop_front()?;
        if let Some(charge) = charge
            && let Some(link) = self.links.get_mut(&charge.link)
            && link.epoch() == charge.epoch
        {
            link.taken(charge.cost);
            if let Some(conn) = link.conn() {
                self.announce(conn);
            }
        }
        Some(event)
    }

    // --- the transport's side ---

    /// Somebody dialled us.
    pub fn accepted(&mut self, conn: ConnId, now: Instant) {
        self.begin_accepted(conn, now);
    }

    /// A connection that we asked for by [`Event::Dial`] is open.
    pub fn connected(&mut self, conn: ConnId, now: Instant) {
        self.begin_dialled(conn, now);
    }

    /// A connection is closed, or a dial failed.
    pub fn closed(&mut self, conn: ConnId, now: Instant) {
        if let Some(state) = self.conns.remove(&conn) {
            self.settle(conn, state, Failure::Refused(Refusal::Closed), now);
        }
    }

    /// Bytes came. What a connection that is not known says is dropped.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        let Some(mut state) = self.conns.remove(&conn) else { return };
        let mut input = bytes;
        let mut rx = state.take_rx();
        let result = loop {
            match state.next_record(&mut rx, &mut input) {
                Err(failure) => break Err(failure),
                Ok(None) => break Ok(()),
                Ok(Some(record)) => {
                    if let Err(failure) = self.on_record(conn, &mut state, record, now) {
                        break Err(failure);
                    }
                }
            }
            rx.clear();
        };
        match result {
            Ok(()) => {
                state.put_rx(rx);
                self.conns.insert(conn, state);
                self.announce(conn);
                self.close_if_at_rest(conn, now);
            }
            Err(failure) => {
                self.emit(Event::Close { conn });
                self.settle(conn, state, failure, now);
            }
        }
    }

    /// Appends at most `bytes_max` bytes for the connection to `out`. If it appends fewer there is
    /// nothing more to say, and [`Event::Ready`] announces the next; otherwise call again when the
    /// connection has room.
    pub fn transmit(&mut self, conn: ConnId, bytes_max: usize, out: &mut Vec<u8>, now: Instant) {
        let Some(state) = self.conns.get_mut(&conn).filter(|_| bytes_max > 0) else { return };
        let end = out.len() + bytes_max;
        state.drain_tx(bytes_max, out);
        let mut room = None;
        if let Phase::Secure { transport, link: key, peer } = &mut state.phase
            && let Some(link) = self.links.get_mut(key)
            && link.conn() == Some(conn)
        {
            while out.len() < end {
                self.plain.clear();
                if !link.fill(&mut self.plain, now) || !transport.seal(&self.plain, out) {
                    break;
                }
            }
            room = link.take_room().then_some(peer.node);
        }
        if out.len() > end {
            state.tx().extend_from_slice(&out[end..]);
            out.truncate(end);
        }
        state.ready_said = out.len() == end;
        if let Some(node) = room {
            self.emit(Event::Room { node });
        }
    }

    // --- helpers ---

    fn encode(&mut self, body: &Body) -> Result<(), SendError> {
        self.encoded.clear();
        body.encode(&mut self.encoded).map_err(|_| SendError::TooLong)
    }

    /// Puts the encoded body in the lane.
    fn push(
        &mut self,
        key: LinkKey,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        now: Instant,
    ) -> Result<(), SendError> {
        let link = self.links.get_mut(&key).ok_or(SendError::Unknown)?;
        if !link.push(lane, app, trace, &self.encoded, now) {
            return Err(SendError::Full);
        }
        match link.conn() {
            Some(conn) => self.announce(conn),
            None => self.dial_if_due(key, now),
        }
        Ok(())
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push_back((event, None));
    }

    pub(crate) fn emit_charged(&mut self, event: Event, link: LinkKey, epoch: u32, cost: u64) {
        self.events.push_back((event, Some(Charge { link, epoch, cost })));
    }

    /// Says [`Event::Ready`] if the connection has something to transmit and it was not said.
    pub(crate) fn announce(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let session_has = match &state.phase {
            Phase::Secure { link, .. } => {
                let link = self.links.get(link);
                link.is_some_and(|link| link.conn() == Some(conn) && link.has_output())
            }
            _ => false,
        };
        if !state.ready_said && (state.has_tx() || session_has) {
            state.ready_said = true;
            self.emit(Event::Ready { conn });
        }
    }

    /// A session with a new epoch number; `None` once the numbers of this life are used up.
    pub(crate) fn new_link(&mut self) -> Option<Link> {
        let epoch = self.new_epoch()?;
        let we_are_node = self.config.identity.certificate().role == Role::Node;
        let mut link = Link::new(self.config.incarnation, we_are_node, epoch);
        link.silence_max = self.silence_max;
        Some(link)
    }

    pub(crate) fn new_epoch(&mut self) -> Option<u32> {
        self.next_epoch = self.next_epoch.checked_add(1)?;
        Some(self.next_epoch)
    }

    /// Dials, unless there is no room for a connection more.
    pub(crate) fn dial(&mut self, purpose: Purpose, to: SocketAddr, now: Instant) -> ConnId {
        let conn = ConnId(ConnId::DIALLED | self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, Conn::new(purpose, Phase::Dialling, now));
        self.emit(Event::Dial { conn, to });
        conn
    }

    pub(crate) fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn wall_clock_secs(&self, now: Instant) -> Option<u64> {
        let nanos = now.since(Instant::ZERO).as_nanos();
        let secs = nanos / Duration::from_secs(1).as_nanos();
        self.config.wall_clock_secs.map(|zero| zero.saturating_add(secs))
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
