//! The Rust SDK that the tool carries.
//!
//! Owns `FILES`: the sources that an app of `craton new` builds against. Neighbour:
//! `commands/new.rs`.

// Made by `build.rs`.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
