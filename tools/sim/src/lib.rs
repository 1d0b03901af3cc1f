//! Whole clusters in virtual time under one seed.
//!
//! The nodes are the very values that the kernel hosts; around them are a virtual network, a clock
//! that jumps, native programs in place of the engine, faults drawn from the seed, and a checker
//! that sees every call of every process. Start at [`World`].

mod actor;
mod checker;
mod desk;
mod faults;
mod hosting;
mod keys;
mod lending;
mod linked;
mod machine;
mod named;
mod net;
mod operator;
mod random;
mod timed;
mod trace;
mod trouble;
mod wires;
mod world;

pub use checker::{Checker, Violation};
pub use world::{Options, Report, Sabotage, World, run};
