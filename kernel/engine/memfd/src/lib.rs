//! Nothing: stands in for the crate `memfd`, whose real one needs `std`.
//!
//! Owns nothing; see `Cargo.toml` beside it for why.

#![no_std]
#![forbid(unsafe_code)]
