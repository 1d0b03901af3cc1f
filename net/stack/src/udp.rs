//! Datagram sockets.
//!
//! Owns [`UdpId`] and the table `Datagrams`. A datagram to a neighbour whose hardware address is
//! not known waits here, not in smoltcp's queue, so that it holds up no other.

use crate::limit;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
use smoltcp::wire::{IpAddress, IpEndpoint};

/// A datagram socket of one stack; never used again for another.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct UdpId(u32);

/// Why a port cannot be bound.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BindError {
    /// Port 0.
    Invalid,
    /// It already is.
    InUse,
    /// There are [`limit::UDP_SOCKETS_MAX`] sockets.
    LimitSockets,
}

/// Why a datagram was not sent. Datagrams that were may still be lost.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DatagramError {
    /// The socket is gone.
    NoSocket,
    /// We have no address yet.
    NoAddress,
    /// The destination is IPv6, unspecified, off the link without a gateway, or port 0.
    Unreachable,
    /// It is longer than a frame holds: datagrams are not fragmented.
    TooLong,
    /// Too many datagrams wait to be sent.
    Full,
}

/// A datagram for a neighbour that is being asked for.
struct Unresolved {
    socket: UdpId,
    hop: Ipv4Addr,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

/// All datagram sockets of one stack.
#[derive(Default)]
pub(crate) struct Datagrams {
    sockets: Vec<(UdpId, u16, SocketHandle)>,
    last_id: u32,
    unresolved: VecDeque<Unresolved>,
}

impl Datagrams {
    pub(crate) fn bind(
        &mut self,
        port: u16,
        sockets: &mut SocketSet<'static>,
    ) -> Result<UdpId, BindError> {
        if self.sockets.iter().any(|(_, used, _)| *used == port) {
            return Err(BindError::InUse);
        }
        if self.sockets.len() == limit::UDP_SOCKETS_MAX {
            return Err(BindError::LimitSockets);
        }
        let buffer = || {
            let metadata = vec![PacketMetadata::EMPTY; limit::UDP_DATAGRAMS_MAX];
            PacketBuffer::new(metadata, vec![0; limit::UDP_BYTES_MAX])
        };
        let mut socket = Socket::new(buffer(), buffer());
        socket.bind(port).map_err(|_| BindError::Invalid)?;
        self.last_id += 1;
        let id = UdpId(self.last_id);
        self.sockets.push((id, port, sockets.add(socket)));
        Ok(id)
    }

    pub(crate) fn unbind(&mut self, id: UdpId, sockets: &mut SocketSet<'static>) {
        self.unresolved.retain(|datagram| datagram.socket != id);
        if let Some(index) = self.sockets.iter().position(|(known, _, _)| *known == id) {
            sockets.remove(self.sockets.swap_remove(index).2);
        }
    }

    fn socket<'s>(
        &self,
        id: UdpId,
        sockets: &'s mut SocketSet<'static>,
    ) -> Option<&'s mut Socket<'static>> {
        let (_, _, handle) = self.sockets.iter().find(|(known, _, _)| *known == id)?;
        Some(sockets.get_mut::<Socket>(*handle))
    }

    /// Whether any socket holds a datagram that was received.
    pub(crate) fn readable(&self, sockets: &SocketSet<'static>) -> bool {
        self.sockets.iter().any(|(_, _, handle)| sockets.get::<Socket>(*handle).can_recv())
    }

    /// Takes the next received datagram and its sender; `out` is overwritten.
    pub(crate) fn receive(
        &mut self,
        id: UdpId,
        out: &mut Vec<u8>,
        sockets: &mut SocketSet<'static>,
    ) -> Option<SocketAddr> {
        let (bytes, meta) = self.socket(id, sockets)?.recv().ok()?;
        out.clear();
        out.extend_from_slice(bytes);
        Some(SocketAddr::new(meta.endpoint.addr.into(), meta.endpoint.port))
    }

    /// Hands a datagram to smoltcp, which can send it at once.
    pub(crate) fn send(
        &mut self,
        id: UdpId,
        to: SocketAddrV4,
        bytes: &[u8],
        sockets: &mut SocketSet<'static>,
    ) -> Result<(), DatagramError> {
        let socket = self.socket(id, sockets).ok_or(DatagramError::NoSocket)?;
        let endpoint = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        socket.send_slice(bytes, endpoint).map_err(|_| DatagramError::Full)
    }

    /// Keeps a datagram until `hop` is known.
    pub(crate) fn hold(
        &mut self,
        socket: UdpId,
        hop: Ipv4Addr,
        to: SocketAddrV4,
        bytes: &[u8],
    ) -> Result<(), DatagramError> {
        if !self.sockets.iter().any(|(known, _, _)| *known == socket) {
            return Err(DatagramError::NoSocket);
        }
        let waiting = self.unresolved.iter().filter(|datagram| datagram.hop == hop).count();
        if waiting >= limit::UNRESOLVED_PER_NEIGHBOUR_MAX
            || self.unresolved.len() >= limit::UNRESOLVED_MAX
        {
            return Err(DatagramError::Full);
        }
        self.unresolved.push_back(Unresolved { socket, hop, to, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Sends the datagrams whose neighbour is known now and drops those whose neighbour is silent
    /// (`verdict`: send, drop or keep). Says how many were dropped.
    pub(crate) fn resolve(
        &mut self,
        mut verdict: impl FnMut(Ipv4Addr) -> Verdict,
        sockets: &mut SocketSet<'static>,
    ) -> u64 {
        let mut dropped = 0;
        for _ in 0..self.unresolved.len() {
            let Some(datagram) = self.unresolved.pop_front() else { break };
            match verdict(datagram.hop) {
                Verdict::Keep => self.unresolved.push_back(datagram),
                Verdict::Drop => dropped += 1,
                Verdict::Send => {
                    let Unresolved { socket, to, bytes, .. } = datagram;
                    dropped += u64::from(self.send(socket, to, &bytes, sockets).is_err());
                }
            }
        }
        dropped
    }
}

/// What becomes of a datagram that waits for its neighbour.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Send,
    Keep,
    Drop,
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
