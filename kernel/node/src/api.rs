//! What goes into a node and what comes out of it.
//!
//! Owns [`NodeInput`] and [`NodeEffect`], the whole of a node's contact with the world: network,
//! engine, clock, log, other CPUs; and the same for a worker, [`WorkerInput`] and [`WorkerEffect`].
//! What both ask for is [`PartEffect`]. No logic.
//!
//! Node and workers are joined by mail, which the host carries between its CPUs. What under way is
//! bounded by credit and by what is outstanding, but not to a number that a ring could be built
//! for. So a host keeps an outbox for each destination; while one of them is not empty it runs no
//! process and ticks nothing on that CPU, since what processes do is what makes more mail. It goes
//! on taking mail and stepping with it, whatever its outboxes hold: two CPUs that waited for each
//! other would wait for ever.

use crate::mail::Mail;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::net::{IpAddr, SocketAddr};
use craton_abi::{ErrorCode, ProgramId, ShardId, SocketEvent, SocketNote, SocketOrder};
use craton_session::ConnId;
use craton_shard::port::{HostAnswer, HostEffect, LogLevel};

/// What a node is stepped with.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// Time passed, or the host can run processes: timers that are due fire, and shard 0 answers
    /// with at most one [`HostEffect::Run`].
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
    /// A [`ControlEffect::Dial`] succeeded.
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
    /// The machine's image carries this bundle: it runs as long as the node does, from `main`, with
    /// the log for a console, and again in every new life. To be told once.
    Carried {
        /// The bundle.
        bundle: Vec<u8>,
    },
    /// The engine's answer to [`ControlEffect::Load`].
    Loaded {
        /// Which program.
        program: ProgramId,
        /// Whether it can be started, or why not, for a program and for a person.
        result: Result<(), (ErrorCode, String)>,
    },
    /// The host of the processes of shard 0 answers a [`PartEffect::Host`], or tells of one.
    Host(HostAnswer),
    /// What the network of shard 0's CPU has to tell a process of any shard.
    Socket(SocketEvent),
    /// What the network of shard 0's CPU has to tell that of another: it comes there as
    /// [`PartEffect::SocketNote`].
    SocketNote {
        /// Which.
        to: ShardId,
        /// What.
        note: SocketNote,
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
    /// Another CPU posted this.
    Mail(Mail),
}

/// What a part of a node asks of its host, in order: what all parts do, and what only one does.
#[must_use]
#[derive(Clone, Debug)]
pub enum PartEffect<Own> {
    /// For the host of its processes, who answers with [`NodeInput::Host`] or
    /// [`WorkerInput::Host`].
    Host(HostEffect),
    /// Hand this to another CPU: [`NodeInput::Mail`] for shard 0, otherwise [`WorkerInput::Mail`]
    /// of that shard's worker. Mail must arrive at last, and all mail from here to one shard in the
    /// order in which it was posted.
    Post {
        /// Whom it is for.
        to: ShardId,
        /// What.
        mail: Mail,
    },
    /// Something that a process of its wants of the network of its CPU: each call is answered once
    /// by [`NodeInput::Socket`] or [`WorkerInput::Socket`], there or on another CPU.
    Socket(SocketOrder),
    /// The network of another CPU tells this one's something.
    SocketNote {
        /// Whose.
        from: ShardId,
        /// What.
        note: SocketNote,
    },
    /// The node begins a new life: drop every instance of this part's shard, and every socket of a
    /// process on its CPU, and answer nothing for them. Loaded programs stay loaded. Each part asks
    /// for it on its own.
    Restart,
    /// What only this part asks for.
    Own(Own),
}

/// What a node asks of its host.
pub type NodeEffect = PartEffect<ControlEffect>;

/// What a worker asks of its host: nothing but what all parts do.
pub type WorkerEffect = PartEffect<Infallible>;

impl<Own> PartEffect<Own> {
    /// Whether it is void once the node begins a new life.
    pub(crate) fn is_of_life(&self) -> bool {
        !matches!(self, PartEffect::Restart | PartEffect::Own(_))
    }
}

/// What the control asks for beyond what all parts do.
#[must_use]
#[derive(Clone, Debug)]
pub enum ControlEffect {
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
    /// Write a line to the console. The node has kept it for `craton logs`.
    Log {
        /// How grave it is.
        level: LogLevel,
        /// Who says it: a part of the node, or a process.
        module: String,
        /// What.
        text: String,
    },
}

/// What a worker is stepped with.
#[derive(Clone, Debug)]
pub enum WorkerInput {
    /// Time passed, or the host can run processes: timers that are due fire, and the answer is at
    /// most one [`HostEffect::Run`].
    Tick,
    /// The host of its processes answers a [`PartEffect::Host`], or tells of one.
    Host(HostAnswer),
    /// What the network of its CPU has to tell a process of any shard.
    Socket(SocketEvent),
    /// What the network of its CPU has to tell that of another: it comes there as
    /// [`PartEffect::SocketNote`].
    SocketNote {
        /// Which.
        to: ShardId,
        /// What.
        note: SocketNote,
    },
    /// Another CPU posted this.
    Mail(Mail),
}
