//! The sockets of processes: who has which, what they wait for, and what they may reach.
//!
//! Owns [`Sockets`], a value over one network stack. It is given what shards want
//! ([`SocketOrder`]), the stack's events and the time, and answers with [`SocketEvent`]s. A process
//! waits for one thing at a time, so each has at most one entry here; whatever happens to one of
//! its sockets, that entry is tried again. Time-outs are kept here and not with the process, so
//! that nothing is taken from a socket for a process that has given up.
//!
//! ```text
//!   Call ──▶ begin (`verbs`) ──▶ answered at once ───────────────▶ Done
//!                          └──▶ Waiting ──▶ try (`waiting`) ─────▶ Done
//!                                 │   ▲ event of the stack, datagram, time
//!                                 └───┘
//!   Release ──▶ all sockets closed, nothing is answered
//! ```
//!
//! `reach` says which addresses and ports are out of bounds.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod holder;
mod reach;
#[cfg(test)]
mod tests;
mod verbs;
mod waiting;
mod watches;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use craton_abi::{AppId, Instant, Payload, Pid, SocketEvent, SocketId, SocketOrder, limit};
use craton_net::{Event, Owner, ResolveError, ResolveId, Stack, StreamId};
use holder::{Holder, Ready, Socket, StreamState};
use waiting::Want;

/// Bytes of writes that wait for room, of all processes together; beyond, a write takes what it can
/// or waits with little.
const PARKED_BYTES_MAX: usize = 8 << 20;

/// The sockets of all processes that use one stack.
#[derive(Debug)]
pub struct Sockets {
    holders: BTreeMap<Pid, Holder>,
    /// Whose a connection is, and what it calls it.
    streams: BTreeMap<StreamId, (Pid, SocketId)>,
    /// Whose a port is that is listened on.
    ports: BTreeMap<u16, (Pid, SocketId)>,
    questions: BTreeMap<ResolveId, Pid>,
    /// Who waits for a datagram.
    datagrams: BTreeSet<Pid>,
    /// Sockets for datagrams that are watched.
    watched: BTreeSet<(Pid, SocketId)>,
    deadlines: BTreeSet<(Instant, Pid)>,
    /// Sockets of all of them.
    count: usize,
    /// Bytes of writes that wait for room.
    parked_bytes: usize,
    /// Whom the stack counted the buffers of the last holder against.
    account_last: Owner,
    /// Where a free port for datagrams is looked for next.
    port_next: u16,
}

impl Sockets {
    /// No sockets. The stack's buffers are counted against owners above `account_last`.
    pub fn new(account_last: Owner) -> Self {
        Sockets {
            holders: BTreeMap::new(),
            streams: BTreeMap::new(),
            ports: BTreeMap::new(),
            questions: BTreeMap::new(),
            datagrams: BTreeSet::new(),
            watched: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            count: 0,
            parked_bytes: 0,
            account_last,
            port_next: verbs::FREE_PORT_FIRST,
        }
    }

    /// Does what a shard wants.
    pub fn order(
        &mut self,
        order: SocketOrder,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        match order {
            SocketOrder::Call { from, app, call } => {
                // One call at a time: a shard that asks again has given the last one up.
                self.stop_waiting(from);
                if let Some(reply) = self.begin(from, app, call, stack, now, out) {
                    out.push(SocketEvent::Done { to: from, reply });
                }
            }
            SocketOrder::Watch { owner, socket, timer } => {
                self.watch(owner, socket, timer, stack, out);
            }
            SocketOrder::Release { owner, orderly } => self.release(owner, orderly, stack, now),
            SocketOrder::Refuse { owner, socket } => {
                if let Some(socket) = self.remove(owner, socket) {
                    self.dispose(socket, false, stack, now);
                }
            }
        }
    }

