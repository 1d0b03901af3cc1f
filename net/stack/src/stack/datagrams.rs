//! The verbs of datagram sockets.
//!
//! Owns the way of a datagram from its socket to the queue of those to be sent; `udp.rs` has the
//! sockets, `sending.rs` the queue.

use super::Stack;
use super::address::Way;
use crate::budget::Owner;
use crate::neighbour::Answer;
use crate::udp::{BindError, DatagramError, Outgoing, UdpId};
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::Instant;
use smoltcp::wire::EthernetAddress;

/// Bytes of the headers of a datagram.
const IPV4_UDP_BYTES: usize = 28;
const IPV6_UDP_BYTES: usize = 48;

impl Stack {
    /// A socket of the node's own for datagrams to and from this port, broadcasts included.
    ///
    /// # Errors
    ///
    /// If the port is 0 or bound already, or there are too many sockets.
    pub fn bind(&mut self, port: u16) -> Result<UdpId, BindError> {
        self.bind_for(port, Owner::default())
    }

    /// The first port from `first` on that no socket for datagrams has.
    pub fn free_datagram_port(&self, first: u16) -> Option<u16> {
        self.datagrams.free_port(first)
    }

    /// A socket for datagrams, whose buffer counts against `owner`. In a node of several shards
    /// datagrams are shard 0's.
    ///
    /// # Errors
    ///
    /// If the port is 0 or bound already, or there are too many sockets or buffers.
    pub fn bind_for(&mut self, port: u16, owner: Owner) -> Result<UdpId, BindError> {
        self.datagrams.bind(port, owner, &mut self.streams.budget)
    }

    /// Frees a datagram socket.
    pub fn unbind(&mut self, socket: UdpId) {
        self.datagrams.unbind(socket, &mut self.streams.budget);
    }

    /// Sends a datagram with the next poll, or once its neighbour answers. To
    /// `255.255.255.255` or the network's broadcast address it goes to everybody on the link.
    ///
    /// # Errors
    ///
    /// If it cannot be sent; it is dropped then.
    pub fn send_to(
        &mut self,
        socket: UdpId,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), DatagramError> {
        let result = match self.datagrams.port(socket) {
            Some(port) => self.send_from(socket, port, to, bytes, now),
            None => Err(DatagramError::NoSocket),
        };
        self.counters.datagrams_dropped += u64::from(result.is_err());
        result
    }

    /// Takes the next received datagram into `out`, which is overwritten; gives its sender.
    pub fn receive_from(&mut self, socket: UdpId, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.datagrams.receive(socket, out, &mut self.streams.budget)
    }

    /// Whether any datagram waits to be taken.
    pub fn has_datagram(&self) -> bool {
        self.datagrams.readable()
    }

    /// Whether a datagram waits in this socket.
    pub fn has_datagram_in(&self, socket: UdpId) -> bool {
        self.datagrams.holds(socket)
    }

    fn send_from(
        &mut self,
        socket: UdpId,
        port: u16,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), DatagramError> {
        let to = SocketAddr::new(to.ip(), to.port());
        let from = self.source(to.ip()).ok_or(DatagramError::NoAddress)?;
        let header_bytes = if to.is_ipv4() { IPV4_UDP_BYTES } else { IPV6_UDP_BYTES };
        if to.port() == 0 || to.ip().is_unspecified() || self.ours(to.ip()) {
            return Err(DatagramError::Unreachable);
        }
        if bytes.len() + header_bytes > self.link.mtu {
            return Err(DatagramError::TooLong);
        }
        let mut outgoing = Outgoing {
            mac: EthernetAddress::BROADCAST,
            from: SocketAddr::new(from, port),
            to,
            bytes: bytes.to_vec(),
        };
        let hop = match self.way(to.ip()) {
            Way::Everybody => return self.datagrams.send(outgoing),
            Way::Through(hop) => hop,
            Way::None => return Err(DatagramError::Unreachable),
        };
        match self.neighbours.want(hop, now) {
            Answer::Known(mac) => {
                outgoing.mac = mac;
                self.datagrams.send(outgoing)
            }
            Answer::Asking => self.datagrams.hold(socket, hop, outgoing),
            Answer::Silent => Err(DatagramError::Full),
        }
    }
}
