//! The half of a pair that frames come from.
//!
//! Owns [`Receiver`]. Buffers are always posted, in the order of their numbers, and go back in the
//! order in which they came. A device that uses them in order (all do) thus puts a frame that needs
//! several into neighbours, where it lies in one piece: the first buffer has the device's header,
//! the others have none (VIRTIO 1.2, 5.1.6.4). Where it does not (the ring's end, a device of
//! another mind) the frame is put together in a piece of memory of its own.

use super::buffers::{BUFFER_BYTES, Buffers, FRAME_BUFFERS_MAX};
use super::{Counters, ETHERNET_BYTES};
use crate::virtio::Shared;
use crate::virtio::queue::{Broken, QUEUE_SIZE_MAX, Queue};
use crate::virtio::spec::net;
use crate::virtio::transport::Bell;
use alloc::vec::Vec;

/// Buffers given back before the device is told of them.
const REFILL_BATCH: usize = 32;

/// What was agreed on with the device.
#[derive(Copy, Clone, Debug)]
pub(super) struct Agreed {
    /// It says whether a frame's checksum is right.
    pub(super) vouches: bool,
    /// It may spread a frame over several buffers.
    pub(super) spreads: bool,
    /// It may give frames put together from TCP segments.
    pub(super) long: bool,
}

/// A buffer that the device gave back, and the bytes that it wrote there.
#[derive(Copy, Clone, Debug)]
struct Piece {
    id: u16,
    bytes: usize,
}

/// The half that frames come from.
pub struct Receiver<M> {
    queue: Queue<M>,
    bell: Bell,
    buffers: Buffers<M>,
    agreed: Agreed,
    /// The pieces of the next frame, as far as the device has given them back.
    pieces: Vec<Piece>,
    /// Where frames are put together that do not lie in one piece.
    together: Vec<u8>,
    refilled: usize,
    counters: Counters,
}

impl<M: Shared> Receiver<M> {
    pub(super) fn new(queue: Queue<M>, bell: Bell, buffers: Buffers<M>, agreed: Agreed) -> Self {
        let pieces = Vec::with_capacity(FRAME_BUFFERS_MAX);
        let counters = Counters::default();
        let together = Vec::new();
        let mut receiver =
            Receiver { queue, bell, buffers, agreed, pieces, together, refilled: 0, counters };
        for id in 0..receiver.queue.size() {
            receiver.post(id);
        }
        receiver
    }

    /// Gives the next frame, if there is one, to `handle`, with whether the device vouches for its
    /// checksum. Afterwards the frame is gone.
    pub fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        // What is no frame is passed over: at most a queue full, then the caller has its turn.
        for _ in 0..QUEUE_SIZE_MAX {
            // A broken queue gives nothing any more.
            if !self.gather().unwrap_or(false) {
                self.tell();
                return None;
            }
            let bytes = assemble(&self.buffers, &self.pieces, &mut self.together);
            if let Some((frame, vouched)) = frame(bytes, self.agreed) {
                self.counters.frames += 1;
                self.counters.bytes += frame.len() as u64;
                let result = handle(frame, vouched);
                self.recycle();
                return Some(result);
            }
            self.counters.dropped += 1;
            self.recycle();
        }
        None
    }

    pub(super) fn arm(&mut self) -> bool {
        self.queue.arm()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.queue.broken()
    }

    /// Collects the pieces of the next frame; false while some are missing.
    fn gather(&mut self) -> Result<bool, Broken> {
        loop {
            if let Some(first) = self.pieces.first()
                && self.pieces.len() >= self.pieces_of(*first)?
            {
                return Ok(true);
            }
            let Some((id, written)) = self.queue.take()? else { return Ok(false) };
            self.pieces.push(Piece { id, bytes: written as usize });
        }
    }

    /// How many pieces the frame that begins here has.
    fn pieces_of(&mut self, first: Piece) -> Result<usize, Broken> {
        // One without a whole header is no frame, and one piece.
        if !self.agreed.spreads || first.bytes < net::HEADER_BYTES {
            return Ok(1);
        }
        let header = self.buffers.bytes(first.id, net::HEADER_BYTES);
        let pieces = usize::from(half(header, net::HEADER_BUFFERS));
        if pieces == 0 || pieces > FRAME_BUFFERS_MAX {
            // Where the next frame begins cannot be known any more.
            return self.queue.fail(Broken::NoFrame);
        }
        Ok(pieces)
    }

    /// Gives the pieces' buffers back to the device, in their order.
    fn recycle(&mut self) {
        for index in 0..self.pieces.len() {
            self.post(self.pieces[index].id);
        }
        self.refilled += self.pieces.len();
        self.pieces.clear();
        if self.refilled >= REFILL_BATCH {
            self.tell();
        }
    }

    fn post(&mut self, id: u16) {
        self.queue.post(id, self.buffers.part(id, BUFFER_BYTES, true));
    }

    pub(super) fn tell(&mut self) {
        self.refilled = 0;
        if self.queue.must_tell() {
            self.counters.rings += 1;
            self.bell.ring();
        }
    }
}

/// The bytes of all pieces: where they lie if they do so in one piece, else copied together.
fn assemble<'a, M: Shared>(
    buffers: &'a Buffers<M>,
    pieces: &[Piece],
    together: &'a mut Vec<u8>,
) -> &'a [u8] {
    let Some(first) = pieces.first() else { return &[] };
    let neighbours = |pair: &[Piece]| {
        pair[0].bytes == BUFFER_BYTES && pair[1].id.checked_sub(pair[0].id) == Some(1)
    };
    if pieces.windows(2).all(neighbours) {
        return buffers.bytes(first.id, pieces.iter().map(|piece| piece.bytes).sum());
    }
    together.clear();
    for piece in pieces {
        together.extend_from_slice(buffers.bytes(piece.id, piece.bytes));
    }
    together
}

/// The frame in received bytes and whether the device vouches for its checksum (5.1.6.4). None if
/// it is cut off or put together in a way that was not agreed on.
fn frame(bytes: &[u8], agreed: Agreed) -> Option<(&[u8], bool)> {
    let (header, frame) = bytes.split_at_checked(net::HEADER_BYTES)?;
    let flags = header[net::HEADER_FLAGS];
    let as_agreed = match header[net::HEADER_SEGMENTATION] {
        net::SEGMENTATION_NONE => true,
        net::SEGMENTATION_TCP4 | net::SEGMENTATION_TCP6 => agreed.long,
        _ => false,
    };
    let checked = flags & (net::NEEDS_CHECKSUM | net::CHECKSUM_VALID) != 0;
    (as_agreed && frame.len() >= ETHERNET_BYTES).then_some((frame, checked && agreed.vouches))
}

/// A little-endian field of a header that is long enough.
fn half(header: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}
