//! The network card, fitted to the network stacks of the CPUs.
//!
//! Owns [`Nic`], a CPU's way to the network. The driver lives in `craton-hal` and knows no stack,
//! the stack in `craton-net` and knows no driver. A CPU with a pair of queues receives and sends by
//! it; which CPU's a received frame is, is for [`Steer`] to say and not for the card, so what is
//! another's goes there by the `lanes`. A CPU without a pair receives by the lanes alone, and the
//! boot CPU sends for it.

use super::lanes::Lanes;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use craton_hal::memory::physical::DmaBuffer;
use craton_hal::smp;
use craton_hal::virtio::net::{Counters, Info, Pair, Receiver, Transmitter};
use craton_net::{
    FrameDevice, FrameReceiver, FrameTransmitter, Link, Offload, Segments, Steer, Target,
};

/// Frames of other CPUs that are passed on while one of our own is looked for.
const PASSED_MAX: usize = 64;
/// Frames of each other CPU that are sent before our own have their turn.
const SENT_FOR_OTHERS_MAX: usize = 64;

/// A CPU's way to the network.
pub(super) struct Nic {
    pair: Option<Pair>,
    /// Nothing if the node has one stack.
    shared: Option<Shared>,
}

/// What a CPU needs to share the card.
struct Shared {
    own: usize,
    steer: Steer,
    lanes: Arc<Lanes>,
    /// CPUs that got frames since they were last woken.
    wake: Vec<bool>,
    /// Frames come from the card and from the lane in turn.
    lane_first: bool,
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
        let wake = alloc::vec![false; lanes.cpus()];
        let shared = Shared { own, steer, lanes, wake, lane_first: false };
        Nic { pair, shared: Some(shared) }
    }

    /// Sends what CPUs without a pair want sent; for the boot CPU. True if some of it is left.
    pub(super) fn send_for_others(&mut self) -> bool {
        let (Some(shared), Some(pair)) = (&self.shared, &mut self.pair) else { return false };
        if !shared.lanes.has_unsent() {
            return false;
        }
        let (_, transmitter) = pair.halves();
        for _ in 0..SENT_FOR_OTHERS_MAX {
            for cpu in 1..shared.lanes.cpus() {
                if !transmitter.ready() {
                    break;
                }
                let Some(parcel) = shared.lanes.take_unsent(cpu) else { continue };
                let frame = parcel.frame();
                transmitter.transmit(frame.len(), |room| {
                    room.copy_from_slice(frame);
                    ((), parcel.note)
                });
                shared.lanes.give_back(parcel);
            }
        }
        transmitter.flush();
        shared.lanes.has_unsent()
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
        for (cpu, wake) in shared.wake.iter_mut().enumerate() {
            if core::mem::take(wake) {
                smp::wake(cpu);
            }
        }
    }

    /// Asks for an interrupt at the next frame. True if there is something to do already.
    pub(super) fn arm(&mut self) -> bool {
        let waits = self.shared.as_ref().is_some_and(|shared| {
            let unsent = shared.own == 0 && shared.lanes.has_unsent();
            unsent || shared.lanes.has_received(shared.own)
        });
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
        self.shared.as_ref().map_or(0, |shared| shared.lanes.dropped(shared.own))
    }
}

impl Shared {
    fn pass(&mut self, to: usize, frame: &[u8], vouched: bool) {
        self.lanes.pass(to, frame, vouched);
        if let Some(wake) = self.wake.get_mut(to) {
            *wake = true;
        }
    }

    /// Whether a frame of the card is ours; it goes to others that have to see it.
    fn is_ours(&mut self, frame: &[u8], vouched: bool) -> bool {
        match self.steer.frame(frame) {
            Target::Shard(shard) if usize::from(shard) == self.own => true,
            Target::Shard(shard) => {
                self.pass(usize::from(shard), frame, vouched);
                false
            }
            Target::Every => {
                for cpu in (0..self.lanes.cpus()).filter(|cpu| *cpu != self.own) {
                    self.lanes.pass(cpu, frame, vouched);
                    self.wake[cpu] = true;
                }
                true
            }
        }
    }

    /// The next frame that others passed on.
    fn receive_from_lane<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let parcel = self.lanes.take(self.own)?;
        let result = handle(parcel.frame(), parcel.note);
        self.lanes.give_back(parcel);
        Some(result)
    }
}

/// Where frames come from.
pub(super) struct NicReceiver<'a> {
    card: Option<&'a mut Receiver<DmaBuffer>>,
    shared: Option<&'a mut Shared>,
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
                let lanes = shared.lanes.clone();
                let transmitter = NicTransmitter::Lane { own: shared.own, lanes, sent: false };
                (NicReceiver { card: None, shared: Some(shared) }, transmitter)
            }
            (None, None) => unreachable!("a stack alone on its card has the card"),
        }
    }
}

impl FrameReceiver for NicReceiver<'_> {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let Some(shared) = &mut self.shared else { return self.card.as_mut()?.receive(handle) };
        let Some(card) = &mut self.card else { return shared.receive_from_lane(handle) };
        shared.lane_first = !shared.lane_first;
        if shared.lane_first && shared.lanes.has_received(shared.own) {
            return shared.receive_from_lane(handle);
        }
        let mut handle = Some(handle);
        for _ in 0..PASSED_MAX {
            let received = card.receive(|frame, vouched| {
                let handle = if shared.is_ours(frame, vouched) { handle.take() } else { None };
                handle.map(|handle| handle(frame, vouched))
            });
            match received {
                Some(None) => {}
                Some(result) => return result,
                None => break,
            }
        }
        // If frames of the card are left it says so when it is armed.
        handle.and_then(|handle| shared.receive_from_lane(handle))
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
