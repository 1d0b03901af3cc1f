//! The network card, fitted to the network stacks of the CPUs.
//!
//! Owns [`Nic`], a CPU's way to the network. The driver lives in `craton-hal` and knows no stack,
//! the stack in `craton-net` and knows no driver. A CPU with a pair of queues receives and sends by
//! it; which CPU's a received frame is, is for [`Steer`] to say and not for the card, so what is
//! another's goes there by the `lanes`. A CPU without a pair receives by the lanes alone, and the
//! boot CPU sends for it.

use alloc::sync::Arc;
use core::num::NonZeroUsize;
use craton_hal::memory::physical::DmaBuffer;
use craton_hal::smp;
use craton_hal::virtio::net::{Counters, Info, Pair, Receiver, Transmitter};
use craton_net::{
    FrameDevice, FrameReceiver, FrameTransmitter, Lanes, Link, Offload, Segments, Share, Steer,
};

/// A CPU's way to the network.
pub(super) struct Nic {
    pair: Option<Pair>,
    /// Nothing if the node has one stack.
    shared: Option<Share>,
}

/// The card as the stacks must know it.
pub(super) fn link(info: &Info) -> Link {
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

impl Nic {
    /// The card, of the one stack that the node has.
    pub(super) fn alone(pair: Pair) -> Self {
        Nic { pair: Some(pair), shared: None }
    }

    /// The way of the CPU `own`. The boot CPU has a pair.
    pub(super) fn shared(own: usize, pair: Option<Pair>, steer: Steer, lanes: Arc<Lanes>) -> Self {
        Nic { pair, shared: Some(Share::new(own, steer, lanes)) }
    }

    /// Sends what CPUs without a pair want sent; for the boot CPU. True if some of it is left.
    pub(super) fn send_for_others(&mut self) -> bool {
        let (Some(shared), Some(pair)) = (&self.shared, &mut self.pair) else { return false };
        let (_, transmitter) = pair.halves();
        shared.send_for_others(&mut NicTransmitter::Card(transmitter))
    }

    /// Gives a frame to the CPU whose it turned out to be.
    pub(super) fn pass(&mut self, to: u16, frame: &[u8]) {
        if let Some(shared) = &mut self.shared {
            shared.pass(usize::from(to), frame, false);
        }
    }

    /// Wakes whoever got frames; to be called after each poll.
    pub(super) fn wake_others(&mut self) {
        let Some(shared) = &mut self.shared else { return };
        shared.take_woken().for_each(smp::wake);
    }

    /// Asks for an interrupt at the next frame. True if there is something to do already.
    pub(super) fn arm(&mut self) -> bool {
        let waits = self.shared.as_ref().is_some_and(Share::waits);
        waits || self.pair.as_mut().is_some_and(Pair::arm)
    }

    /// The queues, if the CPU has its own.
    pub(super) fn pair(&self) -> Option<&Pair> {
        self.pair.as_ref()
    }

    /// What the pair counts, received and sent, and its interrupts.
    pub(super) fn counters(&self) -> ([Counters; 2], u64) {
        let counted = self.pair.as_ref().map(|pair| (pair.counters(), pair.interrupts()));
        counted.map_or_else(Default::default, |((received, sent), interrupts)| {
            ([received, sent], interrupts)
        })
    }

    /// Frames for this CPU that others had to drop.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.lanes().dropped(shared.own()))
    }
}

/// Where frames come from.
pub(super) struct NicReceiver<'a> {
    card: Option<&'a mut Receiver<DmaBuffer>>,
    shared: Option<&'a mut Share>,
}

/// Where frames go to.
pub(super) enum NicTransmitter<'a> {
    /// The CPU's own queue.
    Card(&'a mut Transmitter<DmaBuffer>),
    /// The boot CPU.
    Lane { own: usize, lanes: Arc<Lanes>, sent: bool },
}

impl FrameDevice for Nic {
    type Receiver<'a> = NicReceiver<'a>;
    type Transmitter<'a> = NicTransmitter<'a>;

    fn halves(&mut self) -> (NicReceiver<'_>, NicTransmitter<'_>) {
        match (&mut self.pair, &mut self.shared) {
            (Some(pair), shared) => {
                let (receiver, transmitter) = pair.halves();
                let shared = shared.as_mut();
                let receiver = NicReceiver { card: Some(receiver), shared };
                (receiver, NicTransmitter::Card(transmitter))
            }
            (None, Some(shared)) => {
                let (own, lanes) = (shared.own(), shared.lanes().clone());
                let transmitter = NicTransmitter::Lane { own, lanes, sent: false };
                (NicReceiver { card: None, shared: Some(shared) }, transmitter)
            }
            (None, None) => unreachable!("a stack alone on its card has the card"),
        }
    }
}

impl FrameReceiver for NicReceiver<'_> {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let mut card = self.card.as_deref_mut().map(Card);
        match &mut self.shared {
            Some(shared) => shared.receive(card.as_mut(), handle),
            None => card?.receive(handle),
        }
    }
}

/// A queue of the card, which knows no stack, as a stack knows it.
struct Card<'a>(&'a mut Receiver<DmaBuffer>);

impl FrameReceiver for Card<'_> {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        self.0.receive(handle)
    }
}

impl FrameTransmitter for NicTransmitter<'_> {
    fn ready(&mut self) -> bool {
        match self {
            NicTransmitter::Card(card) => card.ready(),
            NicTransmitter::Lane { own, lanes, .. } => lanes.can_send(*own),
        }
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        match self {
            NicTransmitter::Card(card) => card.transmit(length, fill),
            NicTransmitter::Lane { own, lanes, sent } => {
                *sent = true;
                lanes.send(*own, length, fill)
            }
        }
    }

    fn flush(&mut self) {
        match self {
            NicTransmitter::Card(card) => card.flush(),
            NicTransmitter::Lane { sent, .. } => {
                if core::mem::take(sent) {
                    smp::wake(0);
                }
            }
        }
    }
}
