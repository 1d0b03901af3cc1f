//! A look at a received frame before anything acts on it.
//!
//! Owns [`Sight`]: who sent a frame and what it is, proven as far as the stack relies on it. Reads
//! through smoltcp's checked views only, so nothing here can index past a frame. It knows nothing
//! of our addresses: whether a frame is for us is judged by the stack.

use crate::limit;
use crate::tuple::Tuple;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Packet, Ipv6Packet, NdiscRepr, TcpPacket, TcpRepr, UdpPacket,
};

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;
/// Neighbour discovery comes from the link itself, or a router would have counted down (RFC 4861).
const HOP_LIMIT_ON_LINK: u8 = 255;
/// Bytes of a TCP header that an ICMP error must quote: the ports and the sequence number.
const TCP_QUOTED_BYTES: usize = 8;

/// What a frame is, and who sent it.
#[derive(Clone, Debug)]
pub(crate) struct Sight<'f> {
    pub(crate) source: EthernetAddress,
    pub(crate) kind: Kind<'f>,
}

/// What the stack does with a frame. The slices are IP packets or what they carry.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'f> {
    /// Malformed, harmful or of no use.
    Refuse,
    /// An ARP packet.
    Arp(Arp),
    /// An IPv6 neighbour was asked for.
    Solicited(Solicited),
    /// An IPv6 neighbour says where it is.
    Advertised(Advertised),
    /// A router says what the network is: the payload of ICMPv6.
    Router(Ipv6Addr, &'f [u8]),
    /// TCP.
    Tcp(Segment, &'f [u8]),
    /// A datagram, and the packet that it came in.
    Udp(Datagram<'f>, &'f [u8]),
    /// An answer of a DHCP server.
    Dhcp,
    /// Something that we sent did not arrive.
    Unreachable(Unreachable),
    /// Part of a packet.
    Fragment(Fragment<'f>),
    /// ICMP, or a protocol that we do not have.
    Other(Ends, &'f [u8]),
}

/// Who sent a packet and to whom.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ends {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Arp {
    pub(crate) request: bool,
    pub(crate) mac: EthernetAddress,
    pub(crate) from: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Solicited {
    pub(crate) from: Ipv6Addr,
    pub(crate) mac: EthernetAddress,
    pub(crate) target: Ipv6Addr,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Advertised {
    pub(crate) target: Ipv6Addr,
    pub(crate) mac: EthernetAddress,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Datagram<'f> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'f [u8],
}

/// An ICMP error about a TCP packet of ours.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unreachable {
    /// The connection, its local end ours.
    pub(crate) tuple: Tuple,
    /// The sequence number of the packet.
    pub(crate) sequence: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Fragment<'f> {
    pub(crate) ends: Ends,
    pub(crate) protocol: u8,
    pub(crate) id: u32,
    pub(crate) offset: usize,
    pub(crate) more: bool,
    pub(crate) bytes: &'f [u8],
}

/// The head of a TCP packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// The connection, its local end ours.
    pub(crate) tuple: Tuple,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) reset: bool,
    pub(crate) window: u16,
    pub(crate) payload_bytes: usize,
    /// What a SYN offers; nothing in others.
    pub(crate) offers: Offers,
}

/// The options of a SYN that smoltcp knows.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Offers {
    pub(crate) segment_bytes_max: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) selective: bool,
}

/// Looks at a frame.
pub(crate) fn look(frame: &[u8]) -> Sight<'_> {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return Sight { source: EthernetAddress([0; 6]), kind: Kind::Refuse };
    };
    let source = ethernet.src_addr();
    let kind = match ethernet.ethertype() {
        _ if !source.is_unicast() => None,
        EthernetProtocol::Arp => look_arp(ethernet.payload()),
        EthernetProtocol::Ipv4 => look_ipv4(ethernet.payload()),
        EthernetProtocol::Ipv6 => look_ipv6(ethernet.payload()),
        _ => None,
    };
    Sight { source, kind: kind.unwrap_or(Kind::Refuse) }
}

fn look_arp(payload: &[u8]) -> Option<Kind<'_>> {
    let packet = ArpPacket::new_checked(payload).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: from,
        target_protocol_addr: target,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    let request = match operation {
        ArpOperation::Request => true,
        ArpOperation::Reply => false,
        ArpOperation::Unknown(_) => return None,
    };
    mac.is_unicast().then_some(Kind::Arp(Arp { request, mac, from, target }))
}

