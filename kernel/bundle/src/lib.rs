//! Signed bundles: the wasm of a program and its native artifacts.

#![no_std]
#![forbid(unsafe_code)]
