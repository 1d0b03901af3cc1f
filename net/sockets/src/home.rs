//! The processes of this CPU, whose sockets may be on any.
//!
//! Owns [`Home`], and adds to [`Sockets`] the giving out of numbers, and the way of what shards
//! want to the CPU that has the socket.

use crate::Sockets;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{
    AppId, ErrorCode, Instant, Pid, ShardId, SocketCall, SocketEvent, SocketId, SocketNote,
    SocketReply, limit,
};
use craton_net::Stack;

/// Where datagrams come to, and answers of those who resolve names.
const DATAGRAMS: ShardId = ShardId::new(0);

/// What one process has on all CPUs, as its own knows it.
#[derive(Debug, Default)]
pub(crate) struct Home {
    /// Its sockets.
    pub(crate) sockets: BTreeSet<SocketId>,
    /// The last number that it got.
    last: SocketId,
    /// Connections that were given to it and that it has not taken.
    pub(crate) given: VecDeque<(SocketId, SocketAddr)>,
    /// Other CPUs that know of it, a bit for each.
    elsewhere: u128,
}

impl Home {
    fn is_known_to(&self, shard: ShardId) -> bool {
        self.elsewhere & (1 << shard.index()) != 0
    }

    pub(crate) fn becomes_known_to(&mut self, shard: ShardId) {
        self.elsewhere |= 1 << shard.index();
    }
}

impl Sockets {
    /// Does what a process asks, or has it done by the CPU that has what it asks about.
    pub(crate) fn call(
        &mut self,
        from: Pid,
        app: AppId,
        call: SocketCall,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        self.homes.entry(from).or_default();
        let place = match &call {
            SocketCall::Listen { .. } | SocketCall::Connect { .. } | SocketCall::Take { .. } => {
                self.own
            }
            &SocketCall::Bind { port } => return self.call_bind(from, port, out),
            SocketCall::Resolve { .. } => DATAGRAMS,
            SocketCall::Accept { socket, .. }
            | SocketCall::Read { socket, .. }
            | SocketCall::Write { socket, .. }
            | SocketCall::Finish { socket }
            | SocketCall::Close { socket }
            | SocketCall::SendTo { socket, .. }
            | SocketCall::ReceiveFrom { socket, .. }
            | SocketCall::Give { socket, .. } => socket.shard(self.shared.shards),
        };
        if place == self.own {
            self.call_here(from, app, call, stack, now, out);
        } else {
            self.post_for(from, place, SocketNote::Call { from, app, call });
        }
    }

    /// Does what a process of any CPU asks about what is here.
    pub(crate) fn call_here(
        &mut self,
        from: Pid,
        app: AppId,
        call: SocketCall,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        // One call at a time: its shard asks for the next when this one is answered.
        self.stop_waiting(from);
        if let Some(reply) = self.begin(from, app, call, stack, now) {
            out.push(SocketEvent::Done { to: from, reply });
        }
    }

    fn call_bind(&mut self, from: Pid, port: u16, out: &mut Vec<SocketEvent>) {
        match self.number(from, DATAGRAMS) {
            Ok(socket) => {
                self.post_for(from, DATAGRAMS, SocketNote::Bind { from, port, socket });
            }
            Err(error) => {
                out.push(SocketEvent::Done { to: from, reply: SocketReply::Failed(error) })
            }
        }
    }

    /// A number for another socket of a process of this CPU, which that CPU is to have.
    pub(crate) fn number(&mut self, pid: Pid, shard: ShardId) -> Result<SocketId, ErrorCode> {
        let home = self.homes.get_mut(&pid).ok_or(ErrorCode::NoProcess)?;
        let next = home.last.next_on(shard, self.shared.shards);
        let next = next.filter(|_| home.sockets.len() < limit::SOCKETS_PER_PROCESS_MAX);
        // Counted last, since it is not taken back.
        let next = next.filter(|_| self.shared.add_socket()).ok_or(ErrorCode::LimitSockets)?;
        home.last = next;
        home.sockets.insert(next);
        Ok(next)
    }

    /// A socket of a process of this CPU is no more.
    pub(crate) fn freed(&mut self, owner: Pid, socket: SocketId) {
        let Some(home) = self.homes.get_mut(&owner) else { return };
        home.given.retain(|(given, _)| *given != socket);
        // What a process had of that pid which has ended meanwhile is counted no more.
        if home.sockets.remove(&socket) {
            self.shared.remove_sockets(1);
        }
    }

    /// A process of this CPU has ended.
    pub(crate) fn release(&mut self, owner: Pid, orderly: bool, stack: &mut Stack, now: Instant) {
        if let Some(home) = self.homes.remove(&owner) {
            self.shared.remove_sockets(home.sockets.len());
            for shard in (0..self.shared.shards).map(ShardId::new) {
                if home.is_known_to(shard) {
                    self.post(shard, SocketNote::Release { owner, orderly });
                }
            }
        }
        self.release_here(owner, orderly, stack, now);
    }

    /// Tells another CPU something of a process of this one.
    pub(crate) fn post_for(&mut self, pid: Pid, to: ShardId, note: SocketNote) {
        if to != self.own
            && let Some(home) = self.homes.get_mut(&pid)
        {
            home.becomes_known_to(to);
        }
        self.post(to, note);
    }

    /// Tells a CPU something: another one, or this one before the step is over.
    pub(crate) fn post(&mut self, to: ShardId, note: SocketNote) {
        if to == self.own {
            self.inbox.push_back(note);
        } else {
            self.outbox.push_back((to, note));
        }
    }

    /// The CPUs other than this one.
    pub(crate) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.own;
        (0..self.shared.shards).map(ShardId::new).filter(move |shard| *shard != own)
    }
}
