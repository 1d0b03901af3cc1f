//! The network of a run on threads: connections and datagrams in memory.
//!
//! Owns [`Net`], a part of the world. All nodes have one address here, so only ports matter, and
//! only `localhost` has a name. Limits, lost packets and the ports that are out of bounds are the
//! real system's.

use super::calls::{deadline, living, wait};
use super::world::World;
use crate::net::{RawAddress, address, raw};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{ErrorCode, Pid};

/// What a connection buffers in each direction.
const PIPE_BYTES: usize = 4 << 10;
/// Connections and datagrams that wait.
const QUEUE_MAX: usize = 256;
const PORT_FREE_FIRST: u16 = 49_152;

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// No more will be written.
    finished: bool,
    /// Nobody reads any more, or the writer broke off.
    broken: bool,
}

enum Socket {
    Listener { port: u16, ready: VecDeque<Stream> },
    Stream(Stream),
    Datagrams { port: u16, queue: VecDeque<(SocketAddr, Vec<u8>)> },
}

#[derive(Copy, Clone)]
struct Stream {
    reads: usize,
    writes: usize,
    peer: SocketAddr,
}

/// The sockets of all processes.
#[derive(Default)]
pub(super) struct Net {
    sockets: BTreeMap<(Pid, u32), Socket>,
    given: BTreeMap<Pid, VecDeque<u32>>,
    pipes: Vec<Pipe>,
    /// Timers that sockets may hasten.
    watches: BTreeMap<(Pid, u32), u64>,
    last: u32,
    port_last: u16,
}

type Answer = Result<i32, ErrorCode>;

