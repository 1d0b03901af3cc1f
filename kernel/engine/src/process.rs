//! One process: its store, what it shares with its fiber, and how it ends.
//!
//! Owns [`Guest`], the data that host calls see, and [`Exchange`], the only thing that both the
//! engine and a fiber can reach: the fiber holds its store borrowed for as long as it lives, so
//! whatever crosses goes through here. Nothing is borrowed across a suspension.

use crate::guest::BadPointer;
use crate::programs::Program;
use crate::wasi::Wasi;
use crate::{Clocks, platform};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use craton_abi::{Duration, ExitReason, Payload, Pid, ProcessLimits, Resource, TrapKind, limit};
use craton_shard::port::{
    HostCall, HostReply, Make, Outcome, ReceiveAtOnce, Resume, Sink, SpawnCall,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wasmtime::{Error, Memory, ResourceLimiter, Trap, WasmBacktrace};

/// Most elements of all tables of a process together: function pointers.
const TABLE_ELEMENTS_MAX: usize = 1 << 16;
/// Bytes of one of them, which the kernel's heap holds.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// What host calls know of their process.
pub(crate) struct Guest {
    pub(crate) pid: Pid,
    pub(crate) argument: Payload,
    /// Its memory; `None` only while it is being instantiated.
    pub(crate) memory: Option<Memory>,
    pub(crate) random: Random,
    pub(crate) clocks: Clocks,
    pub(crate) limiter: Limiter,
    pub(crate) program: Arc<Program>,
    /// The entry of the program that was spawned last: mostly the next one is the same.
    pub(crate) spawned: Option<Arc<str>>,
    /// What its calls of WASI need; made by the first of them.
    pub(crate) wasi: Option<Box<Wasi>>,
}

/// A process's own generator. Most processes never ask for it: it is made, of a seed that the
/// engine draws, when they do.
#[derive(Default)]
pub(crate) struct Random(Option<Box<ChaCha8Rng>>);

impl Random {
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        let fresh = || Box::new(ChaCha8Rng::from_seed(platform::draw_seed()));
        self.0.get_or_insert_with(fresh).fill_bytes(bytes);
    }
}

/// Where the calls of the process that runs are brought first: what can be done at once is, without
/// the process leaving its stack.
pub trait Desk {
    /// Answers a call.
    ///
    /// # Errors
    ///
    /// Gives it back with nothing done.
    fn ask(&mut self, call: HostCall) -> Result<HostReply, HostCall>;

    /// As [`Desk::ask`], of [`HostCall::Send`]: whether it could be done. What must be kept of the
    /// message `make` makes.
    #[must_use]
    fn send(&mut self, to: &Pid, tag: u64, message: &[u8], make: Make<'_>) -> bool;

    /// As [`Desk::ask`], of [`HostCall::Spawn`]; there is room for so many processes that are not
    /// born yet, this one among them. `None` if nothing was done.
    fn spawn(&mut self, call: &mut SpawnCall, unborn_max: usize) -> Option<HostReply>;

    /// As [`Desk::ask`], of [`HostCall::Receive`] with this tag and time-out, and room for so much.
    /// Messages are shown to `sink` where they lie.
    fn receive(
        &mut self,
        want: (Option<u64>, Option<Duration>),
        capacity: usize,
        sink: Sink<'_>,
    ) -> ReceiveAtOnce;
}

/// A desk where nothing can be done at once.
pub(crate) struct Closed;

impl Desk for Closed {
    fn ask(&mut self, call: HostCall) -> Result<HostReply, HostCall> {
        Err(call)
    }

    fn send(&mut self, _: &Pid, _: u64, _: &[u8], _: Make<'_>) -> bool {
        false
    }

    fn spawn(&mut self, _call: &mut SpawnCall, _unborn_max: usize) -> Option<HostReply> {
        None
    }

    fn receive(
        &mut self,
        _: (Option<u64>, Option<Duration>),
        _: usize,
        _: Sink<'_>,
    ) -> ReceiveAtOnce {
        ReceiveAtOnce::Later
    }
}

/// What passes between a fiber and the engine.
pub(crate) struct Exchange<'a> {
    /// Where calls are brought first.
    pub(crate) desk: &'a mut dyn Desk,
    /// How the process goes on, and the last answer of a receive.
    pub(crate) resume: &'a mut Resume,
    /// How it comes back, where it says so itself: set before it leaves its stack.
    pub(crate) outcome: &'a mut Outcome,
    /// Room for short messages.
    pub(crate) envelopes: &'a mut Envelopes,
    /// Where seeds of processes' generators come from.
    pub(crate) seeds: &'a mut ChaCha8Rng,
}

/// Vectors that messages came in, for the next ones: most are short, and soon read.
#[derive(Default)]
pub(crate) struct Envelopes(Vec<Vec<u8>>);

impl Envelopes {
    /// Most that are kept.
    const COUNT_MAX: usize = 64;
    /// Bytes that each has room for.
    const BYTES: usize = 64;

