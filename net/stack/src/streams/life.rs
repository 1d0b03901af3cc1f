//! How streams live: from the states of smoltcp's sockets to phases and events.
//!
//! The stack calls `refresh` for a stream after smoltcp dealt with it. A stream waits in the ready
//! queue at most once and its notices are flags, so events need no queue of their own and cannot
//! overflow one.

use super::Streams;
use crate::stream::{Closed, Notice, Phase, StreamId};
use craton_abi::Instant;
use smoltcp::socket::tcp::State;

impl Streams {
    /// Looks at a stream after smoltcp dealt with it.
    pub(crate) fn refresh(&mut self, id: StreamId, now: Instant) {
        let Some(state) = self.state(id) else { return };
        let Some(phase) = self.get(id).map(|stream| stream.phase) else { return };
        match phase {
            Phase::HalfOpen => self.refresh_half_open(id, state, now),
            Phase::Connecting => self.refresh_connecting(id, state, now),
            Phase::Open => self.refresh_open(id, state),
            Phase::Closing | Phase::Aborting => self.refresh_left(id, state, now),
            Phase::Resolving if self.overdue(id, now) => self.end(id, Closed::Unreachable),
            Phase::Resolving | Phase::Ended(_) => {}
        }
    }

    fn refresh_half_open(&mut self, id: StreamId, state: State, now: Instant) {
        match state {
            State::SynReceived if !self.overdue(id, now) => {}
            // Nobody was told of it.
            State::SynReceived | State::Listen | State::Closed => self.free(id),
            _ => self.open(id, state),
        }
    }

    fn refresh_connecting(&mut self, id: StreamId, state: State, now: Instant) {
        let Some(stream) = self.get(id) else { return };
        match state {
            State::SynSent | State::SynReceived if stream.unreachable => {
                self.end(id, Closed::Unreachable);
            }
            State::SynSent | State::SynReceived if !self.overdue(id, now) => {}
            State::SynSent | State::SynReceived => self.end(id, Closed::TimedOut),
            State::Closed => {
                let why = if stream.reset { Closed::Refused } else { Closed::AddressLost };
                self.end(id, why);
            }
            _ => self.open(id, state),
        }
    }

    fn open(&mut self, id: StreamId, state: State) {
        if let Some(stream) = self.get_mut(id) {
            stream.phase = Phase::Open;
            stream.opened = true;
        }
        self.enqueue(id);
        self.refresh_open(id, state);
    }

    fn refresh_open(&mut self, id: StreamId, state: State) {
        let Some(stream) = self.get_mut(id) else { return };
        let Some(seat) = &stream.seat else { return };
        let socket = seat.socket();
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
        let told = stream.told_finished;
        if state == State::TimeWait && drained {
            self.rest(id);
            self.end(id, Closed::Orderly);
        } else if state == State::Closed && (stream.reset || drained) {
            let why = match (stream.reset, told) {
                (true, _) => Closed::Reset,
                (false, true) => Closed::Orderly,
                (false, false) => Closed::TimedOut,
            };
            self.end(id, why);
        } else if stream.readable || stream.writable || stream.finished {
            self.enqueue(id);
        }
    }

    fn refresh_left(&mut self, id: StreamId, state: State, now: Instant) {
        let overdue = self.overdue(id, now);
        let Some(stream) = self.get_mut(id) else { return };
        let phase = stream.phase;
        let Some(seat) = &mut stream.seat else { return };
        let socket = seat.socket_mut();
        // Nobody reads it any more, but a full buffer would stop the peer from finishing.
        while socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap_or(0) > 0 {}
        if state == State::Closed && socket.remote_endpoint().is_none() {
            self.free(id);
        } else if state == State::TimeWait {
            self.rest(id);
            self.free(id);
        } else if overdue && phase == Phase::Closing {
            socket.abort();
            self.leave(id, Phase::Aborting, now);
            self.touch(id);
        } else if overdue {
            self.free(id);
        }
    }

    /// Both sides said their last word: what is left to do needs no socket.
    fn rest(&mut self, id: StreamId) {
        if let Some(rest) = self.take_seat(id) {
            self.resting.push(rest);
        }
    }

    /// Ends a stream that its owner did not close: frees its buffers and lets the owner know.
    pub(crate) fn end(&mut self, id: StreamId, why: Closed) {
        let _ = self.take_seat(id);
        let Some(stream) = self.get_mut(id) else { return };
        stream.phase = Phase::Ended(why);
        stream.readable = false;
        stream.writable = false;
        self.enqueue(id);
    }

    fn overdue(&self, id: StreamId, now: Instant) -> bool {
        self.get(id).and_then(|stream| stream.due()).is_some_and(|due| due <= now)
    }

    fn enqueue(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id)
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Whether [`next`](Self::next) may have something to tell.
    pub(crate) fn has_notice(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next thing that an owner has to know.
    pub(crate) fn next(&mut self) -> Option<(StreamId, Notice)> {
        while let Some(id) = self.ready.front().copied() {
            let Some(stream) = self.get_mut(id) else {
                self.ready.pop_front();
                continue;
            };
            if let Some(notice) = stream.take_notice() {
                if matches!(notice, Notice::Accepted { .. }) {
                    self.told(id);
                }
                return Some((id, notice));
            }
            stream.queued = false;
            let phase = stream.phase;
            self.ready.pop_front();
            if let Phase::Ended(why) = phase {
                self.free(id);
                return Some((id, Notice::Closed(why)));
            }
        }
        None
    }
}
