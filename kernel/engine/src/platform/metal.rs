//! The platform layer on bare metal: what wasmtime needs of a kernel.
//!
//! Owns the engine's memories, from the kernel's page tables, and the promise that makes a process
//! droppable anywhere ([`new_fiber`]). `symbols.rs` beside it has what wasmtime links against.

use super::PAGE_BYTES;
use crate::config::{CPU_FEATURES, STACK_BYTES, config};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::Duration;
use craton_hal::cpu;
use craton_hal::fiber::{self, Fiber, Left};
use craton_hal::memory::{self, Reservation};
use wasmtime::{Engine, Error, LinearMemory, MemoryCreator, MemoryType, Result};

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

/// A fiber that calls `body` once. `None` for want of memory.
pub(crate) fn new_fiber(body: Box<dyn FnMut()>) -> Option<Fiber> {
    // SAFETY: `body` calls a wasm function whose frames are suspended only in `suspend`, reached
    // from host calls, and preempted only in module text while no trap is under way (`symbols.rs`).
    // Module text owns nothing. Host calls own nothing across `suspend` (the rule of `calls.rs`).
    // Between them lie wasmtime's frames of a call and of a host call, which hold references into
    // the store and plain values; killing ten thousand processes in every such state with no byte
    // lost is the self-test's guard of that for the pinned version. Nothing points into the stack
    // but the store, which `body` owns. One CPU has the engine at a time, and the kernel is built
    // with `panic = abort`.
    unsafe { Fiber::new(STACK_BYTES, body) }
}

/// Runs `fiber` until it leaves its stack, for `slice` at most.
pub(crate) fn run(fiber: &mut Fiber, slice: Duration) -> Left {
    fiber.resume(slice)
}

/// Leaves the running fiber until it is resumed.
pub(crate) fn suspend() {
    fiber::suspend();
}

/// Whether the kernel can take `bytes` on a process's behalf without touching its own reserve.
pub(crate) fn has_room(bytes: usize) -> bool {
    memory::has_room(bytes)
}

/// Most CPUs that instantiate at once.
const CPUS_MAX: usize = 256;

/// For each CPU, how far the memory may grow that it makes next.
static MEMORY_LIMITS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];

fn memory_limit() -> &'static AtomicU64 {
    &MEMORY_LIMITS[cpu::index() % CPUS_MAX]
}

/// Says how far the memory may grow that this CPU makes next; wasmtime has no argument for it.
pub(crate) fn set_memory_limit(bytes: u64) {
    memory_limit().store(bytes, Ordering::Relaxed);
}

/// Makes linear memories: address space for the whole limit, pages as they are asked for.
struct Memories;

// SAFETY: memories are zeroed, at least as large as asked for, and never move. The shared
// configuration has no guard pages and no reservation that code could lean on.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _kind: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        _reserved: Option<usize>,
        _guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let limit = memory_limit().load(Ordering::Relaxed).min(1 << 32) as usize;
        let capacity = maximum.unwrap_or(limit).min(limit).max(minimum).max(PAGE_BYTES);
        let pages = Reservation::new(capacity);
        let Some(mut pages) = pages.ok().filter(|pages| pages.max_bytes() >= capacity) else {
            return Err(String::from("no addresses"));
        };
        if pages.commit(minimum).is_err() {
            return Err(String::from("no memory"));
        }
        Ok(Box::new(Linear { pages, bytes: minimum, capacity }))
    }
}

struct Linear {
    pages: Reservation,
    bytes: usize,
    capacity: usize,
}

// SAFETY: `as_ptr` is the base of a reservation of which at least `bytes` are mapped, readable and
// writable, until this value is dropped. It never moves.
unsafe impl LinearMemory for Linear {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.capacity
    }

    fn grow_to(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.capacity || self.pages.commit(bytes).is_err() {
            return Err(Error::msg("no memory"));
        }
        self.bytes = bytes;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.pages.as_ptr()
    }
}
