//! How streams live: from the states of smoltcp's sockets to phases and events.
//!
//! The stack calls `refresh` after each poll. A stream waits in the ready queue at most once and
//! its notices are flags, so events need no queue of their own and cannot overflow one.

use super::Streams;
use crate::limit;
use crate::stream::{Closed, Notice, Phase, Stream, StreamId};
use alloc::vec::Vec;
use craton_abi::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};

impl Streams {
    /// Looks at every stream after smoltcp ran.
    pub(crate) fn refresh(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let id = StreamId { index: index as u16, generation: slot.generation };
            let Some(Stream { socket: Some(handle), phase, .. }) = &slot.stream else { continue };
            let (handle, phase) = (*handle, *phase);
            match phase {
                Phase::HalfOpen => self.refresh_half_open(id, handle, sockets, now),
                Phase::Connecting => self.refresh_connecting(id, handle, sockets, now),
                Phase::Open => self.refresh_open(id, handle, sockets),
                Phase::Closing | Phase::Aborting => self.refresh_left(id, handle, sockets, now),
                Phase::Resolving if self.overdue(id, now) => {
                    self.end(id, Closed::Unreachable, sockets);
                }
                Phase::Resolving | Phase::Ended(_) => {}
            }
        }
        self.limit_time_waits(sockets);
    }

    fn refresh_half_open(
        &mut self,
        id: StreamId,
        handle: SocketHandle,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        match sockets.get::<Socket>(handle).state() {
            State::SynReceived if !self.overdue(id, now) => {}
            State::SynReceived => {
                // No reset: a peer that never answered has nothing to be told.
                self.free(id, sockets);
            }
            State::Listen | State::Closed => self.free(id, sockets),
            _ => self.open(id, handle, sockets),
        }
    }

    fn refresh_connecting(
        &mut self,
        id: StreamId,
        handle: SocketHandle,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        match sockets.get::<Socket>(handle).state() {
            State::SynSent | State::SynReceived if !self.overdue(id, now) => {}
            State::SynSent | State::SynReceived => self.end(id, Closed::TimedOut, sockets),
            State::Closed => {
                let reset = self.get(id).is_some_and(|stream| stream.reset);
                let why = if reset { Closed::Refused } else { Closed::AddressLost };
                self.end(id, why, sockets);
            }
            _ => self.open(id, handle, sockets),
        }
    }

    fn open(&mut self, id: StreamId, handle: SocketHandle, sockets: &mut SocketSet<'static>) {
        if let Some(stream) = self.get_mut(id) {
            stream.phase = Phase::Open;
            stream.opened = true;
        }
        self.enqueue(id);
        self.refresh_open(id, handle, sockets);
    }

    fn refresh_open(
        &mut self,
        id: StreamId,
        handle: SocketHandle,
        sockets: &mut SocketSet<'static>,
    ) {
        let socket = sockets.get::<Socket>(handle);
        let Some(stream) = self.get_mut(id) else { return };
        let state = socket.state();
        // A reset that smoltcp did not accept (out of its window) means nothing.
        stream.reset &= state == State::Closed;
        if socket.can_recv() && !stream.told_readable {
            stream.told_readable = true;
            stream.readable = true;
        }
        let free = socket.send_capacity() - socket.send_queue();
        if stream.blocked && socket.may_send() && free >= socket.send_capacity() / 4 {
            stream.blocked = false;
            stream.writable = true;
        }
        let over = matches!(
            state,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
        );
        let drained = over && !socket.can_recv();
        if drained && state != State::Closed && !stream.told_finished {
            stream.told_finished = true;
            stream.finished = true;
        }
        if state == State::Closed && (stream.reset || drained) {
            let why = match (stream.reset, stream.told_finished) {
                (true, _) => Closed::Reset,
                (false, true) => Closed::Orderly,
                (false, false) => Closed::TimedOut,
            };
            self.end(id, why, sockets);
        } else if stream.readable || stream.writable || stream.finished {
            self.enqueue(id);
        }
    }

    fn refresh_left(
        &mut self,
        id: StreamId,
        handle: SocketHandle,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        let socket = sockets.get_mut::<Socket>(handle);
        // Nobody reads it any more, but a full buffer would stop the peer from finishing.
        while socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap_or(0) > 0 {}
        let gone = socket.state() == State::Closed && socket.remote_endpoint().is_none();
        if gone {
            self.free(id, sockets);
        } else if self.overdue(id, now) {
            match self.get(id).map(|stream| stream.phase) {
                Some(Phase::Closing) => {
                    sockets.get_mut::<Socket>(handle).abort();
                    self.leave(id, Phase::Aborting, now);
                }
                _ => self.free(id, sockets),
            }
        }
    }

    fn limit_time_waits(&mut self, sockets: &mut SocketSet<'static>) {
        let waiting = |stream: &Stream| {
            stream.phase == Phase::Closing
                && stream
                    .socket
                    .is_some_and(|handle| sockets.get::<Socket>(handle).state() == State::TimeWait)
        };
        let mut ids: Vec<(Instant, StreamId)> = self
            .iter()
            .filter(|(_, stream)| waiting(stream))
            .map(|(id, stream)| (stream.since, id))
            .collect();
        if ids.len() > limit::TIME_WAITS_MAX {
            ids.sort_unstable();
            for (_, id) in &ids[..ids.len() - limit::TIME_WAITS_MAX] {
                self.free(*id, sockets);
            }
        }
    }

    /// When a stream's phase has lasted as long as it may.
    fn due(stream: &Stream) -> Option<Instant> {
        let lasts = match stream.phase {
            Phase::HalfOpen => limit::HANDSHAKE_TIMEOUT,
            Phase::Resolving | Phase::Connecting => limit::DIAL_TIMEOUT,
            Phase::Closing => limit::LINGER,
            Phase::Aborting => limit::HANDSHAKE_GRACE,
            Phase::Open | Phase::Ended(_) => return None,
        };
        Some(stream.since + lasts)
    }

    fn overdue(&self, id: StreamId, now: Instant) -> bool {
        self.get(id).and_then(Self::due).is_some_and(|due| due <= now)
    }

    /// When `refresh` has something to do although no frame came.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.iter().filter_map(|(_, stream)| Self::due(stream)).min()
    }

    pub(super) fn enqueue(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id)
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(id.index);
        }
    }

    /// Whether [`next`](Self::next) has something to tell.
    pub(crate) fn has_notice(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next thing that an owner has to know.
    pub(crate) fn next(&mut self) -> Option<(StreamId, Notice)> {
        while let Some(index) = self.ready.front().copied() {
            let slot = &mut self.slots[usize::from(index)];
            let id = StreamId { index, generation: slot.generation };
            if let Some(stream) = slot.stream.as_mut() {
                if let Some(notice) = stream.take_notice() {
                    return Some((id, notice));
                }
                stream.queued = false;
                if let Phase::Ended(why) = stream.phase {
                    slot.stream = None;
                    self.ready.pop_front();
                    return Some((id, Notice::Closed(why)));
                }
            }
            self.ready.pop_front();
        }
        None
    }
}
