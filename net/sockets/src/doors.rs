//! Ports that processes listen on: open on every CPU, whichever the process is on.
//!
//! Owns [`Door`] and [`Arrived`], and adds to [`Sockets`] both sides of a listener: at its home the
//! queue of those who wait to be accepted, on every CPU the port and the connections themselves.
//!
//! ```text
//!   home                              every other CPU
//!   Listen ── claims the port
//!          1 Listen ────────────────▶ listens
//!            Listening ◀───────────── 2
//!   Done, when all of them listen
//!            Arrived ◀─────────────── 3 somebody connected
//!   Accept ─ 4 Accept ──────────────▶ it has a number, and is the process's
//!          5 Unlisten ──────────────▶ who was not accepted is reset
//! ```
//!
//! A port is free again as soon as its listener is closed at home. So `Listen` of the next one may
//! be here before `Unlisten` of the last: it has claimed the port, and gets it.

use crate::Sockets;
use crate::holder::{Ready, Socket, StreamState};
use crate::verbs::buffers;
use crate::waiting::Want;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{
    ErrorCode, Instant, Pid, ShardId, SocketEvent, SocketId, SocketNote, SocketReply, limit,
};
use craton_net::{Closed, ListenError, ListenOptions, Stack, StreamId};

/// A listener, as every CPU has it.
#[derive(Debug)]
pub(crate) struct Door {
    port: u16,
    /// Who has arrived here and was not accepted.
    arrived: BTreeSet<StreamId>,
}

/// Somebody who connected and was not accepted yet.
#[derive(Debug)]
pub(crate) struct Arrived {
    owner: Pid,
    listener: SocketId,
    state: StreamState,
}

impl Sockets {
    /// Opens a listener's port on this CPU, which its home has claimed.
    pub(crate) fn open_door(
        &mut self,
        owner: Pid,
        socket: SocketId,
        (port, bulk): (u16, bool),
        stack: &mut Stack,
    ) -> Result<(), ErrorCode> {
        let account = self.holder(owner, stack).account;
        if self.ports.remove(&port).is_some() {
            stack.unlisten(port);
        }
        let options =
            ListenOptions { owner: account, buffers: buffers(bulk), ..ListenOptions::default() };
        stack.listen_with(port, options).map_err(|error| match error {
            ListenError::Invalid => ErrorCode::Invalid,
            ListenError::InUse => ErrorCode::InUse,
            ListenError::LimitListeners => ErrorCode::LimitSockets,
        })?;
        self.ports.insert(port, (owner, socket));
        self.doors.insert((owner, socket), Door { port, arrived: BTreeSet::new() });
        Ok(())
    }

    /// Closes a listener's port on this CPU, and who has not been accepted.
    pub(crate) fn close_door(
        &mut self,
        owner: Pid,
        socket: SocketId,
        stack: &mut Stack,
        now: Instant,
    ) {
        let Some(door) = self.doors.remove(&(owner, socket)) else { return };
        if self.ports.get(&door.port) == Some(&(owner, socket)) {
            self.ports.remove(&door.port);
            stack.unlisten(door.port);
        }
        for stream in door.arrived {
            self.arrived.remove(&stream);
            stack.abort(stream, now);
        }
    }

    /// A CPU listens for a listener of this one, or cannot.
    pub(crate) fn listening(
        &mut self,
        owner: Pid,
        socket: SocketId,
        result: Result<(), ErrorCode>,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        let waiting = self.holders.get_mut(&owner).and_then(|holder| holder.waiting.as_mut());
        let reply = match waiting.map(|waiting| &mut waiting.want) {
            Some(Want::Listen { socket: wanted, missing }) if *wanted == socket => {
                *missing -= 1;
                match result {
                    Ok(()) if *missing > 0 => return,
                    Ok(()) => SocketReply::Opened { socket, peer: None },
                    Err(error) => SocketReply::Failed(error),
                }
            }
            // It was closed meanwhile, or another CPU has said that it cannot.
            _ => return,
        };
        self.stop_waiting(owner);
        if result.is_err()
            && let Some(listener) = self.remove(owner, socket)
        {
            self.dispose(owner, socket, listener, false, stack, now);
        }
        out.push(SocketEvent::Done { to: owner, reply });
    }

