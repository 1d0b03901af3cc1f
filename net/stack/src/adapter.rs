//! A device, seen as smoltcp wants it.
//!
//! Owns [`Port`]: one frame to be received, if any, and the transmitting half. smoltcp polls it for
//! a single frame at a time, because the stack looks at each frame first.

use crate::checksum;
use crate::device::{FrameTransmitter, Link, Offload};
use alloc::vec;
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

const ETHERNET_BYTES: usize = 14;

/// What smoltcp is told about the device.
pub(crate) fn capabilities(link: &Link) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = link.mtu + ETHERNET_BYTES;
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.udp = Checksum::None;
    if link.checksum_transmit {
        capabilities.segmentation.tcpv4 = link.segments_bytes_max.ipv4.map(whole_packet);
        capabilities.segmentation.tcpv6 = link.segments_bytes_max.ipv6.map(whole_packet);
    }
    capabilities
}

/// A frame to be cut is no longer than its IP header can say.
fn whole_packet(frame_bytes: NonZeroUsize) -> NonZeroUsize {
    const FRAME_BYTES_MAX: NonZeroUsize =
        NonZeroUsize::new(ETHERNET_BYTES + u16::MAX as usize).expect("a sum of positive numbers");
    frame_bytes.min(FRAME_BYTES_MAX)
}

/// One frame in, any number out.
pub(crate) struct Port<'a, T> {
    /// The frame that smoltcp is to receive.
    pub(crate) frame: Option<&'a [u8]>,
    /// Where its frames go.
    pub(crate) transmitter: &'a mut T,
    /// What it was told about the device.
    pub(crate) capabilities: &'a DeviceCapabilities,
    /// The device completes checksums.
    pub(crate) by_device: bool,
    /// Frames sent.
    pub(crate) sent: &'a mut u64,
}

pub(crate) struct RxToken<'a>(&'a [u8]);

pub(crate) struct TxToken<'a, T> {
    transmitter: &'a mut T,
    by_device: bool,
    /// Payload of the segments into which the device is to cut the frame.
    segment_bytes: Option<NonZeroU16>,
    sent: &'a mut u64,
}

impl<T: FrameTransmitter> Port<'_, T> {
    fn token(&mut self) -> TxToken<'_, T> {
        TxToken {
            transmitter: self.transmitter,
            by_device: self.by_device,
            segment_bytes: None,
            sent: self.sent,
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
        let frame = self.frame.take()?;
        Some((RxToken(frame), self.token()))
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
        let TxToken { transmitter, by_device, segment_bytes, sent } = self;
        *sent += 1;
        transmitter.transmit(length, |frame| {
            let result = fill(frame);
            (result, checksum::finish(frame, by_device, segment_bytes))
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size;
    }
}

/// A transmitter that is never there: with it a [`Port`] stands for the device when the interface
/// is made, since smoltcp then asks only for the capabilities.
pub(crate) struct Nowhere;

impl FrameTransmitter for Nowhere {
    fn ready(&mut self) -> bool {
        false
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        fill(&mut vec![0; length]).0
    }

    fn flush(&mut self) {}
}
