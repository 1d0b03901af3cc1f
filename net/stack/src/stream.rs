//! One TCP stream: its id, its phases, what its owner is told.
//!
//! Owns [`StreamId`], the options and errors of streams, and `Stream`, the record that the table in
//! `streams.rs` keeps for each.
//!
//! ```text
//!  handshake (1) ─▶ HalfOpen ───(2)────────────┐     (1) handed over when it is complete
//!                                              ▼     (2) established: Accepted, Connected
//!  dial ─▶ Resolving ─(3)─▶ Connecting ─(2)─▶ Open    (3) neighbour known
//!             │                 │             │ │     (4) refused, reset, silent: Closed
//!             └──────(4)────────┴────(4)──────┘ │     (5) the owner closes: the id is dead
//!                    ▼                          │     (6) both finished: rests, no socket
//!                  Ended ─(event taken)─▶ free  ├─(5) close─▶ Closing ─(6)─▶ free
//!                                               └─(5) abort─▶ Aborting ────▶ free
//! ```

use crate::budget::Owner;
use crate::clock;
use crate::handover::Seat;
use crate::highest::Highest;
use crate::limit;
use crate::tuple::Tuple;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use craton_abi::{Duration, Instant};
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

/// How much a stream buffers in each direction; fixed for its life.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Buffers {
    /// [`limit::SMALL_BYTES`]: for thousands of connections that say little.
    Small,
    /// [`limit::BULK_BYTES`]: for few that carry much.
    #[default]
    Bulk,
}

impl Buffers {
    /// Bytes in each direction.
    pub const fn bytes(self) -> usize {
        match self {
            Buffers::Small => limit::SMALL_BYTES,
            Buffers::Bulk => limit::BULK_BYTES,
        }
    }

    /// How long a stream is idle before its peer is probed, and how long it may be silent.
    pub const fn patience(self) -> (Duration, Duration) {
        match self {
            // Probing thousands must not be what the node does all day.
            Buffers::Small => (limit::KEEP_ALIVE_SMALL, limit::SILENCE_TIMEOUT_SMALL),
            Buffers::Bulk => (limit::KEEP_ALIVE, limit::SILENCE_TIMEOUT),
        }
    }

    /// Bytes in both.
    pub(crate) const fn total(self) -> usize {
        2 * self.bytes()
    }
}

/// How a port is listened on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ListenOptions {
    /// Whom the buffers of its streams count against.
    pub owner: Owner,
    /// The buffers of its streams.
    pub buffers: Buffers,
    /// Streams that may be open without having been told to the owner. Beyond, peers wait.
    pub backlog: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        let (owner, buffers) = (Owner::default(), Buffers::default());
        ListenOptions { owner, buffers, backlog: limit::BACKLOG }
    }
}

/// How a peer is dialled.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct DialOptions {
    /// Whom the stream's buffers count against.
    pub owner: Owner,
    /// The stream's buffers.
    pub buffers: Buffers,
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
    /// We have no address of that kind yet.
    NoAddress,
    /// The address cannot be a peer's: broadcast, unspecified, ourselves, or port 0.
    Invalid,
    /// There are [`limit::STREAMS_MAX`] streams.
    LimitStreams,
    /// The buffers of all streams together are as large as they may be.
    LimitBuffers,
    /// The owner's buffers are.
    LimitOwner,
    /// No memory for its buffers.
    LimitMemory,
    /// All ports are in use towards that peer.
    LimitPorts,
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

/// Why a stream cannot be another owner's; nothing was done.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum PassError {
    /// The stream has ended.
    NoStream,
    /// The new owner's buffers are as large as they may be.
    LimitOwner,
}

/// What a stream has to tell, most urgent first.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    Accepted { port: u16, from: SocketAddr },
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
    pub(crate) seat: Option<Seat>,
    pub(crate) tuple: Tuple,
    pub(crate) owner: Owner,
    pub(crate) buffers: Buffers,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Instant,
    /// When it is to be looked at although nothing happened.
    pub(crate) timer: Option<Instant>,
    pub(crate) dialled: bool,
    /// It was accepted and its owner does not know yet.
    pub(crate) untold: bool,
    /// Our first sequence number, if it was dialled.
    pub(crate) number: u32,
    /// What it sent so far.
    pub(crate) highest: Highest,
    /// The peer reset it, or a router said that it cannot be reached.
    pub(crate) reset: bool,
    pub(crate) unreachable: bool,
    /// The owner knows that there is data, and has not taken all of it.
    pub(crate) told_readable: bool,
    pub(crate) told_finished: bool,
    /// The owner had more to write than there was room.
    pub(crate) blocked: bool,
    pub(crate) opened: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) finished: bool,
    /// It is in the queue of those that have something to tell.
    pub(crate) queued: bool,
    /// It is in the queue of those that may have something to send.
    pub(crate) active: bool,
}

impl Stream {
    pub(crate) fn new(
        seat: Seat,
        tuple: Tuple,
        (owner, buffers): (Owner, Buffers),
        phase: Phase,
        now: Instant,
    ) -> Stream {
        Stream {
            seat: Some(seat),
            tuple,
            owner,
            buffers,
            phase,
            since: now,
            timer: None,
            dialled: false,
            untold: false,
            number: 0,
            highest: Highest::default(),
            reset: false,
            unreachable: false,
            told_readable: false,
            told_finished: false,
            blocked: false,
            opened: false,
            readable: false,
            writable: false,
            finished: false,
            queued: false,
            active: false,
        }
    }

    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        if core::mem::take(&mut self.opened) {
            return Some(if self.dialled {
                Notice::Connected
            } else {
                Notice::Accepted { port: self.tuple.local.port(), from: self.tuple.remote }
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

    /// When the phase has lasted as long as it may.
    pub(crate) fn due(&self) -> Option<Instant> {
        let lasts = match self.phase {
            Phase::HalfOpen | Phase::Resolving | Phase::Connecting => limit::DIAL_TIMEOUT,
            Phase::Closing => limit::LINGER,
            Phase::Aborting => limit::RESET_GRACE,
            Phase::Open | Phase::Ended(_) => return None,
        };
        Some(self.since + lasts)
    }
}

/// There is no memory for a socket's buffers.
#[derive(Debug)]
pub(crate) struct NoMemory;

/// A socket with its buffers; refused rather than fatal when memory is short.
pub(crate) fn new_socket(buffers: Buffers) -> Result<Socket<'static>, NoMemory> {
    let receive = SocketBuffer::new(zeroed(buffers.bytes())?);
    let send = SocketBuffer::new(zeroed(buffers.bytes())?);
    let mut socket = Socket::new(receive, send);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(clock::span(limit::ACK_DELAY)));
    let (keep_alive, silence) = buffers.patience();
    socket.set_keep_alive(Some(clock::span(keep_alive)));
    socket.set_timeout(Some(clock::span(silence)));
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
            DialError::LimitBuffers => f.write_str("limit: buffers of all streams"),
            DialError::LimitOwner => f.write_str("limit: the owner's buffers"),
            DialError::LimitMemory => f.write_str("limit: memory for stream buffers"),
            DialError::LimitPorts => f.write_str("limit: ports towards that peer"),
        }
    }
}

impl core::error::Error for DialError {}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Invalid => f.write_str("port 0 cannot be listened on"),
            ListenError::InUse => f.write_str("the port is listened on already"),
            ListenError::LimitListeners => write!(f, "limit: {} listeners", limit::LISTENERS_MAX),
        }
    }
}

impl core::error::Error for ListenError {}
