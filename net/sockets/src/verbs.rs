//! The beginning of each call: what can be answered at once is, the rest waits.
//!
//! Adds to [`Sockets`] the verbs that open and close sockets; accepting is in `doors`, giving in
//! `giving`, and reading, writing and all that waits in `waiting`.

use crate::holder::{Socket, StreamState};
use crate::waiting::Want;
use crate::{Sockets, reach};
use alloc::collections::VecDeque;
use core::net::SocketAddr;
use craton_abi::{
    AppId, Duration, ErrorCode, Instant, Payload, Pid, SocketCall, SocketId, SocketNote,
    SocketReply, limit,
};
use craton_net::{BindError, Buffers, DatagramError, DialError, DialOptions, Stack, UdpId};

/// Ports for datagrams that nobody asked for by number.
pub(crate) const FREE_PORT_FIRST: u16 = 49_152;
/// A write that waits although others hold all that may be parked keeps so much.
const PARKED_BYTES_MIN: usize = 4 << 10;

pub(crate) type Begun = Result<Option<SocketReply>, ErrorCode>;

impl Sockets {
    /// Begins a call. `None`: its process waits.
    pub(crate) fn begin(
        &mut self,
        from: Pid,
        app: AppId,
        call: SocketCall,
        stack: &mut Stack,
        now: Instant,
    ) -> Option<SocketReply> {
        self.holder(from, stack);
        let begun = match call {
            SocketCall::Listen { port, bulk } => self.listen(from, port, bulk, stack, now),
            SocketCall::Accept { socket, timeout } => {
                self.wait(from, Want::Accept(socket), timeout, stack, now)
            }
            SocketCall::Connect { to, bulk, timeout } => {
                self.connect(from, to, buffers(bulk), timeout, stack, now)
            }
            SocketCall::Read { bytes_max: 0, .. } => Err(ErrorCode::Invalid),
            SocketCall::Read { socket, bytes_max, timeout } => {
                let bytes_max = bytes_max.min(limit::SOCKET_CALL_BYTES_MAX);
                self.wait(from, Want::Read { socket, bytes_max }, timeout, stack, now)
            }
            SocketCall::Write { socket, bytes, timeout } => {
                self.write(from, socket, bytes, timeout, stack, now)
            }
            SocketCall::Finish { socket } => self.finish(from, socket, stack),
            SocketCall::Close { socket } => self.close(from, socket, stack, now),
            // Its socket has a number before it comes here: that is a note of its own.
            SocketCall::Bind { .. } => Err(ErrorCode::Invalid),
            SocketCall::SendTo { socket, to, bytes } => {
                self.send_to(from, socket, to, &bytes, stack, now)
            }
            SocketCall::ReceiveFrom { socket, bytes_max, timeout } => {
                self.wait(from, Want::Datagram { socket, bytes_max }, timeout, stack, now)
            }
            SocketCall::Resolve { name, timeout } => self.resolve(from, &name, timeout, stack, now),
            SocketCall::Give { socket, to } => self.give((from, app), socket, to, stack, now),
            SocketCall::Take { timeout } => self.wait(from, Want::Given, timeout, stack, now),
        };
        begun.unwrap_or_else(|error| Some(SocketReply::Failed(error)))
    }

    fn listen(
        &mut self,
        pid: Pid,
        port: u16,
        bulk: bool,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        reach::may_listen(port)?;
        let socket = self.number(pid, self.own)?;
        if !self.shared.claim_port(port) {
            self.freed(pid, socket);
            return Err(ErrorCode::InUse);
        }
        if let Err(error) = self.open_door(pid, socket, (port, bulk), stack) {
            self.shared.release_port(port);
            self.freed(pid, socket);
            return Err(error);
        }
        let listener = Socket::Listener { port, ready: VecDeque::new() };
        let holder = self.holder(pid, stack);
        holder.sockets.insert(socket, listener);
        holder.listeners.insert(socket);
        let mut missing = 0;
        for shard in self.others() {
            missing += 1;
            self.post_for(pid, shard, SocketNote::Listen { owner: pid, socket, port, bulk });
        }
        if missing == 0 {
            return Ok(Some(SocketReply::Opened { socket, peer: None }));
        }
        self.wait(pid, Want::Listen { socket, missing }, None, stack, now)
    }

    fn connect(
        &mut self,
        pid: Pid,
        to: SocketAddr,
        buffers: Buffers,
        timeout: Option<Duration>,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        reach::may_send(to.ip(), stack)?;
        let socket = self.number(pid, self.own)?;
        let owner = self.holder(pid, stack).account;
        let dialled = stack.dial_with(to, DialOptions { owner, buffers }, now);
        let id = dialled.map_err(|error| {
            self.freed(pid, socket);
            not_dialled(error)
        })?;
        let state = StreamState::default();
        self.holder(pid, stack).sockets.insert(socket, Socket::Stream { id, peer: to, state });
        self.streams.insert(id, (pid, socket));
        // Not even the fastest peer answers at once: zero is no time to connect in.
        self.wait(pid, Want::Open(socket), timeout, stack, now)
    }

