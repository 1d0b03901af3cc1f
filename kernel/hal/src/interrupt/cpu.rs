//! What fibers and interrupts know of their CPU: a view of the words of [`crate::cpu::PerCpu`].
//!
//! Owns the numbering of those words. They are written by their own CPU alone, by its ordinary code
//! and its interrupts, so relaxed atomics (plain moves on this machine) suffice.

use crate::cpu::{PER_CPU_WORDS, PerCpu, current};
use crate::fiber::Inner;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The executing CPU.
#[derive(Copy, Clone)]
pub(crate) struct CpuLocal(&'static PerCpu);

#[derive(Copy, Clone)]
#[repr(usize)]
enum Word {
    /// The running fiber, or null where the scheduler or its caller runs.
    Fiber,
    /// Where `Fiber::resume` waits.
    SchedulerStackPointer,
    /// The stack of the fiber that was resumed, until its resumer goes on; else null.
    Stack,
    /// The memory that may be touched: see `memory/demand.rs`.
    Memory,
    /// See `fiber::local_word`.
    Local,
    /// Whether debug registers wait for a return into text.
    Armed,
    /// Whether the running fiber must not be preempted.
    Held,
    /// When the timer was armed to fire, as a time stamp; 0 if it is not armed.
    TimerDeadline,
    Preemptions,
    Delayed,
    Count,
}

const _: () = assert!(Word::Count as usize <= PER_CPU_WORDS, "every word needs its place");

/// How often interrupts took this CPU from a fiber since it started.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Preemptions in all.
    pub preemptions: u64,
    /// Ticks that found a fiber outside module text and had to wait for its return there.
    pub delayed: u64,
}

/// The executing CPU.
pub(crate) fn cpu() -> CpuLocal {
    CpuLocal(current())
}

/// Counters of the executing CPU.
pub fn counters() -> Counters {
    let cpu = cpu();
    Counters { preemptions: cpu.read(Word::Preemptions), delayed: cpu.read(Word::Delayed) }
}

impl CpuLocal {
    fn word_of(self, word: Word) -> &'static AtomicU64 {
        &self.0.words[word as usize]
    }

    fn read(self, word: Word) -> u64 {
        self.word_of(word).load(Relaxed)
    }

    fn write(self, word: Word, value: u64) {
        self.word_of(word).store(value, Relaxed);
    }

    pub(crate) fn fiber(self) -> *mut Inner {
        self.read(Word::Fiber) as *mut Inner
    }

    /// `fiber` runs from now on.
    pub(crate) fn enter(self, fiber: *mut Inner) {
        self.write(Word::Fiber, fiber as u64);
    }

    /// No fiber runs any more; where its resumer waits.
    pub(crate) fn leave(self) -> usize {
        self.write(Word::Fiber, 0);
        self.read(Word::SchedulerStackPointer) as usize
    }

    /// Where a switch saves the stack pointer of `Fiber::resume`.
    pub(crate) fn scheduler_stack_pointer(self) -> *mut usize {
        self.word_of(Word::SchedulerStackPointer).as_ptr().cast()
    }

    /// What page faults find of the stack in use, or null.
    pub(crate) fn stack(self) -> u64 {
        self.read(Word::Stack)
    }

    pub(crate) fn set_stack(self, stack: u64) {
        self.write(Word::Stack, stack);
    }

    /// What page faults find of the memory in use, or null.
    pub(crate) fn memory(self) -> u64 {
        self.read(Word::Memory)
    }

    pub(crate) fn set_memory(self, memory: u64) {
        self.write(Word::Memory, memory);
    }

    pub(crate) fn word(self) -> *mut u8 {
        self.read(Word::Local) as *mut u8
    }

    pub(crate) fn replace_word(self, word: *mut u8) -> *mut u8 {
        let old = self.word();
        self.write(Word::Local, word as u64);
        old
    }

    pub(super) fn set_armed(self, armed: bool) {
        self.write(Word::Armed, u64::from(armed));
    }

    pub(super) fn is_armed(self) -> bool {
        self.read(Word::Armed) != 0
    }

    pub(crate) fn set_held(self, held: bool) {
        self.write(Word::Held, u64::from(held));
    }

    pub(super) fn is_held(self) -> bool {
        self.read(Word::Held) != 0
    }

    pub(crate) fn timer_deadline(self) -> u64 {
        self.read(Word::TimerDeadline)
    }

    pub(crate) fn set_timer_deadline(self, deadline: u64) {
        self.write(Word::TimerDeadline, deadline);
    }

    pub(super) fn count_preemption(self) {
        self.write(Word::Preemptions, self.read(Word::Preemptions) + 1);
    }

    pub(super) fn count_delayed(self) {
        self.write(Word::Delayed, self.read(Word::Delayed) + 1);
    }
}
