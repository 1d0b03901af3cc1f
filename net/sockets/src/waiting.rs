//! What processes wait for: tried when it is asked, and again whenever something happened.
//!
//! Owns [`Want`] and [`Waiting`], and adds to [`Sockets`] the trying and the end of patience.

use crate::holder::Holder;
use crate::{Sockets, no_bytes};
use alloc::vec::Vec;
use core::net::IpAddr;
use craton_abi::{
    Duration, ErrorCode, Instant, Payload, Pid, SocketEvent, SocketId, SocketReply, limit,
};
use craton_net::{Closed, ResolveError, ResolveId, Stack};

/// Something that a process waits for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) want: Want,
    pub(crate) deadline: Option<Instant>,
}

/// What a process waits for.
#[derive(Debug)]
pub(crate) enum Want {
    /// A connection to a port.
    Accept(SocketId),
    /// That a connection is open.
    Open(SocketId),
    /// Bytes of a connection.
    Read { socket: SocketId, bytes_max: usize },
    /// Room for the bytes from `taken` on.
    Write { socket: SocketId, bytes: Payload, taken: usize },
    /// A datagram.
    Datagram { socket: SocketId, bytes_max: usize },
    /// The addresses of a name.
    Name(ResolveId),
    /// A connection that somebody gives.
    Given,
    /// That so many other CPUs listen, too.
    Listen { socket: SocketId, missing: usize },
    /// That the receiver's home has a number for what is given.
    Give(SocketId),
}

impl Sockets {
    /// Has a process wait for something, unless it is there or may not be waited for.
    pub(crate) fn wait(
        &mut self,
        pid: Pid,
        want: Want,
        timeout: Option<Duration>,
        stack: &mut Stack,
        now: Instant,
    ) -> Result<Option<SocketReply>, ErrorCode> {
        let is_datagram = matches!(want, Want::Datagram { .. });
        let deadline = timeout.map(|timeout| now + timeout);
        let holder = self.holders.get_mut(&pid).ok_or(ErrorCode::NoProcess)?;
        holder.waiting = Some(Waiting { want, deadline });
        if let Some(reply) = self.attempt(pid, stack, now) {
            self.stop_waiting(pid);
            return Ok(Some(reply));
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(self.give_up(pid, stack, now));
        }
        if is_datagram {
            self.datagrams.insert(pid);
        }
        if let Some(at) = deadline {
            self.deadlines.insert((at, pid));
        }
        Ok(None)
    }

    /// Something happened to a socket of this process: what it waits for may be there.
    pub(crate) fn retry(
        &mut self,
        pid: Pid,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        if let Some(reply) = self.attempt(pid, stack, now) {
            self.stop_waiting(pid);
            out.push(SocketEvent::Done { to: pid, reply });
        }
    }

    /// Its time is up.
    pub(crate) fn time_out(
        &mut self,
        pid: Pid,
        stack: &mut Stack,
        now: Instant,
        out: &mut Vec<SocketEvent>,
    ) {
        if let Some(reply) = self.give_up(pid, stack, now) {
            out.push(SocketEvent::Done { to: pid, reply });
        }
    }

    /// Ends a wait that nothing came of.
    fn give_up(&mut self, pid: Pid, stack: &mut Stack, now: Instant) -> Option<SocketReply> {
        let waiting = self.holders.get(&pid)?.waiting.as_ref()?;
        let (mut opening, mut written) = (None, 0);
        match waiting.want {
            Want::Open(socket) => opening = Some(socket),
            Want::Write { taken, .. } => written = taken,
            _ => {}
        }
        self.stop_waiting(pid);
        if let Some(number) = opening
            && let Some(socket) = self.remove(pid, number)
        {
            self.dispose(pid, number, socket, false, stack, now);
        }
        Some(match written {
            0 => SocketReply::Failed(ErrorCode::TimedOut),
            _ => SocketReply::Count(written as u32),
        })
    }

    /// Does what a process waits for, if that can be done now.
    fn attempt(&mut self, pid: Pid, stack: &mut Stack, now: Instant) -> Option<SocketReply> {
        let holder = self.holders.get_mut(&pid)?;
        match holder.waiting.as_mut()?.want {
            Want::Accept(socket) => self.accept(pid, socket),
            Want::Open(socket) => self.opened(pid, socket, stack, now),
            Want::Read { socket, bytes_max } => Some(read(holder, socket, bytes_max, stack)?),
            Want::Write { .. } => write(holder, stack),
            Want::Datagram { socket, bytes_max } => receive(holder, socket, bytes_max, stack),
            Want::Given => self.take_given(pid),
            // Their answers are events and notes of their own.
            Want::Name(_) | Want::Listen { .. } | Want::Give(_) => None,
        }
    }

