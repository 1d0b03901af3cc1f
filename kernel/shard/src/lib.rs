//! One CPU's world as a value.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod port;
