//! The table of TCP streams.
//!
//! Owns `Streams`: who listens, which SYN gets a socket, and what an owner does with its stream.
//! How a smoltcp socket's state becomes phases and events is in `streams/life.rs`.

mod life;

use crate::limit;
use crate::stream::{
    Closed, DialError, ListenError, NoStream, Phase, Stream, StreamId, new_socket,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddrV4;
use craton_abi::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};

struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// All streams of one stack, and the ports that are listened on.
#[derive(Default)]
pub(crate) struct Streams {
    slots: Vec<Slot>,
    ready: VecDeque<u16>,
    listeners: Vec<u16>,
}

/// What becomes of a SYN.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    /// It belongs to a stream that exists, or to none: smoltcp answers.
    Pass,
    /// A socket waits for it now.
    Awaited(StreamId),
    /// There is no room; the peer will try again.
    Full,
}

impl Streams {
    /// Starts to listen on a port.
    pub(crate) fn listen(&mut self, port: u16) -> Result<(), ListenError> {
        if port == 0 {
            return Err(ListenError::Invalid);
        }
        if self.listeners.contains(&port) {
            return Err(ListenError::InUse);
        }
        if self.listeners.len() == limit::LISTENERS_MAX {
            return Err(ListenError::LimitListeners);
        }
        self.listeners.push(port);
        Ok(())
    }

    /// Stops to listen; streams already accepted live on.
    pub(crate) fn unlisten(&mut self, port: u16) {
        self.listeners.retain(|listener| *listener != port);
    }

    pub(crate) fn listens(&self, port: u16) -> bool {
        self.listeners.contains(&port)
    }

    /// Streams in any state.
    pub(crate) fn count(&self) -> usize {
        self.slots.iter().filter(|slot| slot.stream.is_some()).count()
    }

