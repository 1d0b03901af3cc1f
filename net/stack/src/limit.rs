//! Every bound of the stack, in one place.
//!
//! Sizes are in bytes, counts in items. Relations between bounds are asserted at compile time.

use craton_abi::Duration;

/// TCP streams of one stack in any state, closing ones included.
pub const STREAMS_MAX: usize = 16_384;
/// Ports from here on are those that connections are opened from (RFC 6335, 6).
pub const EPHEMERAL_PORT_FIRST: u16 = 49_152;
/// Ports listened on.
pub const LISTENERS_MAX: usize = 64;
/// Datagram sockets: fewer than there are ports that nobody asks for by number, so that one is
/// always free.
pub const UDP_SOCKETS_MAX: usize = 16_128;
/// Streams of one listener that were opened and not yet taken by its owner, unless it says
/// otherwise.
pub const BACKLOG: usize = 256;
/// Handshakes under way, of all listeners together; beyond, the oldest goes.
pub const HANDSHAKES_MAX: usize = 8_192;
/// Connections in TIME-WAIT; beyond, the oldest goes.
pub const TIME_WAITS_MAX: usize = 8_192;

/// Buffers of all streams and datagram sockets together, unless the configuration says otherwise.
pub const BUFFER_BYTES: usize = 256 << 20;
/// Owners with buffers.
pub const OWNERS_MAX: usize = 65_536;
/// Buffer of a small stream, in each direction: the largest window it offers, the most that may be
/// unacknowledged.
pub const SMALL_BYTES: usize = 4 << 10;
/// Buffer of a bulk stream, in each direction.
pub const BULK_BYTES: usize = 64 << 10;
/// What a datagram socket counts for while it holds nothing: its record, and those of who has it.
pub const UDP_SOCKET_BYTES: usize = 512;
/// Bytes of datagrams that wait in one socket to be taken; they count as they come.
pub const UDP_BYTES_MAX: usize = 64 << 10;
/// Datagrams that wait in one socket to be taken.
pub const UDP_DATAGRAMS_MAX: usize = 256;
/// Datagrams that wait to be sent, all sockets together, those to unknown neighbours included.
pub const UDP_OUTGOING_MAX: usize = 256;

/// Neighbours known, and as many more asked for.
pub const NEIGHBOURS_MAX: usize = 1_024;
/// Datagrams that wait for an unknown neighbour, all sockets together.
pub const UNRESOLVED_MAX: usize = 32;
/// Datagrams that wait for one unknown neighbour.
pub const UNRESOLVED_PER_NEIGHBOUR_MAX: usize = 4;

/// Packets that are put together from fragments at one time; beyond, the oldest goes.
pub const FRAGMENTED_MAX: usize = 16;
/// Fragments of one packet.
pub const FRAGMENTS_MAX: usize = 64;
/// How long the fragments of a packet may take.
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// Frames taken from the device in one poll.
pub const POLL_FRAMES_MAX: usize = 64;
/// Frames that the streams may send in one poll.
pub const POLL_SENDS_MAX: usize = 256;

/// How long a dial may take, address resolution included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// When the first answer to a SYN is repeated; then after twice as long, and so on.
pub const HANDSHAKE_RETRY: Duration = Duration::from_secs(1);
/// Times that a SYN is answered without hearing from the peer.
pub const HANDSHAKE_TRIES: u8 = 4;
/// How long a stream with data under way, or probed, may hear nothing before it is lost. Five
/// retransmissions, a second apart at first and each twice as long after the last, come before it:
/// on a line that loses one in twenty four in a row are lost now and then.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a stream is idle before the peer is probed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The same two for streams with small buffers.
pub const SILENCE_TIMEOUT_SMALL: Duration = Duration::from_secs(60);
/// See [`SILENCE_TIMEOUT_SMALL`].
pub const KEEP_ALIVE_SMALL: Duration = Duration::from_secs(30);
/// How long a closed stream may take to deliver what it holds before it is reset.
pub const LINGER: Duration = Duration::from_secs(30);
/// How long an aborted stream may take to send its reset.
pub const RESET_GRACE: Duration = Duration::from_secs(1);
/// How long the pair of ports of a closed connection rests (twice the life of a segment).
pub const TIME_WAIT: Duration = Duration::from_secs(60);
/// How long an acknowledgement may wait for company.
pub const ACK_DELAY: Duration = Duration::from_millis(5);

/// How long a neighbour is believed without hearing from it.
pub const NEIGHBOUR_LIFETIME: Duration = Duration::from_secs(40);
/// A neighbour that is still wanted is asked again when its life is down to this.
pub const NEIGHBOUR_REFRESH: Duration = Duration::from_secs(10);
/// Time between two requests for one neighbour.
pub const NEIGHBOUR_RETRY: Duration = Duration::from_millis(250);
/// Requests for one neighbour before it is given up.
pub const NEIGHBOUR_TRIES: u8 = 6;

/// Shortest lease of an address that is believed, in seconds as DHCP has it.
pub const LEASE_SECS_MIN: u32 = 10;

const _: () = assert!(
    UDP_SOCKETS_MAX < (u16::MAX - EPHEMERAL_PORT_FIRST) as usize,
    "a port must be found for each socket that asks for none"
);
const _: () = assert!(STREAMS_MAX <= u16::MAX as usize, "a stream's index has sixteen bits");
const _: () = assert!(
    KEEP_ALIVE.as_nanos() < SILENCE_TIMEOUT.as_nanos()
        && KEEP_ALIVE_SMALL.as_nanos() < SILENCE_TIMEOUT_SMALL.as_nanos(),
    "an idle stream must be probed before its silence counts"
);
const _: () = assert!(
    SILENCE_TIMEOUT.as_nanos() < NEIGHBOUR_LIFETIME.as_nanos(),
    "a stream whose peer vanished ends before its neighbour is asked for again"
);
const _: () = assert!(
    NEIGHBOUR_REFRESH.as_nanos() < NEIGHBOUR_LIFETIME.as_nanos(),
    "a neighbour is not asked again as soon as it is known"
);
