//! Sessions as the node uses them: what does not fit waits, and what crossed is remembered.
//!
//! Owns [`Links`]: the sessions, what is parked for peers whose queue is full, and with which lives
//! of other nodes anything was exchanged, so that the end of a session is told where it matters and
//! nowhere else.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use craton_abi::{AppId, Incarnation, Instant, NodeId, TraceId};
use craton_session::{self as session, ConnId, Event, PeerKey, Role, SendError, Sessions};
use craton_wire::{Answer, Body, Lane, RunEvent};

/// Most bytes that wait for one peer whose queue is full. Signals hold credit, so that only very
/// many pairs of processes at once come near it; beyond it the session is given up, audibly.
const PARKED_BYTES_MAX: usize = 16 << 20;
/// The same for a tool. It asks faster than it reads, or reads nothing; what is beyond is not said.
const PARKED_TOOL_BYTES_MAX: usize = 4 << 20;
/// Charged for every parked body, beside its payload.
const PARKED_OVERHEAD_BYTES: usize = 128;
/// What an encoded body may be longer than its payload.
const FITTING_SLACK_BYTES: usize = 4 << 10;
/// Where the life of the node stands in the ids of connections that it dialled, so that a belated
/// word about a connection of a former life finds none of this one.
const LIFE_SHIFT: u32 = 40;
const LIFE_MASK: u64 = 0x7f_ffff;

/// To whom something is sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Dest {
    /// A node, in whatever life the session is with.
    Node(NodeId),
    /// One life of a peer: an operator's tool.
    Peer(PeerKey),
}

/// On whose behalf something is sent.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) lane: Lane,
    pub(crate) app: AppId,
    pub(crate) trace: TraceId,
}

impl Stamp {
    /// For what the node itself says.
    pub(crate) const CONTROL: Stamp =
        Stamp { lane: Lane::CONTROL, app: AppId::new(0), trace: TraceId::new(0) };
}

#[derive(Default)]
struct Parked {
    bodies: VecDeque<(Stamp, Body)>,
    bytes: usize,
}

pub(crate) struct Links {
    sessions: Sessions,
    life: u64,
    /// Open connections, under the ids of `sessions`.
    conns: BTreeSet<ConnId>,
    parked: BTreeMap<Dest, Parked>,
    /// Lives of other nodes that signals or spawns were exchanged with since they were last lost.
    crossed: BTreeSet<(NodeId, Incarnation)>,
    /// Nodes with which a session is up, and the life that it is with.
    up: BTreeMap<NodeId, Incarnation>,
    /// What sessions said while bytes were taken from them; the next step takes it.
    said: VecDeque<Event>,
}

