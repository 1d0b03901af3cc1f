//! The port between a process and its shard: calls, replies, and how a process goes on.
//!
//! Owns [`HostCall`], [`HostReply`], [`Received`], [`Resume`] and [`Outcome`].

use super::Start;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, MonitorId, NodeId, Payload, Pid, Place, ProcessLimits,
    ProgramId, SocketCall, SocketId, SocketReply, TimerId,
};
use craton_process::MessageView;

/// What a process asks of its shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostCall {
    /// Start a process. Answered by [`HostReply::Spawned`] or an error once the child's node has
    /// spoken.
    Spawn(Box<SpawnCall>),
    /// Send a message. Answered by [`HostReply::Done`] once it holds the receiver's credit.
    Send {
        /// For whom.
        to: Pid,
        /// What the receiver may select by.
        tag: u64,
        /// The message.
        payload: Payload,
        /// How long to wait for credit; zero refuses at once.
        timeout: Duration,
    },
    /// Take the next message or notice. Answered by [`HostReply::Received`].
    Receive {
        /// Only a message with this tag, if given. Notices come in any case.
        tag: Option<u64>,
        /// How long to wait; `None` waits for ever.
        timeout: Option<Duration>,
        /// Room that the caller has. What is longer stays queued and the answer is
        /// [`HostReply::Longer`].
        capacity: usize,
    },
    /// Take the notice, answer or time-out of one id alone; all else stays queued. Answered as
    /// [`HostCall::Receive`], or by `invalid` if there is no such monitor, request or timer.
    Await {
        /// Which.
        id: u64,
        /// How long to wait; `None` waits for ever.
        timeout: Option<Duration>,
        /// Room that the caller has.
        capacity: usize,
    },
    /// Send a message to which an answer is awaited, and watch the receiver until it comes.
    /// Answered by [`HostReply::Monitoring`] once the message holds the receiver's credit; its id
    /// is that of the request. The answer, or else the end of the receiver, comes to the mailbox.
    Request {
        /// For whom.
        to: Pid,
        /// What the receiver may select by.
        tag: u64,
        /// The message.
        payload: Payload,
        /// How long to wait for credit; zero refuses at once.
        timeout: Duration,
    },
    /// Answer a request. Answered by [`HostReply::Done`], also where nobody waits for it any more:
    /// it holds no credit, and waits only where too much is under way to the asker's node.
    Answer {
        /// Who asked.
        to: Pid,
        /// The request.
        id: MonitorId,
        /// The answer.
        payload: Payload,
    },
    /// Get a notice after a while. Answered by [`HostReply::Timer`].
    SetTimer {
        /// After how long.
        after: Duration,
        /// What to mark it with.
        tag: u64,
    },
    /// Take a timer back, and its notice if that is queued. Answered by [`HostReply::Flag`]:
    /// whether it was not due yet.
    CancelTimer {
        /// Which.
        id: TimerId,
    },
    /// Be told once how `target` ends. Answered by [`HostReply::Monitoring`] at once.
    Monitor {
        /// Whom to watch.
        target: Pid,
    },
    /// Take a monitor back, and its notice if that is queued. Answered by [`HostReply::Flag`]:
    /// whether a notice was queued.
    Demonitor {
        /// Which monitor.
        id: MonitorId,
    },
    /// Share the end of `target`, and it the caller's. Answered by [`HostReply::Done`] at once;
    /// that it cannot be is told as its end.
    Link {
        /// With whom.
        target: Pid,
    },
    /// Take a link back; it has no effect once this is answered by [`HostReply::Done`]. A notice
    /// that lies in the mailbox stays there.
    Unlink {
        /// With whom.
        target: Pid,
    },
    /// Whether the ends of linked processes come as notices, and do not end the caller. Answered by
    /// [`HostReply::Flag`]: whether they did before.
    TrapExits {
        /// From now on.
        trap: bool,
    },
    /// End a process. Answered by [`HostReply::Done`] at once.
    Kill {
        /// Whom.
        target: Pid,
    },
    /// End the caller with this reason.
    Exit {
        /// Why.
        reason: ExitReason,
    },
    /// Write a line to the node's log.
    Log {
        /// How grave it is.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// Let others run.
    Yield,
    /// Which nodes are alive. Answered by [`HostReply::Nodes`].
    Nodes,
    /// Something of the network. Answered by [`HostReply::Socket`].
    Socket(Box<SocketCall>),
    /// Set a timer that is due after so long, or as soon as a socket has something to take.
    /// Answered by [`HostReply::Timer`] at once.
    Watch {
        /// A socket.
        socket: SocketId,
        /// When it is due at the latest.
        after: Duration,
        /// What its notice is marked with.
        tag: u64,
    },
    /// Something about a name or a group of this node, within the caller's app.
    Names {
        /// What.
        call: NameCall,
        /// Which name or group, 1 to [`NAME_BYTES_MAX`](craton_abi::limit::NAME_BYTES_MAX) bytes.
        name: String,
    },
}

/// What [`HostCall::Names`] asks for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum NameCall {
    /// Make the caller the owner of the name. Answered by [`HostReply::Done`], or `taken`.
    Register,
    /// Give the name up. Answered by [`HostReply::Flag`]: whether it was the caller's.
    Unregister,
    /// Who owns the name. Answered by [`HostReply::Pids`], with one or none.
    Find,
    /// Make the caller a member of the group. Answered by [`HostReply::Done`].
    Join,
    /// Leave the group. Answered by [`HostReply::Flag`]: whether the caller was in it.
    Leave,
    /// Who is in the group. Answered by [`HostReply::Pids`].
    Members,
}

