//! Checksums that the device helps with: prepared for sending, verified when it is silent.
//!
//! Owns [`partial`], which turns a frame made by smoltcp without checksum into one that the device
//! completes, and [`holds`], which checks a received frame of which the device said nothing.

use crate::device::Offload;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

const ETHERNET_BYTES: usize = 14;
const TCP_CHECKSUM_OFFSET: u16 = 16;
const UDP_CHECKSUM_OFFSET: u16 = 6;

/// Puts the pseudo-header's sum into the frame and says what the device has to sum.
pub(crate) fn partial(frame: &mut [u8]) -> Offload {
    let Some((start, offset, seed)) = transport(frame) else { return Offload::None };
    let at = usize::from(start) + usize::from(offset);
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&seed.to_be_bytes());
        return Offload::Checksum { start, offset };
    }
    Offload::None
}

/// Where the TCP or UDP header starts, where its checksum lies in it, and the sum over the
/// pseudo-header. None for frames without one of them.
fn transport(frame: &[u8]) -> Option<(u16, u16, u16)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let offset = match packet.next_header() {
        IpProtocol::Tcp => TCP_CHECKSUM_OFFSET,
        IpProtocol::Udp => UDP_CHECKSUM_OFFSET,
        _ => return None,
    };
    let length = packet.total_len().checked_sub(u16::from(packet.header_len()))?;
    let mut sum = u32::from(u8::from(packet.next_header())) + u32::from(length);
    for address in [packet.src_addr(), packet.dst_addr()] {
        let [a, b, c, d] = address.octets();
        sum += u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]));
    }
    while sum > u32::from(u16::MAX) {
        sum = (sum & u32::from(u16::MAX)) + (sum >> 16);
    }
    let start = u16::try_from(ETHERNET_BYTES + usize::from(packet.header_len())).ok()?;
    Some((start, offset, sum as u16))
}

/// Whether the TCP or UDP checksum of a received frame is right. Frames without one pass: what
/// they are is judged elsewhere.
pub(crate) fn holds(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return true };
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return true;
    }
    let Ok(packet) = Ipv4Packet::new_checked(ethernet.payload()) else { return true };
    let from = IpAddress::Ipv4(packet.src_addr());
    let to = IpAddress::Ipv4(packet.dst_addr());
    match packet.next_header() {
        IpProtocol::Tcp => TcpPacket::new_checked(packet.payload())
            .is_ok_and(|tcp| tcp.verify_checksum(&from, &to)),
        IpProtocol::Udp => UdpPacket::new_checked(packet.payload())
            .is_ok_and(|udp| udp.checksum() == 0 || udp.verify_checksum(&from, &to)),
        _ => true,
    }
}