    fn write(
        &mut self,
        pid: Pid,
        socket: SocketId,
        mut bytes: Payload,
        timeout: Option<Duration>,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        let holder = self.holders.get_mut(&pid).ok_or(ErrorCode::NoProcess)?;
        let connection = holder.stream(socket)?;
        if connection.state.we_finished {
            return Err(ErrorCode::Invalid);
        }
        if connection.state.closed.is_some() {
            return Err(ErrorCode::Reset);
        }
        bytes.0.truncate(limit::SOCKET_CALL_BYTES_MAX);
        let taken = stack.write(connection.id, &bytes.0).unwrap_or(0);
        let rest = bytes.0.len() - taken;
        let crowded = !self.shared.may_park(rest);
        if rest == 0 || (taken > 0 && (crowded || timeout == Some(Duration::ZERO))) {
            return Ok(Some(SocketReply::Count(taken as u32)));
        }
        if crowded {
            bytes.0.truncate(PARKED_BYTES_MIN);
        }
        self.shared.park(bytes.0.len());
        self.wait(pid, Want::Write { socket, bytes, taken }, timeout, stack, now)
    }

    fn finish(&mut self, pid: Pid, socket: SocketId, stack: &mut Stack) -> Begun {
        let holder = self.holders.get_mut(&pid).ok_or(ErrorCode::NoProcess)?;
        let connection = holder.stream(socket)?;
        connection.state.we_finished = true;
        // A connection that is over is as finished as it can be.
        let _ = stack.finish(connection.id);
        Ok(Some(SocketReply::Done))
    }

    fn close(&mut self, pid: Pid, socket: SocketId, stack: &mut Stack, now: Instant) -> Begun {
        let removed = self.remove(pid, socket).ok_or(ErrorCode::NoSocket)?;
        self.dispose(pid, socket, removed, true, stack, now);
        Ok(Some(SocketReply::Done))
    }

    /// A process of any CPU wants to have a port for datagrams, under this number.
    pub(crate) fn bind(
        &mut self,
        pid: Pid,
        port: u16,
        socket: SocketId,
        stack: &mut Stack,
    ) -> SocketReply {
        match self.bind_port(pid, port, stack) {
            Ok(id) => {
                self.holder(pid, stack).sockets.insert(socket, Socket::Datagrams { id });
                SocketReply::Opened { socket, peer: None }
            }
            Err(error) => {
                self.post(pid.slot.shard(), SocketNote::Freed { owner: pid, socket });
                SocketReply::Failed(error)
            }
        }
    }

    fn bind_port(&mut self, pid: Pid, port: u16, stack: &mut Stack) -> Result<UdpId, ErrorCode> {
        reach::may_bind(port)?;
        let owner = self.holder(pid, stack).account;
        let port = if port == 0 { self.free_port(stack)? } else { port };
        let bound = stack.bind_for(port, owner);
        bound.map_err(|error| match error {
            BindError::Invalid => ErrorCode::Invalid,
            BindError::InUse => ErrorCode::InUse,
            BindError::LimitSockets => ErrorCode::LimitSockets,
            BindError::LimitBuffers => ErrorCode::LimitMemory,
        })
    }

    /// A free port for datagrams that nobody asked for by number; another each time.
    fn free_port(&mut self, stack: &Stack) -> Result<u16, ErrorCode> {
        let free = stack.free_datagram_port(self.port_next);
        let free = free.or_else(|| stack.free_datagram_port(FREE_PORT_FIRST));
        let port = free.ok_or(ErrorCode::LimitSockets)?;
        self.port_next = port.checked_add(1).unwrap_or(FREE_PORT_FIRST);
        Ok(port)
    }

    fn send_to(
        &mut self,
        pid: Pid,
        socket: SocketId,
        to: SocketAddr,
        bytes: &Payload,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        let holder = self.holders.get(&pid).ok_or(ErrorCode::NoProcess)?;
        let id = holder.datagrams(socket)?;
        reach::may_send(to.ip(), stack)?;
        stack.send_to(id, to, &bytes.0, now).map_err(|error| match error {
            DatagramError::NoSocket => ErrorCode::NoSocket,
            DatagramError::NoAddress | DatagramError::Unreachable => ErrorCode::Unreachable,
            DatagramError::TooLong => ErrorCode::TooLong,
            DatagramError::Full => ErrorCode::Full,
        })?;
        Ok(Some(SocketReply::Done))
    }

    fn resolve(
        &mut self,
        pid: Pid,
        name: &str,
        timeout: Option<Duration>,
        stack: &mut Stack,
        now: Instant,
    ) -> Begun {
        if name.is_empty() || name.len() > limit::HOST_NAME_BYTES_MAX {
            return Err(ErrorCode::Invalid);
        }
        let question = stack.resolve(name, now);
        self.questions.insert(question, pid);
        self.wait(pid, Want::Name(question), timeout, stack, now)
    }
}

pub(crate) fn buffers(bulk: bool) -> Buffers {
    if bulk { Buffers::Bulk } else { Buffers::Small }
}

fn not_dialled(error: DialError) -> ErrorCode {
    match error {
        DialError::NoAddress => ErrorCode::Unreachable,
        DialError::Invalid => ErrorCode::Invalid,
        DialError::LimitStreams | DialError::LimitPorts => ErrorCode::LimitSockets,
        DialError::LimitBuffers | DialError::LimitOwner | DialError::LimitMemory => {
            ErrorCode::LimitMemory
        }
    }
}
