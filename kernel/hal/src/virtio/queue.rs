//! The split ring (VIRTIO 1.2, section 2.7).
//!
//! Owns [`Queue`]: the three parts of the ring in memory shared with the device, and beside it what
//! the driver itself knows, which alone decides. The device's part is read, compared and never
//! trusted: an answer that cannot be true breaks the queue for good ([`Broken`]). Which descriptor
//! describes what is its user's choice, since that is how buffers are kept in order.
//!
//! ```text
//!            post                device                 take
//!   free ───────────▶ in flight ────────▶ used, unseen ──────▶ free
//! ```

use super::Shared;
use super::spec::ring;
use crate::clock;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering, fence};
use craton_abi::Duration;

/// Descriptors of a queue, if the device allows as many.
pub(crate) const QUEUE_SIZE_MAX: u16 = 256;

/// Where the driver's and the device's part begin: each on a boundary that suits every size.
const DRIVER_PART: usize = QUEUE_SIZE_MAX as usize * ring::DESCRIPTOR_BYTES;
const DEVICE_PART: usize = DRIVER_PART + 1024;
/// Bytes of a queue's memory.
pub(crate) const QUEUE_BYTES: usize = 8192;

const _: () = assert!(
    ring::ENTRIES + QUEUE_SIZE_MAX as usize * ring::DRIVER_ENTRY_BYTES + 2 <= 1024,
    "the driver's part and its event index fit before the device's"
);
const _: () = assert!(
    DEVICE_PART + ring::ENTRIES + QUEUE_SIZE_MAX as usize * ring::DEVICE_ENTRY_BYTES + 2
        <= QUEUE_BYTES,
    "the device's part and its event index fit"
);

/// The device said what cannot be: the queue is not used any more.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Broken {
    /// It used more buffers than it had.
    TooMany,
    /// It used a buffer that it did not have.
    NotInFlight,
    /// It wrote more than the buffer holds.
    TooLong,
    /// It spread a frame over more buffers than any frame needs, or over none.
    NoFrame,
}

/// Memory that the device is given.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    /// Where the device sees it.
    pub(crate) physical: u64,
    /// Bytes.
    pub(crate) bytes: u32,
    /// The device writes it, and otherwise reads it.
    pub(crate) device_writes: bool,
}

/// One ring.
pub(crate) struct Queue<M> {
    memory: M,
    size: u16,
    event_index: bool,
    /// The bytes that the device may report as written, of each descriptor in flight.
    in_flight: Vec<Option<u32>>,
    in_flight_count: u16,
    /// The next index of our part.
    posted: u16,
    /// The index up to which the device was told.
    told: u16,
    /// The next index of the device's part that we look at.
    seen: u16,
    /// We asked for an interrupt, and no buffer was taken since.
    armed: bool,
    broken: Option<Broken>,
}

impl<M: Shared> Queue<M> {
    /// A queue of `size` descriptors, a power of two up to [`QUEUE_SIZE_MAX`], in zeroed memory of
    /// at least [`QUEUE_BYTES`].
    pub(crate) fn new(memory: M, size: u16, event_index: bool) -> Self {
        assert!(size.is_power_of_two() && size <= QUEUE_SIZE_MAX, "a size that was checked");
        assert!(memory.bytes() >= QUEUE_BYTES, "memory of the size that this module names");
        let queue = Queue {
            memory,
            size,
            event_index,
            in_flight: vec![None; usize::from(size)],
            in_flight_count: 0,
            posted: 0,
            told: 0,
            seen: 0,
            armed: false,
            broken: None,
        };
        queue.quieten();
        queue
    }

    /// Physical addresses of the descriptors, our part and the device's part.
    pub(crate) fn addresses(&self) -> [u64; 3] {
        let start = self.memory.physical();
        [start, start + DRIVER_PART as u64, start + DEVICE_PART as u64]
    }

