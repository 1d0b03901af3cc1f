//! What an owner does with its stream.
//!
//! Owns reading, writing, finishing, closing and aborting; `life.rs` has what follows from them.

use super::Streams;
use crate::stream::{NoStream, Phase, Stream, StreamId};
use alloc::vec::Vec;
use craton_abi::Instant;
use smoltcp::socket::tcp::Socket;

impl Streams {
    /// The stream, while its owner may use it.
    fn usable(&mut self, id: StreamId) -> Result<&mut Stream, NoStream> {
        let stream = self.get_mut(id).ok_or(NoStream)?;
        let gone = matches!(stream.phase, Phase::HalfOpen | Phase::Closing | Phase::Aborting);
        if gone { Err(NoStream) } else { Ok(stream) }
    }

    /// Moves received bytes to the end of `out`, at most `bytes_max`; says how many.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<usize, NoStream> {
        let stream = self.usable(id)?;
        let Some(seat) = &mut stream.seat else { return Ok(0) };
        let socket = seat.socket_mut();
        let taken = take(socket, out, bytes_max);
        if !socket.can_recv() {
            stream.told_readable = false;
        }
        // The window may have opened, the stream may be drained.
        if taken > 0 {
            self.touch(id);
        }
        Ok(taken)
    }

    /// Whether a read would take something now.
    pub(crate) fn is_readable(&self, id: StreamId) -> bool {
        let seat = self.get(id).and_then(|stream| stream.seat.as_ref());
        seat.is_some_and(|seat| seat.socket().can_recv())
    }

    /// Takes as many bytes as there is room for; says how many.
    pub(crate) fn write(&mut self, id: StreamId, bytes: &[u8]) -> Result<usize, NoStream> {
        let stream = self.usable(id)?;
        let Some(seat) = &mut stream.seat else { return Ok(0) };
        let socket = seat.socket_mut();
        let written = socket.send_slice(bytes).unwrap_or(0);
        // Also when it just fitted: the owner may have more and waits to be told.
        stream.blocked |= written < bytes.len() || socket.send_queue() == socket.send_capacity();
        if written > 0 {
            self.touch(id);
        }
        Ok(written)
    }

    /// Bytes that a write would take now. If none, a `Writable` follows when there is room.
    pub(crate) fn room(&mut self, id: StreamId) -> Result<usize, NoStream> {
        let stream = self.usable(id)?;
        let room = match &stream.seat {
            Some(seat) if seat.socket().may_send() => {
                seat.socket().send_capacity() - seat.socket().send_queue()
            }
            _ => 0,
        };
        stream.blocked |= room == 0;
        Ok(room)
    }

    /// Sends no more; what was written is delivered first. Reading goes on.
    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), NoStream> {
        if let Some(seat) = &mut self.usable(id)?.seat {
            seat.socket_mut().close();
            self.touch(id);
        }
        Ok(())
    }

    /// The owner is done with it: delivers what was written, discards what comes, forgets it.
    pub(crate) fn close(&mut self, id: StreamId, now: Instant) {
        self.part(id, Phase::Closing, Socket::close, now);
    }

    /// Resets it and forgets it.
    pub(crate) fn abort(&mut self, id: StreamId, now: Instant) {
        self.part(id, Phase::Aborting, Socket::abort, now);
    }

    fn part(&mut self, id: StreamId, phase: Phase, act: fn(&mut Socket<'static>), now: Instant) {
        let Ok(stream) = self.usable(id) else { return };
        // A socket that has not dialled yet has nobody to part from.
        let dialling = stream.phase == Phase::Resolving;
        let Some(seat) = stream.seat.as_mut().filter(|_| !dialling) else {
            self.free(id);
            return;
        };
        act(seat.socket_mut());
        self.leave(id, phase, now);
        self.touch(id);
    }

    pub(super) fn leave(&mut self, id: StreamId, phase: Phase, now: Instant) {
        let Some(stream) = self.get_mut(id) else { return };
        stream.phase = phase;
        stream.since = now;
        stream.opened = false;
        stream.readable = false;
        stream.writable = false;
        stream.finished = false;
        self.told(id);
    }
}

/// Moves received bytes from a socket to the end of `out`.
fn take(socket: &mut Socket<'static>, out: &mut Vec<u8>, bytes_max: usize) -> usize {
    let mut taken = 0;
    // The buffer is a ring: two slices at most.
    for _ in 0..2 {
        let left = bytes_max - taken;
        let moved = socket.recv(|bytes| {
            let length = bytes.len().min(left);
            out.extend_from_slice(&bytes[..length]);
            (length, length)
        });
        taken += moved.unwrap_or(0);
    }
    taken
}
