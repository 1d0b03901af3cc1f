//! The platform layer on bare metal: what wasmtime needs of a kernel.
//!
//! Owns the making of wasmtime's engine and the promise that makes a process droppable anywhere
//! ([`new_fiber`]). Beside it: `warm.rs`, `exchange.rs`, and `symbols.rs` with what wasmtime
//! links against.

use super::warm::{self, Memories};
use crate::config::{CPU_FEATURES, config};
use alloc::boxed::Box;
use alloc::sync::Arc;
use craton_hal::cpu;
use craton_hal::fiber::Fiber;
use wasmtime::{Engine, Result};

/// wasmtime over this kernel's memory.
pub(crate) fn new_engine() -> Result<Engine> {
    let mut config = config();
    config.with_host_memory(Arc::new(Memories));
    // SAFETY: `has_cpu_feature` asks the CPU itself.
    unsafe { config.detect_host_feature(has_cpu_feature) };
    Engine::new(&config)
}

/// Whether the CPU has a feature that artifacts may use (Intel SDM volume 2, CPUID leaf 1, ECX).
fn has_cpu_feature(name: &str) -> Option<bool> {
    let bit = match name {
        "sse3" => 0,
        "ssse3" => 9,
        "sse4.1" => 19,
        "sse4.2" => 20,
        "popcnt" => 23,
        _ => return None,
    };
    debug_assert!(CPU_FEATURES.iter().any(|(_, known)| *known == name));
    Some(cpu::cpuid(1, 0).ecx & (1 << bit) != 0)
}

/// What a process's fiber runs: made by the engine for wasm functions only.
pub(crate) type Body = Box<dyn FnMut()>;

/// A fiber that calls `body` once, on a stack of so many bytes: one that another left if there is
/// one. `None` for want of memory.
pub(crate) fn new_fiber(stack_bytes: usize, body: Body) -> Option<Fiber> {
    // For both blocks below.
    // SAFETY: `body` calls a wasm function whose frames are suspended only in `ask`, reached from
    // host calls, and stopped by interrupts and faults only in module text while no trap is under
    // way (`symbols.rs`). Module text owns nothing. Host calls own nothing across `ask` (the rule
    // of `calls.rs`). Between them lie wasmtime's frames of a call and of a host call, which hold
    // references into the store and plain values; killing ten thousand processes in every such
    // state with no byte lost is the self-test's guard of that for the pinned version. Nothing
    // points into the stack but the store, which is dropped with the fiber (`seat.rs`). One engine
    // at a time has the fiber, and that is one CPU's; between two it passes through a lock
    // (`transit.rs`). No frame that can be suspended or preempted holds what is a CPU's: it is
    // looked up by whoever needs it (`exchange.rs`). The kernel is built with `panic = abort`.
    match warm::take_stack(stack_bytes) {
        Some(mut fiber) => {
            // SAFETY: see above.
            unsafe { fiber.renew(body) };
            Some(fiber)
        }
        // SAFETY: see above.
        None => unsafe { Fiber::new(stack_bytes, body) },
    }
}
