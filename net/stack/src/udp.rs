//! Datagram sockets.
//!
//! Owns [`UdpId`] and the table `Datagrams`. What was received waits in its socket, and counts
//! against its owner for as long; what is to be sent waits in one queue for the device, or until
//! its neighbour is known, so that a silent neighbour holds up nobody.

use crate::budget::{Budget, Owner};
use crate::limit;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use smoltcp::wire::EthernetAddress;

/// A datagram socket of one stack; never used again for another.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct UdpId(u32);

impl UdpId {
    /// No socket: datagrams of the stack itself.
    pub(crate) const NODE: UdpId = UdpId(0);
}

/// Why a port cannot be bound.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BindError {
    /// Port 0.
    Invalid,
    /// It already is.
    InUse,
    /// There are [`limit::UDP_SOCKETS_MAX`] sockets.
    LimitSockets,
    /// The buffers of the owner, or of all, are as large as they may be.
    LimitBuffers,
}

/// Why a datagram was not sent. Datagrams that were may still be lost.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DatagramError {
    /// The socket is gone.
    NoSocket,
    /// We have no address of that kind yet.
    NoAddress,
    /// The destination is unspecified, a group, off the link without a gateway, or port 0.
    Unreachable,
    /// It is longer than a frame holds: datagrams are not fragmented.
    TooLong,
    /// Too many datagrams wait to be sent.
    Full,
}

struct Socket {
    port: u16,
    owner: Owner,
    received: VecDeque<(SocketAddr, Vec<u8>)>,
    bytes: usize,
}

/// A datagram to be sent.
pub(crate) struct Outgoing {
    pub(crate) mac: EthernetAddress,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// A datagram for a neighbour that is being asked for.
struct Unresolved {
    socket: UdpId,
    hop: IpAddr,
    outgoing: Outgoing,
}

/// All datagram sockets of one stack. None costs another anything.
#[derive(Default)]
pub(crate) struct Datagrams {
    sockets: BTreeMap<UdpId, Socket>,
    ports: BTreeMap<u16, UdpId>,
    /// Sockets that hold a datagram.
    holding: usize,
    last_id: u32,
    outgoing: VecDeque<Outgoing>,
    unresolved: VecDeque<Unresolved>,
}

impl Datagrams {
    pub(crate) fn bind(
        &mut self,
        port: u16,
        owner: Owner,
        budget: &mut Budget,
    ) -> Result<UdpId, BindError> {
        if port == 0 {
            return Err(BindError::Invalid);
        }
        if self.uses(port) {
            return Err(BindError::InUse);
        }
        if self.sockets.len() >= limit::UDP_SOCKETS_MAX {
            return Err(BindError::LimitSockets);
        }
        budget.charge(owner, limit::UDP_SOCKET_BYTES).map_err(|_| BindError::LimitBuffers)?;
        self.last_id += 1;
        let id = UdpId(self.last_id);
        self.sockets.insert(id, Socket { port, owner, received: VecDeque::new(), bytes: 0 });
        self.ports.insert(port, id);
        Ok(id)
    }

    pub(crate) fn unbind(&mut self, id: UdpId, budget: &mut Budget) {
        self.unresolved.retain(|datagram| datagram.socket != id);
        if let Some(socket) = self.sockets.remove(&id) {
            self.ports.remove(&socket.port);
            self.holding -= usize::from(!socket.received.is_empty());
            budget.refund(socket.owner, limit::UDP_SOCKET_BYTES + socket.bytes);
        }
    }

    /// Sockets.
    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn uses(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// The first port from `first` on that is free.
    pub(crate) fn free_port(&self, first: u16) -> Option<u16> {
        let mut port = Some(first);
        for &used in self.ports.range(first..).map(|(used, _)| used) {
            if port != Some(used) {
                break;
            }
            port = used.checked_add(1);
        }
        port
    }

    /// The port of a socket.
    pub(crate) fn port(&self, id: UdpId) -> Option<u16> {
        self.sockets.get(&id).map(|socket| socket.port)
    }

    /// Whether any socket holds a datagram that was received.
    pub(crate) fn readable(&self) -> bool {
        self.holding > 0
    }

    /// Whether this socket holds a datagram that was received.
    pub(crate) fn holds(&self, id: UdpId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| !socket.received.is_empty())
    }