    /// Deals with an event of the stack, if it is about a socket of a process; says whether it was.
    pub fn take(
        &mut self,
        event: &Event,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) -> bool {
        let (pid, socket) = match *event {
            Event::Accepted { port, stream, from } => {
                let Some(&(pid, socket)) = self.ports.get(&port) else { return false };
                let Some(Socket::Listener { ready, .. }) = self.socket(pid, socket) else {
                    return false;
                };
                let state = StreamState { open: true, ..StreamState::default() };
                ready.push_back(Ready { id: stream, peer: from, state });
                self.streams.insert(stream, (pid, socket));
                (pid, socket)
            }
            Event::Connected { stream } => match self.note(stream, |state| state.open = true) {
                Some(whose) => whose,
                None => return false,
            },
            Event::Finished { stream } => match self.note(stream, |state| state.finished = true) {
                Some(whose) => whose,
                None => return false,
            },
            Event::Closed { stream, why } => {
                match self.note(stream, |state| state.closed = Some(why)) {
                    Some(whose) => whose,
                    None => return false,
                }
            }
            Event::Readable { stream } | Event::Writable { stream } => {
                match self.streams.get(&stream) {
                    Some(&whose) => whose,
                    None => return false,
                }
            }
            Event::Resolved { question, ref result } => {
                let Some(pid) = self.questions.remove(&question) else { return false };
                self.resolved(pid, question, result, out);
                return true;
            }
            Event::Address(_) | Event::Announced(_) => return false,
        };
        self.relieve(pid, socket, stack);
        self.retry(pid, stack, now, out);
        self.look(pid, socket, stack, out);
        true
    }

    /// Hands out datagrams and answers who waited long enough; to be called after each poll of the
    /// stack.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant, out: &mut Vec<SocketEvent>) {
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
    }

    /// When the next process has waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Closes everything: the node starts a new life.
    pub fn reset(&mut self, stack: &mut Stack, now: Instant) {
        while let Some((&pid, _)) = self.holders.first_key_value() {
            self.release(pid, false, stack, now);
        }
    }

    /// Sockets that processes have.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Processes that have, or had, sockets and live.
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// A process has ended.
    fn release(&mut self, owner: Pid, orderly: bool, stack: &mut Stack, now: Instant) {
        self.stop_waiting(owner);
        let Some(holder) = self.holders.remove(&owner) else { return };
        let Holder { account, sockets, watches, .. } = holder;
        for socket in watches.into_keys() {
            self.watched.remove(&(owner, socket));
        }
        for socket in sockets.into_values() {
            self.count -= 1;
            self.dispose(socket, orderly, stack, now);
        }
        stack.limit_buffers(account, None);
    }

    /// Closes a socket that is nobody's any more.
    fn dispose(&mut self, socket: Socket, orderly: bool, stack: &mut Stack, now: Instant) {
        match socket {
            Socket::Listener { port, ready } => {
                self.ports.remove(&port);
                stack.unlisten(port);
                for Ready { id, .. } in ready {
                    self.streams.remove(&id);
                    stack.abort(id, now);
                }
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
        holder.given.retain(|given| *given != socket);
        if holder.watches.remove(&socket).is_some() {
            self.watched.remove(&(pid, socket));
        }
        self.count -= 1;
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

    /// Has the peers of a listener wait whose process is behind, or no longer. Those that are on
    /// their way come all the same: the stack has at most its own backlog of them.
    pub(crate) fn relieve(&mut self, pid: Pid, socket: SocketId, stack: &mut Stack) {
        if let Some(Socket::Listener { port, ready }) = self.socket(pid, socket) {
            stack.pause(*port, ready.len() >= limit::SOCKET_BACKLOG);
        }
    }

    /// Notes what happened to a connection; says whose it is.
    fn note(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut StreamState),
    ) -> Option<(Pid, SocketId)> {
        let &(pid, socket) = self.streams.get(&stream)?;
        match self.socket(pid, socket)? {
            Socket::Stream { state, .. } => change(state),
            Socket::Listener { ready, .. } => {
                let at = ready.iter().position(|ready| ready.id == stream)?;
                change(&mut ready[at].state);
                // There is nothing to be had of one that is gone.
                if ready[at].state.closed.is_some() {
                    ready.remove(at);
                    self.streams.remove(&stream);
                }
            }
            Socket::Datagrams { .. } => {}
        }
        Some((pid, socket))
    }

    fn resolved(
        &mut self,
        pid: Pid,
        question: ResolveId,
        result: &Result<Vec<core::net::IpAddr>, ResolveError>,
        out: &mut Vec<SocketEvent>,
    ) {
        let waits = self.holders.get(&pid).and_then(|holder| holder.waiting.as_ref());
        if waits.is_some_and(|waiting| matches!(waiting.want, Want::Name(id) if id == question)) {
            self.stop_waiting(pid);
            let reply = waiting::addresses(result);
            out.push(SocketEvent::Done { to: pid, reply });
        }
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
            Want::Write { bytes, .. } => self.parked_bytes -= bytes.0.len(),
            _ => {}
        }
    }
}

/// Whom a connection was given to.
fn given(to: Pid, app: AppId, socket: SocketId) -> SocketEvent {
    SocketEvent::Given { to, app, socket }
}

fn no_bytes() -> Payload {
    Payload(Vec::new())
}