/// What [`HostCall::Spawn`] asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpawnCall {
    /// Where.
    pub place: Place,
    /// What program; `None` is the caller's own.
    pub program: Option<ProgramId>,
    /// Which exported function.
    pub entry: Arc<str>,
    /// What the child reads as its argument.
    pub argument: Payload,
    /// Whether to watch the child from its first instant.
    pub monitor: bool,
    /// Whether to be linked to the child from its first instant.
    pub link: bool,
    /// The child's bounds.
    pub limits: ProcessLimits,
}

/// How grave a log line is.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
}

/// A node that is alive, as a process may know it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct LivingNode {
    /// Which.
    pub node: NodeId,
    /// Its shards: as many processes compute on it at once.
    pub shards: u8,
}

/// What a shard answers to a [`HostCall`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostReply {
    /// Done, with nothing to say.
    Done,
    /// Yes or no.
    Flag(bool),
    /// The child lives.
    Spawned {
        /// The child.
        pid: Pid,
        /// The monitor, if one was asked for.
        monitor: Option<MonitorId>,
    },
    /// The monitor is made, or the request sent.
    Monitoring(MonitorId),
    /// The timer is set.
    Timer(TimerId),
    /// The next message or notice.
    Received(Received),
    /// The next message or notice is longer than the caller's room and stays queued.
    Longer {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The nodes alive, the caller's own first.
    Nodes(Vec<LivingNode>),
    /// What the network answers.
    Socket(Box<SocketReply>),
    /// Processes, in order of their pids.
    Pids(Vec<Pid>),
    /// It could not be done.
    Failed(ErrorCode),
}

/// What a process finds in its mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// A message.
    Message {
        /// Who sent it.
        from: Pid,
        /// What it may be selected by.
        tag: u64,
        /// The message.
        payload: Payload,
    },
    /// A message whose sender waits for an answer.
    Request {
        /// Who sent it.
        from: Pid,
        /// What it may be selected by.
        tag: u64,
        /// The message.
        payload: Payload,
        /// What the answer must name.
        id: MonitorId,
    },
    /// The answer to a request.
    Answer {
        /// Who answers.
        from: Pid,
        /// The request.
        id: MonitorId,
        /// The answer.
        payload: Payload,
    },
    /// A timer is due.
    Timer {
        /// Which.
        id: TimerId,
        /// What its owner marked it with.
        tag: u64,
    },
    /// A watched process ended or was lost.
    Down {
        /// The watched process.
        from: Pid,
        /// The monitor.
        id: MonitorId,
        /// How it ended.
        reason: ExitReason,
    },
    /// A linked process ended or was lost, and the receiver traps exits.
    Exit {
        /// The linked process.
        from: Pid,
        /// How it ended.
        reason: ExitReason,
    },
}

/// How a process goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Resume {
    /// For the first time: call the entry.
    Start,
    /// As [`Resume::Start`], of a process that no instance was made for yet: its host makes it now,
    /// or lets the process come back as ended where it cannot.
    Birth(Box<Start>),
    /// Where the timer interrupted it.
    Continue,
    /// With the answer to its call.
    Reply(HostReply),
}

/// How a process came back from running.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It asks for something and waits for the answer.
    Call(HostCall),
    /// It ended.
    Exited(ExitReason),
    /// Its receive was taken at once, and it waits for what is to come.
    Waiting,
    /// Its slice was over, or an interrupt readied another process.
    Preempted,
}

impl Resume {
    /// Whether there is no instance yet.
    pub fn is_birth(&self) -> bool {
        matches!(self, Resume::Birth(_))
    }

    /// Puts `next` in its place. Looks first whether there is anything to drop, since mostly there
    /// is not, and processes go on more often than anything else happens.
    #[inline]
    pub fn put(&mut self, next: Resume) {
        let last = core::mem::replace(self, next);
        match last {
            Resume::Start | Resume::Continue => core::mem::forget(last),
            Resume::Birth(_) | Resume::Reply(_) => drop(last),
        }
    }
}

impl Outcome {
    /// As [`Resume::put`].
    #[inline]
    pub fn put(&mut self, next: Outcome) {
        let last = core::mem::replace(self, next);
        match last {
            Outcome::Waiting | Outcome::Preempted => core::mem::forget(last),
            Outcome::Call(_) | Outcome::Exited(_) => drop(last),
        }
    }
}

/// Makes of a message what is kept of it.
pub type Make<'a> = &'a mut dyn FnMut(&[u8]) -> Payload;

/// Sees a message where it lies, and says how long one may be that it will see next, if any.
pub type Sink<'a> = &'a mut dyn FnMut(MessageView<'_>) -> Option<usize>;

/// What becomes of a receive while its process keeps the CPU.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReceiveAtOnce {
    /// A message or more, which the host was shown.
    Taken,
    /// This is the answer.
    Reply(HostReply),
    /// The process waits from now on: it is to leave its stack and to come back as
    /// [`Outcome::Waiting`].
    Waits,
    /// Nothing was done: it is to come as a [`HostCall`].
    Later,
}
