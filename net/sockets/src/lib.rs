//! The sockets of processes: who has which, what they wait for, and what they may reach.
//!
//! Owns [`Sockets`], a value over one network stack, one for each CPU of a node. It is given what
//! shards want ([`SocketOrder`]), the stack's events and the time, and answers with
//! [`SocketEvent`]s. A process waits for one thing at a time, so each has at most one entry here;
//! whatever happens to one of its sockets, that entry is tried again. Time-outs are kept here and
//! not with the process, so that nothing is taken from a socket for a process that has given up.
//!
//! ```text
//!   Call ──▶ begin (`verbs`) ──▶ answered at once ───────────────▶ Done
//!                          └──▶ Waiting ──▶ try (`waiting`) ─────▶ Done
//!                                 │   ▲ event of the stack, datagram, time
//!                                 └───┘
//!   Release ──▶ all sockets closed, nothing is answered
//! ```
//!
//! A socket is where its stack is. What a process opens is on its own CPU (`home`); what is
//! accepted (`doors`) or given (`giving`) may be on another, and calls go there and are answered
//! from there, by [`SocketNote`]s. A CPU talks to itself by the same notes, so that one rule holds
//! for all; [`Shared`] is what they count together. `reach` says which addresses and ports are out
//! of bounds. See docs/decisions/0020 and 0024.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod doors;
mod giving;
mod holder;
mod home;
mod reach;
mod shared;
#[cfg(test)]
mod tests;
mod verbs;
mod waiting;
mod watches;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    Instant, Payload, Pid, ShardId, SocketEvent, SocketId, SocketNote, SocketOrder, limit,
};
use craton_net::{Event, Owner, ResolveError, ResolveId, Stack, StreamId};
use doors::{Arrived, Door};
use giving::Gift;
use holder::{Holder, Ready, Socket, StreamState};
use home::Home;
pub use shared::Shared;
use waiting::Want;

/// The sockets of all processes that are on one stack.
#[derive(Debug)]
pub struct Sockets {
    own: ShardId,
    shared: Arc<Shared>,
    /// The processes of this CPU.
    homes: BTreeMap<Pid, Home>,
    /// The processes of any CPU that have something here, or wait here.
    holders: BTreeMap<Pid, Holder>,
    /// Whose a connection is, and what it calls it.
    streams: BTreeMap<StreamId, (Pid, SocketId)>,
    /// Connections that nobody has accepted yet.
    arrived: BTreeMap<StreamId, Arrived>,
    /// Whose a port is that is listened on.
    ports: BTreeMap<u16, (Pid, SocketId)>,
    doors: BTreeMap<(Pid, SocketId), Door>,
    questions: BTreeMap<ResolveId, Pid>,
    /// Who waits for a datagram.
    datagrams: BTreeSet<Pid>,
    /// Sockets for datagrams that are watched.
    watched: BTreeSet<(Pid, SocketId)>,
    deadlines: BTreeSet<(Instant, Pid)>,
    /// What is left of processes that have ended.
    left: VecDeque<Left>,
    /// Whom the stack counted the buffers of the last holder against.
    account_last: Owner,
    /// Where a free port for datagrams is looked for next.
    port_next: u16,
    /// What this CPU tells itself; empty between steps.
    inbox: VecDeque<SocketNote>,
    /// What it tells others.
    outbox: VecDeque<(ShardId, SocketNote)>,
}

/// Sockets of a process that has ended, to be closed.
#[derive(Debug)]
struct Left {
    owner: Pid,
    sockets: BTreeMap<SocketId, Socket>,
    orderly: bool,
}

/// Sockets of an ended process that are closed in one go.
const CLOSED_AT_ONCE: usize = 64;

