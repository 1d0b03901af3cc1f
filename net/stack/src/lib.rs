//! The network: TCP, UDP, ICMP, neighbours, DHCP, SLAAC and DNS as a value that is polled.
//!
//! Owns [`Stack`]: one network interface with its addresses, listeners, streams, datagram sockets
//! and resolver. It has no clock, thread or interrupt: the kernel's loop (or a test) calls
//! [`Stack::poll`] with a [`FrameDevice`] and the time, takes [`Event`]s with
//! [`Stack::poll_event`], and sleeps until [`Stack::deadline`]. Everything is bounded by the
//! constants in [`limit`].
//!
//! A node of several shards has a stack on each, over the same addresses; [`Steer`] says whose a
//! frame is. Neighbours are known to all, TCP goes by a keyed hash of its two ends, the rest is
//! shard 0's. A port is listened on at each shard that serves it.
//!
//! The way of a frame: `FrameReceiver` → sight (what it is; refusals) → fragments put together →
//! neighbours learn → the table of streams → TIME-WAIT → handshakes → smoltcp's socket → events.
//!
//! # What is done here rather than by smoltcp
//!
//! smoltcp has the TCP of an open connection, ICMP echo and the DHCP client. The rest is here,
//! since smoltcp is made for few sockets and a friendly link (docs/decisions/0016):
//!
//! - **Streams apart.** smoltcp looks at every socket of a set; each stream has a set of its own
//!   and is looked at when a frame, its owner, a timer or a neighbour says so. What one costs does
//!   not depend on the others.
//! - **Handshakes and TIME-WAIT** are tables without sockets or buffers (`handshake.rs`,
//!   `timewait.rs`); a connection is handed to a socket when it is open and taken back when both
//!   sides said their last word (`handover.rs`). A full backlog, or want of memory, makes peers
//!   wait.
//! - **First sequence numbers** are keyed hashes (RFC 6528), not smoltcp's generator.
//! - **Neighbours** are asked for each on its own; smoltcp would let one that is dead hold up the
//!   others (smoltcp#1101). It never asks for any.
//! - **Bare acknowledgements** carry the highest number sent (`highest.rs`).
//! - **Datagrams, fragments, addresses, names.**
//!
//! # What smoltcp fixes inside
//!
//! - The retransmission time-out starts at and never falls below one second (a private constant),
//!   so a lost last segment costs a second whatever the round trip; losses within a burst are
//!   repaired by fast retransmit after three duplicate acknowledgements. 300 kB over a line of 50
//!   ms there and back take 1.0 s without loss, 2.7 s at 1 % and 21 s at 5 % (medians of 21 seeds,
//!   `loss_costs_what_the_documents_say`); by the rule of Mathis a TCP without that bound needs
//!   about 2 s at 5 %. smoltcp answers with selective acknowledgements but makes no use of them.
//!   Linux behind netem (5 %, 50 ms, each way: 100 ms there and back) shows the same: it took 19 s
//!   to get 300 kB from a node and 2.5 s to send it as many, which it repairs by what smoltcp
//!   acknowledges selectively (`qemu/tests/cluster/netem.rs`).
//! - Congestion control is Reno: smoltcp 0.14's CUBIC calls `f64::powi` and `f64::mul_add`, which
//!   `core` does not have in stable Rust, so it does not compile without `std`, and a controller
//!   cannot be given from outside. With windows of 64 KiB the two differ little.
//! - No path-MTU discovery: the segment size is fixed by the handshake. No timestamps, no ECN.
//! - Buffers are fixed when a stream is made: [`Buffers`] has two sizes.
//! - Segmentation by the device works over IPv4 only: smoltcp drops longer packets over IPv6.
//! - Out-of-order ranges for each stream (32) and addresses (8) are set when it is built, in
//!   `.cargo/config.toml`.
//!
//! # What is missing
//!
//! Duplicate address detection and multicast listener reports for IPv6; packets with IPv6 extension
//! headers other than fragments are refused. We send no fragments.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod adapter;
mod budget;
mod checksum;
mod clock;
mod config;
mod device;
mod dhcp;
mod emit;
mod fragment;
mod handle;
mod handover;
mod handshake;
mod highest;
mod lanes;
pub mod limit;
#[cfg(feature = "memory-link")]
pub mod memory;
mod neighbour;
mod resolver;
mod sight;
mod slaac;
mod stack;
mod stream;
mod streams;
mod timewait;
mod tuple;
mod udp;

#[cfg(test)]
mod tests;

pub use budget::Owner;
pub use config::{Address, AddressSource, Announced, Config, Counters, Event, Progress, Shard};
pub use device::{FrameDevice, FrameReceiver, FrameTransmitter, Link, Offload, Segments};
pub use handle::{ConnectError, Shared, TcpListener, TcpStream, UdpSocket};
pub use lanes::{Lanes, Share};
pub use resolver::{ResolveError, ResolveId};
pub use stack::{Stack, Usage};
pub use stream::{
    Buffers, Closed, DialError, DialOptions, ListenError, ListenOptions, NoStream, PassError,
    StreamId,
};
pub use tuple::{Steer, Target};
pub use udp::{BindError, DatagramError, UdpId};
