//! The table of TCP streams.
//!
//! Owns [`Streams`]: who listens, which stream a segment belongs to, which streams have something
//! to send, to wait for or to tell. Each stream's socket is in a set of its own, so that smoltcp,
//! which looks at every socket of a set, looks at one; a stream costs nothing while nothing happens
//! to it. What an owner does with its stream is in `streams/verbs.rs`, how a socket's state becomes
//! phases and events in `streams/life.rs`.

mod life;
mod verbs;

use crate::budget::{Budget, Owner, Refused};
use crate::handover::Seat;
use crate::limit;
use crate::stream::{
    Closed, DialError, DialOptions, ListenError, ListenOptions, PassError, Phase, Stream, StreamId,
};
use crate::tuple::{Steer, Tuple};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use craton_abi::Instant;
use hashbrown::HashMap;
use smoltcp::socket::tcp::State;

struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

struct Listener {
    options: ListenOptions,
    /// Its streams that the owner has not been told of.
    untold: usize,
    /// Its owner wants no more for now: peers wait.
    paused: bool,
}

/// A connection whose last word was said: it may rest without its socket.
pub(crate) struct Rest {
    pub(crate) tuple: Tuple,
    pub(crate) seat: Seat,
}

/// All streams of one stack, and the ports that are listened on.
pub(crate) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u16>,
    count: usize,
    table: HashMap<Tuple, StreamId, Steer>,
    listeners: BTreeMap<u16, Listener>,
    /// Those with something to tell.
    ready: VecDeque<StreamId>,
    /// Those that may have something to send.
    active: VecDeque<StreamId>,
    timers: BTreeSet<(Instant, StreamId)>,
    resting: Vec<Rest>,
    pub(crate) budget: Budget,
}

impl Streams {
    pub(crate) fn new(steer: Steer, budget: Budget) -> Streams {
        Streams {
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            table: HashMap::with_hasher(steer),
            listeners: BTreeMap::new(),
            ready: VecDeque::new(),
            active: VecDeque::new(),
            timers: BTreeSet::new(),
            resting: Vec::new(),
            budget,
        }
    }

    /// Starts to listen on a port.
    pub(crate) fn listen(&mut self, port: u16, options: ListenOptions) -> Result<(), ListenError> {
        if port == 0 {
            return Err(ListenError::Invalid);
        }
        if self.listeners.contains_key(&port) {
            return Err(ListenError::InUse);
        }
        if self.listeners.len() == limit::LISTENERS_MAX {
            return Err(ListenError::LimitListeners);
        }
        self.listeners.insert(port, Listener { options, untold: 0, paused: false });
        Ok(())
    }

    /// Stops to listen; streams already accepted live on.
    pub(crate) fn unlisten(&mut self, port: u16) {
        self.listeners.remove(&port);
    }

    /// Has peers of a listener wait, or no longer.
    pub(crate) fn pause(&mut self, port: u16, paused: bool) {
        if let Some(listener) = self.listeners.get_mut(&port) {
            listener.paused = paused;
        }
    }

    /// How a port is listened on, if it is.
    pub(crate) fn listener(&self, port: u16) -> Option<ListenOptions> {
        self.listeners.get(&port).map(|listener| listener.options)
    }

    /// Whether a listener can take another stream.
    pub(crate) fn has_room(&self, port: u16) -> bool {
        let backlog =
            |listener: &Listener| !listener.paused && listener.untold < listener.options.backlog;
        self.count < limit::STREAMS_MAX && self.listeners.get(&port).is_some_and(backlog)
    }

