//! The network card, fitted to the network stack.
//!
//! Owns the two adaptors and nothing else: the driver lives in `craton-hal` and knows no stack, the
//! stack in `craton-net` and knows no driver.

use craton_hal::memory::physical::DmaBuffer;
use craton_hal::virtio::net::{Net, PartialChecksum, Receiver, Transmitter};
use craton_net::{FrameDevice, FrameReceiver, FrameTransmitter, Link, Offload};

/// Both halves of the card for the length of one poll.
pub(super) struct Nic<'a> {
    receiver: NicReceiver<'a>,
    transmitter: NicTransmitter<'a>,
}

/// Where frames come from.
pub(super) struct NicReceiver<'a>(&'a mut Receiver<DmaBuffer>);

/// Where frames go to.
pub(super) struct NicTransmitter<'a>(&'a mut Transmitter<DmaBuffer>);

impl<'a> Nic<'a> {
    /// The card as the stack wants it.
    pub(super) fn new(net: &'a mut Net) -> Self {
        let (receiver, transmitter) = net.halves();
        Nic { receiver: NicReceiver(receiver), transmitter: NicTransmitter(transmitter) }
    }
}

/// The card as the stack must know it.
pub(super) fn link(net: &Net) -> Link {
    let info = net.info();
    Link {
        mac: info.mac,
        mtu: usize::from(info.mtu),
        checksum_transmit: info.checksum_transmit,
        checksum_receive: info.checksum_receive,
    }
}

impl<'a> FrameDevice for Nic<'a> {
    type Receiver = NicReceiver<'a>;
    type Transmitter = NicTransmitter<'a>;

    fn halves(&mut self) -> (&mut NicReceiver<'a>, &mut NicTransmitter<'a>) {
        (&mut self.receiver, &mut self.transmitter)
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
        self.0.transmit(length, |frame| {
            let (result, offload) = fill(frame);
            let checksum = match offload {
                Offload::None => None,
                Offload::Checksum { start, offset } => Some(PartialChecksum { start, offset }),
            };
            (result, checksum)
        })
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}
