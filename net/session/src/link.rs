//! A session with one peer: what outlives its connections.
//!
//! Owns [`Link`]: the epoch, the order and replay of what is sent, what was received, credit both
//! ways, and the timers. It takes proven frames here, makes frames in `send` and lets time pass in
//! `time`; connections, encryption and dialling are its neighbours' (`conn`, `sessions`).
//!
//! Each side numbers its epochs itself, so an epoch is a pair of numbers, and both sides go on with
//! it exactly if each still knows the other's. Numbers are never used again within a life.
//!
//! ```text
//!          1 Open agreed            2 connection gone
//!  fresh ───────────────▶ open ─────────────────────────▶ cut ──── 4 five seconds ───▶ ended
//!    │                    ▲  │ ▲     3 Open agreed         │
//!    │ 4 five seconds     │  │ └───────────────────────────┘
//!    ▼                    │  │ 5 both idle
//!  ended (unreachable)    └─ dormant: no connection, and nothing missing
//! ```

mod send;
mod time;

use crate::event::{ConnId, Peer};
use crate::limit::{
    ACK_BYTES, ACK_DELAY, QUEUE_BYTES_MAX, REDIAL_MAX, REDIAL_MIN, REPLAY_TIME, SILENCE_MAX,
    WINDOW_BYTES,
};
use crate::queue::{Fragment, SendQueue};
use crate::reassembly::{Reassembly, Whole};
use alloc::collections::VecDeque;
use craton_abi::{AppId, Duration, Incarnation, Instant, TraceId};
use craton_wire::{Frame, FrameHeader, Kind, Lane, Role};

const HEADER_BYTES: u64 = FrameHeader::BYTES as u64;

/// The peer broke the protocol: its epoch ends.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Violation;

/// What an [`Kind::Open`] led to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Opened {
    /// The epoch goes on.
    Resumed,
    /// An epoch begins.
    Begun,
    /// The peer still means an epoch that we do not know; it will open again.
    Wait,
    /// The peer no longer knows our epoch: it must end before this frame is looked at again.
    Foreign,
}

/// The connection that carries a session.
struct Attached {
    conn: ConnId,
    /// Whether both sides have agreed on the epoch over this connection.
    open: bool,
    heard_at: Instant,
    spoke_at: Instant,
    used_at: Instant,
    open_due: bool,
    /// Whether [`Kind::Open`] was said for the present epoch number.
    open_said: bool,
    ack_due: bool,
    ack_at: Option<Instant>,
    idle_due: bool,
    idle_sent: bool,
    idle_heard: bool,
}

/// What was sent and is not acknowledged.
struct Sent {
    sequence: u64,
    fragment: Fragment,
}

/// A session with one peer.
pub(crate) struct Link {
    me: Incarnation,
    /// Whether we are a node: only two nodes let their connection rest.
    we_are_node: bool,
    /// How long a connection may be silent.
    pub(crate) silence_max: Duration,
    /// The peer with whom an epoch is agreed, or who is connected to agree on one.
    peer: Option<Peer>,
    /// Our number for the epoch.
    epoch: u32,
    /// The peer's number for it; 0 while none is agreed.
    peer_epoch: u32,
    attached: Option<Attached>,

    queue: SendQueue,
    room_wanted: bool,
    replay: VecDeque<Sent>,
    replay_bytes: u64,
    /// Index in `replay` of what this connection carries next.
    cursor: usize,
    sent: u64,
    sent_bytes: u64,
    credit: u64,

    received: u64,
    received_bytes: u64,
    /// Received since the last acknowledgement.
    unacknowledged_bytes: u64,
    /// Of whole bodies that the owner has not taken yet.
    held_bytes: u64,
    granted: u64,
    reassembly: Reassembly,

    /// When the session ends unless it is open by then.
    pub(crate) end_at: Option<Instant>,
    /// When to dial next.
    pub(crate) dial_at: Option<Instant>,
    /// The connection that is being dialled for this session.
    pub(crate) dialling: Option<ConnId>,
    redial_after: Duration,
}

impl Link {
    /// A session without an epoch; `epoch` is a number never used before in this life.
    pub(crate) fn new(me: Incarnation, we_are_node: bool, epoch: u32) -> Self {
        Link {
            me,
            we_are_node,
            silence_max: SILENCE_MAX,
            peer: None,
            epoch,
            peer_epoch: 0,
            attached: None,
            queue: SendQueue::default(),
            room_wanted: false,
            replay: VecDeque::new(),
            replay_bytes: 0,
            cursor: 0,
            sent: 0,
            sent_bytes: 0,
            credit: 0,
            received: 0,
            received_bytes: 0,
            unacknowledged_bytes: 0,
            held_bytes: 0,
            granted: 0,
            reassembly: Reassembly::default(),
            end_at: None,
            dial_at: None,
            dialling: None,
            redial_after: REDIAL_MIN,
        }
    }

