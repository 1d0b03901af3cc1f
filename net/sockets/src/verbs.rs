//! The beginning of each call: what can be answered at once is, the rest waits.
//!
//! Adds to [`Sockets`] the verbs that open and close sockets and hand them on; reading, writing and
//! all that waits is in `waiting`.

use crate::holder::{Holder, Socket, StreamState};
use crate::waiting::Want;
use crate::{PARKED_BYTES_MAX, Sockets, given, reach};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{
    AppId, Duration, ErrorCode, Instant, Payload, Pid, SocketCall, SocketEvent, SocketId,
    SocketReply, limit,
};
use craton_net::{
    BindError, Buffers, DatagramError, DialError, DialOptions, ListenError, ListenOptions,
    PassError, Stack,
};

/// Ports for datagrams that nobody asked for by number.
pub(crate) const FREE_PORT_FIRST: u16 = 49_152;
/// A write that waits although others hold all that may be parked keeps so much.
const PARKED_BYTES_MIN: usize = 4 << 10;

type Begun = Result<Option<SocketReply>, ErrorCode>;

impl Sockets {
    /// Begins a call. `None`: its process waits.
    pub(crate) fn begin(
        &mut self,
        from: Pid,
        app: AppId,
        call: SocketCall,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) -> Option<SocketReply> {
        self.holder(from, stack);
        let begun = match call {
            SocketCall::Listen { port, bulk } => self.listen(from, port, buffers(bulk), stack),
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
            SocketCall::Bind { port } => self.bind(from, port, stack),
            SocketCall::SendTo { socket, to, bytes } => {
                self.send_to(from, socket, to, &bytes, stack, now)
            }
            SocketCall::ReceiveFrom { socket, bytes_max, timeout } => {
                self.wait(from, Want::Datagram { socket, bytes_max }, timeout, stack, now)
            }
            SocketCall::Resolve { name, timeout } => self.resolve(from, &name, timeout, stack, now),
            SocketCall::Give { socket, to } => self.give((from, app), socket, to, stack, now, out),
            SocketCall::Take { timeout } => self.wait(from, Want::Given, timeout, stack, now),
        };
        begun.unwrap_or_else(|error| Some(SocketReply::Failed(error)))
    }

    /// Whether a process may have another socket.
    pub(crate) fn room(&mut self, pid: Pid) -> Result<&mut Holder, ErrorCode> {
        let full = self.count >= limit::SOCKETS_PER_NODE_MAX;
        let holder = self.holders.get_mut(&pid).ok_or(ErrorCode::NoProcess)?;
        if full || !holder.has_room() { Err(ErrorCode::LimitSockets) } else { Ok(holder) }
    }

    /// Gives a process a socket, for which there is room.
    pub(crate) fn add(&mut self, pid: Pid, socket: Socket) -> Result<SocketId, ErrorCode> {
        let id = self.room(pid)?.add(socket).ok_or(ErrorCode::LimitSockets)?;
        self.count += 1;
        Ok(id)
    }

    fn listen(&mut self, pid: Pid, port: u16, buffers: Buffers, stack: &mut Stack) -> Begun {
        reach::may_listen(port)?;
        let owner = self.room(pid)?.account;
        let options = ListenOptions { owner, buffers, ..ListenOptions::default() };
        stack.listen_with(port, options).map_err(|error| match error {
            ListenError::Invalid => ErrorCode::Invalid,
            ListenError::InUse => ErrorCode::InUse,
            ListenError::LimitListeners => ErrorCode::LimitSockets,
        })?;
        let socket = self.add(pid, Socket::Listener { port, ready: VecDeque::new() })?;
        self.ports.insert(port, (pid, socket));
        Ok(Some(SocketReply::Opened { socket, peer: None }))
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
        let owner = self.room(pid)?.account;
        let id = stack.dial_with(to, DialOptions { owner, buffers }, now).map_err(not_dialled)?;
        let state = StreamState::default();
        let socket = self.add(pid, Socket::Stream { id, peer: to, state })?;
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
        let crowded = self.parked_bytes + rest > PARKED_BYTES_MAX;
        if rest == 0 || (taken > 0 && (crowded || timeout == Some(Duration::ZERO))) {
            return Ok(Some(SocketReply::Count(taken as u32)));
        }
        if crowded {
            bytes.0.truncate(PARKED_BYTES_MIN);
        }
        self.parked_bytes += bytes.0.len();
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
        let socket = self.remove(pid, socket).ok_or(ErrorCode::NoSocket)?;
        self.dispose(socket, true, stack, now);
        Ok(Some(SocketReply::Done))
    }

    fn bind(&mut self, pid: Pid, port: u16, stack: &mut Stack) -> Begun {
        reach::may_bind(port)?;
        let owner = self.room(pid)?.account;
        let tries = if port == 0 { u16::MAX - FREE_PORT_FIRST } else { 1 };
        let mut bound = Err(BindError::InUse);
        for _ in 0..tries {
            let port = if port == 0 { self.next_port() } else { port };
            bound = stack.bind_for(port, owner);
            if bound != Err(BindError::InUse) {
                break;
            }
        }
        let id = bound.map_err(|error| match error {
            BindError::Invalid => ErrorCode::Invalid,
            BindError::InUse => ErrorCode::InUse,
            BindError::LimitSockets => ErrorCode::LimitSockets,
            BindError::LimitBuffers => ErrorCode::LimitMemory,
        })?;
        let socket = self.add(pid, Socket::Datagrams { id })?;
        Ok(Some(SocketReply::Opened { socket, peer: None }))
    }

    fn next_port(&mut self) -> u16 {
        let port = self.port_next;
        self.port_next = port.checked_add(1).unwrap_or(FREE_PORT_FIRST);
        port
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

    fn give(
        &mut self,
        (from, app): (Pid, AppId),
        socket: SocketId,
        to: Pid,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) -> Begun {
        if (to.node, to.incarnation) != (from.node, from.incarnation) || to == from {
            return Err(ErrorCode::Invalid);
        }
        let holder = self.holders.get_mut(&from).ok_or(ErrorCode::NoProcess)?;
        let id = holder.stream(socket)?.id;
        let receiver = self.holder(to, stack);
        if receiver.given.len() >= limit::SOCKETS_GIVEN_MAX {
            return Err(ErrorCode::Full);
        }
        if !receiver.has_room() {
            return Err(ErrorCode::LimitSockets);
        }
        match stack.pass(id, receiver.account) {
            // One that has ended has no buffers: the receiver finds that it is over.
            Ok(()) | Err(PassError::NoStream) => {}
            Err(PassError::LimitOwner) => return Err(ErrorCode::LimitMemory),
        }
        let moved = self.remove(from, socket).ok_or(ErrorCode::NoSocket)?;
        let socket = self.add(to, moved)?;
        self.streams.insert(id, (to, socket));
        self.holder(to, stack).given.push_back(socket);
        out.push(given(to, app, socket));
        self.retry(to, stack, now, out);
        Ok(Some(SocketReply::Done))
    }
}

fn buffers(bulk: bool) -> Buffers {
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
