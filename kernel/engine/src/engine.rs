//! The engine: programs that are loaded, processes that run them.
//!
//! Owns [`Engine`], the host that answers the shard's effects `Start`, `Run` and `Reclaim` for
//! programs in WebAssembly. It never looks at a clock or a device of its own: time comes in as
//! [`Clocks`], everything else through the platform layer.

use crate::process::{Exchange, Guest, Limiter, exit_reason, memory_bytes};
use crate::{LoadError, MEMORY, calls, load_module, platform};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Instant, Payload, Pid, ProcessLimits, ProgramId, Slot,
};
use craton_bundle::{Bundle, CompilerKey};
use craton_hal::fiber::{Fiber, Left};
use craton_shard::port::{Outcome, Resume};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spin::Mutex;
use wasmtime::{ExternType, InstancePre, Linker, Store, TypedFunc};

/// Most programs loaded at once on a node.
pub const PROGRAMS_MAX: usize = 64;

const _: () = assert!(
    PROGRAMS_MAX <= craton_hal::interrupt::TEXT_RANGES_MAX / 2,
    "programs that were unloaded keep their text while processes of theirs live"
);

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

/// The host of programs in WebAssembly.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    clocks: Clocks,
    seeds: ChaCha8Rng,
    programs: BTreeMap<ProgramId, Program>,
    processes: BTreeMap<Slot, Process>,
}

struct Program {
    name: String,
    prepared: InstancePre<Guest>,
}

struct Process {
    fiber: Fiber,
    exchange: Arc<Mutex<Exchange>>,
    /// It asked for something and has no answer yet.
    waits: bool,
}

impl Engine {
    /// An engine whose processes draw their randomness from `seed`. One for a node: wasmtime keeps
    /// its table of code for the whole kernel.
    ///
    /// # Errors
    ///
    /// Those of wasmtime, if the configuration does not fit the machine.
    pub fn new(seed: [u8; 32], clocks: Clocks) -> wasmtime::Result<Engine> {
        let engine = platform::new_engine()?;
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker)?;
        Ok(Engine {
            engine,
            linker,
            clocks,
            seeds: ChaCha8Rng::from_seed(seed),
            programs: BTreeMap::new(),
            processes: BTreeMap::new(),
        })
    }

    /// Loads the program of `bundle`, whose id the caller computed. Loading it again changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing has changed then.
    pub fn load(
        &mut self,
        program: ProgramId,
        bundle: &[u8],
        keys: &[CompilerKey],
    ) -> Result<(), LoadError> {
        if self.programs.contains_key(&program) {
            return Ok(());
        }
        if self.programs.len() >= PROGRAMS_MAX {
            return Err(LoadError::Full);
        }
        let verified = Bundle::parse(bundle).and_then(|bundle| bundle.verify(keys));
        let verified = verified.map_err(LoadError::Bundle)?;
        // Its text, and about the length of the wasm for what describes it.
        if !platform::has_room(bundle.len()) {
            return Err(LoadError::Memory);
        }
        let module = load_module(&self.engine, &verified)?;
        let prepared = self.linker.instantiate_pre(&module);
        let prepared = prepared.map_err(|error| LoadError::Link(format!("{error:#}")))?;
        let name = String::from(verified.name());
        self.programs.insert(program, Program { name, prepared });
        Ok(())
    }

    /// Forgets a program. Processes that run it live on.
    pub fn unload(&mut self, program: ProgramId) {
        self.programs.remove(&program);
    }

    /// What people call a loaded program.
    pub fn name(&self, program: ProgramId) -> Option<&str> {
        self.programs.get(&program).map(|program| program.name.as_str())
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
        let program = self.programs.get(&program).ok_or(ErrorCode::NoProgram)?;
        if self.processes.contains_key(&pid.slot) {
            return Err(ErrorCode::Invalid);
        }
        if !is_entry(&program.prepared, entry) {
            return Err(ErrorCode::NoEntry);
        }
        if !platform::has_room(PROCESS_HEAP_BYTES) {
            return Err(ErrorCode::LimitMemory);
        }
        let exchange = Arc::new(Mutex::new(Exchange::default()));
        let mut random = [0; 32];
        self.seeds.fill_bytes(&mut random);
        let guest = Guest {
            pid,
            argument,
            memory: None,
            random: ChaCha8Rng::from_seed(random),
            clocks: self.clocks,
            limiter: Limiter::new(&limits, exchange.clone()),
            exchange: exchange.clone(),
        };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        let function = instantiate(&mut store, &program.prepared, entry, &limits)?;
        let fiber = platform::new_fiber(body(store, function)).ok_or(ErrorCode::LimitMemory)?;
        self.processes.insert(pid.slot, Process { fiber, exchange, waits: false });
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
        if let Resume::Reply(reply) = resume {
            process.exchange.lock().reply = Some(reply);
        }
        let start = (self.clocks.monotonic)();
        let left = platform::run(&mut process.fiber, slice);
        let used = (self.clocks.monotonic)().since(start);
        let mut exchange = process.exchange.lock();
        let outcome = match left {
            Left::Preempted => Outcome::Preempted,
            Left::Suspended => exchange.call.take().map_or(Outcome::Preempted, Outcome::Call),
            Left::Finished => Outcome::Exited(exchange.ended.take().unwrap_or(ExitReason::Normal)),
        };
        process.waits = matches!(outcome, Outcome::Call(_));
        (outcome, used)
    }

    /// Drops a process, wherever it is. Unknown slots are ignored: a start may have failed.
    pub fn reclaim(&mut self, slot: Slot) {
        self.processes.remove(&slot);
    }

    /// Drops every process: the node starts a new life.
    pub fn reclaim_all(&mut self) {
        self.processes.clear();
    }

    /// Every process that it hosts.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.processes.keys().copied()
    }

    /// Bytes that a process takes: its memory and its stack. Zero if there is none.
    pub fn memory_bytes(&self, slot: Slot) -> u64 {
        self.processes.get(&slot).map_or(0, |process| memory_bytes(&process.exchange))
    }
}

/// Whether `entry` is an exported function that takes and returns nothing.
fn is_entry(prepared: &InstancePre<Guest>, entry: &str) -> bool {
    match prepared.module().get_export(entry) {
        Some(ExternType::Func(function)) => {
            function.params().len() == 0 && function.results().len() == 0
        }
        _ => false,
    }
}

/// Makes the instance. Runs no code of the guest: compilers refuse programs with start functions.
fn instantiate(
    store: &mut Store<Guest>,
    prepared: &InstancePre<Guest>,
    entry: &str,
    limits: &ProcessLimits,
) -> Result<TypedFunc<(), ()>, ErrorCode> {
    platform::set_memory_limit(limits.memory_bytes);
    // What does not trap (a segment outside of its memory does) failed for want of memory.
    let instance = prepared.instantiate(&mut *store).map_err(|error| {
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
        let guest = store.data();
        let reason = exit_reason(result, &guest.limiter);
        guest.exchange.lock().ended = Some(reason);
    })
}
