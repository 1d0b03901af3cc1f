//! Signed bundles: the wasm of a program, its native artifacts, their hashes and a signature.
//!
//! Owns the format (`format.rs` has the layout) and the compiler's keys. Bytes from the network
//! enter as an alleged [`Bundle`]; only [`Bundle::verify`] makes the [`Verified`] one from which an
//! engine may load native code. The tool makes bundles with [`Contents::sign`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod format;
mod key;

pub use error::{BundleError, Part, SignError};
pub use format::{Artifact, Bundle, Contents, CpuLevel, Verified, program_id};
pub use key::{CompilerKey, CompilerSecret, MalformedKey};

#[cfg(test)]
mod tests;
