//! Frames on their way between the CPUs of a node.
//!
//! Owns [`Lanes`]: for each CPU a ring of frames that others found to be its own, and, where the
//! card has no queues for it, one of frames that it wants sent, which the boot CPU sends. A ring is
//! bounded in frames and bytes. Who finds one full drops the frame (received) or keeps it for later
//! (to be sent); nobody waits. The buffers go round, so that steady traffic allocates nothing.
//! Neighbour: `share` has a CPU's way to them.

mod share;

pub use share::Share;
#[cfg(test)]
pub(crate) use share::{PASSED_MAX, SENT_FOR_OTHERS_MAX};

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use craton_abi::Offload;
use crossbeam_queue::ArrayQueue;

/// Frames that a ring holds.
pub(crate) const LANE_FRAMES: usize = 256;
/// Bytes of them.
pub(crate) const LANE_BYTES_MAX: usize = 1 << 20;
/// Buffers that wait to be used again.
const POOL_BUFFERS: usize = 64;
/// The longest frame: what a card puts together, or cuts.
const FRAME_BYTES_MAX: usize = 14 + u16::MAX as usize;

const _: () = assert!(
    2 * FRAME_BYTES_MAX <= LANE_BYTES_MAX,
    "while one long frame is under way another can be made"
);

/// A frame, and what is to be known of it beside its bytes.
pub(crate) struct Parcel<N> {
    /// Longer than the frame, maybe: it was used before.
    buffer: Vec<u8>,
    length: usize,
    pub(crate) note: N,
}

impl<N> Parcel<N> {
    pub(crate) fn frame(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// One bounded ring.
struct Lane<N> {
    queue: ArrayQueue<Parcel<N>>,
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl<N> Lane<N> {
    fn new() -> Self {
        let (bytes, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Lane { queue: ArrayQueue::new(LANE_FRAMES), bytes, dropped }
    }

    /// Whether one more frame of so many bytes has room. Others may take it meanwhile.
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + bytes <= LANE_BYTES_MAX && !self.queue.is_full()
    }

    /// Gives the parcel back if there is no room.
    fn push(&self, parcel: Parcel<N>) -> Result<(), Parcel<N>> {
        let length = parcel.length;
        if !self.has_room(length) {
            return Err(parcel);
        }
        // Counted before it is there: it may be taken, and counted out, at once.
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.queue.push(parcel).inspect_err(|_| {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        })
    }

    fn pop(&self) -> Option<Parcel<N>> {
        let parcel = self.queue.pop()?;
        self.bytes.fetch_sub(parcel.length, Ordering::Relaxed);
        Some(parcel)
    }
}

/// The rings of all CPUs.
pub struct Lanes {
    /// To each CPU, with whether the card vouches for the checksum. Any CPU writes.
    received: Vec<Lane<bool>>,
    /// From each CPU, which alone writes; the boot CPU reads.
    unsent: Vec<Lane<Offload>>,
    pool: ArrayQueue<Vec<u8>>,
}

impl Lanes {
    /// Empty rings for so many CPUs.
    pub fn new(cpus: usize) -> Arc<Self> {
        Arc::new(Lanes {
            received: (0..cpus).map(|_| Lane::new()).collect(),
            unsent: (0..cpus).map(|_| Lane::new()).collect(),
            pool: ArrayQueue::new(POOL_BUFFERS),
        })
    }

    /// How many CPUs they join.
    pub fn cpus(&self) -> usize {
        self.received.len()
    }

    /// Gives a received frame to a CPU, or drops it if that has too many.
    pub(crate) fn pass(&self, to: usize, frame: &[u8], vouched: bool) {
        let Some(lane) = self.received.get(to) else { return };
        if !lane.has_room(frame.len()) {
            // Before it is copied: a flood for one CPU costs the others little.
            lane.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut buffer = self.buffer(frame.len());
        buffer[..frame.len()].copy_from_slice(frame);
        if let Err(parcel) = lane.push(Parcel { buffer, length: frame.len(), note: vouched }) {
            lane.dropped.fetch_add(1, Ordering::Relaxed);
            self.give_back(parcel);
        }
    }

    /// The next received frame for a CPU.
    pub(crate) fn take(&self, cpu: usize) -> Option<Parcel<bool>> {
        self.received[cpu].pop()
    }

    /// Whether there is one. Takes no lock, so that a CPU may ask before it halts.
    pub fn has_received(&self, cpu: usize) -> bool {
        !self.received[cpu].queue.is_empty()
    }

    /// Received frames for a CPU that were dropped.
    pub fn dropped(&self, cpu: usize) -> u64 {
        self.received[cpu].dropped.load(Ordering::Relaxed)
    }

    /// Whether a CPU, which asks for itself, can have a frame of any length sent.
    pub fn can_send(&self, cpu: usize) -> bool {
        self.unsent[cpu].has_room(FRAME_BYTES_MAX)
    }

    /// Has a frame sent that `fill` writes; into the void if [`Lanes::can_send`] was not asked.
    pub fn send<R>(
        &self,
        cpu: usize,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let mut buffer = self.buffer(length);
        let (result, note) = fill(&mut buffer[..length]);
        if let Err(parcel) = self.unsent[cpu].push(Parcel { buffer, length, note }) {
            self.give_back(parcel);
        }
        result
    }

    /// The next frame that a CPU wants sent.
    pub(crate) fn take_unsent(&self, cpu: usize) -> Option<Parcel<Offload>> {
        self.unsent[cpu].pop()
    }

    /// Whether any CPU wants a frame sent.
    pub fn has_unsent(&self) -> bool {
        self.unsent.iter().any(|lane| !lane.queue.is_empty())
    }

    /// The parcel is done with.
    pub(crate) fn give_back<N>(&self, parcel: Parcel<N>) {
        // One too many is freed.
        let _ = self.pool.push(parcel.buffer);
    }

    fn buffer(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.pool.pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer
    }
}
