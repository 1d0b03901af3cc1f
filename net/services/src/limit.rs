//! Every bound of the services, in one place.
//!
//! Owns sizes in bytes, counts in items and the patience with clients; `http.rs` and `lib.rs` use
//! them.

use craton_abi::Duration;

/// Buffers of all their connections and sockets together.
pub const BUFFER_BYTES_MAX: usize = 112 << 20;
/// Bytes moved at once.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Datagrams that each socket answers in one poll.
pub const DATAGRAMS_PER_POLL: usize = 64;
/// Datagrams from ports below this are not answered: they are services themselves.
pub const CLIENT_PORT_MIN: u16 = 1_024;

/// The head of an HTTP request.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Its headers.
pub const HEADERS_MAX: usize = 64;
/// The body of a request, which is read and forgotten.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Its path.
pub const PATH_BYTES_MAX: usize = 1 << 10;

/// How long the head of a request, or its body, may take.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection may be idle.
pub const IDLE_PATIENCE: Duration = Duration::from_secs(300);