impl Links {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Links {
            sessions,
            life: 0,
            conns: BTreeSet::new(),
            parked: BTreeMap::new(),
            crossed: BTreeSet::new(),
            up: BTreeMap::new(),
            said: VecDeque::new(),
        }
    }

    /// Begins a new life with new sessions: which connections are to be closed.
    pub(crate) fn restart(&mut self, sessions: Sessions) -> Vec<ConnId> {
        let conns = core::mem::take(&mut self.conns);
        let closed = conns.into_iter().map(|conn| self.outer(conn)).collect();
        let life = (self.life + 1) & LIFE_MASK;
        *self = Links { life, ..Links::new(sessions) };
        closed
    }

    fn outer(&self, conn: ConnId) -> ConnId {
        if conn.is_dialled() { ConnId(conn.0 | self.life << LIFE_SHIFT) } else { conn }
    }

    fn inner(&self, conn: ConnId) -> Option<ConnId> {
        if !conn.is_dialled() {
            return Some(conn);
        }
        let of_this_life = (conn.0 >> LIFE_SHIFT) & LIFE_MASK == self.life;
        of_this_life.then_some(ConnId(conn.0 & !(LIFE_MASK << LIFE_SHIFT)))
    }

    pub(crate) fn accepted(&mut self, conn: ConnId, now: Instant) {
        if !conn.is_dialled() && self.conns.insert(conn) {
            self.sessions.accepted(conn, now);
        }
    }

    pub(crate) fn connected(&mut self, conn: ConnId, now: Instant) {
        if let Some(conn) = self.open(conn) {
            self.sessions.connected(conn, now);
        }
    }

    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        if let Some(conn) = self.open(conn) {
            self.sessions.received(conn, bytes, now);
        }
    }

    pub(crate) fn closed(&mut self, conn: ConnId, now: Instant) {
        if let Some(conn) = self.open(conn) {
            self.conns.remove(&conn);
            self.sessions.closed(conn, now);
        }
    }

    pub(crate) fn transmit(&mut self, conn: ConnId, max: usize, out: &mut Vec<u8>, now: Instant) {
        if let Some(conn) = self.open(conn) {
            self.sessions.transmit(conn, max, out, now);
            self.said.extend(core::iter::from_fn(|| self.sessions.poll()));
        }
    }

    fn open(&self, conn: ConnId) -> Option<ConnId> {
        self.inner(conn).filter(|conn| self.conns.contains(conn))
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.sessions.tick(now);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sessions.deadline()
    }

    /// Whether there is something to poll although nothing came.
    pub(crate) fn has_said(&self) -> bool {
        !self.said.is_empty()
    }

    pub(crate) fn sessions(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// The next event, with connections under the ids that the host knows.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        Some(match self.said.pop_front().or_else(|| self.sessions.poll())? {
            Event::Dial { conn, to } => {
                self.conns.insert(conn);
                Event::Dial { conn: self.outer(conn), to }
            }
            Event::Close { conn } => {
                self.conns.remove(&conn);
                Event::Close { conn: self.outer(conn) }
            }
            Event::Ready { conn } => Event::Ready { conn: self.outer(conn) },
            Event::Up { peer } => {
                if peer.role == Role::Node {
                    self.up.insert(peer.node, peer.incarnation);
                }
                Event::Up { peer }
            }
            Event::Lost { node, incarnation, why } => {
                if self.up.get(&node) == Some(&incarnation) {
                    self.up.remove(&node);
                }
                Event::Lost { node, incarnation, why }
            }
            other => other,
        })
    }

    /// Whether a session with a node is up.
    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.up.contains_key(&node)
    }

    /// Whether a session with this life of a node is up.
    pub(crate) fn is_up_with(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.up.get(&node) == Some(&incarnation)
    }

    /// The life of a node that a session is up with.
    pub(crate) fn up_with(&self, node: NodeId) -> Option<Incarnation> {
        self.up.get(&node).copied()
    }

    /// Sends, or parks what has no room yet.
    ///
    /// # Errors
    ///
    /// There is no way to the peer, or more waits for it than may.
    pub(crate) fn send(
        &mut self,
        dest: Dest,
        stamp: Stamp,
        body: Body,
        now: Instant,
    ) -> Result<(), SendError> {
        if self.has_room(dest, &body) {
            return self.try_send(dest, stamp, body, now);
        }
        if !self.parked.contains_key(&dest) {
            match self.try_send(dest, stamp, body.clone(), now) {
                Err(SendError::Full) => {}
                done => return done,
            }
        }
        let parked = self.parked.entry(dest).or_default();
        let bytes = weight(&body);
        let bytes_max = match dest {
            Dest::Node(_) => PARKED_BYTES_MAX,
            Dest::Peer(_) => PARKED_TOOL_BYTES_MAX,
        };
        if parked.bytes + bytes > bytes_max {
            return Err(SendError::Full);
        }
        parked.bytes += bytes;
        parked.bodies.push_back((stamp, body));
        Ok(())
    }

    /// Bytes that wait to be sent to a node or to be acknowledged by it.
    pub(crate) fn backlog_bytes(&self, node: NodeId) -> usize {
        let parked = self.parked.get(&Dest::Node(node)).map_or(0, |parked| parked.bytes);
        self.sessions.backlog_bytes(node) + parked
    }

    /// Whether a body certainly fits the queue, so that no copy of it need be kept.
    fn has_room(&self, dest: Dest, body: &Body) -> bool {
        let Dest::Node(node) = dest else { return false };
        let after = self.sessions.backlog_bytes(node) + 2 * weight(body) + FITTING_SLACK_BYTES;
        !self.parked.contains_key(&dest) && after < session::limit::QUEUE_BYTES_MAX
    }

    /// Sends now or not at all.
    pub(crate) fn try_send(
        &mut self,
        dest: Dest,
        stamp: Stamp,
        body: Body,
        now: Instant,
    ) -> Result<(), SendError> {
        let Stamp { lane, app, trace } = stamp;
        match dest {
            Dest::Node(node) => self.sessions.send(node, lane, app, trace, body, now),
            Dest::Peer(key) => self.sessions.send_to(key, lane, app, trace, body, now),
        }
    }

    /// Whether nothing waits before what would be sent to `dest` now.
    pub(crate) fn is_clear(&self, dest: Dest) -> bool {
        !self.parked.contains_key(&dest)
    }

    /// A peer's queue has room again.
    pub(crate) fn room(&mut self, node: NodeId, now: Instant) {
        let dests: Vec<Dest> = self.parked.keys().filter(|d| d.node() == node).copied().collect();
        for dest in dests {
            let Some(mut parked) = self.parked.remove(&dest) else { continue };
            while let Some((stamp, body)) = parked.bodies.pop_front() {
                let bytes = weight(&body);
                if self.try_send(dest, stamp, body.clone(), now) == Err(SendError::Full) {
                    parked.bodies.push_front((stamp, body));
                    break;
                }
                parked.bytes -= bytes;
            }
            if !parked.bodies.is_empty() {
                self.parked.insert(dest, parked);
            }
        }
    }

    /// Something that processes notice was exchanged with this life of a node.
    pub(crate) fn crossed(&mut self, node: NodeId, incarnation: Incarnation) {
        self.crossed.insert((node, incarnation));
    }

    /// Whether this life is to be told lost: something was exchanged with it since it last was.
    pub(crate) fn lost_life(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        self.crossed.remove(&(node, incarnation))
    }

    /// The lives of a node that something was exchanged with.
    pub(crate) fn lives(&self, node: NodeId) -> Vec<Incarnation> {
        let all = (node, Incarnation::new(0))..=(node, Incarnation::new(u64::MAX));
        self.crossed.range(all).map(|(_, life)| *life).collect()
    }

    /// What waits for a node waits in vain.
    pub(crate) fn unpark(&mut self, node: NodeId) {
        self.parked.remove(&Dest::Node(node));
    }

    /// An operator's tool is gone.
    pub(crate) fn peer_lost(&mut self, peer: PeerKey) {
        self.parked.remove(&Dest::Peer(peer));
    }
}