impl Sockets {
    /// No sockets, for the CPU `own`. The stack's buffers are counted against owners above
    /// `account_last`.
    pub fn new(own: ShardId, shared: Arc<Shared>, account_last: Owner) -> Self {
        Sockets {
            own,
            shared,
            homes: BTreeMap::new(),
            holders: BTreeMap::new(),
            streams: BTreeMap::new(),
            arrived: BTreeMap::new(),
            ports: BTreeMap::new(),
            doors: BTreeMap::new(),
            questions: BTreeMap::new(),
            datagrams: BTreeSet::new(),
            watched: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            left: VecDeque::new(),
            account_last,
            port_next: verbs::FREE_PORT_FIRST,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    /// Does what the shard of this CPU wants.
    pub fn order(
        &mut self,
        order: SocketOrder,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        match order {
            SocketOrder::Call { from, app, call } => self.call(from, app, call, stack, now, out),
            SocketOrder::Watch { owner, socket, timer } => {
                self.homes.entry(owner).or_default();
                let to = socket.shard(self.shared.shards);
                self.post_for(owner, to, SocketNote::Watch { owner, socket, timer });
            }
            SocketOrder::Release { owner, orderly } => self.release(owner, orderly, stack, now),
            SocketOrder::Refuse { owner, socket } => {
                if let Some(home) = self.homes.get_mut(&owner) {
                    home.given.retain(|(given, _)| *given != socket);
                }
                let to = socket.shard(self.shared.shards);
                self.post_for(owner, to, SocketNote::Refuse { owner, socket });
            }
        }
        self.settle(stack, now, out);
    }

    /// Hears what another CPU's has to tell.
    pub fn hear(
        &mut self,
        from: ShardId,
        note: SocketNote,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        self.take_note(from, note, stack, now, out);
        self.settle(stack, now, out);
    }

    /// What is to be told to another CPU's, and to whom. To be passed on, in order, before the
    /// events of the same step.
    pub fn next_note(&mut self) -> Option<(ShardId, SocketNote)> {
        self.outbox.pop_front()
    }

    /// Deals with an event of the stack, if it is about a socket of a process; says whether it was.
    pub fn take(
        &mut self,
        event: &Event,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) -> bool {
        let taken = match *event {
            Event::Accepted { port, stream, from } => self.arrive(port, stream, from, stack),
            Event::Connected { stream } => {
                self.note(stream, |state| state.open = true, stack, now, out)
            }
            Event::Finished { stream } => {
                self.note(stream, |state| state.finished = true, stack, now, out)
            }
            Event::Closed { stream, why } => {
                self.note(stream, |state| state.closed = Some(why), stack, now, out)
            }
            Event::Readable { stream } | Event::Writable { stream } => {
                self.note(stream, |_| {}, stack, now, out)
            }
            Event::Resolved { question, ref result } => self.resolved(question, result, out),
            Event::Address(_) | Event::Announced(_) => false,
        };
        self.settle(stack, now, out);
        taken
    }

    /// Hands out datagrams and answers who waited long enough; to be called after each poll of the
    /// stack.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant, out: &mut Vec<SocketEvent>) {
        self.close_left(stack, now);
        if !self.datagrams.is_empty() && stack.has_datagram() {
            for pid in self.datagrams.clone() {
                self.retry(pid, stack, now, out);
            }
        }
        if !self.watched.is_empty() && stack.has_datagram() {
            for (pid, socket) in self.watched.clone() {
                self.look(pid, socket, stack, out);
            }
        }
        while let Some(&(at, pid)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, pid));
            self.time_out(pid, stack, now, out);
        }
        self.settle(stack, now, out);
    }

    /// When it is to be polled next: as soon as may be where something is left to be closed, or
    /// when the next process has waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.left.is_empty() {
            return Some(Instant::ZERO);
        }
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Closes some of what ended processes have left.
    fn close_left(&mut self, stack: &mut Stack, now: Instant) {
        for _ in 0..CLOSED_AT_ONCE {
            let Some(left) = self.left.front_mut() else { return };
            let (owner, orderly) = (left.owner, left.orderly);
            match left.sockets.pop_first() {
                Some((number, socket)) => self.dispose(owner, number, socket, orderly, stack, now),
                None => _ = self.left.pop_front(),
            }
        }
    }

    /// Closes everything, and tells nobody: the node starts a new life, on all its CPUs.
    pub fn reset(&mut self, stack: &mut Stack, now: Instant) {
        while let Some((&pid, _)) = self.holders.first_key_value() {
            self.release_here(pid, false, stack, now);
        }
        while !self.left.is_empty() {
            self.close_left(stack, now);
        }
        while let Some((&(owner, socket), _)) = self.doors.first_key_value() {
            self.close_door(owner, socket, stack, now);
        }
        for home in core::mem::take(&mut self.homes).into_values() {
            self.shared.remove_sockets(home.sockets.len());
        }
        self.inbox.clear();
        self.outbox.clear();
    }

    /// Processes of this CPU, or with sockets on it, that have, or had, sockets and live.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.homes.len().max(self.holders.len()) + self.left.len()
    }

    /// Hears what this CPU has told itself.
    fn settle(&mut self, stack: &mut Stack, now: Instant, out: &mut Vec<SocketEvent>) {
        while let Some(note) = self.inbox.pop_front() {
            self.take_note(self.own, note, stack, now, out);
        }
    }

    fn take_note(
        &mut self,
        by: ShardId,
        note: SocketNote,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        match note {
            SocketNote::Call { from, app, call } => {
                self.call_here(from, app, call, stack, now, out);
            }
            SocketNote::Bind { from, port, socket } => {
                let reply = self.bind(from, port, socket, stack);
                out.push(SocketEvent::Done { to: from, reply });
            }
            SocketNote::Watch { owner, socket, timer } => {
                self.watch(owner, socket, timer, stack, out);
            }
            SocketNote::Refuse { owner, socket } => {
                if let Some(removed) = self.remove(owner, socket) {
                    self.dispose(owner, socket, removed, false, stack, now);
                }
            }
            SocketNote::Release { owner, orderly } => {
                self.release_here(owner, orderly, stack, now);
            }
            SocketNote::Freed { owner, socket } => self.freed(owner, socket),
            SocketNote::Listen { owner, socket, port, bulk } => {
                let result = self.open_door(owner, socket, (port, bulk), stack);
                self.post(by, SocketNote::Listening { owner, socket, result });
            }
            SocketNote::Listening { owner, socket, result } => {
                self.listening(owner, socket, result, stack, now, out);
            }
            SocketNote::Unlisten { owner, socket } => self.close_door(owner, socket, stack, now),
            SocketNote::Arrived { owner, socket, conn, peer } => {
                let ready = Ready { at: by, conn, peer };
                self.queue((owner, socket), ready, stack, now, out);
            }
            SocketNote::Left { owner, socket, conn } => self.unqueue(owner, socket, (by, conn)),
            SocketNote::Accept { owner, conn, peer, socket } => {
                self.accepted((owner, socket), conn, peer, stack);
            }
            SocketNote::Offer { giver, app, to, conn, peer } => {
                let gift = Gift { giver, to, conn, peer };
                self.offer(gift, app, by, stack, now, out);
            }
            SocketNote::Offered { giver, to, conn, peer, result } => {
                self.offered(Gift { giver, to, conn, peer }, result, stack, out);
            }
        }
    }

    /// What a process has here is closed, for it has ended: its listeners and some of the rest now,
    /// what is more with the next polls, so that one with thousands holds up nobody.
    fn release_here(&mut self, owner: Pid, orderly: bool, stack: &mut Stack, now: Instant) {
        self.stop_waiting(owner);
        let Some(holder) = self.holders.remove(&owner) else { return };
        let Holder { account, mut sockets, watches, listeners, .. } = holder;
        for socket in watches.into_keys() {
            self.watched.remove(&(owner, socket));
        }
        for number in listeners {
            if let Some(listener) = sockets.remove(&number) {
                self.dispose(owner, number, listener, orderly, stack, now);
            }
        }
        stack.limit_buffers(account, None);
        for _ in 0..CLOSED_AT_ONCE {
            let Some((number, socket)) = sockets.pop_first() else { return };
            self.dispose(owner, number, socket, orderly, stack, now);
        }
        self.left.push_back(Left { owner, sockets, orderly });
    }

    /// Closes a socket that is nobody's any more.
    fn dispose(
        &mut self,
        owner: Pid,
        number: SocketId,
        socket: Socket,
        orderly: bool,
        stack: &mut Stack,
        now: Instant,
    ) {
        match socket {
            Socket::Listener { port, .. } => {
                self.close_door(owner, number, stack, now);
                for shard in self.others() {
                    self.post(shard, SocketNote::Unlisten { owner, socket: number });
                }
                self.shared.release_port(port);
            }
            Socket::Stream { id, .. } => {
                self.streams.remove(&id);
                if orderly {
                    stack.close(id, now);
                } else {
                    stack.abort(id, now);
                }
            }
            Socket::Datagrams { id } => stack.unbind(id),
        }
    }

    /// Takes a socket from its process.
    fn remove(&mut self, pid: Pid, socket: SocketId) -> Option<Socket> {
        let holder = self.holders.get_mut(&pid)?;
        let removed = holder.sockets.remove(&socket)?;
        holder.listeners.remove(&socket);
        if holder.watches.remove(&socket).is_some() {
            self.watched.remove(&(pid, socket));
        }
        self.post(pid.slot.shard(), SocketNote::Freed { owner: pid, socket });
        Some(removed)
    }

    fn socket(&mut self, pid: Pid, socket: SocketId) -> Option<&mut Socket> {
        self.holders.get_mut(&pid)?.sockets.get_mut(&socket)
    }

    /// The process, which is known from now on.
    fn holder(&mut self, pid: Pid, stack: &mut Stack) -> &mut Holder {
        // One process must not have all that there is.
        let bytes_max = limit::SOCKET_BUFFER_BYTES_MAX.min(stack.buffer_bytes_max() / 2);
        let account_last = &mut self.account_last;
        self.holders.entry(pid).or_insert_with(|| {
            *account_last = Owner(account_last.0 + 1);
            stack.limit_buffers(*account_last, Some(bytes_max));
            Holder::new(*account_last)
        })
    }

    /// Notes what happened to a connection, and tries what its process waits for. False if it is
    /// no process's.
    fn note(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut StreamState),
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) -> bool {
        let Some(&(pid, socket)) = self.streams.get(&stream) else {
            return self.note_arrived(stream, change, stack);
        };
        if let Some(Socket::Stream { state, .. }) = self.socket(pid, socket) {
            change(state);
        }
        self.retry(pid, stack, now, out);
        self.look(pid, socket, stack, out);
        true
    }

    /// A question was answered. False if it is no process's.
    fn resolved(
        &mut self,
        question: ResolveId,
        result: &Result<Vec<core::net::IpAddr>, ResolveError>,
        out: &mut Vec<SocketEvent>,
    ) -> bool {
        let Some(pid) = self.questions.remove(&question) else { return false };
        let waits = self.holders.get(&pid).and_then(|holder| holder.waiting.as_ref());
        if waits.is_some_and(|waiting| matches!(waiting.want, Want::Name(id) if id == question)) {
            self.stop_waiting(pid);
            let reply = waiting::addresses(result);
            out.push(SocketEvent::Done { to: pid, reply });
        }
        true
    }

    /// Has a process wait no longer for anything.
    fn stop_waiting(&mut self, pid: Pid) {
        let Some(waiting) = self.holders.get_mut(&pid).and_then(|holder| holder.waiting.take())
        else {
            return;
        };
        if let Some(at) = waiting.deadline {
            self.deadlines.remove(&(at, pid));
        }
        self.datagrams.remove(&pid);
        match waiting.want {
            Want::Name(question) => _ = self.questions.remove(&question),
            Want::Write { bytes, .. } => self.shared.unpark(bytes.0.len()),
            _ => {}
        }
    }
}

fn no_bytes() -> Payload {
    Payload(Vec::new())
}
