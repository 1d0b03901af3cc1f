//! Every bound of a session in one place.
//!
//! Sizes are in bytes. Relations between bounds are asserted at compile time.

use craton_abi::{Duration, limit};
use craton_wire::{BODY_BYTES_MAX, FrameHeader};

/// Peers that may have a session, or wait for one, at once; and addresses remembered.
pub const PEERS_MAX: usize = 1024;
/// Tools among them.
pub const TOOLS_MAX: usize = 64;
/// Tools with the same certificate, so that one who may only look cannot keep operators out.
pub const TOOLS_PER_CERTIFICATE_MAX: usize = 16;
/// Accepted connections whose handshake is not done. One more throws out another at random, so
/// that a flood cannot shut the door.
pub const HALF_OPEN_MAX: usize = 64;
/// Lives declared dead that are remembered, so as to refuse them.
pub const DEAD_MAX: usize = 1024;

/// How long a connection may take until it carries a session.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(3);
/// How long a session outlives its connection.
pub const REPLAY_TIME: Duration = Duration::from_secs(5);
/// How soon a connection says something, be it only that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a connection may be silent before it counts as dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);
/// How long a connection between nodes may be without use before it is closed.
pub const IDLE_TIME: Duration = Duration::from_secs(180);
/// How long an acknowledgement waits for something to ride on.
pub const ACK_DELAY: Duration = Duration::from_millis(20);
/// Bytes received that are acknowledged at once.
pub const ACK_BYTES: u64 = 256 << 10;
/// The first wait before dialling again; it doubles.
pub const REDIAL_MIN: Duration = Duration::from_millis(50);
/// The longest wait before dialling again.
pub const REDIAL_MAX: Duration = Duration::from_secs(1);

/// Bytes of bodies that wait to be sent to one peer.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;
/// What a waiting body is charged beside its own bytes.
pub const QUEUE_ENTRY_BYTES: usize = 64;
/// Bytes sent to one peer and not acknowledged.
pub const REPLAY_BYTES_MAX: u64 = 4 << 20;
/// Bytes of bodies from one peer that its receiver has not taken from `poll`.
pub const WINDOW_BYTES: u64 = 4 << 20;

/// Longest ciphertext of a record: what Noise allows.
pub const RECORD_BYTES_MAX: usize = 65_535;
/// Bytes that encryption adds to a record.
pub const TAG_BYTES: usize = 16;
/// Longest content of a record.
pub const RECORD_PLAIN_MAX: usize = RECORD_BYTES_MAX - TAG_BYTES;
/// Longest record of a handshake.
pub const HANDSHAKE_RECORD_MAX: usize = 512;
/// Longest fragment: alone it fills a record.
pub const FRAGMENT_BYTES_MAX: usize = RECORD_PLAIN_MAX - FrameHeader::BYTES;
/// A fragment shorter than this is not cut off a longer body to fill a record.
pub const FRAGMENT_BYTES_MIN: usize = 4 << 10;

const _: () =
    assert!(FRAGMENT_BYTES_MAX <= limit::FRAGMENT_BYTES_MAX, "a peer refuses longer fragments");
const _: () = assert!(
    (FRAGMENT_BYTES_MAX + FrameHeader::BYTES) as u64 <= WINDOW_BYTES / 2,
    "the window reopens by halves, and a half must let a fragment through"
);
const _: () = assert!(
    (FRAGMENT_BYTES_MAX + FrameHeader::BYTES) as u64 <= REPLAY_BYTES_MAX,
    "a fragment must fit an empty replay buffer"
);
const _: () = assert!(
    TOOLS_PER_CERTIFICATE_MAX * 2 <= TOOLS_MAX,
    "one certificate must leave room for others"
);
const _: () = assert!(ACK_BYTES * 2 <= REPLAY_BYTES_MAX, "acknowledge before the sender stalls");
const _: () = assert!(BODY_BYTES_MAX < QUEUE_BYTES_MAX, "the longest body must fit a queue");
const _: () = assert!(
    HEARTBEAT.as_nanos() * 3 < SILENCE_MAX.as_nanos(),
    "two lost heartbeats are no silence"
);
const _: () = assert!(
    SILENCE_MAX.as_nanos() < REPLAY_TIME.as_nanos(),
    "both ends must have noticed a dead connection while there is time to replay"
);
const _: () = assert!(
    crate::cert::CERTIFICATE_BYTES_MAX + 8 + 32 + 3 * TAG_BYTES <= HANDSHAKE_RECORD_MAX,
    "a handshake record must hold any certificate"
);
