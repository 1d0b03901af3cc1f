//! A look at a received frame before smoltcp gets it.
//!
//! Owns [`Sight`]: what the stack itself must know of a frame (who is a neighbour, who opens a
//! stream, who resets one) and which frames go no further. Reads through smoltcp's checked views
//! only, so nothing here can index past a frame.

use crate::limit;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;

/// What a frame is to the stack.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sight {
    /// Who sent it, where that is worth remembering.
    pub(crate) neighbour: Option<Neighbour>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// A sender, as its frame has it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: EthernetAddress,
    /// It said so in ARP addressed to us, which is how smoltcp learns too; otherwise the frame
    /// only shows that a known neighbour still lives.
    pub(crate) by_arp: bool,
}

/// What the stack does with a frame.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Hand it on.
    Pass,
    /// Somebody wants to open a stream to `to_port`.
    Open { from: SocketAddrV4, to_port: u16 },
    /// Somebody resets a stream; hand it on too.
    Reset { from: SocketAddrV4, to_port: u16 },
    /// Not for us, or harmful.
    Refuse,
}

const REFUSED: Sight = Sight { neighbour: None, kind: Kind::Refuse };

/// Looks at a frame. `own` is our address, if we have one.
pub(crate) fn look(frame: &[u8], own: Option<Ipv4Addr>) -> Sight {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return REFUSED };
    match ethernet.ethertype() {
        EthernetProtocol::Arp => look_arp(ethernet.payload(), own),
        EthernetProtocol::Ipv4 => look_ipv4(ethernet.payload(), ethernet.src_addr(), own),
        _ => REFUSED,
    }
}

fn look_arp(payload: &[u8], own: Option<Ipv4Addr>) -> Sight {
    let Ok(packet) = ArpPacket::new_checked(payload) else { return REFUSED };
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: address,
        target_protocol_addr,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return REFUSED;
    };
    let ours = own == Some(target_protocol_addr) && own != Some(address);
    if !ours || !mac.is_unicast() || matches!(operation, ArpOperation::Unknown(_)) {
        return REFUSED;
    }
    Sight { neighbour: Some(Neighbour { address, mac, by_arp: true }), kind: Kind::Pass }
}

fn look_ipv4(payload: &[u8], mac: EthernetAddress, own: Option<Ipv4Addr>) -> Sight {
    let Ok(packet) = Ipv4Packet::new_checked(payload) else { return REFUSED };
    let (address, to) = (packet.src_addr(), packet.dst_addr());
    // Fragments are not reassembled, and a fragment must not be taken for a whole packet.
    if packet.more_frags() || packet.frag_offset() != 0 {
        return REFUSED;
    }
    let kind = match packet.next_header() {
        IpProtocol::Tcp if own != Some(to) || own == Some(address) => Kind::Refuse,
        IpProtocol::Tcp => look_tcp(packet.payload(), address),
        IpProtocol::Udp => look_udp(packet.payload(), address),
        _ => Kind::Pass,
    };
    let alive = own == Some(to) && kind != Kind::Refuse;
    Sight { neighbour: alive.then_some(Neighbour { address, mac, by_arp: false }), kind }
}

fn look_tcp(payload: &[u8], address: Ipv4Addr) -> Kind {
    let Ok(tcp) = TcpPacket::new_checked(payload) else { return Kind::Refuse };
    let from = SocketAddrV4::new(address, tcp.src_port());
    if tcp.src_port() == 0 || tcp.dst_port() == 0 {
        Kind::Refuse
    } else if tcp.rst() {
        Kind::Reset { from, to_port: tcp.dst_port() }
    } else if tcp.syn() && !tcp.ack() && !tcp.fin() {
        Kind::Open { from, to_port: tcp.dst_port() }
    } else {
        Kind::Pass
    }
}

/// A lease must come from an address that a renewal can be sent to (smoltcp asserts it), and last:
/// one of no length would be asked for again as fast as it is granted.
fn look_udp(payload: &[u8], address: Ipv4Addr) -> Kind {
    let Ok(udp) = UdpPacket::new_checked(payload) else { return Kind::Refuse };
    if udp.src_port() != DHCP_SERVER_PORT || udp.dst_port() != DHCP_CLIENT_PORT {
        return Kind::Pass;
    }
    let packet = DhcpPacket::new_checked(udp.payload());
    let Ok(Ok(lease)) = packet.as_ref().map(DhcpRepr::parse) else { return Kind::Refuse };
    let lasts = lease.lease_duration.is_none_or(|secs| secs >= limit::LEASE_SECS_MIN);
    if address.is_unspecified() || !lasts { Kind::Refuse } else { Kind::Pass }
}