    fn opened(
        &mut self,
        pid: Pid,
        socket: SocketId,
        stack: &mut Stack,
        now: Instant,
    ) -> Option<SocketReply> {
        let Ok(connection) = self.holders.get_mut(&pid)?.stream(socket) else {
            return Some(SocketReply::Failed(ErrorCode::NoSocket));
        };
        let peer = Some(connection.peer);
        let Some(why) = connection.state.closed else {
            let open = connection.state.open;
            return open.then_some(SocketReply::Opened { socket, peer });
        };
        if let Some(removed) = self.remove(pid, socket) {
            self.dispose(pid, socket, removed, false, stack, now);
        }
        Some(SocketReply::Failed(not_opened(why)))
    }
}

fn read(
    holder: &mut Holder,
    socket: SocketId,
    bytes_max: usize,
    stack: &mut Stack,
) -> Option<SocketReply> {
    let connection = match holder.stream(socket) {
        Ok(connection) => connection,
        Err(error) => return Some(SocketReply::Failed(error)),
    };
    let mut bytes = Vec::new();
    let read = stack.read(connection.id, &mut bytes, bytes_max).unwrap_or(0);
    if read > 0 {
        return Some(SocketReply::Bytes(Payload(bytes)));
    }
    match connection.state.closed {
        _ if connection.state.finished => Some(SocketReply::Bytes(no_bytes())),
        Some(Closed::Orderly) => Some(SocketReply::Bytes(no_bytes())),
        Some(_) => Some(SocketReply::Failed(ErrorCode::Reset)),
        None => None,
    }
}

fn write(holder: &mut Holder, stack: &mut Stack) -> Option<SocketReply> {
    let mut waiting = holder.waiting.take()?;
    let mut reply = None;
    if let Want::Write { socket, ref bytes, ref mut taken } = waiting.want {
        reply = match holder.stream(socket) {
            Ok(connection) => {
                let rest = &bytes.0[*taken..];
                *taken += stack.write(connection.id, rest).unwrap_or(0);
                let over = connection.state.closed.is_some();
                match *taken {
                    count if count == bytes.0.len() || (over && count > 0) => {
                        Some(SocketReply::Count(count as u32))
                    }
                    _ => over.then_some(SocketReply::Failed(ErrorCode::Reset)),
                }
            }
            Err(error) => Some(SocketReply::Failed(error)),
        };
    }
    holder.waiting = Some(waiting);
    reply
}

fn receive(
    holder: &mut Holder,
    socket: SocketId,
    bytes_max: usize,
    stack: &mut Stack,
) -> Option<SocketReply> {
    let id = match holder.datagrams(socket) {
        Ok(id) => id,
        Err(error) => return Some(SocketReply::Failed(error)),
    };
    let mut bytes = Vec::new();
    let from = stack.receive_from(id, &mut bytes)?;
    bytes.truncate(bytes_max.min(limit::SOCKET_CALL_BYTES_MAX));
    Some(SocketReply::Datagram { from, bytes: Payload(bytes) })
}

fn not_opened(why: Closed) -> ErrorCode {
    match why {
        Closed::Refused => ErrorCode::Refused,
        Closed::TimedOut => ErrorCode::TimedOut,
        Closed::Unreachable | Closed::AddressLost => ErrorCode::Unreachable,
        Closed::Orderly | Closed::Reset => ErrorCode::Reset,
    }
}

/// The resolver's answer, for a process.
pub(crate) fn addresses(result: &Result<Vec<IpAddr>, ResolveError>) -> SocketReply {
    SocketReply::Failed(match result {
        Ok(addresses) => return SocketReply::Addresses(addresses.clone()),
        Err(ResolveError::BadName) => ErrorCode::Invalid,
        Err(ResolveError::NoSuchName) => ErrorCode::NoName,
        Err(ResolveError::NoServer | ResolveError::ServerFailed) => ErrorCode::Unreachable,
        Err(ResolveError::TimedOut) => ErrorCode::TimedOut,
        Err(ResolveError::LimitQuestions) => ErrorCode::LimitRequests,
    })
}
