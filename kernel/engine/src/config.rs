//! The configuration that compiler and node must share to the bit.
//!
//! Owns [`config`], [`ENGINE_VERSION`] and the sizes of a process's stack. wasmtime refuses an
//! artifact whose configuration differs from its own; the bundle carries the version so that a node
//! can say so before it looks inside.

use core::num::NonZeroUsize;
use wasmtime::Config;

/// Which engine an artifact is for: wasmtime's version, and the revision of [`config`]. Raise the
/// revision with every change that makes older artifacts unusable, or newer ones on older nodes;
/// `tools/compile` has a test that notices one.
pub const ENGINE_VERSION: &str = "wasmtime-48.0.8/3";

/// The target that artifacts are compiled for: the one that the kernel itself is built for, since
/// wasmtime compares the two.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What an artifact may use beyond the x86-64 base: x86-64-v2, by the names of Cranelift's settings
/// and by those that `Config::detect_host_feature` asks for.
pub const CPU_FEATURES: [(&str, &str); 5] = [
    ("has_sse3", "sse3"),
    ("has_ssse3", "ssse3"),
    ("has_sse41", "sse4.1"),
    ("has_sse42", "sse4.2"),
    ("has_popcnt", "popcnt"),
];

/// The usual stack of a process, wasm frames and the host's below them.
pub const STACK_BYTES: usize = WASM_STACK_BYTES + HOST_STACK_BYTES;
/// The part of it that wasm may use, unless the spawn says otherwise. A guest that uses more ends
/// with a stack overflow.
pub const WASM_STACK_BYTES: usize = 40 << 10;
/// What a host call or a trap at the bottom of the wasm stack needs for the host's own frames.
pub const HOST_STACK_BYTES: usize = 24 << 10;

/// What is never mapped behind a memory: the page with which every reservation of addresses begins.
const GUARD_BYTES: u64 = 4096;

/// Most frames in the backtrace of a trap.
const BACKTRACE_FRAMES_MAX: usize = 32;

/// The configuration of wasmtime, the same at the compiler and on every node.
///
/// - What a guest must not do raises an exception of the CPU, which the kernel brings to wasmtime
///   (`signals_based_traps`): an address out of bounds becomes zero, also where the CPU speculates.
///   Those are Cranelift's Spectre guards on memories and tables, on by default.
/// - Behind a memory is a page that is never mapped, so that the bound is held against an index
///   alone and not against each offset to it. There is no reservation to lean on: it may move while
///   it grows, so that a small one takes few addresses (`memory_may_move`, on by default).
/// - Each WebAssembly proposal is named, on or off, so that a default that changes with a feature
///   of the crate cannot make the two sides differ. 128-bit vectors are on, because the interrupt
///   path saves them; what needs AVX state is never generated, as the level is x86-64-v2.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .signals_based_traps(true)
        .memory_reservation(0)
        .memory_reservation_for_growth(0)
        .memory_guard_size(GUARD_BYTES)
        .guard_before_linear_memory(false)
        .memory_init_cow(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .native_unwind_info(false)
        .concurrency_support(false);
    config
        .gc_support(false)
        .shared_memory(false)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_extended_const(true)
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .wasm_gc(false);
    config
}
