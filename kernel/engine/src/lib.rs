//! WebAssembly processes on fibers.

#![no_std]
#![forbid(unsafe_code)]
