//! Who is alive: membership and failure detection.
//!
//! Owns [`Membership`], a value that takes datagrams and time and answers with datagrams and
//! events. SWIM itself is the crate foca. How datagrams are sealed is injected as [`Sealing`],
//! because certificates and keys belong to the session crate beside this one.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod event;
mod member;
mod membership;
mod packet;
mod swim;
#[cfg(test)]
mod tests;

pub use event::{Config, Event};
pub use member::Member;
pub use membership::Membership;
pub use packet::{Certified, DATAGRAM_BYTES_MAX, Sealing};
