//! Counts the words of standard input on every node of the cluster, exactly or not at all.
//!
//! `coordinator` reads the input, cuts it between words and hands it to the mappers that ask;
//! `mapper` counts words and sends counts to the reducer that each word belongs to; `reducer` adds
//! them up. `protocol` is what they say to each other; `text`, `table`, `batch` and `cutter` are
//! the counting itself, free of messages. What a word is stands in README.md.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod batch;
mod coordinator;
mod cutter;
mod mapper;
mod protocol;
mod reducer;
mod table;
mod text;

use craton::Run;
use protocol::{MapperArgument, ReducerArgument};

craton::entries! {
    /// Where a run begins.
    pub MAIN: "main" = coordinator::main as fn(Run);
    /// Counts words.
    pub MAPPER: "mapper" = mapper::run as fn(MapperArgument);
    /// Adds up counts.
    pub REDUCER: "reducer" = reducer::run as fn(ReducerArgument);
}

#[cfg(test)]
mod tests;
