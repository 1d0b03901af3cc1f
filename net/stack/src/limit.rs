//! Every bound of the stack, in one place.
//!
//! Sizes are in bytes, counts in items. Relations between bounds are asserted at compile time.

use craton_abi::Duration;

/// Sockets of all kinds: smoltcp's poll looks at each of them.
pub const SOCKETS_MAX: usize = 128;
/// TCP streams in any state, half-open and closing ones included.
pub const STREAMS_MAX: usize = 112;
/// Ports listened on.
pub const LISTENERS_MAX: usize = 16;
/// Datagram sockets.
pub const UDP_SOCKETS_MAX: usize = 8;
/// Streams of one listener whose handshake is not complete.
pub const BACKLOG_MAX: usize = 32;
/// Streams that wait in TIME-WAIT; beyond, the oldest goes.
pub const TIME_WAITS_MAX: usize = 4;

/// Receive buffer of a stream: the largest window it offers.
pub const STREAM_RECEIVE_BYTES: usize = 64 << 10;
/// Send buffer of a stream: the most that may be unacknowledged.
pub const STREAM_SEND_BYTES: usize = 64 << 10;
/// Datagrams that wait in one socket, in each direction.
pub const UDP_DATAGRAMS_MAX: usize = 64;
/// Bytes of datagrams that wait in one socket, in each direction.
pub const UDP_BYTES_MAX: usize = 64 << 10;

/// Neighbours known or asked for. Fewer than smoltcp keeps, so that what is known here is known
/// there.
pub const NEIGHBOURS_MAX: usize = 64;
/// Datagrams that wait for an unknown neighbour, all sockets together.
pub const UNRESOLVED_MAX: usize = 32;
/// Datagrams that wait for one unknown neighbour.
pub const UNRESOLVED_PER_NEIGHBOUR_MAX: usize = 4;

/// Frames taken from the device in one poll.
pub const POLL_FRAMES_MAX: usize = 64;
/// Times that every socket may send in one poll. One round sends one segment of each.
pub const POLL_ROUNDS_MAX: usize = 64;

/// How long a dial may take, address resolution included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take to complete the handshake that it began.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A half-open stream older than this makes room for a new one when the backlog is full.
pub const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);
/// How long a stream with data under way, or probed, may hear nothing before it is lost.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stream is idle before the peer is probed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a closed stream may take to deliver what it holds before it is reset.
pub const LINGER: Duration = Duration::from_secs(30);
/// How long an acknowledgement may wait for company.
pub const ACK_DELAY: Duration = Duration::from_millis(5);

/// How long a neighbour is believed without hearing from it. Shorter than smoltcp's minute, so
/// that what is known here is known there.
pub const NEIGHBOUR_LIFETIME: Duration = Duration::from_secs(40);
/// Time between two requests for one neighbour.
pub const NEIGHBOUR_RETRY: Duration = Duration::from_millis(250);
/// Requests for one neighbour before it is given up.
pub const NEIGHBOUR_TRIES: u8 = 6;

/// Shortest lease of an address that is believed, in seconds as DHCP has it.
pub const LEASE_SECS_MIN: u32 = 10;

const _: () = assert!(
    STREAMS_MAX + UDP_SOCKETS_MAX < SOCKETS_MAX,
    "streams, datagram sockets and the DHCP client share one set"
);
const _: () = assert!(BACKLOG_MAX + TIME_WAITS_MAX < STREAMS_MAX, "a backlog must fit beside work");
const _: () = assert!(
    KEEP_ALIVE.as_nanos() < SILENCE_TIMEOUT.as_nanos(),
    "an idle stream must be probed before its silence counts"
);