    /// A copy of `bytes`.
    #[inline]
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Payload {
        if bytes.len() <= Self::BYTES
            && let Some(mut envelope) = self.0.pop()
        {
            envelope.extend_from_slice(bytes);
            return Payload(envelope);
        }
        Self::make(bytes)
    }

    /// Whether a copy of so few bytes is no matter where memory is short.
    pub(crate) fn is_short(bytes: &[u8]) -> bool {
        bytes.len() <= Self::BYTES
    }

    /// Keeps what a message came in, if it is of use.
    pub(crate) fn keep(&mut self, mut message: Vec<u8>) {
        if message.capacity() == Self::BYTES && self.0.len() < Self::COUNT_MAX {
            message.clear();
            self.0.push(message);
        }
    }

    /// A copy of `bytes`, that can be kept if they are few.
    #[inline(never)]
    fn make(bytes: &[u8]) -> Payload {
        let mut envelope = Vec::with_capacity(bytes.len().max(Self::BYTES));
        envelope.extend_from_slice(bytes);
        Payload(envelope)
    }

    pub(crate) fn give_back(&mut self) {
        self.0 = Vec::new();
    }
}

/// Holds a process to its limits.
pub(crate) struct Limiter {
    memory_bytes_max: u64,
    /// Whether the last growth was refused: a trap right after it means out of memory.
    refused: bool,
    /// Elements of all tables.
    table_elements: usize,
    /// As many as they had in the beginning.
    table_elements_first: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &ProcessLimits) -> Self {
        let memory_bytes_max = limits.memory_bytes;
        Limiter { memory_bytes_max, refused: false, table_elements: 0, table_elements_first: 0 }
    }

    /// The instance is made: what it has now is what it had in the beginning.
    pub(crate) fn begin(&mut self) {
        self.table_elements_first = self.table_elements;
    }

    /// Whether tables have grown since.
    pub(crate) fn has_grown_tables(&self) -> bool {
        self.table_elements != self.table_elements_first
    }

    /// Holds the next process of the same instance to its own limits.
    pub(crate) fn begin_anew(&mut self, limits: &ProcessLimits) {
        self.memory_bytes_max = limits.memory_bytes;
        self.refused = false;
    }

    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.refused = desired as u64 > self.memory_bytes_max;
        Ok(!self.refused)
    }

    fn memory_grow_failed(&mut self, _error: Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(more);
        // A growth that then fails keeps what it counted here: the process is out of memory.
        let fits = total <= TABLE_ELEMENTS_MAX && platform::has_room(more * TABLE_ELEMENT_BYTES);
        if fits {
            self.table_elements = total;
        }
        Ok(fits)
    }
}

/// How a call of the entry ended.
pub(crate) fn exit_reason(result: wasmtime::Result<()>, limiter: &Limiter) -> ExitReason {
    let Err(error) = result else {
        return ExitReason::Normal;
    };
    let kind = trap_kind(&error);
    if limiter.has_refused() && kind == TrapKind::Unreachable {
        // The allocator of the guest's language could not grow its memory and gave up.
        return ExitReason::Limit(Resource::Memory);
    }
    let mut text = String::new();
    if kind == TrapKind::Other {
        text = format!("{error}\n");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        describe(backtrace, &mut text);
    }
    ExitReason::Trap(kind, text).bounded()
}

fn trap_kind(error: &Error) -> TrapKind {
    if error.is::<BadPointer>() {
        return TrapKind::BadPointer;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned) => TrapKind::MemoryOutOfBounds,
        Some(Trap::TableOutOfBounds) => TrapKind::TableOutOfBounds,
        Some(
            Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger,
        ) => TrapKind::Arithmetic,
        Some(Trap::IndirectCallToNull | Trap::BadSignature) => TrapKind::IndirectCall,
        Some(Trap::StackOverflow) => TrapKind::StackOverflow,
        _ => TrapKind::Other,
    }
}

/// One line for each frame: the function's name, or its index if the program has no names. The
/// program chose the names: they are neither short nor harmless.
fn describe(backtrace: &WasmBacktrace, text: &mut String) {
    let mut text = Bounded(text);
    for frame in backtrace.frames() {
        // What no longer fits is left out.
        let _ = match frame.func_name() {
            Some(name) => write_name(name, &mut text),
            None => writeln!(text, "  at function {}", frame.func_index()),
        };
    }
    text.0.truncate(text.0.trim_end().len());
}

/// Only the older kind of Rust's names is made readable: that needs neither recursion nor more room
/// than the name. The newer one can be made to recurse 500 deep by a name of 8 bytes, which this
/// stack does not hold, and to a megabyte.
fn write_name(name: &str, text: &mut Bounded<'_>) -> fmt::Result {
    if name.starts_with("_ZN") && name.len() <= limit::EXIT_REASON_BYTES_MAX {
        return writeln!(text, "  at {:#}", rustc_demangle::demangle(name));
    }
    writeln!(text, "  at {name}")
}

/// A text that takes no more than an exit reason may carry.
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = limit::EXIT_REASON_BYTES_MAX.saturating_sub(self.0.len());
        let fits = more.floor_char_boundary(room);
        self.0.push_str(&more[..fits]);
        if fits == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
