//! The port between a shard and whoever runs its processes, and between a shard and its node.
//!
//! Owns the values that cross it and nothing else. A shard is stepped with an [`Input`] and answers
//! with [`Effect`]s; it never calls out. A process is run by a *host*: the wasm engine on metal, a
//! native program in the simulator, the control part of the node for the operator's consoles. All
//! of them speak [`HostCall`], [`HostReply`] and [`Outcome`], and the shard cannot tell them apart.

mod lending;
mod letter;
mod process;

pub use lending::Lending;
pub use letter::Letter;
pub use process::{
    HostCall, HostReply, LivingNode, LogLevel, Make, NameCall, Outcome, ReceiveAtOnce, Received,
    Resume, Sink, SpawnCall,
};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, RequestId, ShardId, Signal, Slot, SocketEvent, SocketOrder,
    SpawnOrder,
};
pub use craton_process::{Amount, MessageView, Source};

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
    /// What whoever has the network tells a process: the answer to [`Effect::Socket`], or that a
    /// connection was given to it.
    Socket(SocketEvent),
    /// The node's answer to [`Effect::AskNames`].
    Names {
        /// Who asked.
        slot: Slot,
        /// What it is told.
        reply: HostReply,
    },
    /// A signal from another shard or node, its sender authenticated.
    Signal(Signal),
    /// A message from another shard of this node, in the order of the pair's signals.
    Letter(Letter),
    /// A mailbox elsewhere took messages that this shard's processes sent.
    Credit {
        /// The mailbox.
        mailbox: Pid,
        /// Messages taken.
        messages: u32,
        /// Bytes taken.
        bytes: u32,
    },
    /// Another shard of the node answers [`Effect::Lending`], or speaks first.
    Lending {
        /// Of which process.
        slot: Slot,
        /// What.
        word: Lending,
    },
    /// The host's answer to a [`HostEffect::Take`] of what is not there: the life of the node is
    /// over, and the word of that is on its way.
    NotThere {
        /// Which process.
        slot: Slot,
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
    /// Drop an instance: its process is gone. Its host answers nothing more for it. What another
    /// host of the node gave is dropped where it lies.
    Reclaim {
        /// Which process.
        slot: Slot,
    },
    /// Put an instance, which does not run, where another host of the node can take it.
    Give {
        /// Which process.
        slot: Slot,
    },
    /// Take the instance that another host gave, to run it. If it is not there that is said.
    Take {
        /// Which process, of whatever shard.
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
    /// To [`HostEffect::Take`], if there is nothing to take.
    NotThere {
        /// Which process.
        slot: Slot,
    },
    /// How much memory a process holds, for listings; said whenever it changed.
    Memory {
        /// Which process.
        slot: Slot,
        /// Its memory.
        bytes: u64,
    },
}

/// The process that [`HostEffect::Start`] or [`Resume::Birth`] makes an instance for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Start {
    /// Which process.
    pub pid: Pid,
    /// Of which program.
    pub program: ProgramId,
    /// The exported function it will call.
    pub entry: Arc<str>,
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
    /// Step another shard of this node with [`Input::Lending`].
    Lending {
        /// Which shard.
        to: ShardId,
        /// Of which process.
        slot: Slot,
        /// What.
        word: Lending,
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
    /// For whoever has the network. Each call is answered once by [`Input::Socket`], unless its
    /// process is released before.
    Socket(SocketOrder),
    /// Look into, or change, the node's names and groups; answer with [`Input::Names`].
    AskNames {
        /// Who asks.
        slot: Slot,
        /// Its app, to which they belong.
        app: AppId,
        /// What it asks.
        call: NameCall,
        /// The name or group.
        name: String,
    },
    /// A process that asked for a name or group ended; said before anybody is told of it.
    NamesEnded {
        /// Which process.
        pid: Pid,
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
