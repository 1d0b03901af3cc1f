//! One CPU's share of a card that several share.
//!
//! Owns [`Share`]: whose a received frame is ([`Steer`], not the card, says so), passing on what is
//! another's, taking what others passed on, and sending for those without a queue. It does not know
//! the card, which is an argument, nor how a CPU is woken: it says which ones are to be.

use super::Lanes;
use crate::{FrameReceiver, FrameTransmitter, Steer, Target};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Frames of other CPUs that are passed on while one of our own is looked for.
pub(crate) const PASSED_MAX: usize = 64;
/// Frames of each other CPU that are sent before our own have their turn.
pub(crate) const SENT_FOR_OTHERS_MAX: usize = 64;

/// What a CPU needs to share the card.
pub struct Share {
    own: usize,
    steer: Steer,
    lanes: Arc<Lanes>,
    /// CPUs that got frames since they were last woken.
    wake: Vec<bool>,
    /// Frames come from the card and from the lane in turn.
    lane_first: bool,
}

impl Share {
    /// The share of the CPU `own`.
    pub fn new(own: usize, steer: Steer, lanes: Arc<Lanes>) -> Self {
        let wake = alloc::vec![false; lanes.cpus()];
        Share { own, steer, lanes, wake, lane_first: false }
    }

    /// The CPU whose it is.
    pub fn own(&self) -> usize {
        self.own
    }

    /// The rings between the CPUs.
    pub fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Gives a received frame to a CPU, which is to be woken.
    pub fn pass(&mut self, to: usize, frame: &[u8], vouched: bool) {
        self.lanes.pass(to, frame, vouched);
        if let Some(wake) = self.wake.get_mut(to) {
            *wake = true;
        }
    }

    /// The CPUs that got frames since this was last asked, which may sleep.
    pub fn take_woken(&mut self) -> impl Iterator<Item = usize> {
        let woken = |(cpu, wake): (usize, &mut bool)| core::mem::take(wake).then_some(cpu);
        self.wake.iter_mut().enumerate().filter_map(woken)
    }

    /// Whether there is something to do for this CPU, whatever its own queues have.
    pub fn waits(&self) -> bool {
        let unsent = self.own == 0 && self.lanes.has_unsent();
        unsent || self.lanes.has_received(self.own)
    }

    /// Gives the next frame of this CPU to `handle`: of the card's queue, if it has one, and of
    /// what others passed on, in turn.
    pub fn receive<R>(
        &mut self,
        card: Option<&mut impl FrameReceiver>,
        handle: impl FnOnce(&[u8], bool) -> R,
    ) -> Option<R> {
        let Some(card) = card else { return self.receive_passed(handle) };
        self.lane_first = !self.lane_first;
        if self.lane_first && self.lanes.has_received(self.own) {
            return self.receive_passed(handle);
        }
        let mut handle = Some(handle);
        for _ in 0..PASSED_MAX {
            let received = card.receive(|frame, vouched| {
                let handle = if self.is_ours(frame, vouched) { handle.take() } else { None };
                handle.map(|handle| handle(frame, vouched))
            });
            match received {
                Some(None) => {}
                Some(result) => return result,
                None => break,
            }
        }
        // If frames of the card are left it says so when it is armed.
        handle.and_then(|handle| self.receive_passed(handle))
    }

    /// Sends what CPUs without a queue want sent, one of each in turn; for the boot CPU. True if
    /// some of it is left.
    pub fn send_for_others(&self, card: &mut impl FrameTransmitter) -> bool {
        if !self.lanes.has_unsent() {
            return false;
        }
        for _ in 0..SENT_FOR_OTHERS_MAX {
            for cpu in 1..self.lanes.cpus() {
                if !card.ready() {
                    break;
                }
                let Some(parcel) = self.lanes.take_unsent(cpu) else { continue };
                let frame = parcel.frame();
                card.transmit(frame.len(), |room| {
                    room.copy_from_slice(frame);
                    ((), parcel.note)
                });
                self.lanes.give_back(parcel);
            }
        }
        card.flush();
        self.lanes.has_unsent()
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
    fn receive_passed<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let parcel = self.lanes.take(self.own)?;
        let result = handle(parcel.frame(), parcel.note);
        self.lanes.give_back(parcel);
        Some(result)
    }
}
