//! Packets put together from fragments, before anything else is done with them.
//!
//! Owns [`Fragments`]. A packet is steered by ports that only its first fragment has, so it must be
//! whole first. Fragments that overlap make the whole packet worthless (RFC 5722 for IPv6, and as
//! good for IPv4): who sends such is broken or means harm.

use crate::adapter::ETHERNET_BYTES;
use crate::limit;
use crate::sight::{Ends, Fragment};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use craton_abi::Instant;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{EthernetAddress, IpRepr};

/// Longest payload of a packet.
const PAYLOAD_BYTES_MAX: usize = u16::MAX as usize - 40;
/// Fragments but the last come in units of this.
const UNIT_BYTES: usize = 8;

/// Packets of which some fragments are here.
#[derive(Default)]
pub(crate) struct Fragments {
    packets: VecDeque<Packet>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Key {
    ends: Ends,
    protocol: u8,
    id: u32,
}

struct Packet {
    key: Key,
    until: Instant,
    /// Where each part begins, in order.
    parts: Vec<(usize, Vec<u8>)>,
    /// Bytes of the whole, once the last part is here.
    total: Option<usize>,
    /// It will never be whole; kept to refuse the rest of it.
    spoilt: bool,
}

impl Fragments {
    /// Takes a fragment; gives the whole packet, as a frame from `source`, if this was the last
    /// part that was missing.
    pub(crate) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        source: EthernetAddress,
        now: Instant,
    ) -> Option<Vec<u8>> {
        self.expire(now);
        let key = Key { ends: fragment.ends, protocol: fragment.protocol, id: fragment.id };
        let index = match self.packets.iter().position(|packet| packet.key == key) {
            Some(index) => index,
            None => {
                if self.packets.len() == limit::FRAGMENTED_MAX {
                    self.packets.pop_front();
                }
                let until = now + limit::FRAGMENT_TIMEOUT;
                let (parts, total) = (Vec::new(), None);
                self.packets.push_back(Packet { key, until, parts, total, spoilt: false });
                self.packets.len() - 1
            }
        };
        let packet = &mut self.packets[index];
        if !packet.spoilt && packet.add(fragment).is_none() {
            packet.spoilt = true;
            packet.parts = Vec::new();
        }
        let whole = packet.whole()?;
        self.packets.remove(index);
        frame(&key, source, &whole)
    }

    /// Forgets what took too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.packets.front().is_some_and(|packet| packet.until <= now) {
            self.packets.pop_front();
        }
    }

    /// Packets that are not whole yet.
    pub(crate) fn count(&self) -> usize {
        self.packets.iter().filter(|packet| !packet.spoilt).count()
    }
}

impl Packet {
    /// Takes a part; `None` if it does not fit the others.
    fn add(&mut self, fragment: &Fragment<'_>) -> Option<()> {
        let (start, length) = (fragment.offset, fragment.bytes.len());
        let end = start + length;
        let ragged = fragment.more && !length.is_multiple_of(UNIT_BYTES);
        if length == 0 || ragged || end > PAYLOAD_BYTES_MAX {
            return None;
        }
        let place = self.parts.partition_point(|(at, _)| *at < start);
        if let Some((at, bytes)) = self.parts.get(place)
            && *at == start
            && bytes == fragment.bytes
        {
            // The same again, as links do.
            return Some(());
        }
        let before = place.checked_sub(1).map(|index| &self.parts[index]);
        let overlaps = before.is_some_and(|(at, bytes)| at + bytes.len() > start)
            || self.parts.get(place).is_some_and(|(at, _)| *at < end);
        let beyond = self.total.is_some_and(|total| end > total || !fragment.more);
        let last = self.parts.last().map_or(0, |(at, bytes)| at + bytes.len());
        let short = !fragment.more && last > end;
        if overlaps || beyond || short || self.parts.len() == limit::FRAGMENTS_MAX {
            return None;
        }
        if !fragment.more {
            self.total = Some(end);
        }
        self.parts.insert(place, (start, fragment.bytes.to_vec()));
        Some(())
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let total = self.total?;
        let here: usize = self.parts.iter().map(|(_, bytes)| bytes.len()).sum();
        // Parts do not overlap, so as many bytes as the whole has are the whole.
        (here == total && !self.spoilt)
            .then(|| self.parts.iter().flat_map(|(_, bytes)| bytes).copied().collect())
    }
}

/// The whole packet as if it had come in one frame.
fn frame(key: &Key, source: EthernetAddress, payload: &[u8]) -> Option<Vec<u8>> {
    let ip = IpRepr::new(
        key.ends.from.into(),
        key.ends.to.into(),
        key.protocol.into(),
        payload.len(),
        64,
    );
    let mut frame = vec![0; ETHERNET_BYTES + ip.buffer_len()];
    frame[6..12].copy_from_slice(source.as_bytes());
    let ethertype: [u8; 2] = match key.ends.from {
        IpAddr::V4(_) => [0x08, 0x00],
        IpAddr::V6(_) => [0x86, 0xdd],
    };
    frame[12..14].copy_from_slice(&ethertype);
    let (_, packet) = frame.split_at_mut(ETHERNET_BYTES);
    ip.emit(&mut *packet, &ChecksumCapabilities::default());
    packet[ip.header_len()..].copy_from_slice(payload);
    Some(frame)
}
