//! What a process asks of the network, and what it is answered: values, wherever the stack lives.
//!
//! Owns [`SocketOrder`], which goes from a shard to whoever has the network, and [`SocketEvent`],
//! which comes back. A process has at most one call under way, so an answer needs no number beside
//! the process's pid; its deadline is kept where the socket is, so a call that is late has not half
//! happened. See docs/decisions/0020. Each CPU of a node has a network of its own; what they tell
//! one another of the sockets of processes is a [`SocketNote`], see docs/decisions/0024.

use crate::{AppId, Duration, ErrorCode, Payload, Pid, ShardId, TimerId};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

/// A socket as its process names it: a small number that no other process can use. A process never
/// gets a number twice. What the number leaves when it is divided by the node's CPUs is the CPU
/// that has the socket.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize,
)]
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

    /// The CPU, of so many, that has it.
    pub const fn shard(self, shards: u8) -> ShardId {
        ShardId::new(match shards {
            0 => 0,
            shards => (self.0 % shards as u32) as u8,
        })
    }

    /// The next number after this one for a socket that this CPU, of so many, has.
    pub fn next_on(self, shard: ShardId, shards: u8) -> Option<SocketId> {
        let (shards, shard) = (u32::from(shards.max(1)), shard.index() as u32);
        let next = self.0 + 1;
        let ahead = (shards + shard - next % shards) % shards;
        Some(SocketId(next + ahead)).filter(|next| *next <= SocketId::MAX)
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

/// What the network of one CPU tells that of another about the sockets of processes. The CPU of a
/// process is its *home*: numbers are given out there, and sockets counted. Notes from one CPU to
/// another arrive in order, with whatever else those say to each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketNote {
    /// From the home: a call, about what the other has. It answers the process.
    Call {
        /// Who asks.
        from: Pid,
        /// The app that it is of.
        app: AppId,
        /// What.
        call: SocketCall,
    },
    /// From the home: a process wants to have a port for datagrams. The other answers it.
    Bind {
        /// Which process.
        from: Pid,
        /// Which port.
        port: u16,
        /// The number that the socket is to have.
        socket: SocketId,
    },
    /// From the home: [`SocketOrder::Watch`] for a socket that the other has.
    Watch {
        /// Which process.
        owner: Pid,
        /// A socket.
        socket: SocketId,
        /// What is to be told.
        timer: TimerId,
    },
    /// From the home: a socket is closed, and its peer told by a reset.
    Refuse {
        /// Whose it is.
        owner: Pid,
        /// Which.
        socket: SocketId,
    },
    /// From the home: [`SocketOrder::Release`].
    Release {
        /// Which process.
        owner: Pid,
        /// It ended in order.
        orderly: bool,
    },
    /// To the home: a socket is no more, and its number free to be forgotten.
    Freed {
        /// Whose it was.
        owner: Pid,
        /// Which.
        socket: SocketId,
    },
    /// From the home: accept connections to a port for a process, which has claimed it for all
    /// CPUs. Answered by [`SocketNote::Listening`].
    Listen {
        /// Which process.
        owner: Pid,
        /// Its listener.
        socket: SocketId,
        /// Which port.
        port: u16,
        /// Whether its connections get large buffers.
        bulk: bool,
    },
    /// To the home: connections to the port are accepted, or why not.
    Listening {
        /// Which process.
        owner: Pid,
        /// Its listener.
        socket: SocketId,
        /// Whether they are.
        result: Result<(), ErrorCode>,
    },
    /// From the home: accept no more for this listener; who was not accepted is reset.
    Unlisten {
        /// Which process.
        owner: Pid,
        /// Its listener.
        socket: SocketId,
    },
    /// To the home: somebody has connected to a listener.
    Arrived {
        /// Which process.
        owner: Pid,
        /// Its listener.
        socket: SocketId,
        /// What the CPU that has the connection calls it.
        conn: u64,
        /// The other end.
        peer: SocketAddr,
    },
    /// To the home: one who arrived has gone before he was accepted.
    Left {
        /// Which process.
        owner: Pid,
        /// Its listener.
        socket: SocketId,
        /// The connection.
        conn: u64,
    },
    /// From the home: a connection was accepted.
    Accept {
        /// By which process.
        owner: Pid,
        /// The connection.
        conn: u64,
        /// The other end.
        peer: SocketAddr,
        /// Its number from now on.
        socket: SocketId,
    },
    /// To the home of the receiver: a connection is to be given to a process. Answered by
    /// [`SocketNote::Offered`].
    Offer {
        /// Who gives.
        giver: Pid,
        /// The app of who gives.
        app: AppId,
        /// Who is to have it.
        to: Pid,
        /// The connection.
        conn: u64,
        /// The other end.
        peer: SocketAddr,
    },
    /// From the home of the receiver: the number that the connection has from now on, or why the
    /// receiver may not have it.
    Offered {
        /// Who gives.
        giver: Pid,
        /// Who is to have it.
        to: Pid,
        /// The connection.
        conn: u64,
        /// The other end.
        peer: SocketAddr,
        /// Its number, or why it stays where it is.
        result: Result<SocketId, ErrorCode>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_say_which_cpu_has_the_socket() {
        for shards in [1, 2, 3, 7, 128] {
            let mut last = SocketId::default();
            for turn in 0..1_000_u32 {
                let shard = ShardId::new((turn * turn % u32::from(shards)) as u8);
                let next = last.next_on(shard, shards).expect("few numbers");
                assert!(next > last && next.get() - last.get() <= u32::from(shards));
                assert_eq!(next.shard(shards), shard);
                last = next;
            }
        }
        let shard = ShardId::new(1);
        assert_eq!(SocketId::MAX.next_on(shard, 2), None);
        let last_but_one = SocketId::new(SocketId::MAX.get() - 1);
        assert_eq!(last_but_one.next_on(shard, 2), Some(SocketId::MAX));
        assert_eq!(SocketId::new(5).shard(0), ShardId::new(0), "no CPUs are one");
    }
}
