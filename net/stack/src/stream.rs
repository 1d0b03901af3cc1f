//! One TCP stream: its id, its phases, what its owner is told.
//!
//! Owns [`StreamId`], the errors of streams, and `Stream`, the record that the table in
//! `streams.rs` keeps for each.
//!
//! ```text
//!  SYN (1) ─▶ HalfOpen ──(2)──┐                       (1) admitted by a listener
//!                             ▼                       (2) handshake complete: Accepted, Connected
//!  dial ─▶ Resolving ─(3)─▶ Connecting ─(2)─▶ Open    (3) neighbour known
//!             │                 │             │ │     (4) refused, reset, silent: Closed
//!             └──────(4)────────┴────(4)──────┘ │     (5) the owner closes: the id is dead at once
//!                    ▼                          │
//!                  Ended ─(event taken)─▶ free  ├─(5) close─▶ Closing ─▶ free
//!                                               └─(5) abort─▶ Aborting ─▶ free
//! ```

use crate::clock;
use crate::limit;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddrV4;
use craton_abi::Instant;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};

/// A stream of one stack. An id is never used again for another stream.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct StreamId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl StreamId {
    /// The id as a number below 2^48.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 16) | self.index as u64
    }

    /// The id that has this number.
    pub const fn from_bits(bits: u64) -> Self {
        StreamId { index: bits as u16, generation: (bits >> 16) as u32 }
    }
}

/// Why a stream ended that its owner did not close.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Closed {
    /// Both sides had finished.
    Orderly,
    /// The peer has nobody who listens there.
    Refused,
    /// The peer reset it.
    Reset,
    /// The peer did not answer in time.
    TimedOut,
    /// Nobody on the link has that address, or the way to it is unknown.
    Unreachable,
    /// Our own address changed.
    AddressLost,
}

/// Why a dial could not begin.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DialError {
    /// We have no address yet.
    NoAddress,
    /// The address cannot be a peer's: IPv6, broadcast, unspecified, ourselves, or port 0.
    Invalid,
    /// There are [`limit::STREAMS_MAX`] streams.
    LimitStreams,
    /// No memory for its buffers.
    LimitMemory,
}

/// Why a port cannot be listened on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum ListenError {
    /// Port 0.
    Invalid,
    /// It already is.
    InUse,
    /// There are [`limit::LISTENERS_MAX`] of them.
    LimitListeners,
}

/// The stream has ended; nothing was done.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NoStream;

/// What a stream has to tell, most urgent first.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    Accepted { port: u16, from: SocketAddrV4 },
    Connected,
    Readable,
    Writable,
    Finished,
    Closed(Closed),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    HalfOpen,
    Resolving,
    Connecting,
    Open,
    Closing,
    Aborting,
    Ended(Closed),
}

pub(crate) struct Stream {
    /// The smoltcp socket; none once the stream has ended.
    pub(crate) socket: Option<SocketHandle>,
    pub(crate) peer: SocketAddrV4,
    pub(crate) local_port: u16,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Instant,
    pub(crate) dialled: bool,
    /// The peer reset it.
    pub(crate) reset: bool,
    /// The owner knows that there is data, and has not taken all of it.
    pub(crate) told_readable: bool,
    pub(crate) told_finished: bool,
    /// The owner had more to write than there was room.
    pub(crate) blocked: bool,
    pub(crate) opened: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) finished: bool,
    pub(crate) queued: bool,
}

impl Stream {
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        if core::mem::take(&mut self.opened) {
            return Some(if self.dialled {
                Notice::Connected
            } else {
                Notice::Accepted { port: self.local_port, from: self.peer }
            });
        }
        if core::mem::take(&mut self.readable) {
            return Some(Notice::Readable);
        }
        if core::mem::take(&mut self.writable) {
            return Some(Notice::Writable);
        }
        core::mem::take(&mut self.finished).then_some(Notice::Finished)
    }
}

/// There is no memory for a socket's buffers.
pub(crate) struct NoMemory;

/// A socket with its buffers; refused rather than fatal when memory is short.
pub(crate) fn new_socket() -> Result<Socket<'static>, NoMemory> {
    let receive = SocketBuffer::new(zeroed(limit::STREAM_RECEIVE_BYTES)?);
    let send = SocketBuffer::new(zeroed(limit::STREAM_SEND_BYTES)?);
    let mut socket = Socket::new(receive, send);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(clock::span(limit::ACK_DELAY)));
    socket.set_keep_alive(Some(clock::span(limit::KEEP_ALIVE)));
    socket.set_timeout(Some(clock::span(limit::SILENCE_TIMEOUT)));
    socket.set_congestion_control(CongestionControl::Reno);
    Ok(socket)
}

fn zeroed(bytes: usize) -> Result<Vec<u8>, NoMemory> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| NoMemory)?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::Orderly => "closed by both sides",
            Closed::Refused => "connection refused",
            Closed::Reset => "connection reset by peer",
            Closed::TimedOut => "the peer did not answer in time",
            Closed::Unreachable => "no route to the peer",
            Closed::AddressLost => "our address changed",
        })
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::NoAddress => f.write_str("no address yet"),
            DialError::Invalid => f.write_str("not an address that can be dialled"),
            DialError::LimitStreams => write!(f, "limit: {} streams", limit::STREAMS_MAX),
            DialError::LimitMemory => f.write_str("limit: memory for stream buffers"),
        }
    }
}

impl core::error::Error for DialError {}
