//! The engine of one CPU: the processes that live on it.
//!
//! Owns [`Engine`], the host that answers a shard's effects `Start`, `Run` and `Reclaim` for
//! programs in WebAssembly. Every CPU has its own, over the [`Programs`] that all share; a process
//! stays with the engine that started it. It never looks at a clock or a device of its own: time
//! comes in as [`Clocks`], everything else through the platform layer.

use crate::process::{Exchange, Guest, Limiter, Random, exit_reason};
use crate::programs::{Program, Programs};
use crate::{MEMORY, STACK_BYTES, platform};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Instant, Payload, Pid, ProcessLimits, ProgramId, Slot,
};
use craton_hal::fiber::{Fiber, Left};
use craton_shard::port::{Outcome, Resume};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wasmtime::{Store, TypedFunc};

/// Where time comes from.
#[derive(Copy, Clone)]
pub struct Clocks {
    /// Time since the node started.
    pub monotonic: fn() -> Instant,
    /// Nanoseconds since 1970, or 0 if the node does not know.
    pub wall_nanos: fn() -> u64,
}

/// What the kernel must be able to spare before it makes a process, beside the memory and the
/// stack: store and instance. Most need a tenth of it.
const PROCESS_HEAP_BYTES: usize = 256 << 10;

/// The host of one CPU's processes. It may be made on another CPU than the one that it is for.
pub struct Engine {
    programs: Arc<Programs>,
    clocks: Clocks,
    seeds: ChaCha8Rng,
    processes: BTreeMap<Slot, Process>,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Engine>();
};

struct Process {
    fiber: Fiber,
    /// Bytes of its linear memory.
    memory_bytes: u64,
    /// It asked for something and has no answer yet.
    waits: bool,
}

impl Engine {
    /// An engine for processes of `programs`, which draw their randomness from `seed`.
    pub fn new(programs: Arc<Programs>, seed: [u8; 32], clocks: Clocks) -> Engine {
        let seeds = ChaCha8Rng::from_seed(seed);
        Engine { programs, clocks, seeds, processes: BTreeMap::new() }
    }

    /// The programs that it runs.
    pub fn programs(&self) -> &Arc<Programs> {
        &self.programs
    }

    /// Makes a process that will call `entry`; it runs with [`Engine::run`].
    ///
    /// # Errors
    ///
    /// `NoProgram`, `NoEntry`, `LimitMemory`; `Invalid` if its memory cannot be initialised or the
    /// slot is taken.
    pub fn start(
        &mut self,
        pid: Pid,
        program: ProgramId,
        entry: &str,
        argument: Payload,
        limits: ProcessLimits,
    ) -> Result<(), ErrorCode> {
        let program = self.programs.get(program).ok_or(ErrorCode::NoProgram)?;
        if self.processes.contains_key(&pid.slot) {
            return Err(ErrorCode::Invalid);
        }
        if !program.has_entry(entry) {
            return Err(ErrorCode::NoEntry);
        }
        if !platform::has_room(PROCESS_HEAP_BYTES) {
            return Err(ErrorCode::LimitMemory);
        }
        let mut seed = [0; 32];
        self.seeds.fill_bytes(&mut seed);
        let guest = Guest {
            pid,
            argument,
            memory: None,
            random: Random::Seed(seed),
            clocks: self.clocks,
            limiter: Limiter::new(&limits),
        };
        let mut store = Store::new(self.programs.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        let function = instantiate(&mut store, &program, entry, &limits)?;
        let memory_bytes = store.data().limiter.memory_bytes();
        let fiber = platform::new_fiber(body(store, function));
        let fiber = fiber.ok_or(ErrorCode::LimitMemory)?;
        self.processes.insert(pid.slot, Process { fiber, memory_bytes, waits: false });
        Ok(())
    }

    /// Runs a process until it asks for something, ends, or has used `slice`. Answers with how it
    /// came back and the time that it used.
    ///
    /// # Panics
    ///
    /// If there is no such process, or it waits and `resume` is no reply: the shard keeps both.
    pub fn run(&mut self, slot: Slot, resume: Resume, slice: Duration) -> (Outcome, Duration) {
        let Some(process) = self.processes.get_mut(&slot) else {
            panic!("{slot} is no process of the engine");
        };
        let is_reply = matches!(resume, Resume::Reply(_));
        assert_eq!(process.waits, is_reply, "{slot}: a reply goes to a waiting process only");
        let mut exchange = Exchange {
            call: None,
            reply: match resume {
                Resume::Reply(reply) => Some(reply),
                _ => None,
            },
            ended: None,
            memory_bytes: process.memory_bytes,
        };
        let start = (self.clocks.monotonic)();
        let left = platform::run(&mut process.fiber, slice, &mut exchange);
        let used = (self.clocks.monotonic)().since(start);
        process.memory_bytes = exchange.memory_bytes;
        let outcome = match left {
            Left::Preempted => Outcome::Preempted,
            // Without a call it paused in a long operation.
            Left::Suspended => exchange.call.map_or(Outcome::Preempted, Outcome::Call),
            Left::Finished => Outcome::Exited(exchange.ended.unwrap_or(ExitReason::Normal)),
        };
        process.waits = matches!(outcome, Outcome::Call(_));
        (outcome, used)
    }

    /// Drops a process, wherever it is. Unknown slots are ignored: a start may have failed.
    pub fn reclaim(&mut self, slot: Slot) {
        if let Some(process) = self.processes.remove(&slot) {
            platform::keep_stack(process.fiber);
        }
    }

    /// Drops every process: the node starts a new life.
    pub fn reclaim_all(&mut self) {
        self.processes.clear();
        self.give_back();
    }

    /// Gives back the stacks and memories that are kept for the next processes.
    pub fn give_back(&mut self) {
        platform::give_back();
    }

    /// Every process that it hosts.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.processes.keys().copied()
    }

    /// Bytes that a process takes: its memory and its stack. Zero if there is none.
    pub fn memory_bytes(&self, slot: Slot) -> u64 {
        self.processes.get(&slot).map_or(0, |process| process.memory_bytes + STACK_BYTES as u64)
    }
}

/// Makes the instance. Runs no code of the guest: compilers refuse programs with start functions.
fn instantiate(
    store: &mut Store<Guest>,
    program: &Program,
    entry: &str,
    limits: &ProcessLimits,
) -> Result<TypedFunc<(), ()>, ErrorCode> {
    platform::set_memory_limit(limits.memory_bytes);
    // What does not trap (a segment outside of its memory does) failed for want of memory.
    let instance = program.prepared.instantiate(&mut *store).map_err(|error| {
        if error.is::<wasmtime::Trap>() { ErrorCode::Invalid } else { ErrorCode::LimitMemory }
    })?;
    let memory = instance.get_memory(&mut *store, MEMORY).ok_or(ErrorCode::Invalid)?;
    store.data_mut().memory = Some(memory);
    instance.get_typed_func(&mut *store, entry).map_err(|_| ErrorCode::NoEntry)
}

/// What a process's fiber does: it owns the store, and its frames borrow it.
fn body(mut store: Store<Guest>, function: TypedFunc<(), ()>) -> Box<dyn FnMut()> {
    Box::new(move || {
        let result = function.call(&mut store, ());
        platform::end(exit_reason(result, &store.data().limiter));
    })
}
