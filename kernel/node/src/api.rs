//! What goes into a node and what comes out of it.
//!
//! Owns [`NodeInput`] and [`NodeEffect`], the whole of a node's contact with the world: network,
//! engine, clock, log. No logic.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use craton_abi::{Duration, ErrorCode, Payload, Pid, ProcessLimits, ProgramId, Slot};
use craton_session::ConnId;
use craton_shard::port::{LogLevel, Outcome, Resume};

/// What a node is stepped with.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// Time passed, or the host can run processes: timers that are due fire, and each shard answers
    /// with at most one [`NodeEffect::Run`].
    Tick,
    /// The network gave this address; from now on the node looks for others.
    Address(IpAddr),
    /// The machine knows what time it is; from now on certificates must be of their date.
    WallClock {
        /// Seconds since 1970 at `Instant::ZERO`.
        secs_at_zero: u64,
    },
    /// A TCP connection to the session port was accepted.
    Accepted {
        /// The host's name for it, without the top bit.
        conn: ConnId,
        /// Where it comes from.
        from: SocketAddr,
    },
    /// A [`NodeEffect::Dial`] succeeded.
    Connected {
        /// Which connection.
        conn: ConnId,
    },
    /// Bytes came on a connection.
    Received {
        /// Which connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A connection was closed by the other side, broke, or could not be opened.
    Closed {
        /// Which connection.
        conn: ConnId,
    },
    /// A datagram came to the membership port.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// The engine's answer to [`NodeEffect::Load`].
    Loaded {
        /// Which program.
        program: ProgramId,
        /// Whether it can be started, or why not, for a program and for a person.
        result: Result<(), (ErrorCode, String)>,
    },
    /// The engine's answer to [`NodeEffect::Start`].
    Started {
        /// Which process.
        slot: Slot,
        /// Whether it can run.
        result: Result<(), ErrorCode>,
    },
    /// The engine's answer to [`NodeEffect::Run`].
    Ran {
        /// Which process.
        slot: Slot,
        /// How it came back.
        outcome: Outcome,
        /// CPU time used.
        used: Duration,
    },
    /// How much memory a process holds, for listings; said whenever it changed.
    ProcessMemory {
        /// Which process.
        slot: Slot,
        /// Its memory.
        bytes: u64,
    },
    /// A line of the kernel's own log, for `craton logs`.
    LogLine(String),
    /// How much memory the machine has left, for placement and listings.
    Memory {
        /// Free bytes.
        free_bytes: u64,
    },
    /// The machine's memory is nearly gone, into what the kernel itself needs: the process that
    /// holds the most must end. To be repeated until there is enough.
    MemoryShort,
}

/// What a node asks of its host, in order.
#[must_use]
#[derive(Clone, Debug)]
pub enum NodeEffect {
    /// Open a TCP connection; answer with [`NodeInput::Connected`] or [`NodeInput::Closed`].
    Dial {
        /// What to call it.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
    },
    /// Close a connection. Nothing more is said about it.
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// A connection has bytes to send: call `Node::transmit` whenever it has room, until that
    /// returns less than was asked for.
    Ready {
        /// Which connection.
        conn: ConnId,
    },
    /// Send a datagram from the membership port. To 255.255.255.255 it is a broadcast.
    Datagram {
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Verify and load a bundle; answer with [`NodeInput::Loaded`].
    Load {
        /// Which program.
        program: ProgramId,
        /// The signed bundle; its hash is the program's id.
        bundle: Arc<Vec<u8>>,
    },
    /// Forget a loaded program: no process of it is left.
    Unload {
        /// Which program.
        program: ProgramId,
    },
    /// Make an instance; answer with [`NodeInput::Started`].
    Start {
        /// Which process.
        pid: Pid,
        /// Of which program.
        program: ProgramId,
        /// The exported function it will call.
        entry: String,
        /// What it reads as its argument.
        argument: Payload,
        /// Its bounds.
        limits: ProcessLimits,
    },
    /// Run a process; answer with [`NodeInput::Ran`].
    Run {
        /// Which process.
        slot: Slot,
        /// How it goes on.
        resume: Resume,
        /// How long it may compute.
        slice: Duration,
    },
    /// Drop an instance; nothing more is said about it.
    Reclaim {
        /// Which process.
        slot: Slot,
    },
    /// Write a line to the console. The node has kept it for `craton logs`.
    Log {
        /// How grave it is.
        level: LogLevel,
        /// Who says it: a part of the node, or a process.
        module: String,
        /// What.
        text: String,
    },
    /// The node was declared dead and has begun a new life: drop every instance and answer nothing
    /// for them. Loaded programs stay loaded.
    Restart,
}

impl NodeEffect {
    /// Whether it is about one process.
    pub(crate) fn is_of_process(&self) -> bool {
        matches!(
            self,
            NodeEffect::Start { .. } | NodeEffect::Run { .. } | NodeEffect::Reclaim { .. }
        )
    }
}
