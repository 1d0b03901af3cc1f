//! The memory of a queue's frames: a buffer for each descriptor, one after another.
//!
//! Owns [`Buffers`]. A descriptor owns the buffer of its number for ever, so there is nothing to
//! look up and nothing that a device could confuse; neighbours in number are neighbours in memory,
//! so that a frame longer than a buffer can lie in several as one piece.

use crate::virtio::Shared;
use crate::virtio::queue::Part;
use core::slice;

/// Bytes of each buffer: the header, and the longest ordinary frame with room to spare.
pub(super) const BUFFER_BYTES: usize = 2048;
/// Buffers of the longest frame.
pub(super) const FRAME_BUFFERS_MAX: usize = 33;

/// A buffer for each descriptor.
pub(super) struct Buffers<M> {
    memory: M,
}

impl<M: Shared> Buffers<M> {
    pub(super) fn new(memory: M) -> Self {
        Buffers { memory }
    }

    /// The first `bytes` bytes of the buffers from `id` on, as the device is given them.
    pub(super) fn part(&self, id: u16, bytes: usize, device_writes: bool) -> Part {
        let offset = self.offset(id, bytes);
        let physical = self.memory.physical() + offset as u64;
        // `offset` has checked that the memory is as long.
        Part { physical, bytes: bytes as u32, device_writes }
    }

    /// Bytes of buffers that the device gave back, from the start of buffer `id`.
    pub(super) fn bytes(&self, id: u16, length: usize) -> &[u8] {
        let start = self.memory.pointer().as_ptr().wrapping_add(self.offset(id, length));
        // SAFETY: `offset` checked that the bytes lie in the memory, which lives as long as `self`;
        // the buffers are not in flight, so nobody writes to them while the slice is in use.
        unsafe { slice::from_raw_parts(start, length) }
    }

    /// Bytes of buffers that the device has not been given yet.
    pub(super) fn bytes_mut(&mut self, id: u16, length: usize) -> &mut [u8] {
        let start = self.memory.pointer().as_ptr().wrapping_add(self.offset(id, length));
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start, length) }
    }

    fn offset(&self, id: u16, length: usize) -> usize {
        let offset = usize::from(id) * BUFFER_BYTES;
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.memory.bytes());
        assert!(fits, "a descriptor of the queue, a length that was checked");
        offset
    }
}
