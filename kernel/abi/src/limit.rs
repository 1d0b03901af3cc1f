//! Every bound that more than one crate must agree on, in one place.
//!
//! Sizes are in bytes, counts in items. Relations between bounds are asserted at compile time.

use crate::Duration;

/// Longest message.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest detail of an exit reason.
pub const EXIT_REASON_BYTES_MAX: usize = 4 << 10;
/// Longest argument of a spawn.
pub const ARGUMENT_BYTES_MAX: usize = 64 << 10;
/// Longest name of an entry function.
pub const ENTRY_BYTES_MAX: usize = 64;
/// Longest name of a process or group.
pub const NAME_BYTES_MAX: usize = 64;
/// Names and group memberships that one process may have.
pub const NAMES_PER_PROCESS_MAX: usize = 64;
/// Names and group memberships of all processes of a node.
pub const NAMES_PER_NODE_MAX: usize = 1 << 14;
/// Longest text of one log line; longer lines are cut.
pub const LOG_LINE_BYTES_MAX: usize = 1 << 10;
/// Largest signed bundle.
pub const BUNDLE_BYTES_MAX: usize = 16 << 20;

/// Messages that a mailbox holds, unless the spawn says otherwise.
pub const MAILBOX_MESSAGES: u32 = 256;
/// Bytes of messages that a mailbox holds, unless the spawn says otherwise.
pub const MAILBOX_BYTES: u32 = 2 << 20;
/// Most messages that a spawn may ask room for. What lies in a mailbox takes memory of the node,
/// and a sender is refused where that is short.
pub const MAILBOX_MESSAGES_MAX: u32 = 1 << 20;
/// Most bytes that a spawn may ask room for.
pub const MAILBOX_BYTES_MAX: u32 = 256 << 20;
/// Messages that one other shard or node may have under way to one mailbox: each time they are used
/// up both may go to sleep, which costs more than these do.
pub const WINDOW_MESSAGES: u32 = 64;
/// Bytes that one other shard or node may have under way to one mailbox. A message of any length
/// may be sent while at most half of them are, so that small messages never block a large one.
pub const WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of messages that one shard hands over for one other node before it waits for word of room.
pub const NODE_ROOM_BYTES: usize = 2 << 20;
/// There is room again once less than this waits to be sent to that node or acknowledged by it.
pub const NODE_BACKLOG_BYTES: usize = 2 << 20;
/// Monitors that one process may hold at once.
pub const MONITORS_PER_PROCESS_MAX: usize = 4096;
/// Requests of one process whose answers it has not received. Each answer may be as long as a
/// message, and comes without credit.
pub const REQUESTS_PER_PROCESS_MAX: usize = 256;
/// Timers that one process may have set and not received at once.
pub const TIMERS_PER_PROCESS_MAX: usize = 1024;
/// Links that one process may make and hold at once, with the notices of those that ended.
pub const LINKS_PER_PROCESS_MAX: usize = 4096;
/// Sockets that one process may have at once.
pub const SOCKETS_PER_PROCESS_MAX: usize = 10_240;
/// Sockets that all processes of a node may have at once.
pub const SOCKETS_PER_NODE_MAX: usize = 16_000;
/// Buffers of the sockets of one process on one CPU, in bytes: enough for as many small connections
/// as it may have.
pub const SOCKET_BUFFER_BYTES_MAX: usize = 96 << 20;
/// Bytes that one call reads from or writes to a socket.
pub const SOCKET_CALL_BYTES_MAX: usize = 64 << 10;
/// Connections of one listener that its process has not accepted yet.
pub const SOCKET_BACKLOG: usize = 1_024;
/// Connections that were given to one process and not taken yet.
pub const SOCKETS_GIVEN_MAX: usize = 64;
/// Longest name that is resolved.
pub const HOST_NAME_BYTES_MAX: usize = 255;
/// Processes on one shard.
pub const PROCESSES_PER_SHARD_MAX: usize = 1 << 17;
/// Most processes in one listing of a node for an operator.
pub const PROCESSES_LISTED_MAX: usize = 4096;
/// Memory of a process, unless the spawn says otherwise.
pub const PROCESS_MEMORY_BYTES: u64 = 32 << 20;
/// Stack that the frames of a process's WebAssembly may fill, unless the spawn says otherwise.
pub const PROCESS_STACK_BYTES: u32 = 40 << 10;
/// The least stack that a spawn may ask for.
pub const PROCESS_STACK_BYTES_MIN: u32 = 4 << 10;
/// The most. Its pages come as they are touched, but a CPU has frames at hand for all of them
/// while such a process runs.
pub const PROCESS_STACK_BYTES_MAX: u32 = 1 << 20;
/// The usual share of the CPU. Between processes that compute on one CPU its time is divided as
/// their shares are.
pub const CPU_SHARE: u32 = 100;
/// The largest share that a spawn may ask for. The least is 1: beside one process of the largest,
/// one of the least still has a thousandth of the CPU.
pub const CPU_SHARE_MAX: u32 = 1_000;

/// How long a send waits for credit, unless the call says otherwise.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a computing process runs before another gets the shard.
pub const SLICE: Duration = Duration::from_millis(1);

/// Bytes of a fragment on a session, so that a long stream delays no heartbeat.
pub const FRAGMENT_BYTES_MAX: usize = 64 << 10;
/// TCP port on which nodes hold sessions.
pub const SESSION_PORT: u16 = 7700;
/// UDP port of membership.
pub const MEMBERSHIP_PORT: u16 = 7700;

const _: () = assert!(
    MESSAGE_BYTES_MAX <= MAILBOX_BYTES as usize,
    "the longest message must fit an empty mailbox"
);
const _: () = assert!(
    MAILBOX_MESSAGES <= MAILBOX_MESSAGES_MAX && MAILBOX_BYTES <= MAILBOX_BYTES_MAX,
    "the usual mailbox must be possible"
);
const _: () = assert!(
    PROCESS_STACK_BYTES_MIN <= PROCESS_STACK_BYTES
        && PROCESS_STACK_BYTES <= PROCESS_STACK_BYTES_MAX
        && CPU_SHARE <= CPU_SHARE_MAX,
    "the usual limits must be possible"
);
const _: () = assert!(
    PROCESSES_PER_SHARD_MAX <= crate::Slot::INDEX_MAX as usize + 1,
    "a slot index must reach the whole table"
);
const _: () = assert!(
    REQUESTS_PER_PROCESS_MAX < MONITORS_PER_PROCESS_MAX,
    "a request is a monitor too, and must not be refused for want of one first"
);
const _: () = assert!(WINDOW_MESSAGES < MAILBOX_MESSAGES, "one sender must not fill a mailbox");