    /// Somebody has connected to a port. False if it is no process's.
    pub(crate) fn arrive(
        &mut self,
        port: u16,
        stream: StreamId,
        peer: SocketAddr,
        stack: &mut Stack,
    ) -> bool {
        let Some(&(owner, listener)) = self.ports.get(&port) else { return false };
        let state = StreamState { open: true, ..StreamState::default() };
        self.arrived.insert(stream, Arrived { owner, listener, state });
        if let Some(door) = self.doors.get_mut(&(owner, listener)) {
            door.arrived.insert(stream);
        }
        self.relieve(owner, listener, stack);
        let conn = stream.to_bits();
        let note = SocketNote::Arrived { owner, socket: listener, conn, peer };
        self.post(owner.slot.shard(), note);
        true
    }

    /// Something happened to one who waits to be accepted. False if it is none of them.
    pub(crate) fn note_arrived(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut StreamState),
        stack: &mut Stack,
    ) -> bool {
        let Some(arrived) = self.arrived.get_mut(&stream) else { return false };
        change(&mut arrived.state);
        let &mut Arrived { owner, listener: socket, state } = arrived;
        // There is nothing to be had of one that is gone.
        if state.closed.is_some() {
            self.take_arrived(stream, stack);
            let note = SocketNote::Left { owner, socket, conn: stream.to_bits() };
            self.post(owner.slot.shard(), note);
        }
        true
    }

    /// One of those who wait is accepted; he may have gone meanwhile.
    pub(crate) fn accepted(
        &mut self,
        (owner, socket): (Pid, SocketId),
        conn: u64,
        peer: SocketAddr,
        stack: &mut Stack,
    ) {
        let id = StreamId::from_bits(conn);
        let state = match self.take_arrived(id, stack) {
            Some(state) => {
                self.streams.insert(id, (owner, socket));
                state
            }
            None => StreamState { closed: Some(Closed::Reset), ..StreamState::default() },
        };
        let holder = self.holder(owner, stack);
        holder.sockets.insert(socket, Socket::Stream { id, peer, state });
    }

    fn take_arrived(&mut self, stream: StreamId, stack: &mut Stack) -> Option<StreamState> {
        let Arrived { owner, listener, state } = self.arrived.remove(&stream)?;
        if let Some(door) = self.doors.get_mut(&(owner, listener)) {
            door.arrived.remove(&stream);
        }
        self.relieve(owner, listener, stack);
        Some(state)
    }

    /// Has the peers of a listener wait whose process is behind, or no longer. Those that are on
    /// their way come all the same: the stack has at most its own backlog of them.
    fn relieve(&self, owner: Pid, listener: SocketId, stack: &mut Stack) {
        if let Some(door) = self.doors.get(&(owner, listener))
            && self.ports.get(&door.port) == Some(&(owner, listener))
        {
            let share = limit::SOCKET_BACKLOG.div_ceil(usize::from(self.shared.shards));
            stack.pause(door.port, door.arrived.len() >= share);
        }
    }

    // --- at home ---

    /// Somebody waits to be accepted by a process of this CPU.
    pub(crate) fn queue(
        &mut self,
        (owner, listener): (Pid, SocketId),
        ready: Ready,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        // Otherwise the listener is closed, and where he has arrived it will be known.
        if let Some(Socket::Listener { ready: queue, .. }) = self.socket(owner, listener) {
            queue.push_back(ready);
            self.retry(owner, stack, now, out);
            self.look(owner, listener, stack, out);
        }
    }

    /// Somebody waits no longer.
    pub(crate) fn unqueue(&mut self, owner: Pid, listener: SocketId, (at, conn): (ShardId, u64)) {
        if let Some(Socket::Listener { ready, .. }) = self.socket(owner, listener) {
            ready.retain(|ready| (ready.at, ready.conn) != (at, conn));
        }
    }

    /// Accepts the next one for a process of this CPU.
    pub(crate) fn accept(&mut self, pid: Pid, listener: SocketId) -> Option<SocketReply> {
        let Some(Socket::Listener { ready, .. }) = self.socket(pid, listener) else {
            return Some(SocketReply::Failed(ErrorCode::NoSocket));
        };
        let &Ready { at, conn, peer } = ready.front()?;
        let socket = match self.number(pid, at) {
            Ok(socket) => socket,
            // He stays in the queue, for when there is room again.
            Err(error) => return Some(SocketReply::Failed(error)),
        };
        if let Some(Socket::Listener { ready, .. }) = self.socket(pid, listener) {
            ready.pop_front();
        }
        self.post_for(pid, at, SocketNote::Accept { owner: pid, conn, peer, socket });
        Some(SocketReply::Opened { socket, peer: Some(peer) })
    }
}
