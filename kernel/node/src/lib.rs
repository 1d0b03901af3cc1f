//! The node as a value: control and shards joined.
//!
//! Owns [`Node`], which the kernel and the simulator host alike, and [`NodeConfig`]. Below it are
//! shards, sessions and membership; above it nothing but the wiring.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
pub mod command_line;
pub mod config;
mod control;
mod distribution;
mod hosts;
mod links;
mod log_ring;
mod node;
mod operators;
mod peers;
mod placement;
mod programs;
mod runs;
mod sealing;
mod shortage;
mod signals;
mod spawning;
mod work;

pub use api::{NodeEffect, NodeInput};
pub use config::{ConfigError, NodeConfig, OnPanic};
pub use node::{Node, NodeError, SHARDS_MAX};
