//! Compiles WebAssembly ahead of time for Craton's nodes, and signs the result.
//!
//! Owns [`compile`] and [`bundle`]. A program is first held against the guest ABI
//! (`check.rs`), so that its author learns here what a node would only refuse to link, and then
//! given a shape in which no instruction takes long (`reshape.rs`). The output is a function of its
//! input: the same wasm gives the same artifact, byte for byte.

mod check;
mod reshape;

pub use check::{Flaw, check};

/// The functions that a program may import, as nodes have them.
pub mod imports {
    pub use craton_engine::{IMPORTS, Import, MODULE, Scalar, WASI_IMPORTS, WASI_MODULE};
}

use craton_bundle::{Artifact, CompilerSecret, Contents, CpuLevel, SignError};
use craton_engine::{ENGINE_VERSION, compiler_config};
use std::fmt;
use wasmtime::{Engine, Module};

/// Why a program cannot be compiled.
#[derive(Debug)]
pub enum CompileError {
    /// It is no program for Craton.
    Unfit(Flaw),
    /// wasmtime cannot compile it.
    Compiler(wasmtime::Error),
    /// It cannot be given the shape in which nothing takes long.
    Reshape(String),
    /// The result does not fit a bundle.
    Sign(SignError),
}

/// The native artifact of `wasm` for this version of the engine and the base CPU level.
///
/// # Errors
///
/// [`CompileError::Unfit`] if the guest ABI is not kept, [`CompileError::Compiler`] if the module
/// is not valid or too large.
pub fn compile(wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    check(wasm).map_err(CompileError::Unfit)?;
    let engine = compiler_config().and_then(|config| Engine::new(&config));
    let engine = engine.map_err(CompileError::Compiler)?;
    // As its author wrote it: what is wrong with it is said with his offsets.
    Module::validate(&engine, wasm).map_err(CompileError::Compiler)?;
    let reshaped = reshape::reshape(wasm);
    let reshaped = reshaped.map_err(|error| CompileError::Reshape(error.to_string()))?;
    engine.precompile_module(&reshaped).map_err(CompileError::Compiler)
}

/// The signed bundle of `wasm` under `name`.
///
/// # Errors
///
/// As [`compile`], and [`CompileError::Sign`] if the whole is too long.
pub fn bundle(name: &str, wasm: &[u8], secret: &CompilerSecret) -> Result<Vec<u8>, CompileError> {
    let native = compile(wasm)?;
    let artifacts = [Artifact { engine: ENGINE_VERSION, level: CpuLevel::V2, bytes: &native }];
    Contents { name, wasm, artifacts: &artifacts }.sign(secret).map_err(CompileError::Sign)
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Unfit(flaw) => write!(f, "not a program for Craton: {flaw}"),
            CompileError::Compiler(error) => write!(f, "cannot compile: {error:#}"),
            CompileError::Reshape(why) => write!(f, "cannot compile: {why}"),
            CompileError::Sign(error) => write!(f, "cannot bundle: {error}"),
        }
    }
}

impl std::error::Error for CompileError {}

#[cfg(test)]
mod tests;
