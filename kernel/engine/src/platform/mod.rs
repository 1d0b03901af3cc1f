//! The platform layer: every unsafe block of the engine, each behind a safe function.
//!
//! Owns what needs a promise that the compiler cannot check: that native code is what a trusted
//! compiler wrote ([`load_module`]), that CPU features are CPU features, and, on metal, wasmtime's
//! platform symbols, code and memory from page tables, and fibers that can be dropped anywhere.

#[cfg(feature = "metal")]
mod depth;
#[cfg(feature = "metal")]
mod exchange;
#[cfg(feature = "metal")]
mod metal;
#[cfg(feature = "metal")]
mod seat;
#[cfg(feature = "metal")]
mod symbols;
#[cfg(feature = "metal")]
mod warm;

#[cfg(feature = "metal")]
pub(crate) use depth::limit_stack;
#[cfg(feature = "metal")]
pub(crate) use exchange::{ask, draw_seed, end, leave_with, receive, send, spawn, with_reply};
#[cfg(feature = "metal")]
pub(crate) use metal::new_engine;
#[cfg(feature = "metal")]
pub(crate) use seat::Seat;
#[cfg(feature = "metal")]
pub(crate) use warm::{Made, WARM_BYTES_MAX, give_back_some, has_room, has_spare, with_memory_of};

use crate::ENGINE_VERSION;
use alloc::string::String;
use core::fmt;
use craton_bundle::{BundleError, CpuLevel, Verified};
use wasmtime::{Engine, Module};

#[cfg(feature = "metal")]
const PAGE_BYTES: usize = 4096;

/// Why a verified bundle cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The bundle is refused, or has nothing for this node.
    Bundle(BundleError),
    /// The engine refuses the artifact.
    Engine(String),
    /// It imports what this engine does not have.
    Link(String),
    /// The node holds as many programs as it may.
    Full,
    /// The node has not the memory for it.
    Memory,
}

/// The module of a bundle, from its artifact for this engine. Safe because only a signature of a
/// trusted compiler makes a [`Verified`].
///
/// # Errors
///
/// [`LoadError`] if the bundle has no artifact for this engine and CPU, or wasmtime finds a
/// difference in configuration.
pub fn load_module(engine: &Engine, bundle: &Verified<'_>) -> Result<Module, LoadError> {
    let artifact = bundle.artifact(ENGINE_VERSION, CpuLevel::V2).map_err(LoadError::Bundle)?;
    // SAFETY: `deserialize` trusts its bytes to come from `precompile_module`. They are part of a
    // verified bundle: a compiler whose key this node trusts signed their hash.
    let module = unsafe { Module::deserialize(engine, artifact) };
    module.map_err(|error| LoadError::Engine(alloc::format!("{error:#}")))
}

/// The shared configuration and what only a compiler sets.
///
/// # Errors
///
/// Those of wasmtime, if it does not know the target.
#[cfg(feature = "compiler")]
pub fn compiler_config() -> wasmtime::Result<wasmtime::Config> {
    use crate::config;
    let mut config = config::config();
    config.target(config::TARGET)?;
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    for (setting, _) in config::CPU_FEATURES {
        // SAFETY: this is unsafe because some settings break the contract between wasmtime's parts.
        // A CPU feature only changes which instructions are chosen, and a node compares the
        // features with its CPU before it runs any.
        unsafe { config.cranelift_flag_enable(setting) };
    }
    Ok(config)
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Bundle(error) => fmt::Display::fmt(error, f),
            LoadError::Engine(error) => write!(f, "the engine refuses the artifact: {error}"),
            LoadError::Link(error) => write!(f, "the program cannot be linked: {error}"),
            LoadError::Full => f.write_str("the node holds as many programs as it may"),
            LoadError::Memory => f.write_str("the node has not the memory for the program"),
        }
    }
}

impl core::error::Error for LoadError {}

/// The symbols of wasmtime that a test of this crate links against on a host and never calls.
#[cfg(all(test, not(feature = "metal")))]
mod unused_symbols {
    #[unsafe(no_mangle)]
    extern "C" fn wasmtime_tls_get(_slot: usize) -> *mut u8 {
        core::ptr::null_mut()
    }

    #[unsafe(no_mangle)]
    extern "C" fn wasmtime_tls_set(_slot: usize, _word: *mut u8) {}
}
