//! The port between a shard and whoever runs its processes, and between a shard and its node.
//!
//! Owns the values that cross it and nothing else. A shard is stepped with an [`Input`] and answers
//! with [`Effect`]s; it never calls out. A process is run by a *host*: the wasm engine on metal, a
//! native program in the simulator, the control part of the node for the operator's consoles. All
//! of them speak [`HostCall`], [`HostReply`] and [`Outcome`], and the shard cannot tell them apart.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, RequestId, Signal, Slot, SpawnOrder, TimerId,
};
pub use craton_process::Source;

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
}

/// What [`HostCall::Spawn`] asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpawnCall {
    /// Where.
    pub place: Place,
    /// What program; `None` is the caller's own.
    pub program: Option<ProgramId>,
    /// Which exported function.
    pub entry: String,
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
    /// Its slice was over, or an interrupt readied another process.
    Preempted,
}

/// What a shard is stepped with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Time passed, or the caller wants the next runnable process.
    Tick,
    /// The host's answer to [`HostEffect::Start`].
    Started {
        /// Which process.
        slot: Slot,
        /// Whether it can run.
        result: Result<(), ErrorCode>,
    },
    /// The host's answer to [`HostEffect::Run`].
    Ran {
        /// Which process.
        slot: Slot,
        /// How it came back.
        outcome: Outcome,
        /// CPU time used.
        used: Duration,
    },
    /// The node's answer to [`Effect::AskNodes`].
    Nodes {
        /// Who asked.
        slot: Slot,
        /// The nodes alive, this one first.
        nodes: Vec<LivingNode>,
    },
    /// A signal from another shard or node, its sender authenticated.
    Signal(Signal),
    /// A mailbox elsewhere took messages that this shard's processes sent.
    Credit {
        /// The mailbox.
        mailbox: Pid,
        /// Messages taken.
        messages: u32,
        /// Bytes taken.
        bytes: u32,
    },
    /// The node cannot keep a process any longer.
    End {
        /// Which process; one that has ended already is none.
        slot: Slot,
        /// Why.
        reason: ExitReason,
    },
    /// There is room for messages to a node again: the answer to [`Effect::WantRoom`].
    Room {
        /// The node.
        node: NodeId,
    },
    /// There is no process `pid` at the far end: who waits for its credit is told so.
    Gone {
        /// The process that is not.
        pid: Pid,
    },
    /// Bring a process to life.
    Spawn(Box<SpawnOrder>),
    /// The child's node answers a spawn of this shard.
    SpawnReply {
        /// Which spawn.
        request: RequestId,
        /// Who asked for it.
        parent: Pid,
        /// The child, or why not.
        result: Result<Pid, ErrorCode>,
    },
    /// The parent knows of its child: from now on the child lives its own life.
    SpawnHeard {
        /// The child.
        child: Pid,
    },
    /// A node is lost for good: everybody who watched, waited or sent across is told.
    NodeLost {
        /// The node.
        node: NodeId,
        /// The life of it that ended.
        incarnation: Incarnation,
    },
}

/// What whoever hosts processes is asked to do, in order.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostEffect {
    /// Make an instance; answer with [`Input::Started`].
    Start(Box<Start>),
    /// Run a process; answer with [`Input::Ran`]. At most one is outstanding for a process.
    Run {
        /// Which process.
        slot: Slot,
        /// How it goes on.
        resume: Resume,
        /// How long it may compute.
        slice: Duration,
    },
    /// Drop an instance: its process is gone. Its host answers nothing more for it.
    Reclaim {
        /// Which process.
        slot: Slot,
    },
}

/// What whoever hosts processes tells those who asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostAnswer {
    /// To [`HostEffect::Start`].
    Started {
        /// Which process.
        slot: Slot,
        /// Whether it can run.
        result: Result<(), ErrorCode>,
    },
    /// To [`HostEffect::Run`].
    Ran {
        /// Which process.
        slot: Slot,
        /// How it came back.
        outcome: Outcome,
        /// CPU time used.
        used: Duration,
    },
    /// How much memory a process holds, for listings; said whenever it changed.
    Memory {
        /// Which process.
        slot: Slot,
        /// Its memory.
        bytes: u64,
    },
}

/// The process that [`HostEffect::Start`] makes an instance for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Start {
    /// Which process.
    pub pid: Pid,
    /// Of which program.
    pub program: ProgramId,
    /// The exported function it will call.
    pub entry: String,
    /// What it reads as its argument.
    pub argument: Payload,
    /// Its bounds.
    pub limits: ProcessLimits,
}

/// What a shard asks of its caller, in order.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// For the host of its processes.
    Host(HostEffect),
    /// Carry a signal to another shard or node.
    Signal(Signal),
    /// Return credit to the shard that sent to `mailbox`.
    Credit {
        /// The sender's shard.
        to: Source,
        /// The mailbox.
        mailbox: Pid,
        /// Messages taken.
        messages: u32,
        /// Bytes taken.
        bytes: u32,
    },
    /// As much was sent to a node as may be at once; answer with [`Input::Room`] when most of it is
    /// there. Until then senders wait.
    WantRoom {
        /// The node.
        node: NodeId,
    },
    /// Tell the shard that sent to `pid` that there is no such process.
    Gone {
        /// The sender's shard.
        to: Source,
        /// The process that is not.
        pid: Pid,
    },
    /// Find a place for a spawn and order it there; answer with [`Input::SpawnReply`].
    Place {
        /// Where the parent wants it.
        place: Place,
        /// What it wants.
        order: Box<SpawnOrder>,
    },
    /// Carry the answer to a spawn to its parent's shard.
    SpawnReply {
        /// Which spawn.
        request: RequestId,
        /// Who asked for it.
        parent: Pid,
        /// The child, or why not.
        result: Result<Pid, ErrorCode>,
    },
    /// Tell the child's shard that its parent knows of it.
    SpawnHeard {
        /// The child.
        child: Pid,
    },
    /// Answer with [`Input::Nodes`].
    AskNodes {
        /// Who asks.
        slot: Slot,
    },
    /// Write a line to the node's log.
    Log {
        /// Whose line.
        pid: Pid,
        /// How grave it is.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// A process ended: for the log and for whoever lists processes.
    Exited {
        /// Which process.
        pid: Pid,
        /// How it ended.
        reason: ExitReason,
    },
}
