//! Sockets that are watched: their processes do other things, and are told.
//!
//! Adds to [`Sockets`] the setting of a watch and the look whether it is fulfilled. A watch is
//! fulfilled once; its process takes what there is and sets another.

use crate::Sockets;
use crate::holder::Socket;
use alloc::vec::Vec;
use craton_abi::{Pid, SocketEvent, SocketId, TimerId};
use craton_net::Stack;

impl Sockets {
    /// A process wants to be told when a socket has something to take.
    pub(crate) fn watch(
        &mut self,
        pid: Pid,
        socket: SocketId,
        timer: TimerId,
        stack: &mut Stack,
        out: &mut Vec<SocketEvent>,
    ) {
        let holder = self.holder(pid, stack);
        match holder.sockets.get(&socket) {
            None => return out.push(SocketEvent::Ready { to: pid, timer }),
            Some(Socket::Datagrams { .. }) => {
                holder.watches.insert(socket, timer);
                self.watched.insert((pid, socket));
            }
            Some(_) => _ = holder.watches.insert(socket, timer),
        }
        self.look(pid, socket, stack, out);
    }

    /// Tells a process of a socket that it watches, if that has something to take.
    pub(crate) fn look(
        &mut self,
        pid: Pid,
        socket: SocketId,
        stack: &Stack,
        out: &mut Vec<SocketEvent>,
    ) {
        let Some(holder) = self.holders.get_mut(&pid) else { return };
        let ready = match holder.sockets.get(&socket) {
            Some(Socket::Listener { ready, .. }) => !ready.is_empty(),
            Some(Socket::Stream { id, state, .. }) => {
                state.finished || state.closed.is_some() || stack.is_readable(*id)
            }
            Some(Socket::Datagrams { id }) => stack.has_datagram_in(*id),
            None => true,
        };
        if !ready {
            return;
        }
        if let Some(timer) = holder.watches.remove(&socket) {
            self.watched.remove(&(pid, socket));
            out.push(SocketEvent::Ready { to: pid, timer });
        }
    }
}
