//! The network: connections, datagrams, names.
//!
//! Owns [`TcpListener`], [`TcpStream`], [`UdpSocket`] and [`resolve`]. A call waits for as long as
//! it is told, and keeps its process from all else meanwhile; so a server gives each connection to
//! a process of its own ([`TcpListener::serve`], [`TcpStream::served`]). One that must hear
//! messages too has itself told when there is something to take ([`TcpStream::watch`]). Sockets
//! close when they are dropped, and with their process. What every error means is in `docs/abi.md`.
//!
//! ```no_run
//! use craton::net::TcpListener;
//! use craton::SpawnOptions;
//!
//! fn serve() -> Result<(), craton::Error> {
//!     match TcpListener::bind(7)?.serve(&CONNECTION, &(), SpawnOptions::here())? {}
//! }
//! # craton::entries! { CONNECTION: "connection" = connection as fn(()); }
//! # fn connection(_: ()) {}
//! ```

use crate::error::check_id;
use crate::system::now;
use crate::{Entry, Error, Level, Mailbox, SpawnOptions, Timer, log, sys};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use craton_abi::{Duration, ErrorCode, Pid};
use serde::Serialize;

/// An address as the host calls have it: kind, port, and up to 16 bytes.
pub(crate) type RawAddress = [u8; 20];

/// Addresses for which [`resolve`] makes room; the node gives no more.
const ADDRESSES_MAX: usize = 16;
const BULK: i32 = 1;
/// How long a process waits for the connection that it was spawned for.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long a server without room for another connection waits for some.
const PAUSE: Duration = Duration::from_millis(100);

/// How much a connection buffers in each direction.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Buffers {
    /// 4 KiB: for thousands of connections that say little.
    #[default]
    Small,
    /// 64 KiB: for few that carry much.
    Bulk,
}

/// Accepts connections to a port.
#[derive(Debug)]
pub struct TcpListener(Socket);

/// A connection. Dropping it closes it, after what was written.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
    peer: SocketAddr,
    timeout: Option<Duration>,
}

/// A port for datagrams.
#[derive(Debug)]
pub struct UdpSocket(Socket);

/// A number that is closed when it is dropped.
#[derive(Debug)]
struct Socket(u32);

impl Drop for Socket {
    fn drop(&mut self) {
        // There is nothing to be done about a socket that is closed already.
        let _ = sys::socket_close(self.0);
    }
}

impl Socket {
    fn watch(&self, within: Option<Duration>, tag: u64) -> Result<Timer, Error> {
        check_id(sys::socket_watch(self.0, nanos(within), tag)).map(|id| Timer::from_id(id, tag))
    }
}

impl TcpListener {
    pub(crate) fn number(&self) -> u32 {
        self.0.0
    }

    /// Listens on a port, with small buffers for its connections.
    ///
    /// # Errors
    ///
    /// `in-use`, `denied` (a port of the node's own), `limit: sockets`.
    pub fn bind(port: u16) -> Result<Self, ErrorCode> {
        Self::bind_with(port, Buffers::Small)
    }