fn look_ipv4(payload: &[u8]) -> Option<Kind<'_>> {
    let packet = Ipv4Packet::new_checked(payload).ok()?;
    if packet.version() != 4 || packet.header_len() < 20 || !packet.verify_checksum() {
        return None;
    }
    let ends = Ends { from: packet.src_addr().into(), to: packet.dst_addr().into() };
    let (protocol, bytes) = (packet.next_header(), packet.payload());
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Some(Kind::Fragment(Fragment {
            ends,
            protocol: protocol.into(),
            id: packet.ident().into(),
            offset: packet.frag_offset().into(),
            more: packet.more_frags(),
            bytes,
        }));
    }
    let whole = payload.get(..usize::from(packet.total_len()))?;
    match protocol {
        IpProtocol::Tcp => look_tcp(ends, bytes, whole),
        IpProtocol::Udp => look_udp(ends, bytes, whole),
        IpProtocol::Icmp => look_icmpv4(ends, bytes, whole),
        _ => Some(Kind::Other(ends, whole)),
    }
}

fn look_ipv6(payload: &[u8]) -> Option<Kind<'_>> {
    let packet = Ipv6Packet::new_checked(payload).ok()?;
    if packet.version() != 6 {
        return None;
    }
    let ends = Ends { from: packet.src_addr().into(), to: packet.dst_addr().into() };
    let bytes = packet.payload();
    let whole = payload.get(..packet.total_len())?;
    match packet.next_header() {
        IpProtocol::Tcp => look_tcp(ends, bytes, whole),
        IpProtocol::Udp => look_udp(ends, bytes, whole),
        IpProtocol::Icmpv6 => look_icmpv6(&packet, ends, bytes, whole),
        IpProtocol::Ipv6Frag => look_ipv6_fragment(ends, bytes),
        // A chain of other headers in front of TCP would lead it past the steering.
        _ => None,
    }
}

/// The fragment header of IPv6 (RFC 8200, 4.5).
fn look_ipv6_fragment(ends: Ends, bytes: &[u8]) -> Option<Kind<'_>> {
    let (header, bytes) = bytes.split_first_chunk::<8>()?;
    let place = u16::from_be_bytes([header[2], header[3]]);
    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let (offset, more) = (usize::from(place & !7), place & 1 != 0);
    Some(Kind::Fragment(Fragment { ends, protocol: header[0], id, offset, more, bytes }))
}

fn look_tcp<'f>(ends: Ends, bytes: &[u8], whole: &'f [u8]) -> Option<Kind<'f>> {
    let tcp = TcpPacket::new_checked(bytes).ok()?;
    let tuple = Tuple {
        local: SocketAddr::new(ends.to, tcp.dst_port()),
        remote: SocketAddr::new(ends.from, tcp.src_port()),
    };
    if tcp.src_port() == 0 || tcp.dst_port() == 0 {
        return None;
    }
    let syn = tcp.syn();
    let mut offers = Offers::default();
    if syn {
        let (from, to) = (ends.from.into(), ends.to.into());
        let repr = TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::ignored()).ok()?;
        offers.segment_bytes_max = repr.max_seg_size;
        offers.window_scale = repr.window_scale;
        offers.selective = repr.sack_permitted;
    }
    let segment = Segment {
        tuple,
        sequence: tcp.seq_number().0 as u32,
        acknowledges: tcp.ack().then_some(tcp.ack_number().0 as u32),
        syn,
        fin: tcp.fin(),
        reset: tcp.rst(),
        window: tcp.window_len(),
        payload_bytes: bytes.len().checked_sub(usize::from(tcp.header_len()))?,
        offers,
    };
    Some(Kind::Tcp(segment, whole))
}

/// A lease must come from an address that a renewal can be sent to (smoltcp asserts it), and last:
/// one of no length would be asked for again as fast as it is granted.
fn look_udp<'f>(ends: Ends, bytes: &'f [u8], whole: &'f [u8]) -> Option<Kind<'f>> {
    let udp = UdpPacket::new_checked(bytes).ok()?;
    let datagram = Datagram {
        from: SocketAddr::new(ends.from, udp.src_port()),
        to: SocketAddr::new(ends.to, udp.dst_port()),
        bytes: udp.payload(),
    };
    if udp.dst_port() != DHCP_CLIENT_PORT || ends.to.is_ipv6() {
        return Some(Kind::Udp(datagram, whole));
    }
    let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
    let lease = DhcpRepr::parse(&packet).ok()?;
    let lasts = lease.lease_duration.is_none_or(|secs| secs >= limit::LEASE_SECS_MIN);
    let fit = udp.src_port() == DHCP_SERVER_PORT && lasts && !ends.from.is_unspecified();
    fit.then_some(Kind::Dhcp)
}

