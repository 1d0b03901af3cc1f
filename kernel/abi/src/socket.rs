//! What a process asks of the network, and what it is answered: values, wherever the stack lives.
//!
//! Owns [`SocketOrder`], which goes from a shard to whoever has the network, and [`SocketEvent`],
//! which comes back. A process has at most one call under way, so an answer needs no number beside
//! the process's pid; its deadline is kept where the socket is, so a call that is late has not half
//! happened. See docs/decisions/0020.

use crate::{AppId, Duration, ErrorCode, Payload, Pid, TimerId};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// A socket as its process names it: a small number that no other process can use. A process never
/// gets a number twice.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct SocketId(u32);

impl SocketId {
    /// The largest: guests tell sockets from errors by the sign.
    pub const MAX: SocketId = SocketId(i32::MAX as u32);

    /// The socket with this number; nobody has one with number 0.
    pub const fn new(number: u32) -> Self {
        SocketId(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// What a process asks. A time-out of `None` waits for ever, of zero not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketCall {
    /// Accept connections to a port. Answered by [`SocketReply::Opened`].
    Listen {
        /// Which port.
        port: u16,
        /// Whether its connections get large buffers.
        bulk: bool,
    },
    /// Take the next connection to a port. Answered by [`SocketReply::Opened`].
    Accept {
        /// A listener.
        socket: SocketId,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Open a connection. Answered by [`SocketReply::Opened`].
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Whether it gets large buffers.
        bulk: bool,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Take what came on a connection, at least a byte. Answered by [`SocketReply::Bytes`], which
    /// is empty once the peer sends no more.
    Read {
        /// A connection.
        socket: SocketId,
        /// At most so many.
        bytes_max: usize,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Send bytes on a connection. Answered by [`SocketReply::Count`] once all of them are on their
    /// way, or when the time is up and some are.
    Write {
        /// A connection.
        socket: SocketId,
        /// The bytes.
        bytes: Payload,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Send no more; reading goes on. Answered by [`SocketReply::Done`].
    Finish {
        /// A connection.
        socket: SocketId,
    },
    /// Close a socket of any kind. Answered by [`SocketReply::Done`].
    Close {
        /// Which.
        socket: SocketId,
    },
    /// Have a port for datagrams. Answered by [`SocketReply::Opened`].
    Bind {
        /// Which port.
        port: u16,
    },
    /// Send a datagram. Answered by [`SocketReply::Done`].
    SendTo {
        /// A socket for datagrams.
        socket: SocketId,
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Payload,
    },
    /// Take the next datagram. Answered by [`SocketReply::Datagram`].
    ReceiveFrom {
        /// A socket for datagrams.
        socket: SocketId,
        /// At most so many bytes of it; the rest of it is lost.
        bytes_max: usize,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Ask for the addresses of a name. Answered by [`SocketReply::Addresses`].
    Resolve {
        /// The name.
        name: String,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Give a connection to another process of this node, which takes it with
    /// [`SocketCall::Take`]. Answered by [`SocketReply::Done`].
    Give {
        /// A connection.
        socket: SocketId,
        /// Whose it is from now on.
        to: Pid,
    },
    /// Take the next connection that was given to the caller. Answered by [`SocketReply::Opened`].
    Take {
        /// How long to wait.
        timeout: Option<Duration>,
    },
}

impl SocketCall {
    /// What its process does while it waits, for listings, and with which socket.
    pub fn doing(&self) -> (&'static str, Option<SocketId>) {
        match *self {
            SocketCall::Accept { socket, .. } => ("accepting on", Some(socket)),
            SocketCall::Read { socket, .. } => ("reading from", Some(socket)),
            SocketCall::Write { socket, .. } => ("writing to", Some(socket)),
            SocketCall::ReceiveFrom { socket, .. } => ("receiving from", Some(socket)),
            SocketCall::Connect { .. } => ("connecting", None),
            SocketCall::Resolve { .. } => ("resolving a name", None),
            SocketCall::Take { .. } => ("waiting to be given a connection", None),
            _ => ("waiting for the network", None),
        }
    }
}

/// What a process is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketReply {
    /// Done, with nothing to say.
    Done,
    /// A socket.
    Opened {
        /// Its number.
        socket: SocketId,
        /// The other end of a connection.
        peer: Option<SocketAddr>,
    },
    /// So many bytes were taken.
    Count(u32),
    /// Bytes of a connection.
    Bytes(Payload),
    /// A datagram.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// What.
        bytes: Payload,
    },
    /// Addresses, one at least.
    Addresses(Vec<IpAddr>),
    /// It could not be done.
    Failed(ErrorCode),
}

/// What a shard wants of whoever has the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketOrder {
    /// A process asks; to be answered once with [`SocketEvent::Done`], unless it is released
    /// before.
    Call {
        /// Who asks.
        from: Pid,
        /// The app that it is of.
        app: AppId,
        /// What.
        call: SocketCall,
    },
    /// A process wants to be told once by [`SocketEvent::Ready`] when a socket of its has something
    /// to take. A newer wish replaces an older one for the same socket.
    Watch {
        /// Which process.
        owner: Pid,
        /// A socket; one that is none is ready at once.
        socket: SocketId,
        /// What is to be told.
        timer: TimerId,
    },
    /// A process that may have sockets has ended: they are closed, and what it waits for is void.
    Release {
        /// Which process.
        owner: Pid,
        /// It ended in order: what it wrote is still delivered. Otherwise its peers are told by a
        /// reset.
        orderly: bool,
    },
    /// A connection may not be given to this process: it is closed.
    Refuse {
        /// To whom it was given.
        owner: Pid,
        /// Which.
        socket: SocketId,
    },
}

/// What whoever has the network tells a shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketEvent {
    /// The answer to a call.
    Done {
        /// Who asked.
        to: Pid,
        /// The answer.
        reply: SocketReply,
    },
    /// A socket that is watched has something to take, or is over: a timer is due that would have
    /// been later.
    Ready {
        /// Whose it is.
        to: Pid,
        /// The timer.
        timer: TimerId,
    },
    /// A connection was given to this process. If there is no such process any more, the answer is
    /// [`SocketOrder::Release`].
    Given {
        /// To whom.
        to: Pid,
        /// The app of who gave it.
        app: AppId,
        /// Its number with the new owner.
        socket: SocketId,
    },
}

impl SocketEvent {
    /// The process that it is for.
    pub fn to(&self) -> Pid {
        match self {
            SocketEvent::Done { to, .. }
            | SocketEvent::Ready { to, .. }
            | SocketEvent::Given { to, .. } => *to,
        }
    }
}