    /// Streams in any state.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Streams that have a socket.
    pub(crate) fn sockets(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.table.contains_key(tuple)
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<StreamId> {
        self.table.get(tuple).copied()
    }

    pub(crate) fn ids(&self) -> Vec<StreamId> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.stream.is_some())
            .map(|(index, slot)| StreamId { index: index as u16, generation: slot.generation })
            .collect()
    }

    /// A stream from a completed handshake, in the socket that stands for it.
    pub(crate) fn accept(
        &mut self,
        tuple: Tuple,
        seat: Seat,
        options: ListenOptions,
        now: Instant,
    ) -> StreamId {
        let whose = (options.owner, options.buffers);
        let mut stream = Stream::new(seat, tuple, whose, Phase::HalfOpen, now);
        if let Some(listener) = self.listeners.get_mut(&tuple.local.port()) {
            listener.untold += 1;
            stream.untold = true;
        }
        self.insert(stream)
    }

    /// A stream that is to be dialled once its neighbour is known.
    pub(crate) fn dial(
        &mut self,
        tuple: Tuple,
        options: DialOptions,
        number: u32,
        now: Instant,
    ) -> Result<StreamId, DialError> {
        if self.count >= limit::STREAMS_MAX {
            return Err(DialError::LimitStreams);
        }
        let DialOptions { owner, buffers } = options;
        self.budget.charge(owner, buffers.total()).map_err(|refused| match refused {
            Refused::Owner => DialError::LimitOwner,
            Refused::All => DialError::LimitBuffers,
            Refused::Machine => DialError::LimitMemory,
        })?;
        let Ok(seat) = Seat::new(buffers) else {
            self.budget.refund(owner, buffers.total());
            return Err(DialError::LimitMemory);
        };
        let mut stream = Stream::new(seat, tuple, (owner, buffers), Phase::Resolving, now);
        stream.dialled = true;
        stream.number = number;
        Ok(self.insert(stream))
    }

    /// Adds a stream, whose buffers are charged already.
    fn insert(&mut self, stream: Stream) -> StreamId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, stream: None });
            // There are at most as many as an index can tell.
            (self.slots.len() - 1) as u16
        });
        let slot = &mut self.slots[usize::from(index)];
        slot.generation = slot.generation.wrapping_add(1);
        let id = StreamId { index, generation: slot.generation };
        self.table.insert(stream.tuple, id);
        slot.stream = Some(stream);
        self.count += 1;
        self.touch(id);
        id
    }

    /// Forgets a stream and frees its buffers. No event follows.
    pub(crate) fn free(&mut self, id: StreamId) {
        self.told(id);
        let _ = self.take_seat(id);
        let Some(slot) = self.slots.get_mut(usize::from(id.index)) else { return };
        if slot.generation != id.generation {
            return;
        }
        if slot.stream.take().is_some() {
            self.free.push(id.index);
            self.count -= 1;
        }
    }

    /// The owner was told of a stream of its listener, or never will be.
    fn told(&mut self, id: StreamId) {
        let Some(stream) = self.get_mut(id) else { return };
        let port = stream.tuple.local.port();
        if core::mem::take(&mut stream.untold)
            && let Some(listener) = self.listeners.get_mut(&port)
        {
            listener.untold = listener.untold.saturating_sub(1);
        }
    }

    /// Parts a stream from its socket; the caller frees the buffers.
    fn take_seat(&mut self, id: StreamId) -> Option<Rest> {
        let stream = self.get_mut(id)?;
        let seat = stream.seat.take()?;
        let (tuple, timer) = (stream.tuple, stream.timer.take());
        let (owner, bytes) = (stream.owner, stream.buffers.total());
        if let Some(at) = timer {
            self.timers.remove(&(at, id));
        }
        self.table.remove(&tuple);
        self.budget.refund(owner, bytes);
        Some(Rest { tuple, seat })
    }

    /// Connections that are to rest from now on.
    pub(crate) fn take_resting(&mut self) -> Vec<Rest> {
        core::mem::take(&mut self.resting)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(usize::from(id.index))?;
        slot.stream.as_mut().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        let slot = self.slots.get(usize::from(id.index))?;
        slot.stream.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn state(&self, id: StreamId) -> Option<State> {
        Some(self.get(id)?.seat.as_ref()?.socket().state())
    }

    /// Lets a stream be looked at: something happened to it.
    pub(crate) fn touch(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id)
            && !stream.active
            && stream.seat.is_some()
        {
            stream.active = true;
            self.active.push_back(id);
        }
    }

    /// The next stream that may have something to send.
    pub(crate) fn next_active(&mut self) -> Option<StreamId> {
        while let Some(id) = self.active.pop_front() {
            if let Some(stream) = self.get_mut(id) {
                stream.active = false;
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Sets when a stream is to be looked at although nothing happened.
    pub(crate) fn set_timer(&mut self, id: StreamId, at: Option<Instant>) {
        let Some(stream) = self.get_mut(id) else { return };
        let old = core::mem::replace(&mut stream.timer, at);
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// Touches the streams whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            if let Some(stream) = self.get_mut(id) {
                stream.timer = None;
            }
            self.touch(id);
        }
    }

    /// When a stream is to be looked at although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Ends a stream whose own address is gone: its owner learns of it, if it has one.
    pub(crate) fn lose_address(&mut self, id: StreamId) {
        match self.get(id).map(|stream| stream.phase) {
            Some(Phase::HalfOpen | Phase::Closing | Phase::Aborting) => self.free(id),
            Some(Phase::Resolving | Phase::Connecting | Phase::Open) => {
                self.end(id, Closed::AddressLost);
            }
            Some(Phase::Ended(_)) | None => {}
        }
    }

    /// Counts a stream's buffers against another owner.
    pub(crate) fn pass(&mut self, id: StreamId, to: Owner) -> Result<(), PassError> {
        let stream = self.get(id).ok_or(PassError::NoStream)?;
        let (from, bytes) = (stream.owner, stream.buffers.total());
        if stream.seat.is_some() {
            self.budget.pass(from, to, bytes).map_err(|_| PassError::LimitOwner)?;
        }
        if let Some(stream) = self.get_mut(id) {
            stream.owner = to;
        }
        Ok(())
    }

    /// Buffers of an owner, or of all.
    pub(crate) fn buffer_bytes(&self, owner: Option<Owner>) -> usize {
        self.budget.used(owner)
    }
}
