//! The node as a value: control and shards joined.

#![no_std]
#![forbid(unsafe_code)]
