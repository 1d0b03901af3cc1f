//! What one process has on this CPU.
//!
//! Owns [`Holder`], [`Socket`] and [`StreamState`]: numbers to sockets, and what the stack has said
//! of each.

use crate::waiting::Waiting;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::SocketAddr;
use craton_abi::{ErrorCode, ShardId, SocketId, TimerId};
use craton_net::{Closed, Owner, StreamId, UdpId};

/// A process with sockets.
#[derive(Debug)]
pub(crate) struct Holder {
    /// Whom the stack counts its buffers against.
    pub(crate) account: Owner,
    pub(crate) sockets: BTreeMap<SocketId, Socket>,
    /// Those of them that listen.
    pub(crate) listeners: BTreeSet<SocketId>,
    pub(crate) waiting: Option<Waiting>,
    /// What is to be told when one of them has something to take.
    pub(crate) watches: BTreeMap<SocketId, TimerId>,
}

/// One socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A port that is listened on, and connections that nobody has accepted yet. At home only.
    Listener { port: u16, ready: VecDeque<Ready> },
    /// A connection.
    Stream { id: StreamId, peer: SocketAddr, state: StreamState },
    /// A port for datagrams.
    Datagrams { id: UdpId },
}

/// A connection that nobody has accepted yet.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ready {
    /// The CPU that has it.
    pub(crate) at: ShardId,
    /// What that calls it.
    pub(crate) conn: u64,
    pub(crate) peer: SocketAddr,
}

/// What is known of a connection.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct StreamState {
    pub(crate) open: bool,
    /// The peer sends no more.
    pub(crate) finished: bool,
    /// We send no more.
    pub(crate) we_finished: bool,
    pub(crate) closed: Option<Closed>,
}

impl Holder {
    pub(crate) fn new(account: Owner) -> Self {
        Holder {
            account,
            sockets: BTreeMap::new(),
            listeners: BTreeSet::new(),
            waiting: None,
            watches: BTreeMap::new(),
        }
    }

    /// The connection with this number.
    pub(crate) fn stream(&mut self, socket: SocketId) -> Result<Connection<'_>, ErrorCode> {
        match self.sockets.get_mut(&socket) {
            Some(Socket::Stream { id, peer, state }) => {
                Ok(Connection { id: *id, peer: *peer, state })
            }
            _ => Err(ErrorCode::NoSocket),
        }
    }

    /// The socket for datagrams with this number.
    pub(crate) fn datagrams(&self, socket: SocketId) -> Result<UdpId, ErrorCode> {
        match self.sockets.get(&socket) {
            Some(Socket::Datagrams { id }) => Ok(*id),
            _ => Err(ErrorCode::NoSocket),
        }
    }
}

/// A connection of a holder.
pub(crate) struct Connection<'a> {
    pub(crate) id: StreamId,
    pub(crate) peer: SocketAddr,
    pub(crate) state: &'a mut StreamState,
}
