//! WebAssembly processes on fibers: verify, load, instantiate, run, preempt, reclaim.
//!
//! The host's side of the shard's port (`craton_shard::port`) for programs in WebAssembly. Always
//! compiled: [`config`], which the compiler shares, and the list of [`IMPORTS`]. With the feature
//! `metal`, which only the kernel turns on: [`Programs`], which a node's CPUs share, and
//! [`Engine`], of which each has its own, over the fibers and page tables of `craton-hal`. Unsafe
//! code is confined to the module `platform`.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(feature = "metal")]
mod calls;
mod config;
mod data;
#[cfg(feature = "metal")]
mod engine;
#[cfg(any(feature = "metal", test))]
mod guest;
mod imports;
#[cfg(feature = "metal")]
mod instance;
#[cfg(feature = "metal")]
mod kept;
#[allow(unsafe_code, reason = "the platform layer: every unsafe block of the engine is in here")]
mod platform;
#[cfg(feature = "metal")]
mod process;
#[cfg(feature = "metal")]
mod programs;
#[cfg(feature = "metal")]
mod sockets;
#[cfg(feature = "metal")]
mod transit;
#[cfg(feature = "metal")]
mod wasi;

pub use config::{
    CPU_FEATURES, ENGINE_VERSION, HOST_STACK_BYTES, STACK_BYTES, TARGET, WASM_STACK_BYTES, config,
};
pub use data::data_of;
#[cfg(feature = "metal")]
pub use engine::{Clocks, Engine};
pub use imports::{
    BEGINS_ANEW, DATA_IN_PAGES, IMPORTS, Import, MEMORY, MODULE, Scalar, WASI_IMPORTS, WASI_MODULE,
    imports_of,
};
#[cfg(feature = "compiler")]
pub use platform::compiler_config;
pub use platform::{LoadError, load_module};
#[cfg(feature = "metal")]
pub use process::Desk;
#[cfg(feature = "metal")]
pub use programs::{PROGRAMS_MAX, Programs};
