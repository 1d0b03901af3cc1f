//! An instance of a program: made for one process, and used by others after it.
//!
//! Owns [`Instance`], what a process's fiber works on, and the rule of its reuse: a program that
//! `begins_anew` sets its globals, data and memory's size with each entry and changes no table, so
//! what is left of its last process is the content and size of its memory, which [`Instance::wipe`]
//! takes away, and what the store knows of the process, which [`begin_anew`] replaces.
//! A process that was dropped in the middle leaves a store that cannot be entered again; only those
//! that came to an end are reused.

use crate::process::{Guest, Limiter, Random, exit_reason};
use crate::programs::Program;
use crate::{Clocks, MEMORY, WASM_STACK_BYTES, platform, wasi};
use alloc::sync::Arc;
use craton_abi::{ErrorCode, ExitReason, Payload, Pid, ProcessLimits, limit};
use wasmtime::{Store, TypedFunc};

/// What an instance is told of the process that it is for.
pub(crate) struct Birth {
    pub(crate) pid: Pid,
    pub(crate) argument: Payload,
    pub(crate) limits: ProcessLimits,
    pub(crate) clocks: Clocks,
}

/// What a process's fiber works on.
pub(crate) struct Instance {
    store: Store<Guest>,
    instance: wasmtime::Instance,
    memory: platform::Made,
    entry: Arc<str>,
    function: TypedFunc<(), ()>,
    /// Stack that its wasm may fill.
    stack_bytes: usize,
}

impl Instance {
    /// Makes an instance. Runs no code of the guest: compilers refuse programs with start
    /// functions.
    pub(crate) fn new(
        engine: &wasmtime::Engine,
        program: &Arc<Program>,
        entry: &str,
        birth: Birth,
    ) -> Result<Self, ErrorCode> {
        let entry = program.entry(entry).ok_or(ErrorCode::NoEntry)?.clone();
        let limits = birth.limits;
        let guest = Guest {
            pid: birth.pid,
            argument: birth.argument,
            memory: None,
            random: Random::default(),
            clocks: birth.clocks,
            limiter: Limiter::new(&limits),
            program: program.clone(),
            spawned: None,
            wasi: None,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        let (bytes, image) = (limits.memory_bytes, program.image.clone());
        let (made, memory) =
            platform::with_memory_of(bytes, image, || program.prepared.instantiate(&mut store));
        // What does not trap (a segment outside of its memory does) failed for want of memory.
        let instance = made.map_err(|error| {
            if error.is::<wasmtime::Trap>() { ErrorCode::Invalid } else { ErrorCode::LimitMemory }
        })?;
        let exported = instance.get_memory(&mut store, MEMORY).ok_or(ErrorCode::Invalid)?;
        let function = instance.get_typed_func(&mut store, &entry);
        let function = function.map_err(|_| ErrorCode::NoEntry)?;
        let guest = store.data_mut();
        guest.memory = Some(exported);
        guest.limiter.begin();
        let memory = memory.ok_or(ErrorCode::Invalid)?;
        if memory.is_short() {
            // Its first data took what is the kernel's own.
            return Err(ErrorCode::LimitMemory);
        }
        let stack_bytes = stack_bytes(&limits);
        Ok(Instance { store, instance, memory, entry, function, stack_bytes })
    }

    /// What the fiber does.
    pub(crate) fn run(&mut self) {
        platform::limit_stack(&mut self.store, self.function.func(), self.stack_bytes);
        let result = self.function.call(&mut self.store, ());
        let reason = exit_reason(result, &self.store.data().limiter);
        if let Some(wasi) = &mut self.store.data_mut().wasi {
            // Kept where it is dropped with the process: what is left of its output may wait.
            wasi.ended = Some(reason);
            wasi::flush(&mut self.store);
            let wasi = self.store.data_mut().wasi.as_mut();
            let reason = wasi.and_then(|wasi| wasi.ended.take());
            return platform::end(reason.unwrap_or(ExitReason::Normal));
        }
        platform::end(reason);
    }

    /// Its memory, as its engine knows it.
    pub(crate) fn memory(&self) -> &platform::Made {
        &self.memory
    }

    /// Takes away what its process left. False if it cannot be used again.
    pub(crate) fn wipe(&mut self) -> bool {
        let guest = self.store.data_mut();
        guest.argument = Payload::default();
        guest.random = Random::default();
        guest.wasi = None;
        let tables = guest.limiter.has_grown_tables();
        let Some(memory) = guest.memory.filter(|_| !tables) else { return false };
        if !self.memory.wipe() {
            return false;
        }
        let minimum = self.memory.minimum();
        // Growing by nothing makes wasmtime look at the size again.
        memory.data_size(&self.store) == minimum
            || memory.grow(&mut self.store, 0).is_ok() && memory.data_size(&self.store) == minimum
    }

    fn begin(&mut self, entry: &Arc<str>, birth: Birth) -> Result<(), ErrorCode> {
        let bytes = self.memory.minimum() as u64;
        if bytes > birth.limits.memory_bytes {
            return Err(ErrorCode::LimitMemory);
        }
        // Most are the program's own, and of the same as the last.
        if !Arc::ptr_eq(entry, &self.entry) {
            self.enter_at(entry)?;
        }
        self.stack_bytes = stack_bytes(&birth.limits);
        let guest = self.store.data_mut();
        guest.pid = birth.pid;
        guest.argument = birth.argument;
        guest.clocks = birth.clocks;
        guest.limiter.begin_anew(&birth.limits);
        Ok(())
    }

    /// Finds the function that its process will call.
    fn enter_at(&mut self, entry: &str) -> Result<(), ErrorCode> {
        let entry = self.store.data().program.entry(entry).ok_or(ErrorCode::NoEntry)?.clone();
        if entry != self.entry {
            let function = self.instance.get_typed_func(&mut self.store, &entry);
            self.function = function.map_err(|_| ErrorCode::NoEntry)?;
        }
        self.entry = entry;
        Ok(())
    }
}

const _: () = assert!(
    limit::PROCESS_STACK_BYTES as usize == WASM_STACK_BYTES,
    "a process whose spawn says nothing has the stack that others leave"
);

/// Stack that a process's wasm may fill, within what there can be: its limits may be another node's
/// word.
pub(crate) fn stack_bytes(limits: &ProcessLimits) -> usize {
    let possible = limit::PROCESS_STACK_BYTES_MIN..=limit::PROCESS_STACK_BYTES_MAX;
    limits.stack_bytes.clamp(*possible.start(), *possible.end()) as usize
}

/// Gives an instance that was wiped to another process, which will call `entry`.
pub(crate) fn begin_anew(
    seat: &mut platform::Seat<Instance>,
    entry: &Arc<str>,
    birth: Birth,
) -> Result<(), ErrorCode> {
    let instance = seat.at_rest().ok_or(ErrorCode::Invalid)?;
    instance.begin(entry, birth)?;
    seat.rewind();
    Ok(())
}