    /// Descriptors, numbered from 0.
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// Why the queue is not used any more, if so.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Gives the device memory, described by descriptor `id`, which is free.
    pub(crate) fn post(&mut self, id: u16, part: Part) {
        self.post_chain(id, &[part]);
    }

    /// Gives the device several pieces of memory as one buffer, those that it reads first, by as
    /// many descriptors from `id` on. The buffer has the first one's number.
    pub(crate) fn post_chain(&mut self, id: u16, parts: &[Part]) {
        let first = usize::from(id);
        let descriptors = self.in_flight.get(first..first + parts.len());
        let free = descriptors.is_some_and(|all| all.iter().all(Option::is_none));
        assert!(free && !parts.is_empty(), "descriptors of the queue, and free");
        let mut writable = 0;
        for (descriptor, part) in (id..).zip(parts) {
            let last = usize::from(descriptor - id) + 1 == parts.len();
            self.describe(descriptor, *part, last);
            writable += if part.device_writes { part.bytes } else { 0 };
        }
        let slot = usize::from(self.posted & (self.size - 1));
        self.write_u16(DRIVER_PART + ring::ENTRIES + slot * ring::DRIVER_ENTRY_BYTES, id);
        self.in_flight[first] = Some(writable);
        self.in_flight_count += 1;
        self.posted = self.posted.wrapping_add(1);
        // The entry must be seen before the index that covers it.
        self.index(DRIVER_PART + ring::INDEX).store(self.posted, Ordering::Release);
    }

    fn describe(&mut self, id: u16, part: Part, last: bool) {
        let at = usize::from(id) * ring::DESCRIPTOR_BYTES;
        let writes = if part.device_writes { ring::DEVICE_WRITES } else { 0 };
        let (next, follows) = if last { (0, 0) } else { (id + 1, ring::FOLLOWED) };
        self.write_u32(at, part.physical as u32);
        self.write_u32(at + 4, (part.physical >> 32) as u32);
        self.write_u32(at + 8, part.bytes);
        self.write_u32(at + 12, u32::from(next) << 16 | u32::from(writes | follows));
    }

    /// Whether the device wants to hear of what was posted since it was told last. If so it counts
    /// as told.
    pub(crate) fn must_tell(&mut self) -> bool {
        if self.told == self.posted || self.broken.is_some() {
            return false;
        }
        // What was posted must be seen before we look whether the device still looks (2.7.13.4.1).
        fence(Ordering::SeqCst);
        let wanted = if self.event_index {
            let event = self.device_event().load(Ordering::Relaxed);
            let passed = self.posted.wrapping_sub(event).wrapping_sub(1);
            passed < self.posted.wrapping_sub(self.told)
        } else {
            let flags = self.index(DEVICE_PART + ring::FLAGS).load(Ordering::Relaxed);
            flags & ring::NO_NOTIFY == 0
        };
        self.told = self.posted;
        wanted
    }

