//! Frames between nodes and with the operator's tool.
//!
//! Owns what crosses a session: the [`FrameHeader`] with its proven view [`Frame`], and the
//! [`Body`] that one or more frames carry. Bytes are *alleged* until [`Frame::prove`] or
//! [`Body::decode`] has checked them. Encryption, order and replay are craton-session's.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod body;
mod codec;
mod frame;
mod role;

pub use body::{Answer, Body, NodeInfo, OutputStream, ProcessInfo, Question, RunEvent};
pub use codec::{BODY_BYTES_MAX, BodyError};
pub use frame::{Flags, Frame, FrameError, FrameHeader, Kind, LANES, Lane};
pub use role::Role;
