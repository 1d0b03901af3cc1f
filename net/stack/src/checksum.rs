//! TCP and UDP checksums: made for sending, verified on receiving, or left to the device.
//!
//! smoltcp is told to leave them alone and this module works on whole frames, for two reasons: a
//! device may complete or vouch for some and not for others, which smoltcp cannot be told frame by
//! frame; and summing eight bytes at a time took a third off the cost of a frame under emulation,
//! where smoltcp's loop becomes vector instructions that are emulated one call each. IPv4 headers
//! and ICMP remain smoltcp's.

use crate::device::Offload;
use core::num::NonZeroU16;
use core::ops::Range;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

const ETHERNET_BYTES: usize = 14;
const TCP_CHECKSUM_OFFSET: usize = 16;
const UDP_CHECKSUM_OFFSET: usize = 6;
/// Where the length of a TCP header lies in it.
const TCP_DATA_OFFSET: usize = 12;

/// A TCP or UDP packet within a frame.
struct Transport {
    /// Where it lies, header and payload.
    bytes: Range<usize>,
    /// Where its checksum lies in it.
    offset: usize,
    /// The sum over the pseudo-header.
    pseudo_header: u16,
    protocol: IpProtocol,
    ipv6: bool,
}

/// Finishes the checksum of a frame that smoltcp made without: wholly, or as far as the device
/// needs it.
pub(crate) fn finish(
    frame: &mut [u8],
    by_device: bool,
    segment_bytes: Option<NonZeroU16>,
) -> Offload {
    let Some(transport) = transport(frame) else { return Offload::None };
    let Transport { bytes, offset, pseudo_header, protocol, ipv6 } = transport;
    let start = bytes.start;
    let Some(packet) = frame.get_mut(bytes) else { return Offload::None };
    let Some(field) = packet.get_mut(offset..offset + 2) else { return Offload::None };
    if by_device {
        field.copy_from_slice(&pseudo_header.to_be_bytes());
        // A header starts and a checksum lies within the first hundred bytes.
        let (start, offset) = (start as u16, offset as u16);
        return match segment_bytes {
            None => Offload::Checksum { start, offset },
            Some(payload_bytes) => Offload::Segments {
                start,
                offset,
                header_bytes: start + u16::from(packet[TCP_DATA_OFFSET] >> 4) * 4,
                payload_bytes: payload_bytes.get(),
                ipv6,
            },
        };
    }
    field.fill(0);
    let checksum = match !add(sum(packet), pseudo_header) {
        // Zero would say that there is none (RFC 768).
        0 if protocol == IpProtocol::Udp => u16::MAX,
        checksum => checksum,
    };
    packet[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
    Offload::None
}

/// Whether the TCP or UDP checksum of a received frame is right. Frames without one pass: what
/// they are is judged elsewhere.
pub(crate) fn holds(frame: &[u8]) -> bool {
    let Some(transport) = transport(frame) else { return true };
    let Some(packet) = frame.get(transport.bytes) else { return false };
    let Some(field) = packet.get(transport.offset..transport.offset + 2) else { return false };
    // Over IPv6 there must be one (RFC 8200, 8.1).
    let absent = transport.protocol == IpProtocol::Udp && field == [0, 0] && !transport.ipv6;
    absent || add(sum(packet), transport.pseudo_header) == u16::MAX
}

fn transport(frame: &[u8]) -> Option<Transport> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let header = usize::from(packet.header_len());
            let length = usize::from(packet.total_len()).checked_sub(header)?;
            let addresses = add(sum(&packet.src_addr().octets()), sum(&packet.dst_addr().octets()));
            let start = ETHERNET_BYTES + header;
            located(packet.next_header(), start, length, addresses, false)
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let length = usize::from(packet.payload_len());
            let addresses = add(sum(&packet.src_addr().octets()), sum(&packet.dst_addr().octets()));
            let start = ETHERNET_BYTES + packet.header_len();
            located(packet.next_header(), start, length, addresses, true)
        }
        _ => None,
    }
}

fn located(
    protocol: IpProtocol,
    start: usize,
    length: usize,
    addresses: u16,
    ipv6: bool,
) -> Option<Transport> {
    let offset = match protocol {
        IpProtocol::Tcp => TCP_CHECKSUM_OFFSET,
        IpProtocol::Udp => UDP_CHECKSUM_OFFSET,
        _ => return None,
    };
    // Lengths come from fields of sixteen bits.
    let pseudo_header = add(addresses, add(u16::from(u8::from(protocol)), length as u16));
    Some(Transport { bytes: start..start + length, offset, pseudo_header, protocol, ipv6 })
}

/// The ones' complement sum of two sums.
fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

/// The ones' complement sum of bytes as big-endian words, the last padded with zero (RFC 1071). The
/// sum of larger words folds to the same, and the order of bytes can be put right at the end.
fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<8>();
    // No frame is long enough for the halves to overflow.
    let mut total = 0_u64;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        total += (word & u64::from(u32::MAX)) + (word >> 32);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_ne_bytes(last);
    total += (last & u64::from(u32::MAX)) + (last >> 32);
    u16::from_be(fold(total))
}

fn fold(mut sum: u64) -> u16 {
    // Four times bring any number below 2^16 and its carries in.
    for _ in 0..4 {
        sum = (sum & u64::from(u16::MAX)) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn sums_agree_with_the_definition() {
        let mut state = 1_u64;
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let mut slow = 0_u32;
            for pair in bytes.chunks(2) {
                slow += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                slow = (slow & 0xffff) + (slow >> 16);
            }
            assert_eq!(u32::from(sum(&bytes)), slow, "{length} bytes");
        }
        assert_eq!(sum(&vec![0xff; 1500]), 0xffff);
    }

    /// A real IPv4 header, checksum included.
    #[test]
    fn a_known_header_sums_to_all_ones() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(sum(&header), 0xffff);
    }
}