    /// The next buffer that the device is done with, and the bytes that it wrote.
    ///
    /// # Errors
    ///
    /// [`Broken`] if what the device says cannot be true, then and from then on.
    pub(crate) fn take(&mut self) -> Result<Option<(u16, u32)>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let used = self.index(DEVICE_PART + ring::INDEX).load(Ordering::Acquire);
        let unseen = used.wrapping_sub(self.seen);
        if unseen == 0 {
            return Ok(None);
        }
        if unseen > self.in_flight_count {
            return self.fail(Broken::TooMany);
        }
        let slot = usize::from(self.seen & (self.size - 1));
        let at = DEVICE_PART + ring::ENTRIES + slot * ring::DEVICE_ENTRY_BYTES;
        // Each word is read once: the device may write another between two reads.
        let (id, written) = (self.read_u32(at), self.read_u32(at + 4));
        let place = usize::try_from(id).ok().and_then(|id| self.in_flight.get_mut(id));
        let Some((place, bytes)) = place.and_then(|place| place.map(|bytes| (place, bytes))) else {
            return self.fail(Broken::NotInFlight);
        };
        if written > bytes {
            return self.fail(Broken::TooLong);
        }
        *place = None;
        self.in_flight_count -= 1;
        self.seen = self.seen.wrapping_add(1);
        if core::mem::take(&mut self.armed) {
            self.quieten();
        }
        // It indexed a table of at most 256.
        Ok(Some((id as u16, written)))
    }

    /// Asks for an interrupt at the next buffer that the device is done with. True if there is one
    /// already: then there may be no interrupt.
    pub(crate) fn arm(&mut self) -> bool {
        self.armed = true;
        if self.event_index {
            self.driver_event().store(self.seen, Ordering::Relaxed);
        } else {
            self.index(DRIVER_PART + ring::FLAGS).store(0, Ordering::Relaxed);
        }
        // The wish must be seen before we look for the last time (2.7.7.1).
        fence(Ordering::SeqCst);
        self.index(DEVICE_PART + ring::INDEX).load(Ordering::Acquire) != self.seen
    }

    /// Asks for no interrupts: with the event index, for one at an index that the device reaches
    /// after 65,535 more buffers.
    fn quieten(&self) {
        if self.event_index {
            self.driver_event().store(self.seen.wrapping_sub(1), Ordering::Relaxed);
        } else {
            self.index(DRIVER_PART + ring::FLAGS).store(ring::NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    /// Uses the queue no more, for what its user found out.
    pub(crate) fn fail<T>(&mut self, broken: Broken) -> Result<T, Broken> {
        self.broken = Some(broken);
        Err(broken)
    }

    /// The index at which we want to be interrupted lies after our entries.
    fn driver_event(&self) -> &AtomicU16 {
        self.index(DRIVER_PART + ring::ENTRIES + usize::from(self.size) * ring::DRIVER_ENTRY_BYTES)
    }

    /// The index at which the device wants to be told lies after its entries.
    fn device_event(&self) -> &AtomicU16 {
        self.index(DEVICE_PART + ring::ENTRIES + usize::from(self.size) * ring::DEVICE_ENTRY_BYTES)
    }

    fn index(&self, offset: usize) -> &AtomicU16 {
        let pointer = self.at::<u16>(offset);
        // SAFETY: `at` checked that it lies in the memory, which lives as long as `self`, and that
        // it is aligned; both we and the device use it atomically.
        unsafe { AtomicU16::from_ptr(pointer) }
    }

    fn write_u16(&mut self, offset: usize, value: u16) {
        let pointer = self.at::<u16>(offset);
        // SAFETY: as `at` checked, within memory that is this queue's.
        unsafe { pointer.write_volatile(value) };
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        let pointer = self.at::<u32>(offset);
        // SAFETY: as `at` checked, within memory that is this queue's.
        unsafe { pointer.write_volatile(value) };
    }

    fn read_u32(&self, offset: usize) -> u32 {
        let pointer = self.at::<u32>(offset);
        // SAFETY: as `at` checked, within memory that is this queue's; every value is an integer.
        unsafe { pointer.read_volatile() }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= QUEUE_BYTES, "an offset that this module computed");
        let pointer = self.memory.pointer().as_ptr().wrapping_add(offset).cast::<T>();
        assert!(pointer.is_aligned(), "an offset that this module computed");
        pointer
    }
}

/// Waits for the one buffer in flight: the bytes that the device wrote. None if it takes longer
/// than `patience` or says what cannot be. For devices that are asked once, at the start.
pub(crate) fn wait<M: Shared>(queue: &mut Queue<M>, patience: Duration) -> Option<u32> {
    let limit = clock::now() + patience;
    loop {
        match queue.take() {
            Ok(Some((_, written))) => return Some(written),
            Ok(None) if clock::now() < limit => core::hint::spin_loop(),
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
