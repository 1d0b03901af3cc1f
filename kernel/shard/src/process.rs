//! One process as its shard knows it.
//!
//! Owns [`Process`] and the states it goes through:
//!
//! ```text
//!            1 Started              2 Tick
//!  Starting ----------> Runnable ------------> Running
//!                          ^                      | 3 Ran(Call)
//!                          | 5 answered           v
//!                          +------------------ Calling
//!                          |                      | 4 has to wait
//!                          +--- Receiving, Sending, Answering, Spawning, Asking, OnSocket
//! ```
//!
//! A process ends in any state. While the host works on it (`Starting`, `Running`) its slot is
//! kept as [`Tenant::Ending`] until the host has answered.

use crate::port::{HostReply, Received, Resume};
use crate::run_queue::{RunQueue, Turn};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ExitReason, Instant, MonitorId, Payload, Pid, ProcessLimits, ProgramId,
    RequestId, ShardId, Slot, SocketId, TraceId, is_taken_by, limit,
};
use craton_process::{Links, Mailbox, Ticket, WaitQueue, Watchers};

/// Who has a slot.
#[derive(Debug)]
pub(crate) enum Tenant {
    /// A process.
    Live(Box<Process>),
    /// What is left of one that ended while its host worked on it: nobody can reach it.
    Ending(Identity),
}

/// What a process is, for listings.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) program: ProgramId,
    pub(crate) entry: Arc<str>,
    pub(crate) cpu: Duration,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    pub(crate) app: AppId,
    pub(crate) trace: TraceId,
    pub(crate) parent: Pid,
    /// The parent knows of it, or never will.
    pub(crate) is_heard: bool,
    pub(crate) state: State,
    pub(crate) runs: Runs,
    pub(crate) mailbox: Mailbox,
    /// Processes of this shard that wait for room in the mailbox.
    pub(crate) senders: WaitQueue,
    pub(crate) watchers: Watchers,
    pub(crate) links: Links,
    /// Ends of linked processes come as notices.
    pub(crate) traps_exits: bool,
    /// It may have sockets: the network is told of its end.
    pub(crate) has_sockets: bool,
    /// It may have names, or be in groups.
    pub(crate) is_named: bool,
    /// CPU time charged, for the run queue: the more its share, the less.
    pub(crate) virtual_time: Duration,
    /// Its share of the CPU, from 1 to [`CPU_SHARE_MAX`](craton_abi::limit::CPU_SHARE_MAX).
    pub(crate) cpu_share: u32,
}

/// Which shard runs a process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Runs {
    /// This one, before all others: it is a part of the node, which an operator waits for.
    First,
    /// This one: its spawner wanted it so.
    Here,
    /// This one, as long as no other is idle.
    Anywhere,
    /// Another, to which it is lent.
    Lent(ShardId),
}

/// What a process is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// Its host makes an instance.
    Starting {
        /// The parent's spawn, not answered yet.
        request: RequestId,
        /// The parent's monitor.
        monitor: Option<MonitorId>,
    },
    /// It stands in the run queue; or it was lent and is on its way back.
    Runnable {
        /// How it will go on.
        resume: Resume,
        /// Its entry.
        turn: Turn,
    },
    /// Its host runs it, or the shard that it is lent to.
    Running,
    /// It asked for something that is being done within this step.
    Calling,
    /// It waits for a message or a notice.
    Receiving { want: Want, capacity: usize, deadline: Option<Instant> },
    /// It waits for room or credit.
    Sending { to: Pid, parcel: Parcel, ticket: Ticket, deadline: Instant },
    /// It has an answer for another node, to which too much is under way.
    Answering { to: Pid, id: MonitorId, payload: Payload, ticket: Ticket },
    /// It waits for its child.
    Spawning { request: RequestId, monitor: Option<MonitorId>, link: Option<EarlyEnds> },
    /// It waits for an answer of the node.
    Asking,
    /// It waits for the network, doing this with a socket.
    OnSocket { doing: (&'static str, Option<SocketId>) },
}

impl State {
    /// Puts `next` in its place. As [`Resume::put`].
    #[inline]
    pub(crate) fn put(&mut self, next: State) {
        let last = core::mem::replace(self, next);
        match last {
            // Each field by name: one that had to be dropped could not be forgotten unseen.
            State::Running
            | State::Calling
            | State::Receiving { want: _, capacity: _, deadline: _ } => core::mem::forget(last),
            last => drop(last),
        }
    }
}

/// What a process waits for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Want {
    /// Whatever comes next.
    Any,
    /// A message with this tag, an item of a channel, or whatever is no message.
    Tag(u64),
    /// The notice, answer or time-out of this id.
    News(u64),
}

impl Want {
    #[inline]
    pub(crate) fn of_tag(tag: Option<u64>) -> Self {
        tag.map_or(Want::Any, Want::Tag)
    }

    /// Whether it is for a message with this tag.
    pub(crate) fn takes(self, tag: u64) -> bool {
        match self {
            Want::Any => true,
            Want::Tag(wanted) => is_taken_by(tag, wanted),
            Want::News(_) => false,
        }
    }
}

/// A message that is to be sent.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) tag: u64,
    pub(crate) payload: Payload,
    /// The request that it is, if its sender waits for an answer.
    pub(crate) request: Option<MonitorId>,
}

/// Ends that came while a process waits for a child that it is to be linked to. The child may be
/// among them, and its own pid is not known yet.
pub(crate) type EarlyEnds = Vec<(Pid, ExitReason)>;

impl Process {
    /// A process that nobody knows, on its way to life.
    pub(crate) fn new(identity: Identity, limits: &ProcessLimits) -> Self {
        Process {
            identity,
            app: AppId::default(),
            trace: TraceId::default(),
            parent: Pid::default(),
            is_heard: false,
            state: State::Calling,
            runs: Runs::Here,
            mailbox: Mailbox::new(limits),
            senders: WaitQueue::new(),
            watchers: Watchers::new(),
            links: Links::new(),
            traps_exits: false,
            has_sockets: false,
            is_named: false,
            virtual_time: Duration::ZERO,
            // They may come from another node.
            cpu_share: limits.cpu_share.clamp(1, limit::CPU_SHARE_MAX),
        }
    }

    /// Stands in the queue for its turn.
    #[inline]
    pub(crate) fn queue_up(&mut self, slot: Slot, queue: &mut RunQueue) -> Turn {
        match self.runs {
            Runs::First => queue.push_first(slot),
            _ => queue.push(slot, &mut self.virtual_time),
        }
    }

    /// Stands in the queue to go on with what it waited for in its receive.
    #[inline]
    pub(crate) fn wake_with(&mut self, slot: Slot, received: Received, queue: &mut RunQueue) {
        let turn = self.queue_up(slot, queue);
        let resume = Resume::Reply(HostReply::Received(received));
        self.state.put(State::Runnable { resume, turn });
    }

    pub(crate) fn is_lent(&self) -> bool {
        matches!(self.runs, Runs::Lent(_))
    }

    /// Whether it is a child of `parent`, who does not know of it yet.
    pub(crate) fn waits_to_be_heard(&self, parent: Pid) -> bool {
        self.parent == parent && !self.is_heard
    }
}

impl Tenant {
    pub(crate) fn live(&self) -> Option<&Process> {
        match self {
            Tenant::Live(process) => Some(process),
            Tenant::Ending(_) => None,
        }
    }

    pub(crate) fn live_mut(&mut self) -> Option<&mut Process> {
        match self {
            Tenant::Live(process) => Some(process),
            Tenant::Ending(_) => None,
        }
    }
}