    pub(crate) fn uses_port(&self, port: u16) -> bool {
        self.iter().any(|(_, stream)| stream.local_port == port)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = StreamId { index: index as u16, generation: slot.generation };
            slot.stream.as_ref().map(|stream| (id, stream))
        })
    }

    /// Decides about a SYN, and makes a socket for it.
    pub(crate) fn admit(
        &mut self,
        from: SocketAddrV4,
        port: u16,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> Admission {
        if let Some(id) = self.find(from, port) {
            let old = self.socket_of(id).map(|handle| sockets.get::<Socket>(handle).state());
            if old != Some(State::TimeWait) {
                return Admission::Pass;
            }
            // A new life of the same pair of ports: the old one has said all it had to say.
            self.free(id, sockets);
        }
        if !self.listens(port) {
            return Admission::Pass;
        }
        if !self.make_room(port, sockets, now) {
            return Admission::Full;
        }
        let Ok(mut socket) = new_socket() else { return Admission::Full };
        if socket.listen(port).is_err() {
            return Admission::Full;
        }
        let handle = sockets.add(socket);
        Admission::Awaited(self.insert(handle, from, port, Phase::HalfOpen, now))
    }

    /// Room in the backlog and in the table; a half-open stream that had its time makes way.
    fn make_room(&mut self, port: u16, sockets: &mut SocketSet<'static>, now: Instant) -> bool {
        let half_open =
            |stream: &Stream| stream.phase == Phase::HalfOpen && stream.local_port == port;
        let backlog = self.iter().filter(|(_, stream)| half_open(stream)).count();
        if backlog < limit::BACKLOG_MAX && self.count() < limit::STREAMS_MAX {
            return true;
        }
        let oldest = self
            .iter()
            .filter(|(_, stream)| half_open(stream))
            .filter(|(_, stream)| stream.since + limit::HANDSHAKE_GRACE <= now)
            .min_by_key(|(_, stream)| stream.since)
            .map(|(id, _)| id);
        match oldest {
            Some(id) => {
                self.free(id, sockets);
                true
            }
            None => false,
        }
    }

    /// Takes back a socket made for a SYN that smoltcp did not accept after all.
    pub(crate) fn settle(&mut self, id: StreamId, sockets: &mut SocketSet<'static>) {
        let Some(handle) = self.socket_of(id) else { return };
        if sockets.get::<Socket>(handle).is_listening() {
            self.free(id, sockets);
        }
    }

    /// Notes that the peer reset a stream, so that its end can be told from a time-out.
    pub(crate) fn note_reset(&mut self, from: SocketAddrV4, port: u16) {
        if let Some(id) = self.find(from, port)
            && let Some(stream) = self.get_mut(id)
        {
            stream.reset = true;
        }
    }

    /// A stream that is to be dialled once its neighbour is known.
    pub(crate) fn dial(
        &mut self,
        peer: SocketAddrV4,
        local_port: u16,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> Result<StreamId, DialError> {
        if self.count() >= limit::STREAMS_MAX {
            return Err(DialError::LimitStreams);
        }
        let socket = new_socket().map_err(|_| DialError::LimitMemory)?;
        let handle = sockets.add(socket);
        let id = self.insert(handle, peer, local_port, Phase::Resolving, now);
        if let Some(stream) = self.get_mut(id) {
            stream.dialled = true;
        }
        Ok(id)
    }

    fn insert(
        &mut self,
        socket: SocketHandle,
        peer: SocketAddrV4,
        local_port: u16,
        phase: Phase,
        now: Instant,
    ) -> StreamId {
        let stream = Stream {
            socket: Some(socket),
            peer,
            local_port,
            phase,
            since: now,
            dialled: false,
            reset: false,
            told_readable: false,
            told_finished: false,
            blocked: false,
            opened: false,
            readable: false,
            writable: false,
            finished: false,
            queued: false,
        };
        let free = self.slots.iter().position(|slot| slot.stream.is_none());
        let index = free.unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, stream: None });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.stream = Some(stream);
        StreamId { index: index as u16, generation: slot.generation }
    }

    /// Forgets a stream and frees its buffers. No event follows.
    fn free(&mut self, id: StreamId, sockets: &mut SocketSet<'static>) {
        let Some(slot) = self.slots.get_mut(usize::from(id.index)) else { return };
        if slot.generation != id.generation {
            return;
        }
        if let Some(socket) = slot.stream.take().and_then(|stream| stream.socket) {
            sockets.remove(socket);
        }
        self.ready.retain(|index| *index != id.index);
    }

    fn find(&self, peer: SocketAddrV4, port: u16) -> Option<StreamId> {
        let mut all = self.iter();
        all.find(|(_, stream)| {
            stream.peer == peer && stream.local_port == port && stream.socket.is_some()
        })
        .map(|(id, _)| id)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(usize::from(id.index))?;
        slot.stream.as_mut().filter(|_| slot.generation == id.generation)
    }

    fn get(&self, id: StreamId) -> Option<&Stream> {
        let slot = self.slots.get(usize::from(id.index))?;
        slot.stream.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn socket_of(&self, id: StreamId) -> Option<SocketHandle> {
        self.get(id)?.socket
    }

    /// The stream and its socket, while its owner may use it.
    fn usable<'s>(
        &mut self,
        id: StreamId,
        sockets: &'s mut SocketSet<'static>,
    ) -> Result<(&mut Stream, Option<&'s mut Socket<'static>>), NoStream> {
        let stream = self.get_mut(id).ok_or(NoStream)?;
        if matches!(stream.phase, Phase::HalfOpen | Phase::Closing | Phase::Aborting) {
            return Err(NoStream);
        }
        let socket = stream.socket.map(|handle| sockets.get_mut::<Socket>(handle));
        Ok((stream, socket))
    }

    /// Moves received bytes to the end of `out`, at most `bytes_max`; says how many.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        out: &mut Vec<u8>,
        bytes_max: usize,
        sockets: &mut SocketSet<'static>,
    ) -> Result<usize, NoStream> {
        let (stream, socket) = self.usable(id, sockets)?;
        let Some(socket) = socket else { return Ok(0) };
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
        if !socket.can_recv() {
            stream.told_readable = false;
        }
        Ok(taken)
    }

    /// Takes as many bytes as there is room for; says how many.
    pub(crate) fn write(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        sockets: &mut SocketSet<'static>,
    ) -> Result<usize, NoStream> {
        let (stream, socket) = self.usable(id, sockets)?;
        let Some(socket) = socket else { return Ok(0) };
        let written = socket.send_slice(bytes).unwrap_or(0);
        // Also when it just fitted: the owner may have more and waits to be told.
        stream.blocked |= written < bytes.len() || socket.send_queue() == socket.send_capacity();
        Ok(written)
    }

    /// Bytes that a write would take now. If none, a `Writable` follows when there is room.
    pub(crate) fn room(
        &mut self,
        id: StreamId,
        sockets: &mut SocketSet<'static>,
    ) -> Result<usize, NoStream> {
        let (stream, socket) = self.usable(id, sockets)?;
        let room = match socket {
            Some(socket) if socket.may_send() => socket.send_capacity() - socket.send_queue(),
            _ => 0,
        };
        stream.blocked |= room == 0;
        Ok(room)
    }

    /// Sends no more; what was written is delivered first. Reading goes on.
    pub(crate) fn finish(
        &mut self,
        id: StreamId,
        sockets: &mut SocketSet<'static>,
    ) -> Result<(), NoStream> {
        if let (_, Some(socket)) = self.usable(id, sockets)? {
            socket.close();
        }
        Ok(())
    }

    /// The owner is done with it: delivers what was written, discards what comes, forgets it.
    pub(crate) fn close(&mut self, id: StreamId, sockets: &mut SocketSet<'static>, now: Instant) {
        let Ok((_, socket)) = self.usable(id, sockets) else { return };
        match socket {
            Some(socket) => {
                socket.close();
                self.leave(id, Phase::Closing, now);
            }
            None => self.free(id, sockets),
        }
    }

    /// Resets it and forgets it.
    pub(crate) fn abort(&mut self, id: StreamId, sockets: &mut SocketSet<'static>, now: Instant) {
        let Ok((_, socket)) = self.usable(id, sockets) else { return };
        match socket {
            Some(socket) => {
                socket.abort();
                self.leave(id, Phase::Aborting, now);
            }
            None => self.free(id, sockets),
        }
    }

    fn leave(&mut self, id: StreamId, phase: Phase, now: Instant) {
        if let Some(stream) = self.get_mut(id) {
            stream.phase = phase;
            stream.since = now;
            stream.queued = false;
        }
        self.ready.retain(|index| *index != id.index);
    }

    /// Ends a stream that its owner did not close: frees its buffers and lets the owner know.
    pub(crate) fn end(&mut self, id: StreamId, why: Closed, sockets: &mut SocketSet<'static>) {
        let Some(stream) = self.get_mut(id) else { return };
        stream.phase = Phase::Ended(why);
        stream.readable = false;
        stream.writable = false;
        if let Some(socket) = stream.socket.take() {
            sockets.remove(socket);
        }
        self.enqueue(id);
    }

    /// The neighbour is known and smoltcp dials.
    pub(crate) fn connecting(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id) {
            stream.phase = Phase::Connecting;
        }
    }

    /// Ends a stream whose own address is gone: its owner learns of it, if it has one.
    pub(crate) fn lose_address(&mut self, id: StreamId, sockets: &mut SocketSet<'static>) {
        match self.get(id).map(|stream| stream.phase) {
            Some(Phase::HalfOpen | Phase::Closing | Phase::Aborting) => self.free(id, sockets),
            Some(Phase::Resolving | Phase::Connecting | Phase::Open) => {
                self.end(id, Closed::AddressLost, sockets);
            }
            Some(Phase::Ended(_)) | None => {}
        }
    }
}
