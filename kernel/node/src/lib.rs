//! The node as a value: control and shards joined.
//!
//! Owns [`Node`], which the kernel and the simulator host alike, and [`NodeConfig`]. Below it are
//! shards, sessions and membership; above it nothing but the wiring.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;

pub use config::{ConfigError, NodeConfig, OnPanic};
