//! The node as a value: control and shards joined.
//!
//! Owns [`Node`], the control with shard 0, and [`Worker`], any other shard; each is a [`Part`] of
//! a node. The kernel and the simulator host both alike and carry the [`Mail`] between them. Below
//! them are shards, sessions and membership; above them nothing but the wiring.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
mod audience;
pub mod command_line;
pub mod config;
mod control;
mod crew;
mod distribution;
mod error;
mod hosts;
mod links;
mod log_ring;
mod mail;
mod mine;
mod names;
mod node;
mod operators;
mod part;
mod peers;
mod placement;
mod programs;
mod runs;
mod sealing;
mod signals;
mod spawning;
mod surveys;
mod work;
mod worker;

pub use api::{ControlEffect, NodeEffect, NodeInput, PartEffect, WorkerEffect, WorkerInput};
pub use config::{ConfigError, NodeConfig, OnPanic};
pub use error::NodeError;
pub use mail::Mail;
pub use node::{Node, SHARDS_MAX};
pub use part::Part;
pub use worker::Worker;
