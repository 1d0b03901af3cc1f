//! The whole product in QEMU: machines that boot the real kernel, join, and run real programs.
//!
//! One binary, since each would have the compiler in it. Every test boots machines of its own in
//! less than a second, so that none depends on what another did. Neighbours: `bed` boots them,
//! `craton-tool` is the operator.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod author;
mod bed;
mod beside;
mod bundles;
mod bytes;
mod clients;
mod command;
mod data;
mod datagrams;
mod density;
mod faults;
mod hostile;
mod lending;
mod linux;
mod loss;
mod netem;
mod peer;
mod pointers;
mod random;
mod runs;
mod services;
mod sockets;
mod strangers;
mod tap;
mod tls;
