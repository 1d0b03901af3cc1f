//! A device, seen as smoltcp wants it.
//!
//! Owns [`Port`]: one packet or frame to be received, if any, and the transmitting half. The stack
//! looks at each frame first and knows whom an answer is for, so smoltcp deals in IP packets and
//! the Ethernet header is put in front here. Only the DHCP client, which wants Ethernet, deals in
//! frames.

use crate::checksum;
use crate::device::{FrameTransmitter, Link, Offload};
use crate::highest::Highest;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol};

pub(crate) const ETHERNET_BYTES: usize = 14;

/// What smoltcp is told about a device that carries IP packets.
pub(crate) fn packet_capabilities(link: &Link) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = link.mtu;
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.udp = Checksum::None;
    if link.checksum_transmit {
        // Not over IPv6: smoltcp 0.14 drops such packets as too long for the link.
        capabilities.segmentation.tcpv4 = link.segments_bytes_max.ipv4.and_then(whole_packet);
    }
    capabilities
}

/// The same for one that carries Ethernet frames.
pub(crate) fn frame_capabilities(link: &Link) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = link.mtu + ETHERNET_BYTES;
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.udp = Checksum::None;
    capabilities
}

/// A packet to be cut is no longer than its IP header can say.
fn whole_packet(frame_bytes: NonZeroUsize) -> Option<NonZeroUsize> {
    let packet_bytes = frame_bytes.get().saturating_sub(ETHERNET_BYTES);
    NonZeroUsize::new(packet_bytes.min(usize::from(u16::MAX)))
}

/// Whom frames go to and come from.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) to: EthernetAddress,
    pub(crate) from: EthernetAddress,
}

impl Header {
    /// Writes it in front of the IP packet in `frame`.
    pub(crate) fn write(self, frame: &mut [u8]) {
        let version = frame.get(ETHERNET_BYTES).map_or(0, |byte| byte >> 4);
        let mut frame = EthernetFrame::new_unchecked(frame);
        frame.set_dst_addr(self.to);
        frame.set_src_addr(self.from);
        frame.set_ethertype(match version {
            6 => EthernetProtocol::Ipv6,
            _ => EthernetProtocol::Ipv4,
        });
    }
}

/// One packet in, any number out.
pub(crate) struct Port<'a, T> {
    /// The packet, or frame, that smoltcp is to receive.
    pub(crate) received: Option<&'a [u8]>,
    /// What goes in front of packets; none if smoltcp deals in frames.
    pub(crate) header: Option<Header>,
    /// Where its frames go.
    pub(crate) transmitter: &'a mut T,
    /// What it was told about the device.
    pub(crate) capabilities: &'a DeviceCapabilities,
    /// The device completes checksums.
    pub(crate) by_device: bool,
    /// What the stream sent, if it is one stream's port.
    pub(crate) highest: Option<&'a mut Highest>,
}

pub(crate) struct RxToken<'a>(&'a [u8]);

pub(crate) struct TxToken<'a, T> {
    header: Option<Header>,
    transmitter: &'a mut T,
    by_device: bool,
    /// Payload of the segments into which the device is to cut the frame.
    segment_bytes: Option<NonZeroU16>,
    highest: Option<&'a mut Highest>,
}

impl<T: FrameTransmitter> Port<'_, T> {
    fn token(&mut self) -> TxToken<'_, T> {
        TxToken {
            header: self.header,
            transmitter: self.transmitter,
            by_device: self.by_device,
            segment_bytes: None,
            highest: self.highest.as_deref_mut(),
        }
    }
}

impl<T: FrameTransmitter> phy::Device for Port<'_, T> {
    type RxToken<'b>
        = RxToken<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = TxToken<'b, T>
    where
        Self: 'b;

    fn receive(&mut self, _now: Instant) -> Option<(RxToken<'_>, TxToken<'_, T>)> {
        let received = self.received.take()?;
        Some((RxToken(received), self.token()))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_, T>> {
        self.transmitter.ready().then(|| self.token())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        handle(self.0)
    }
}

impl<T: FrameTransmitter> phy::TxToken for TxToken<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let TxToken { header, transmitter, by_device, segment_bytes, highest } = self;
        let Some(header) = header else {
            return transmitter.transmit(length, |frame| {
                let result = fill(frame);
                (result, checksum::finish(frame, by_device, segment_bytes))
            });
        };
        transmitter.transmit(ETHERNET_BYTES + length, |frame| {
            let result = fill(&mut frame[ETHERNET_BYTES..]);
            header.write(frame);
            if let Some(highest) = highest {
                highest.apply(frame);
            }
            (result, checksum::finish(frame, by_device, segment_bytes))
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size;
    }
}

/// A transmitter that counts what goes through it.
pub(crate) struct Counted<'a, T> {
    pub(crate) transmitter: &'a mut T,
    pub(crate) sent: u64,
}

impl<T: FrameTransmitter> FrameTransmitter for Counted<'_, T> {
    fn ready(&mut self) -> bool {
        self.transmitter.ready()
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.sent += 1;
        self.transmitter.transmit(length, fill)
    }

    fn flush(&mut self) {
        self.transmitter.flush();
    }
}

/// A transmitter that takes everything and keeps the last of it: for smoltcp to talk to when nobody
/// else is to hear.
#[derive(Default)]
pub(crate) struct Void {
    pub(crate) last: Vec<u8>,
}

impl FrameTransmitter for Void {
    fn ready(&mut self) -> bool {
        true
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.last.clear();
        self.last.resize(length, 0);
        fill(&mut self.last).0
    }

    fn flush(&mut self) {}
}
