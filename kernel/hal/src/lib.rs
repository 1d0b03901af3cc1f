//! The hardware, and all the unsafe code that it takes.

#![no_std]
#![forbid(unsafe_code)]
