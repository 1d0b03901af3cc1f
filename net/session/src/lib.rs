//! Certified, encrypted, ordered links between peers.
//!
//! Owns everything between TCP bytes and bodies: certificates ([`cert`]), keys ([`key`]), the
//! sessions themselves ([`Sessions`]) and the sealing of membership datagrams ([`seal`]). It holds
//! no socket and reads no clock: bytes, time and randomness are arguments, and what must happen in
//! the world comes back as [`Event`]s.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cert;
mod conn;
mod establish;
mod event;
pub mod key;
pub mod limit;
mod link;
mod noise;
mod queue;
mod reassembly;
pub mod seal;
mod sessions;
mod timers;

pub use cert::{Certificate, CertificateError, Identity};
pub use craton_wire::Role;
pub use event::{ConnId, Event, LostWhy, Peer, PeerKey, Refusal, SendError};
pub use key::{AuthorityKey, AuthoritySecret, NoiseKey, NoiseSecret};
pub use sessions::{Config, Sessions};
