//! The half of a pair that frames go to.
//!
//! Owns [`Transmitter`]. The buffers are a ring of their own: each frame takes as many neighbours
//! as it needs from where the last one ended, and is one descriptor, the first one's. What was sent
//! is taken back when room is needed, without interrupts.

use super::Counters;
use super::buffers::{BUFFER_BYTES, Buffers, FRAME_BUFFERS_MAX};
use crate::virtio::Shared;
use crate::virtio::queue::{Broken, QUEUE_SIZE_MAX, Queue};
use crate::virtio::spec::net;
use crate::virtio::transport::Bell;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::Offload;

/// The half that frames go to.
pub struct Transmitter<M> {
    queue: Queue<M>,
    bell: Bell,
    buffers: Buffers<M>,
    /// Buffers of the longest frame.
    frame_buffers_max: usize,
    /// Which buffers are in flight.
    taken: Vec<bool>,
    /// Buffers of the frame that begins with each.
    lengths: Vec<usize>,
    /// Where the next frame goes.
    next: usize,
    /// Buffers from there on that are known to be free.
    room: usize,
    counters: Counters,
}

impl<M: Shared> Transmitter<M> {
    pub(super) fn new(queue: Queue<M>, bell: Bell, buffers: Buffers<M>, long: bool) -> Self {
        let size = usize::from(queue.size());
        Transmitter {
            queue,
            bell,
            buffers,
            frame_buffers_max: if long { FRAME_BUFFERS_MAX } else { 1 },
            taken: vec![false; size],
            lengths: vec![0; size],
            next: 0,
            room: size,
            counters: Counters::default(),
        }
    }

    /// Whether a frame of any length can be sent now. A broken device takes everything, and sends
    /// nothing.
    pub fn ready(&mut self) -> bool {
        self.make_room(self.frame_buffers_max) || self.broken().is_some()
    }

    /// Sends a frame of `length` bytes that `fill` writes whole. A frame too long, or one for which
    /// there is no room, is written into the void.
    pub fn transmit<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let total = net::HEADER_BYTES + length;
        let count = total.div_ceil(BUFFER_BYTES);
        let fits = count <= self.frame_buffers_max && self.make_room(count);
        if !fits || self.broken().is_some() {
            self.counters.dropped += 1;
            return fill(&mut vec![0; length]).0;
        }
        // At most 255: the queue has no more descriptors.
        let id = self.next as u16;
        let bytes = self.buffers.bytes_mut(id, total);
        let (header, frame) = bytes.split_at_mut(net::HEADER_BYTES);
        let (result, offload) = fill(frame);
        write_header(header, offload);
        self.take(count);
        self.queue.post(id, self.buffers.part(id, total, false));
        self.counters.frames += 1;
        self.counters.bytes += length as u64;
        result
    }

    /// Tells the device of the frames that were sent since the last time, if it must be told.
    pub fn flush(&mut self) {
        if self.queue.must_tell() {
            self.counters.rings += 1;
            self.bell.ring();
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.queue.broken()
    }

    /// Finds `count` free neighbours for the next frame, at the ring's start if not before its end.
    fn make_room(&mut self, count: usize) -> bool {
        if self.room >= count {
            return true;
        }
        if !self.look_for_room(count) {
            self.take_back();
            return self.look_for_room(count);
        }
        true
    }

    fn look_for_room(&mut self, count: usize) -> bool {
        for start in [self.next, 0] {
            let free = self.taken[start..].iter().take_while(|taken| !**taken).count();
            if free >= count {
                (self.next, self.room) = (start, free);
                return true;
            }
        }
        false
    }

    /// Takes the next `count` buffers, which are free.
    fn take(&mut self, count: usize) {
        self.lengths[self.next] = count;
        self.taken[self.next..self.next + count].fill(true);
        self.next += count;
        self.room -= count;
    }

    /// Takes back what the device is done with.
    fn take_back(&mut self) {
        for _ in 0..QUEUE_SIZE_MAX {
            // A broken queue gives nothing back, and is seen to be broken.
            let Ok(Some((id, _))) = self.queue.take() else { return };
            let first = usize::from(id);
            self.taken[first..first + self.lengths[first]].fill(false);
        }
    }
}

/// Writes the header before a frame (5.1.6.2).
fn write_header(header: &mut [u8], offload: Offload) {
    header.fill(0);
    let mut write = |at: usize, value: u16| {
        header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    let (start, offset, kind) = match offload {
        Offload::None => return,
        Offload::Checksum { start, offset } => (start, offset, net::SEGMENTATION_NONE),
        Offload::Segments { start, offset, header_bytes, payload_bytes, ipv6 } => {
            write(net::HEADER_LENGTH, header_bytes);
            write(net::HEADER_SEGMENT_BYTES, payload_bytes);
            let kind = if ipv6 { net::SEGMENTATION_TCP6 } else { net::SEGMENTATION_TCP4 };
            (start, offset, kind)
        }
    };
    write(net::HEADER_CHECKSUM_START, start);
    write(net::HEADER_CHECKSUM_OFFSET, offset);
    header[net::HEADER_FLAGS] = net::NEEDS_CHECKSUM;
    header[net::HEADER_SEGMENTATION] = kind;
}
