//! Why a bundle is refused, or cannot be made.
//!
//! Owns [`BundleError`] and [`SignError`]. Each variant says in one sentence what is wrong, since
//! it is what the author of the program reads.

use crate::{CompilerKey, CpuLevel};
use alloc::string::String;
use core::fmt;

/// A part of a bundle that has a hash of its own.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// The WebAssembly module.
    Wasm,
    /// The native artifact with this index.
    Artifact(usize),
}

/// Why a bundle is refused. Nothing of it was used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BundleError {
    /// It does not begin as a bundle does.
    NotABundle,
    /// It is of a version of the format that this node does not read.
    UnknownVersion(u8),
    /// It ends before all of it came.
    Truncated,
    /// It is longer than a bundle may be, or than its table says.
    TooLong,
    /// Its table makes no sense; the text says where.
    Malformed(&'static str),
    /// Nobody signed it.
    Unsigned,
    /// It is signed by a compiler that this node does not trust.
    UntrustedKey(CompilerKey),
    /// The signature does not fit the table.
    BadSignature,
    /// A part is not what was signed.
    HashMismatch(Part),
    /// It has no artifact for this node's engine.
    WrongEngine {
        /// The engine of the first artifact in it, if there is one.
        has: Option<String>,
    },
    /// Its artifacts for this engine need a newer CPU.
    CpuTooOld {
        /// The lowest level that the bundle has.
        needs: CpuLevel,
    },
}

/// Why a bundle cannot be made.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SignError {
    /// The name is empty or longer than 255 bytes.
    Name,
    /// An engine's name is empty or longer than 255 bytes.
    Engine,
    /// No artifacts, or more than a bundle holds.
    ArtifactCount,
    /// The whole is longer than a bundle may be.
    TooLong,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Wasm => f.write_str("the wasm"),
            Part::Artifact(index) => write!(f, "artifact {index}"),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleError::NotABundle => f.write_str("this is no bundle"),
            BundleError::UnknownVersion(version) => {
                write!(f, "bundle of format {version}, which this node does not read")
            }
            BundleError::Truncated => f.write_str("the bundle is cut short"),
            BundleError::TooLong => f.write_str("the bundle is too long"),
            BundleError::Malformed(what) => write!(f, "malformed bundle: {what}"),
            BundleError::Unsigned => f.write_str("the bundle is not signed"),
            BundleError::UntrustedKey(key) => {
                write!(f, "the bundle is signed by {key}, which is no compiler key of this node")
            }
            BundleError::BadSignature => f.write_str("the signature of the bundle is wrong"),
            BundleError::HashMismatch(part) => write!(f, "{part} is not what was signed"),
            BundleError::WrongEngine { has: Some(has) } => {
                write!(f, "compiled for {has}, not for this node's engine: compile it again")
            }
            BundleError::WrongEngine { has: None } => f.write_str("the bundle has no artifact"),
            BundleError::CpuTooOld { needs } => {
                write!(f, "compiled for {needs}, which this node's CPU does not reach")
            }
        }
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignError::Name => "the program's name must have 1 to 255 bytes",
            SignError::Engine => "the engine's name must have 1 to 255 bytes",
            SignError::ArtifactCount => "a bundle holds 1 to 8 artifacts",
            SignError::TooLong => "the bundle would be longer than a bundle may be",
        })
    }
}

impl core::error::Error for BundleError {}
impl core::error::Error for SignError {}
