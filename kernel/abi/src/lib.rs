//! The vocabulary of Craton: ids, time, limits, exit reasons, error codes.
//!
//! Every other crate speaks these types and this crate depends on none of them. It holds no state
//! and does no work beyond encoding itself. Start at [`Pid`] and [`ExitReason`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod exit;
mod id;
pub mod limit;
mod offload;
pub mod run;
mod signal;
mod socket;
mod time;

pub use error::ErrorCode;
pub use exit::{ExitReason, MalformedReason, Resource, TrapKind};
pub use id::{
    AppId, Incarnation, MonitorId, NodeId, Pid, ProgramId, RequestId, ShardId, Slot, TimerId,
    TraceId,
};
pub use offload::Offload;
pub use signal::{
    Payload, Place, ProcessLimits, Signal, SignalBody, SpawnOrder, is_channel_tag, is_taken_by,
};
pub use socket::{SocketCall, SocketEvent, SocketId, SocketNote, SocketOrder, SocketReply};
pub use time::{Duration, Instant};
