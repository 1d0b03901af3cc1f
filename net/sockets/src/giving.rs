//! Connections that are given to other processes, on this CPU or another.
//!
//! Adds to [`Sockets`] the two sides of giving. The connection stays where it is: the receiver's
//! home gives it a number, and whoever has it writes it down for its new owner.
//!
//! ```text
//!   the connection's CPU                      the receiver's home
//!   Give ── 1 Offer ───────────────────────▶ is there room? a number
//!           Offered ◀─────────────────────── 2 Given to the receiver's shard
//!   Done, and it is the receiver's             3 Take
//! ```
//!
//! Whoever dies meanwhile, what is said to the CPU that has the connection is heard there in order:
//! a receiver's end comes after 2, a giver's before or after it. A connection that has lost its
//! giver before 2 is over, and the receiver finds that.

use crate::Sockets;
use crate::holder::{Socket, StreamState};
use crate::verbs::Begun;
use crate::waiting::Want;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{
    AppId, ErrorCode, Instant, Pid, ShardId, SocketEvent, SocketId, SocketNote, SocketReply, limit,
};
use craton_net::{Closed, PassError, Stack, StreamId};

/// A connection that changes hands.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Gift {
    pub(crate) giver: Pid,
    pub(crate) to: Pid,
    pub(crate) conn: u64,
    pub(crate) peer: SocketAddr,
}

impl Sockets {
    /// A process gives a connection that is here.
    pub(crate) fn give(
        &mut self,
        (from, app): (Pid, AppId),
        socket: SocketId,
        to: Pid,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        if (to.node, to.incarnation) != (from.node, from.incarnation) || to == from {
            return Err(ErrorCode::Invalid);
        }
        let holder = self.holders.get_mut(&from).ok_or(ErrorCode::NoProcess)?;
        let connection = holder.stream(socket)?;
        let (id, peer) = (connection.id, connection.peer);
        let home = to.slot.shard();
        if home.index() >= usize::from(self.shared.shards) {
            // There never was such a process: it is as dead as one that has ended.
            if let Some(stream) = self.remove(from, socket) {
                self.dispose(from, socket, stream, false, stack, now);
            }
            return Ok(Some(SocketReply::Done));
        }
        let is_known = self.holders.contains_key(&to);
        let account = self.holder(to, stack).account;
        match stack.pass(id, account) {
            // One that has ended has no buffers: the receiver finds that it is over.
            Ok(()) | Err(PassError::NoStream) => {}
            Err(PassError::LimitOwner) => {
                if !is_known {
                    self.release_here(to, false, stack, now);
                }
                return Err(ErrorCode::LimitMemory);
            }
        }
        let conn = id.to_bits();
        self.post(home, SocketNote::Offer { giver: from, app, to, conn, peer });
        self.wait(from, Want::Give(socket), None, stack, now)
    }

    /// A process of this CPU is to have a connection that is `at` another, or at this one.
    pub(crate) fn offer(
        &mut self,
        gift: Gift,
        app: AppId,
        at: ShardId,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        let Gift { giver, to, conn, peer } = gift;
        let home = self.homes.entry(to).or_default();
        if at != self.own {
            home.becomes_known_to(at);
        }
        let is_full = home.given.len() >= limit::SOCKETS_GIVEN_MAX;
        let result = if is_full { Err(ErrorCode::Full) } else { self.number(to, at) };
        if let (Ok(socket), Some(home)) = (result, self.homes.get_mut(&to)) {
            home.given.push_back((socket, peer));
        }
        self.post(at, SocketNote::Offered { giver, to, conn, peer, result });
        // Told even if it may not have it: if it has ended, its shard says so, and it is forgotten.
        let socket = result.unwrap_or_default();
        out.push(SocketEvent::Given { to, app, socket });
        self.retry(to, stack, now, out);
    }

    /// The receiver's home has answered about a connection that is, or was, here.
    pub(crate) fn offered(
        &mut self,
        gift: Gift,
        result: Result<SocketId, ErrorCode>,
        stack: &mut Stack,
        out: &mut Vec<SocketEvent>,
    ) {
        let Gift { giver, to, conn, peer } = gift;
        let id = StreamId::from_bits(conn);
        let waiting = self.holders.get(&giver).and_then(|holder| holder.waiting.as_ref());
        let given = match waiting.map(|waiting| &waiting.want) {
            Some(&Want::Give(socket)) => Some(socket),
            _ => None,
        };
        match result {
            Ok(number) => {
                let moved = given.and_then(|socket| self.remove(giver, socket));
                let moved = match moved {
                    Some(moved) => {
                        self.streams.insert(id, (to, number));
                        moved
                    }
                    None => {
                        let closed = Some(Closed::Reset);
                        let state = StreamState { closed, ..StreamState::default() };
                        Socket::Stream { id, peer, state }
                    }
                };
                self.holder(to, stack).sockets.insert(number, moved);
            }
            Err(_) => {
                if let Some(holder) = self.holders.get(&giver).filter(|_| given.is_some()) {
                    // If others took the room meanwhile, it counts against the receiver.
                    let _ = stack.pass(id, holder.account);
                }
            }
        }
        if given.is_some() {
            self.stop_waiting(giver);
            let reply = result.map_or_else(SocketReply::Failed, |_| SocketReply::Done);
            out.push(SocketEvent::Done { to: giver, reply });
        }
    }

    /// The next connection that was given to a process of this CPU.
    pub(crate) fn take_given(&mut self, pid: Pid) -> Option<SocketReply> {
        let (socket, peer) = self.homes.get_mut(&pid)?.given.pop_front()?;
        Some(SocketReply::Opened { socket, peer: Some(peer) })
    }
}
