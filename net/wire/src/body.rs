//! What frames carry: the conversations between nodes, and between a node and its operator.
//!
//! Owns [`Body`]. Coded with postcard; a body is proven by decoding it whole, and refused with
//! trailing bytes.

use crate::codec::bounded_list;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{
    ErrorCode, ExitReason, Incarnation, NodeId, Payload, Pid, Place, ProgramId, RequestId, ShardId,
    Signal, SpawnOrder,
};
use serde::{Deserialize, Serialize};

/// One thing that a peer says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A signal between processes.
    Signal(Signal),
    /// A mailbox on the sending node took messages that `shard` of the receiving node sent.
    Credit {
        /// The shard that sent them.
        shard: ShardId,
        /// The mailbox.
        mailbox: Pid,
        /// Messages taken.
        messages: u32,
        /// Bytes taken.
        bytes: u32,
    },
    /// There is no process `pid` on the sending node.
    Gone {
        /// The shard that sent to it.
        shard: ShardId,
        /// The process that is not.
        pid: Pid,
    },
    /// Bring a process to life on the receiving node.
    Spawn(SpawnOrder),
    /// The answer to [`Body::Spawn`].
    SpawnReply {
        /// Which spawn.
        request: RequestId,
        /// Who asked for it.
        parent: Pid,
        /// The child, or why not.
        result: Result<Pid, ErrorCode>,
    },
    /// The parent knows of its child.
    SpawnHeard {
        /// The child.
        child: Pid,
    },
    /// Send me the bundle of this program.
    ProgramWanted {
        /// Which program.
        program: ProgramId,
    },
    /// A part of a bundle, in order.
    ProgramPart {
        /// Which program.
        program: ProgramId,
        /// Where in the bundle the part begins, in bytes.
        offset: u32,
        /// Length of the whole bundle, in bytes.
        total: u32,
        /// The part.
        part: Payload,
    },
    /// I do not have the bundle of this program either.
    ProgramMissing {
        /// Which program.
        program: ProgramId,
    },
    /// How loaded the sending node is, for placement.
    Load {
        /// Processes alive.
        processes: u32,
        /// Free memory, in bytes.
        memory_free: u64,
    },
    /// An operator asks.
    Ask {
        /// The operator's name for the question.
        request: RequestId,
        /// The question.
        question: Question,
    },
    /// A node answers an operator.
    Answer {
        /// Which question.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// A running program talks to the operator who started it, or the other way round.
    Run {
        /// The request that started the run.
        request: RequestId,
        /// What is said.
        event: RunEvent,
    },
}

/// What an operator asks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Which nodes are there?
    Nodes,
    /// Which processes run on this node?
    Processes,
    /// The log of this node from line `from` on.
    Logs {
        /// The first line wanted; lines are counted from 0 since boot.
        from: u64,
    },
    /// End a process, wherever it runs.
    Kill {
        /// Which.
        pid: Pid,
    },
    /// Run a program: call its entry `main` with these arguments.
    Run {
        /// Which program. If the node does not have it, it answers with
        /// [`Answer::ProgramWanted`] and waits for the [`Body::ProgramPart`]s.
        program: ProgramId,
        /// The arguments, the program's name not among them.
        #[serde(deserialize_with = "bounded_list")]
        arguments: Vec<String>,
        /// Where.
        place: Place,
    },
}

/// What a node answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Nodes`].
    Nodes(#[serde(deserialize_with = "bounded_list")] Vec<NodeInfo>),
    /// To [`Question::Processes`].
    Processes(#[serde(deserialize_with = "bounded_list")] Vec<ProcessInfo>),
    /// To [`Question::Logs`]: the number of the first line that follows, and lines.
    Logs {
        /// Number of the first line in `lines`; larger than asked where older ones are gone.
        first: u64,
        /// The lines; empty if there is nothing newer.
        #[serde(deserialize_with = "bounded_list")]
        lines: Vec<String>,
    },
    /// To [`Question::Kill`]: the kill is on its way.
    Killed,
    /// To [`Question::Run`]: send the bundle.
    ProgramWanted,
    /// To [`Question::Run`]: the program runs as this process.
    Started(Pid),
    /// It could not be done.
    Failed {
        /// Why.
        error: ErrorCode,
        /// Why, for a person.
        text: String,
    },
}

/// What a run says to its operator, and the operator to it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RunEvent {
    /// Node to operator: the program wrote this. The next comes only after
    /// [`RunEvent::OutputTaken`].
    Output {
        /// Standard output or standard error.
        stream: OutputStream,
        /// What it wrote.
        bytes: Payload,
    },
    /// Operator to node: the output is written out.
    OutputTaken,
    /// Node to operator: the program wants up to this much of standard input.
    InputWanted {
        /// At most this many bytes.
        bytes_max: u32,
    },
    /// Operator to node: standard input, as wanted. Empty at its end.
    Input {
        /// The bytes.
        bytes: Payload,
    },
    /// Node to operator: the program's first process ended. Nothing follows.
    Ended {
        /// How.
        reason: ExitReason,
    },
}

/// Where a program writes.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One node, as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// Its address, as text.
    pub address: String,
    /// Its shards.
    pub shards: u8,
    /// Processes alive; `None` if it has not said yet.
    pub processes: Option<u32>,
    /// Free memory in bytes; `None` if it has not said yet.
    pub memory_free: Option<u64>,
    /// Nanoseconds since it started; only the answering node knows its own.
    pub uptime_nanos: Option<u64>,
}

/// One process, as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its pid.
    pub pid: Pid,
    /// Its program.
    pub program: ProgramId,
    /// The function it was started with.
    pub entry: String,
    /// What it is doing, and for whom it waits.
    pub state: String,
    /// Who must do something before it goes on.
    pub waits_for: Option<Pid>,
    /// Messages in its mailbox.
    pub mailbox_messages: u32,
    /// Bytes in its mailbox.
    pub mailbox_bytes: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time used, in nanoseconds.
    pub cpu_nanos: u64,
}