    /// A datagram came. `None` if nobody has that port, false if its socket is full or may not
    /// hold more.
    pub(crate) fn deliver(
        &mut self,
        port: u16,
        from: SocketAddr,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Option<bool> {
        let id = self.ports.get(&port)?;
        let socket = self.sockets.get_mut(id)?;
        let full = socket.received.len() == limit::UDP_DATAGRAMS_MAX
            || socket.bytes + bytes.len() > limit::UDP_BYTES_MAX;
        if full || budget.charge(socket.owner, bytes.len()).is_err() {
            return Some(false);
        }
        self.holding += usize::from(socket.received.is_empty());
        socket.bytes += bytes.len();
        socket.received.push_back((from, bytes.to_vec()));
        Some(true)
    }

    /// Takes the next received datagram and its sender; `out` is overwritten.
    pub(crate) fn receive(
        &mut self,
        id: UdpId,
        out: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Option<SocketAddr> {
        let socket = self.sockets.get_mut(&id)?;
        let (from, bytes) = socket.received.pop_front()?;
        socket.bytes -= bytes.len();
        budget.refund(socket.owner, bytes.len());
        if socket.received.is_empty() {
            // One that says nothing more holds no room for what it said.
            socket.received = VecDeque::new();
            self.holding -= 1;
        }
        *out = bytes;
        Some(from)
    }

    /// Lets a datagram wait for the device.
    pub(crate) fn send(&mut self, outgoing: Outgoing) -> Result<(), DatagramError> {
        if self.outgoing.len() >= limit::UDP_OUTGOING_MAX {
            return Err(DatagramError::Full);
        }
        self.outgoing.push_back(outgoing);
        Ok(())
    }

    /// The next datagram for the device.
    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Whether datagrams wait for the device.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Keeps a datagram until `hop` is known.
    pub(crate) fn hold(
        &mut self,
        socket: UdpId,
        hop: IpAddr,
        outgoing: Outgoing,
    ) -> Result<(), DatagramError> {
        let waiting = self.unresolved.iter().filter(|datagram| datagram.hop == hop).count();
        if waiting >= limit::UNRESOLVED_PER_NEIGHBOUR_MAX
            || self.unresolved.len() >= limit::UNRESOLVED_MAX
        {
            return Err(DatagramError::Full);
        }
        self.unresolved.push_back(Unresolved { socket, hop, outgoing });
        Ok(())
    }

    /// Sends the datagrams that waited for `hop`, or drops them if it is silent (`mac` is none).
    /// Says how many were dropped.
    pub(crate) fn settle(&mut self, hop: IpAddr, mac: Option<EthernetAddress>) -> u64 {
        let mut dropped = 0;
        for _ in 0..self.unresolved.len() {
            let Some(mut datagram) = self.unresolved.pop_front() else { break };
            if datagram.hop != hop {
                self.unresolved.push_back(datagram);
                continue;
            }
            let sent = mac.map(|mac| {
                datagram.outgoing.mac = mac;
                self.send(datagram.outgoing)
            });
            dropped += u64::from(!matches!(sent, Some(Ok(()))));
        }
        dropped
    }

    /// Drops what waits to be sent: our address is another now.
    pub(crate) fn drop_waiting(&mut self) {
        self.outgoing.clear();
        self.unresolved.clear();
    }
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatagramError::NoSocket => "the socket is gone",
            DatagramError::NoAddress => "no address yet",
            DatagramError::Unreachable => "the destination cannot be reached",
            DatagramError::TooLong => "the datagram is longer than a frame holds",
            DatagramError::Full => "too many datagrams wait to be sent",
        })
    }
}

impl core::error::Error for DatagramError {}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Invalid => f.write_str("port 0 cannot be bound"),
            BindError::InUse => f.write_str("the port is bound already"),
            BindError::LimitSockets => {
                write!(f, "limit: {} datagram sockets", limit::UDP_SOCKETS_MAX)
            }
            BindError::LimitBuffers => f.write_str("limit: buffers"),
        }
    }
}

impl core::error::Error for BindError {}