impl Dest {
    fn node(self) -> NodeId {
        match self {
            Dest::Node(node) => node,
            Dest::Peer(key) => key.node,
        }
    }
}

/// Roughly how much memory a body holds.
fn weight(body: &Body) -> usize {
    let payload = match body {
        Body::Signal(signal) => signal.body.payload_bytes(),
        Body::Spawn(order) => order.argument.0.len(),
        Body::ProgramPart { part, .. } => part.0.len(),
        Body::Run { event: RunEvent::Output { bytes, .. }, .. } => bytes.0.len(),
        Body::Answer { answer, .. } => match answer {
            Answer::Nodes(list) => list.iter().map(|n| size_of_val(n) + n.name.len()).sum(),
            Answer::Processes(list) => {
                list.iter().map(|p| size_of_val(p) + p.entry.len() + p.state.len()).sum()
            }
            Answer::Logs { lines, .. } => lines.iter().map(|l| size_of_val(l) + l.len()).sum(),
            Answer::Failed { text, .. } => text.len(),
            Answer::Killed | Answer::ProgramWanted | Answer::Started(_) => 0,
        },
        _ => 0,
    };
    PARKED_OVERHEAD_BYTES + payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use craton_abi::RequestId;

    #[test]
    fn what_waits_for_a_tool_is_charged_as_long_as_it_is() {
        let lines = vec!["x".repeat(1000); 500];
        let logs = Answer::Logs { first: 0, lines };
        let failed =
            Answer::Failed { error: craton_abi::ErrorCode::Invalid, text: String::from("why") };
        for (answer, least) in [(logs, 500_000), (failed, 3)] {
            let body = Body::Answer { request: RequestId::new(1), answer };
            assert!(weight(&body) >= least);
        }
    }
}