fn look_icmpv4<'f>(ends: Ends, bytes: &[u8], whole: &'f [u8]) -> Option<Kind<'f>> {
    let icmp = Icmpv4Packet::new_checked(bytes).ok()?;
    if !icmp.verify_checksum() {
        return None;
    }
    if icmp.msg_type() != Icmpv4Message::DstUnreachable {
        return Some(Kind::Other(ends, whole));
    }
    // The packet in question follows eight bytes of ICMP, and is cut off.
    let quoted = bytes.get(8..)?;
    let header_bytes = usize::from(quoted.first()? & 0xf) * 4;
    let (protocol, addresses) = (*quoted.get(9)?, quoted.get(12..20)?);
    let [a, b, c, d, e, f, g, h] = *addresses.first_chunk()?;
    let (from, to) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    let about = Ends { from: from.into(), to: to.into() };
    quoted_tcp(about, protocol, quoted.get(header_bytes..)?)
}

fn look_icmpv6<'f>(
    packet: &Ipv6Packet<&'f [u8]>,
    ends: Ends,
    bytes: &'f [u8],
    whole: &'f [u8],
) -> Option<Kind<'f>> {
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let icmp = Icmpv6Packet::new_checked(bytes).ok()?;
    if !icmp.verify_checksum(&from, &to) {
        return None;
    }
    match icmp.msg_type() {
        Icmpv6Message::DstUnreachable => {
            let quoted = bytes.get(8..)?;
            let (from, to) = (quoted.get(8..24)?, quoted.get(24..40)?);
            let from = Ipv6Addr::from(*from.first_chunk::<16>()?);
            let to = Ipv6Addr::from(*to.first_chunk::<16>()?);
            let about = Ends { from: from.into(), to: to.into() };
            quoted_tcp(about, *quoted.get(6)?, quoted.get(40..)?)
        }
        Icmpv6Message::RouterAdvert
        | Icmpv6Message::NeighborSolicit
        | Icmpv6Message::NeighborAdvert => {
            let near = packet.hop_limit() == HOP_LIMIT_ON_LINK && icmp.msg_code() == 0;
            near.then(|| look_discovery(from, to, &icmp, bytes)).flatten()
        }
        Icmpv6Message::RouterSolicit | Icmpv6Message::Redirect => None,
        _ => Some(Kind::Other(ends, whole)),
    }
}

fn look_discovery<'f>(
    from: Ipv6Addr,
    to: Ipv6Addr,
    icmp: &Icmpv6Packet<&'f [u8]>,
    bytes: &'f [u8],
) -> Option<Kind<'f>> {
    if icmp.msg_type() == Icmpv6Message::RouterAdvert {
        return from.is_unicast_link_local().then_some(Kind::Router(from, bytes));
    }
    let parsed = Icmpv6Repr::parse(&from, &to, icmp, &ChecksumCapabilities::ignored()).ok()?;
    let address = |raw: smoltcp::wire::RawHardwareAddress| {
        let mac = EthernetAddress(*raw.as_bytes().first_chunk()?);
        mac.is_unicast().then_some(mac)
    };
    match parsed {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, lladdr }) => {
            // Without an address it asks whether one is taken; we took ours by our own hardware's.
            let mac = address(lladdr?)?;
            let fit = !from.is_unspecified() && !from.is_multicast();
            fit.then_some(Kind::Solicited(Solicited { from, mac, target: target_addr }))
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, lladdr, .. }) => {
            let mac = address(lladdr?)?;
            let fit = !target_addr.is_unspecified() && !target_addr.is_multicast();
            fit.then_some(Kind::Advertised(Advertised { target: target_addr, mac }))
        }
        _ => None,
    }
}

/// The start of a TCP packet that we sent, as an error quotes it.
fn quoted_tcp<'f>(about: Ends, protocol: u8, bytes: &[u8]) -> Option<Kind<'f>> {
    if protocol != u8::from(IpProtocol::Tcp) {
        return None;
    }
    let head: &[u8; TCP_QUOTED_BYTES] = bytes.first_chunk()?;
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let tuple = Tuple {
        local: SocketAddr::new(about.from, port(0)),
        remote: SocketAddr::new(about.to, port(2)),
    };
    let sequence = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    Some(Kind::Unreachable(Unreachable { tuple, sequence }))
}