fn here(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

impl Net {
    /// A process has ended.
    pub(super) fn release(&mut self, pid: Pid, orderly: bool) {
        self.given.remove(&pid);
        self.watches.retain(|(of, _), _| *of != pid);
        let ended: Vec<u32> = self
            .sockets
            .range((pid, 0)..=(pid, u32::MAX))
            .map(|(&(_, socket), _)| socket)
            .collect();
        for socket in ended {
            let removed = self.sockets.remove(&(pid, socket));
            removed.into_iter().for_each(|socket| self.dispose(socket, orderly));
        }
    }

    fn dispose(&mut self, socket: Socket, orderly: bool) {
        match socket {
            Socket::Stream(stream) => {
                self.pipes[stream.reads].broken = true;
                self.pipes[stream.writes].finished = true;
                self.pipes[stream.writes].broken |= !orderly;
            }
            Socket::Listener { ready, .. } => {
                ready.into_iter().for_each(|stream| self.dispose(Socket::Stream(stream), false));
            }
            Socket::Datagrams { .. } => {}
        }
    }

    fn add(&mut self, pid: Pid, socket: Socket) -> i32 {
        self.last += 1;
        self.sockets.insert((pid, self.last), socket);
        self.last as i32
    }

    fn stream(&self, pid: Pid, socket: u32) -> Result<Stream, ErrorCode> {
        match self.sockets.get(&(pid, socket)) {
            Some(Socket::Stream(stream)) => Ok(*stream),
            _ => Err(ErrorCode::NoSocket),
        }
    }

    fn pipe(&mut self) -> usize {
        self.pipes.push(Pipe::default());
        self.pipes.len() - 1
    }

    fn free_port(&mut self) -> u16 {
        self.port_last = self.port_last.max(PORT_FREE_FIRST) + 1;
        self.port_last
    }

    fn listen(&mut self, pid: Pid, port: u16) -> Answer {
        let taken =
            |socket: &Socket| matches!(socket, Socket::Listener { port: of, .. } if *of == port);
        match port {
            0 => Err(ErrorCode::Invalid),
            _ if self.sockets.values().any(taken) => Err(ErrorCode::InUse),
            _ => Ok(self.add(pid, Socket::Listener { port, ready: VecDeque::new() })),
        }
    }

    fn accept(&mut self, pid: Pid, socket: u32, from: &mut RawAddress) -> Option<Answer> {
        let Some(Socket::Listener { ready, .. }) = self.sockets.get_mut(&(pid, socket)) else {
            return Some(Err(ErrorCode::NoSocket));
        };
        let stream = ready.pop_front()?;
        *from = raw(stream.peer);
        Some(Ok(self.add(pid, Socket::Stream(stream))))
    }

    fn connect(&mut self, pid: Pid, to: SocketAddr) -> Answer {
        let (ours, theirs) = (self.pipe(), self.pipe());
        let peer = here(self.free_port());
        let listener = self.sockets.values_mut().find_map(|socket| match socket {
            Socket::Listener { port, ready } if *port == to.port() => Some(ready),
            _ => None,
        });
        let ready = listener.filter(|ready| ready.len() < QUEUE_MAX).ok_or(ErrorCode::Refused)?;
        ready.push_back(Stream { reads: ours, writes: theirs, peer });
        Ok(self.add(pid, Socket::Stream(Stream { reads: theirs, writes: ours, peer: to })))
    }

    fn read(&mut self, pid: Pid, socket: u32, to: &mut [u8]) -> Option<Answer> {
        let stream = match self.stream(pid, socket) {
            Ok(_) if to.is_empty() => return Some(Err(ErrorCode::Invalid)),
            Ok(stream) => stream,
            Err(error) => return Some(Err(error)),
        };
        let pipe = &mut self.pipes[stream.reads];
        if pipe.bytes.is_empty() {
            let end = if pipe.broken { Err(ErrorCode::Reset) } else { Ok(0) };
            return (pipe.broken || pipe.finished).then_some(end);
        }
        let len = pipe.bytes.len().min(to.len());
        to.iter_mut().zip(pipe.bytes.drain(..len)).for_each(|(to, byte)| *to = byte);
        Some(Ok(len as i32))
    }

    fn write(&mut self, pid: Pid, socket: u32, bytes: &[u8]) -> Option<Answer> {
        let stream = match self.stream(pid, socket) {
            Ok(stream) => stream,
            Err(error) => return Some(Err(error)),
        };
        let pipe = &mut self.pipes[stream.writes];
        if pipe.broken || pipe.finished {
            let error = if pipe.finished { ErrorCode::Invalid } else { ErrorCode::Reset };
            return Some(Err(error));
        }
        let len = bytes.len().min(PIPE_BYTES.saturating_sub(pipe.bytes.len()));
        pipe.bytes.extend(&bytes[..len]);
        (len > 0 || bytes.is_empty()).then_some(Ok(len as i32))
    }

    fn finish(&mut self, pid: Pid, socket: u32) -> Answer {
        let stream = self.stream(pid, socket)?;
        self.pipes[stream.writes].finished = true;
        Ok(0)
    }

    fn close(&mut self, pid: Pid, socket: u32) -> Answer {
        let socket = self.sockets.remove(&(pid, socket)).ok_or(ErrorCode::NoSocket)?;
        self.dispose(socket, true);
        Ok(0)
    }

    fn give(&mut self, pid: Pid, socket: u32, to: Pid, lives: bool) -> Answer {
        let stream = self.stream(pid, socket)?;
        if to.node != pid.node || to == pid {
            return Err(ErrorCode::Invalid);
        }
        self.sockets.remove(&(pid, socket));
        if lives {
            let number = self.add(to, Socket::Stream(stream));
            self.given.entry(to).or_default().push_back(number as u32);
        } else {
            self.dispose(Socket::Stream(stream), false);
        }
        Ok(0)
    }

    fn take(&mut self, pid: Pid, from: &mut RawAddress) -> Option<Answer> {
        let socket = self.given.get_mut(&pid)?.pop_front()?;
        *from = raw(self.stream(pid, socket).ok()?.peer);
        Some(Ok(socket as i32))
    }

    fn bind(&mut self, pid: Pid, port: u16) -> Answer {
        let port = if port == 0 { self.free_port() } else { port };
        let taken =
            |socket: &Socket| matches!(socket, Socket::Datagrams { port: of, .. } if *of == port);
        if self.sockets.values().any(taken) {
            return Err(ErrorCode::InUse);
        }
        Ok(self.add(pid, Socket::Datagrams { port, queue: VecDeque::new() }))
    }

    fn send(&mut self, pid: Pid, socket: u32, to: SocketAddr, bytes: &[u8]) -> Answer {
        let Some(&Socket::Datagrams { port: from, .. }) = self.sockets.get(&(pid, socket)) else {
            return Err(ErrorCode::NoSocket);
        };
        for socket in self.sockets.values_mut() {
            if let Socket::Datagrams { port, queue } = socket
                && *port == to.port()
                && queue.len() < QUEUE_MAX
            {
                queue.push_back((here(from), bytes.to_vec()));
            }
        }
        Ok(0)
    }

    fn receive(
        &mut self,
        pid: Pid,
        socket: u32,
        to: &mut [u8],
        from: &mut RawAddress,
    ) -> Option<Answer> {
        let Some(Socket::Datagrams { queue, .. }) = self.sockets.get_mut(&(pid, socket)) else {
            return Some(Err(ErrorCode::NoSocket));
        };
        let (sender, bytes) = queue.pop_front()?;
        *from = raw(sender);
        let len = bytes.len().min(to.len());
        to[..len].copy_from_slice(&bytes[..len]);
        Some(Ok(len as i32))
    }
}

impl Net {
    /// Whether there is something to take from a socket, or nothing will ever be.
    fn is_ready(&self, pid: Pid, socket: u32) -> bool {
        match self.sockets.get(&(pid, socket)) {
            Some(Socket::Listener { ready, .. }) => !ready.is_empty(),
            Some(Socket::Stream(stream)) => {
                let pipe = &self.pipes[stream.reads];
                !pipe.bytes.is_empty() || pipe.finished || pipe.broken
            }
            Some(Socket::Datagrams { queue, .. }) => !queue.is_empty(),
            None => true,
        }
    }

    /// Takes out the timers that are due now, with their owners.
    pub(super) fn take_due(&mut self) -> Vec<(Pid, u64)> {
        let watches = core::mem::take(&mut self.watches);
        let (due, kept): (BTreeMap<_, _>, _) =
            watches.into_iter().partition(|((pid, socket), _)| self.is_ready(*pid, *socket));
        self.watches = kept;
        due.into_iter().map(|((pid, _), timer)| (pid, timer)).collect()
    }
}

/// Does something at once.
fn now(change: impl FnOnce(&mut World, Pid) -> Answer) -> i32 {
    let current = living();
    code(current.shared.with(|world| {
        let answer = change(world, current.pid);
        world.hasten();
        answer
    }))
}

/// Tries something until it can be done or its time is up.
fn until(timeout_nanos: i64, mut attempt: impl FnMut(&mut Net, Pid) -> Option<Answer>) -> i32 {
    if timeout_nanos < -1 {
        return ErrorCode::Invalid.code();
    }
    let current = living();
    let deadline = deadline(timeout_nanos, None);
    let answer = wait(&current, deadline, |world| {
        let answer = attempt(&mut world.net, current.pid);
        world.hasten();
        answer
    });
    code(answer.unwrap_or(Err(ErrorCode::TimedOut)))
}

fn code(answer: Answer) -> i32 {
    answer.unwrap_or_else(ErrorCode::code)
}

pub(crate) fn tcp_listen(port: u16, _flags: i32) -> i32 {
    now(|world, pid| world.net.listen(pid, port))
}

pub(crate) fn tcp_accept(socket: u32, timeout: i64, from: &mut RawAddress) -> i32 {
    until(timeout, |net, pid| net.accept(pid, socket, from))
}

pub(crate) fn tcp_connect(to: &RawAddress, _flags: i32, _timeout: i64) -> i32 {
    now(|world, pid| world.net.connect(pid, address(to)))
}

pub(crate) fn socket_read(socket: u32, to: &mut [u8], timeout: i64) -> i32 {
    until(timeout, |net, pid| net.read(pid, socket, to))
}

pub(crate) fn socket_write(socket: u32, bytes: &[u8], timeout: i64) -> i32 {
    until(timeout, |net, pid| net.write(pid, socket, bytes))
}

pub(crate) fn socket_finish(socket: u32) -> i32 {
    now(|world, pid| world.net.finish(pid, socket))
}

/// Also while a process unwinds: then its sockets are closed with it.
pub(crate) fn socket_close(socket: u32) -> i32 {
    if std::thread::panicking() {
        return 0;
    }
    let current = super::world::current();
    code(current.shared.with(|world| {
        let answer = world.net.close(current.pid, socket);
        world.hasten();
        answer
    }))
}

pub(crate) fn socket_give(socket: u32, to: &Pid) -> i32 {
    now(|world, pid| {
        let lives = world.doom_of(*to).is_none();
        world.net.give(pid, socket, *to, lives)
    })
}

pub(crate) fn socket_take(timeout: i64, from: &mut RawAddress) -> i32 {
    until(timeout, |net, pid| net.take(pid, from))
}

pub(crate) fn socket_watch(socket: u32, after_nanos: i64, tag: u64) -> i64 {
    // Without a time it is one that does not come.
    const NEVER: i64 = 1 << 60;
    let after = if after_nanos == -1 { NEVER } else { after_nanos };
    let timer = super::calls::set_timer(after, tag);
    if let Ok(id) = u64::try_from(timer) {
        now(|world, pid| {
            world.net.watches.insert((pid, socket), id);
            Ok(0)
        });
    }
    timer
}

pub(crate) fn udp_bind(port: u16) -> i32 {
    now(|world, pid| world.net.bind(pid, port))
}

pub(crate) fn udp_send(socket: u32, to: &RawAddress, bytes: &[u8]) -> i32 {
    now(|world, pid| world.net.send(pid, socket, address(to), bytes))
}

pub(crate) fn udp_receive(socket: u32, to: &mut [u8], timeout: i64, from: &mut RawAddress) -> i32 {
    until(timeout, |net, pid| net.receive(pid, socket, to, from))
}

pub(crate) fn resolve(name: &str, to: &mut [RawAddress], _timeout: i64) -> i32 {
    let known = (name == "localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    match (name.parse().ok().or(known), to.first_mut()) {
        (Some(ip), Some(to)) => {
            *to = raw(SocketAddr::new(ip, 0));
            1
        }
        _ => ErrorCode::NoName.code(),
    }
}