    /// As [`TcpListener::bind`], with these buffers.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    pub fn bind_with(port: u16, buffers: Buffers) -> Result<Self, ErrorCode> {
        Ok(TcpListener(socket(sys::tcp_listen(port, flags(buffers)))?))
    }

    /// The next connection; `None` waits for ever.
    ///
    /// # Errors
    ///
    /// `timed-out`, or `limit: sockets`: the connection waits until there is room.
    pub fn accept(&self, timeout: Option<Duration>) -> Result<TcpStream, ErrorCode> {
        let mut peer = RawAddress::default();
        let socket = socket(sys::tcp_accept(self.0.0, nanos(timeout), &mut peer))?;
        Ok(TcpStream::new(socket, address(&peer)))
    }

    /// Serves for as long as it can: each connection gets a process of its own, which runs `entry`
    /// with `argument` and takes the connection by [`TcpStream::served`]. It runs on the CPU that
    /// the connection is on, if `options` leave that open
    /// ([`SpawnOptions::here`](crate::SpawnOptions::here)). Connections wait where
    /// the node has no room for another socket; where it has none for another process they are
    /// closed, and the log says so. What comes to the mailbox meanwhile is dropped.
    ///
    /// # Errors
    ///
    /// Why nothing can be accepted any more.
    pub fn serve<A: Serialize>(
        &self,
        entry: &Entry<A>,
        argument: &A,
        options: SpawnOptions,
    ) -> Result<Infallible, Error> {
        loop {
            let stream = match self.accept(None) {
                Ok(stream) => stream,
                // Those that wait are accepted when others have gone.
                Err(ErrorCode::LimitSockets) => {
                    let _ = Mailbox::new().next_event_within(PAUSE);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let options = options.for_connection(&stream);
            let given =
                entry.spawn(argument, options).and_then(|child| Ok(stream.give(&child.pid)?));
            if let Err(error) = given {
                log(Level::Warn, &format!("a connection was closed: {error}"));
            }
        }
    }

    /// Sets a timer that is due as soon as there is something to accept, or after `within`: it
    /// comes to the [`Mailbox`](crate::Mailbox) among the messages. Then accept with a time-out
    /// of zero, and watch again. A newer watch of the same socket leaves an older one to its time.
    ///
    /// # Errors
    ///
    /// `limit: timers`, `limit: memory`.
    pub fn watch(&self, within: Option<Duration>, tag: u64) -> Result<Timer, Error> {
        self.0.watch(within, tag)
    }
}

impl TcpStream {
    fn new(socket: Socket, peer: SocketAddr) -> Self {
        TcpStream { socket, peer, timeout: None }
    }

    /// Opens a connection, with large buffers; the node itself waits 5 s at most.
    ///
    /// # Errors
    ///
    /// `refused`, `timed-out`, `unreachable`, `reset`, `denied`, `limit: sockets`, `limit: memory`.
    pub fn connect(to: SocketAddr, timeout: Option<Duration>) -> Result<Self, ErrorCode> {
        Self::connect_with(to, Buffers::Bulk, timeout)
    }

    /// As [`TcpStream::connect`], with these buffers.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`].
    pub fn connect_with(
        to: SocketAddr,
        buffers: Buffers,
        timeout: Option<Duration>,
    ) -> Result<Self, ErrorCode> {
        let answer = sys::tcp_connect(&raw(to), flags(buffers), nanos(timeout));
        Ok(Self::new(socket(answer)?, to))
    }

    /// Opens a connection to the first address of a name that takes it.
    ///
    /// # Errors
    ///
    /// As [`resolve`], or why the last address did not take it. `timeout` is for all of it.
    pub fn connect_to_host(name: &str, port: u16, timeout: Duration) -> Result<Self, ErrorCode> {
        let until = now() + timeout;
        let mut error = ErrorCode::NoName;
        for address in resolve(name, Some(timeout))? {
            let left = Some(until.since(now()));
            match Self::connect(SocketAddr::new(address, port), left) {
                Ok(stream) => return Ok(stream),
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    /// Takes the connection that [`TcpListener::serve`] gives to this process, which it has just
    /// spawned; `None` if none comes: the client has left, or the server ended.
    pub fn served() -> Option<Self> {
        Self::given(Some(HANDOVER)).ok()
    }

    /// Takes the next connection that another process gave to this one.
    ///
    /// # Errors
    ///
    /// `timed-out`.
    pub fn given(timeout: Option<Duration>) -> Result<Self, ErrorCode> {
        let mut peer = RawAddress::default();
        let socket = socket(sys::socket_take(nanos(timeout), &mut peer))?;
        Ok(Self::new(socket, address(&peer)))
    }

    /// Gives the connection to another process of this node, which takes it with
    /// [`TcpStream::given`]. If that process has ended, the connection is reset.
    ///
    /// # Errors
    ///
    /// `invalid` (a process of another node, or oneself), `full`, `limit: sockets`, `limit:
    /// memory`; the connection is closed then.
    pub fn give(self, to: &Pid) -> Result<(), ErrorCode> {
        check(sys::socket_give(self.socket.0, to))?;
        // It has no such socket any more, and its numbers do not come again.
        core::mem::forget(self.socket);
        Ok(())
    }

    /// The address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// How long reads and writes wait from now on; `None`, as in the beginning, is for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Waits for bytes; says how many came. 0: the peer sends no more.
    ///
    /// # Errors
    ///
    /// `timed-out` (nothing was taken), `reset`.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, ErrorCode> {
        self.read_within(to, self.timeout)
    }

    pub(crate) fn read_within(
        &mut self,
        to: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<usize, ErrorCode> {
        count(sys::socket_read(self.socket.0, to, nanos(timeout)))
    }

    pub(crate) const fn number(&self) -> u32 {
        self.socket.0
    }

    /// Sends some of the bytes, one at least; says how many.
    ///
    /// # Errors
    ///
    /// `timed-out` (nothing was taken), `reset`, `invalid` (after [`TcpStream::finish`]).
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorCode> {
        count(sys::socket_write(self.socket.0, bytes, nanos(self.timeout)))
    }

    /// Sends all of the bytes. The time-out counts anew whenever some were taken.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::write`]; some of them may have been sent.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), ErrorCode> {
        while !bytes.is_empty() {
            let written = self.write(bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Tells the peer that no more will be sent. Reading goes on.
    ///
    /// # Errors
    ///
    /// None that a program can cause.
    pub fn finish(&mut self) -> Result<(), ErrorCode> {
        check(sys::socket_finish(self.socket.0))
    }

    /// Sets a timer that is due as soon as there is something to read, or after `within`: it
    /// comes to the [`Mailbox`](crate::Mailbox) among the messages. Then read with a time-out
    /// of zero, and watch again. A newer watch of the same socket leaves an older one to its time.
    ///
    /// # Errors
    ///
    /// `limit: timers`, `limit: memory`.
    pub fn watch(&self, within: Option<Duration>, tag: u64) -> Result<Timer, Error> {
        self.socket.watch(within, tag)
    }
}

impl UdpSocket {
    pub(crate) fn number(&self) -> u32 {
        self.0.0
    }

    /// Has a port; 0 takes one that is free.
    ///
    /// # Errors
    ///
    /// `in-use`, `denied`, `limit: sockets`, `limit: memory`.
    pub fn bind(port: u16) -> Result<Self, ErrorCode> {
        Ok(UdpSocket(socket(sys::udp_bind(port))?))
    }

    /// Sends a datagram, which may be lost.
    ///
    /// # Errors
    ///
    /// `too-long`, `full`, `unreachable`, `denied`.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<(), ErrorCode> {
        check(sys::udp_send(self.0.0, &raw(to), bytes))
    }

    /// Waits for a datagram; says its length, cut to the room there is, and who sent it.
    ///
    /// # Errors
    ///
    /// `timed-out`.
    pub fn receive_from(
        &self,
        to: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<(usize, SocketAddr), ErrorCode> {
        let mut from = RawAddress::default();
        let len = count(sys::udp_receive(self.0.0, to, nanos(timeout), &mut from))?;
        Ok((len, address(&from)))
    }

    /// Sets a timer that is due as soon as there is something to receive, or after `within`: it
    /// comes to the [`Mailbox`](crate::Mailbox) among the messages. Then receive with a time-out
    /// of zero, and watch again. A newer watch of the same socket leaves an older one to its time.
    ///
    /// # Errors
    ///
    /// `limit: timers`, `limit: memory`.
    pub fn watch(&self, within: Option<Duration>, tag: u64) -> Result<Timer, Error> {
        self.0.watch(within, tag)
    }
}

/// The addresses of a name, one at least.
///
/// # Errors
///
/// `no-name`, `invalid`, `timed-out`, `unreachable` (nobody can tell).
pub fn resolve(name: &str, timeout: Option<Duration>) -> Result<Vec<IpAddr>, ErrorCode> {
    let mut found = vec![RawAddress::default(); ADDRESSES_MAX];
    let count = count(sys::resolve(name, &mut found, nanos(timeout)))?;
    Ok(found.iter().take(count).map(|raw| address(raw).ip()).collect())
}

fn flags(buffers: Buffers) -> i32 {
    if buffers == Buffers::Bulk { BULK } else { 0 }
}

fn nanos(timeout: Option<Duration>) -> i64 {
    timeout.map_or(-1, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX))
}

fn count(answer: i32) -> Result<usize, ErrorCode> {
    // A code that this SDK does not know comes from a newer node: we asked what makes no sense.
    usize::try_from(answer).map_err(|_| ErrorCode::from_code(answer).unwrap_or(ErrorCode::Invalid))
}

fn check(answer: i32) -> Result<(), ErrorCode> {
    count(answer).map(|_| ())
}

fn socket(answer: i32) -> Result<Socket, ErrorCode> {
    count(answer).map(|number| Socket(number as u32))
}

/// An address as the host calls take it.
pub(crate) fn raw(address: SocketAddr) -> RawAddress {
    let mut raw = RawAddress::default();
    raw[0] = if address.is_ipv4() { 4 } else { 6 };
    raw[2..4].copy_from_slice(&address.port().to_le_bytes());
    match address.ip() {
        IpAddr::V4(ip) => raw[4..8].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => raw[4..].copy_from_slice(&ip.octets()),
    }
    raw
}

/// An address as the host calls give it.
pub(crate) fn address(raw: &RawAddress) -> SocketAddr {
    let [kind, _, low, high, ip @ ..] = *raw;
    let [a, b, c, d, ..] = ip;
    let ip = match kind {
        6 => Ipv6Addr::from(ip).into(),
        _ => Ipv4Addr::new(a, b, c, d).into(),
    };
    SocketAddr::new(ip, u16::from_le_bytes([low, high]))
}
