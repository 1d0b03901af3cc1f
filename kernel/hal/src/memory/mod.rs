//! Physical and virtual memory.

pub mod layout;
