//! The network card, fitted to the network stack.
//!
//! Owns the two adaptors and nothing else: the driver lives in `craton-hal` and knows no stack, the
//! stack in `craton-net` and knows no driver.

use core::num::NonZeroUsize;
use craton_hal::memory::physical::DmaBuffer;
use craton_hal::virtio::net::{Net, Receiver, Transmitter};
use craton_net::{FrameDevice, FrameReceiver, FrameTransmitter, Link, Offload, Segments};

/// The card as the stack wants it.
pub(super) struct Nic(pub(super) Net);

/// Where frames come from.
pub(super) struct NicReceiver<'a>(&'a mut Receiver<DmaBuffer>);

/// Where frames go to.
pub(super) struct NicTransmitter<'a>(&'a mut Transmitter<DmaBuffer>);

/// The card as the stack must know it.
pub(super) fn link(net: &Net) -> Link {
    let info = net.info();
    let [ipv4, ipv6] = info
        .segments_transmit
        .map(|cuts| NonZeroUsize::new(info.long_frame_bytes_max).filter(|_| cuts));
    Link {
        mac: info.mac,
        mtu: usize::from(info.mtu),
        checksum_transmit: info.checksum_transmit,
        segments_bytes_max: Segments { ipv4, ipv6 },
    }
}

impl FrameDevice for Nic {
    type Receiver<'a> = NicReceiver<'a>;
    type Transmitter<'a> = NicTransmitter<'a>;

    fn halves(&mut self) -> (NicReceiver<'_>, NicTransmitter<'_>) {
        let (receiver, transmitter) = self.0.halves();
        (NicReceiver(receiver), NicTransmitter(transmitter))
    }
}

impl FrameReceiver for NicReceiver<'_> {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        self.0.receive(handle)
    }
}

impl FrameTransmitter for NicTransmitter<'_> {
    fn ready(&mut self) -> bool {
        self.0.ready()
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.0.transmit(length, fill)
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}
