//! TCP, UDP, ICMP echo and DHCP over smoltcp, as a value that is polled.
//!
//! Owns [`Stack`]: one network interface with its address, listeners, streams and datagram
//! sockets. It has no clock, thread or interrupt: the kernel's loop (or a test) calls
//! [`Stack::poll`] with a [`FrameDevice`] and the time, takes [`Event`]s with
//! [`Stack::poll_event`], and sleeps until [`Stack::deadline`]. Everything is bounded by the
//! constants in [`limit`].
//!
//! The way of a frame: `FrameReceiver` → sight (what it is, who sent it; refusals) → neighbour
//! table → admission of new connections → smoltcp → stream or datagram buffers → events.
//!
//! # What is done here rather than by smoltcp
//!
//! - **Backlog.** smoltcp answers a SYN only with a socket that already waits for it, buffers
//!   included. Here a socket is made when a SYN for a listened port arrives, so an idle listener
//!   holds no memory and a full backlog drops SYNs (which peers repeat) rather than resetting.
//! - **Neighbours.** smoltcp asks for one unknown neighbour a second for all sockets together and
//!   keeps the head of a datagram queue waiting for its answer for ever (smoltcp#1101): one dead
//!   peer would silence the rest. Here each neighbour is asked for separately, datagrams wait per
//!   neighbour and are given up after a few tries, and smoltcp gets only what it can send at once.
//! - **Refusals.** TCP to other than our own unicast address, IPv6 (until it is configured), DHCP
//!   answers from nowhere, on which smoltcp asserts when the lease is renewed, and leases of no
//!   length.
//!
//! # What smoltcp fixes inside
//!
//! - The retransmission time-out starts at and never falls below one second, so a lost last
//!   segment costs a second whatever the round trip; losses within a burst are repaired by fast
//!   retransmit after three duplicate acknowledgements.
//! - Initial sequence numbers come from a plain generator seeded once: an observer of several
//!   may predict the next. Sessions are authenticated above TCP.
//! - Congestion control is Reno: smoltcp's CUBIC needs floating-point functions that exist only in
//!   `std`. With windows of 64 KiB the two differ little.
//! - No path-MTU discovery: TCP ignores ICMP. Fragments are neither made nor reassembled.
//! - TIME-WAIT lasts ten seconds and holds a socket; here at most [`limit::TIME_WAITS_MAX`] are
//!   kept, then the oldest goes.
//! - The neighbour cache (128), out-of-order ranges for each stream (32), addresses and routes (4)
//!   are set when it is built, in `.cargo/config.toml`.
//! - Each poll looks at every socket, so one stack holds at most [`limit::SOCKETS_MAX`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod adapter;
mod checksum;
mod clock;
mod device;
pub mod limit;
mod neighbour;
mod sight;
mod stack;
mod stream;
mod streams;
mod udp;

#[cfg(test)]
mod tests;

pub use device::{FrameDevice, FrameReceiver, FrameTransmitter, Link, Offload, Segments};
pub use stack::{Address, AddressSource, Config, Counters, Event, Progress, Stack};
pub use stream::{Closed, DialError, ListenError, NoStream, StreamId};
pub use udp::{BindError, DatagramError, UdpId};