    /// The session after its epoch ended: what waited is gone, its connection stays.
    pub(crate) fn start_over(&mut self, epoch: u32) {
        let fresh = Link::new(self.me, self.we_are_node, epoch);
        let old = core::mem::replace(self, fresh);
        self.peer = old.peer;
        self.silence_max = old.silence_max;
        self.attached = old.attached;
        self.dialling = old.dialling;
        if let Some(attached) = &mut self.attached {
            attached.open = false;
            attached.open_said = false;
            attached.ack_due = false;
            attached.ack_at = None;
        }
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The peer, if an epoch is agreed with it.
    pub(crate) fn established(&self) -> Option<&Peer> {
        self.peer.as_ref().filter(|_| self.peer_epoch != 0)
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn conn(&self) -> Option<ConnId> {
        self.attached.as_ref().map(|attached| attached.conn)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.open)
    }

    /// Whether its owner has never heard of the session, nor said anything over it.
    pub(crate) fn is_blank(&self) -> bool {
        self.peer_epoch == 0 && self.queue.is_empty()
    }

    /// Whether the session may be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let waits = self.attached.is_some() || self.dialling.is_some() || self.end_at.is_some();
        self.is_blank() && !waits
    }

    /// Bytes that wait to be sent or acknowledged.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.queue.bytes() + self.replay_bytes as usize
    }

    /// Puts an encoded body in its lane; `false` if the queue is full.
    pub(crate) fn push(
        &mut self,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        body: &[u8],
        now: Instant,
    ) -> bool {
        if !self.queue.push(lane, app, trace, body) {
            self.room_wanted = true;
            return false;
        }
        if self.attached.is_none() && self.end_at.is_none() {
            // First use, or the first after a rest.
            self.end_at = Some(now + REPLAY_TIME);
            self.dial_at = Some(now);
        }
        true
    }

    /// Whether who was refused may try again; says so once.
    pub(crate) fn take_room(&mut self) -> bool {
        let room = self.room_wanted && self.queue.bytes() <= QUEUE_BYTES_MAX / 2;
        self.room_wanted &= !room;
        room
    }

    /// Carries the session over `conn` from now on. Whatever carried it before is the caller's to
    /// close.
    pub(crate) fn attach(&mut self, conn: ConnId, peer: Peer, now: Instant) {
        self.peer = Some(peer);
        self.attached = Some(Attached {
            conn,
            open: false,
            heard_at: now,
            spoke_at: now,
            used_at: now,
            open_due: false,
            open_said: false,
            ack_due: false,
            ack_at: None,
            idle_due: false,
            idle_sent: false,
            idle_heard: false,
        });
    }

    /// Says [`Kind::Open`] over the attached connection, if it has not said this one yet.
    pub(crate) fn say_open(&mut self) {
        if let Some(attached) = &mut self.attached {
            attached.open_due |= !attached.open_said;
            attached.open_said = true;
        }
    }

    /// The connection is gone. The session waits for another, unless both sides were at rest.
    pub(crate) fn detach(&mut self, now: Instant) {
        let Some(attached) = self.attached.take() else { return };
        let at_rest = attached.open && attached.idle_sent && attached.idle_heard;
        if at_rest && self.is_drained() {
            return;
        }
        // Even if we have nothing to lose: once we said `Open` the peer may have agreed to our
        // number and have sent to it, so that number must still be known when it comes back.
        if attached.open_said || !self.is_blank() {
            self.end_at = self.end_at.or(Some(now + REPLAY_TIME));
        }
        if !self.is_blank() {
            self.dial_at = Some(now);
            self.redial_after = REDIAL_MIN;
        }
    }

    /// A dial of ours came to nothing.
    pub(crate) fn dial_failed(&mut self, now: Instant) {
        self.dialling = None;
        if self.end_at.is_some() && self.attached.is_none() {
            self.dial_at = Some(now + self.redial_after);
            self.redial_after = self.redial_after.saturating_mul(2).min(REDIAL_MAX);
        }
    }

    fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.replay.is_empty()
    }

    fn both_are_nodes(&self) -> bool {
        self.we_are_node && self.peer.as_ref().is_some_and(|peer| peer.role == Role::Node)
    }

    /// Whether the frame comes from the life and epoch that this session is with.
    fn belongs(&self, header: &FrameHeader) -> bool {
        let peer = self.peer.as_ref().is_some_and(|peer| peer.incarnation == header.sender);
        let epoch = header.kind == Kind::Open || header.epoch == self.peer_epoch;
        peer && header.receiver == self.me && epoch
    }

    /// Takes the peer's [`Kind::Open`] on the attached connection.
    pub(crate) fn on_open(&mut self, frame: &Frame<'_>, now: Instant) -> Result<Opened, Violation> {
        let header = &frame.header;
        let known: [u8; Kind::OPEN_BYTES] = frame.fragment.try_into().map_err(|_| Violation)?;
        let known = u32::from_le_bytes(known);
        if !self.belongs(header) || header.epoch == 0 || self.is_open() {
            return Err(Violation);
        }
        let knows_ours = known == self.epoch;
        if self.peer_epoch != 0 {
            // A peer that begins with the number we agreed on never saw the agreement: it has
            // taken nothing, and all we sent is still in the replay buffer.
            let same = self.peer_epoch == header.epoch;
            if !same || !(knows_ours || (known == 0 && header.acknowledgement == 0)) {
                return Ok(Opened::Foreign);
            }
        } else if known != 0 && !knows_ours {
            return Ok(Opened::Wait);
        }
        let begun = self.peer_epoch == 0;
        self.peer_epoch = header.epoch;
        self.acknowledge(header.acknowledgement)?;
        self.credit = self.credit.max(header.credit);
        self.cursor = 0;
        self.end_at = None;
        self.dial_at = None;
        self.redial_after = REDIAL_MIN;
        if let Some(attached) = &mut self.attached {
            attached.open = true;
            attached.heard_at = now;
            attached.used_at = now;
        }
        Ok(if begun { Opened::Begun } else { Opened::Resumed })
    }

    /// Takes any other frame, and returns the body that it completes.
    pub(crate) fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<Option<Whole>, Violation> {
        let header = &frame.header;
        if !self.is_open() || !self.belongs(header) {
            return Err(Violation);
        }
        self.acknowledge(header.acknowledgement)?;
        self.credit = self.credit.max(header.credit);
        let may_rest = self.is_drained() && self.both_are_nodes();
        let Some(attached) = &mut self.attached else { return Err(Violation) };
        attached.heard_at = now;
        match header.kind {
            Kind::Open => Err(Violation),
            Kind::Ack => Ok(None),
            Kind::Idle => {
                attached.idle_heard = true;
                attached.idle_due |= may_rest && !attached.idle_sent;
                Ok(None)
            }
            Kind::Data => {
                attached.used_at = now;
                attached.idle_sent = false;
                attached.idle_heard = false;
                self.on_data(frame, now)
            }
        }
    }

    fn on_data(&mut self, frame: &Frame<'_>, now: Instant) -> Result<Option<Whole>, Violation> {
        let cost = HEADER_BYTES + frame.fragment.len() as u64;
        if frame.header.sequence != self.received + 1 || self.received_bytes + cost > self.granted {
            return Err(Violation);
        }
        self.received += 1;
        self.received_bytes += cost;
        self.unacknowledged_bytes += cost;
        if let Some(attached) = &mut self.attached {
            attached.ack_due |= self.unacknowledged_bytes >= ACK_BYTES;
            attached.ack_at = attached.ack_at.or(Some(now + ACK_DELAY));
        }
        let header = &frame.header;
        let whole = self
            .reassembly
            .take(header.lane, header.flags, frame.fragment, cost)
            .map_err(|_| Violation)?;
        self.held_bytes += whole.as_ref().map_or(0, |whole| whole.cost);
        Ok(whole)
    }

    /// The owner took a body that had cost this much.
    pub(crate) fn taken(&mut self, cost: u64) {
        self.held_bytes = self.held_bytes.saturating_sub(cost);
        let grows_by = self.grant() - self.granted;
        if let Some(attached) = &mut self.attached {
            attached.ack_due |= attached.open && grows_by >= WINDOW_BYTES / 2;
        }
    }

    /// What the peer may have sent, in bytes since the epoch began. Parts of bodies do not count
    /// against it, since no body could become whole otherwise; reassembly bounds those.
    fn grant(&self) -> u64 {
        let open = (self.received_bytes + WINDOW_BYTES).saturating_sub(self.held_bytes);
        self.granted.max(open)
    }

    fn acknowledge(&mut self, sequence: u64) -> Result<(), Violation> {
        if sequence > self.sent {
            return Err(Violation);
        }
        while let Some(sent) = self.replay.front() {
            if sent.sequence > sequence {
                break;
            }
            self.replay_bytes -= HEADER_BYTES + sent.fragment.bytes().len() as u64;
            self.cursor = self.cursor.saturating_sub(1);
            self.replay.pop_front();
        }
        Ok(())
    }
}
