//! Tests that only the machine itself can run: the kernel runs them for `selftest`.
//!
//! Owns the list [`TESTS`]. Each test leaves the machine as it found it, and each asserts what the
//! rest of the kernel relies on. The kernel's binary prints their results and exits with a code.

mod cpus;
mod memory;
mod sharing;
mod traps;

use alloc::string::String;

/// The outcome of a test: why it failed, if it did.
pub type Outcome = Result<(), String>;

/// A test with its name.
pub type Test = (&'static str, fn() -> Outcome);

/// All of them, in an order in which a failure says the most.
pub const TESTS: &[Test] = &[
    ("memory functions agree with their models", memory::functions),
    ("exceptions are caught with their vector and error code", traps::all_caught),
    ("registers survive an exception", traps::registers_survive),
    ("per-CPU data is behind the GS base", traps::per_cpu),
    ("no memory is writable and executable", memory::w_xor_x),
    ("null and the guards are unmapped", memory::unmapped),
    ("the image is protected", memory::image_protected),
    ("reservations are zeroed, guarded and given back", memory::reservations),
    ("text is executable and nowhere writable", memory::executable_reservation),
    ("an exhausted machine says so and recovers", memory::exhaustion),
    ("the heap gives back what it took", memory::heap),
    ("a burst of small objects gives its frames back", memory::heap_shrinks),
    ("the heap refuses what is not there", memory::heap_refuses),
    ("frames for devices are neighbours and zeroed", memory::dma),
    ("the clock runs forwards", traps::clock),
    ("the timer interrupts what computes", traps::timer_interrupts),
    ("the timer fires and wakes a halted CPU", traps::timer),
    ("work that came before the halt is not slept over", traps::no_lost_wake_up),
    ("every CPU runs jobs, with data and stacks of its own", cpus::jobs),
    ("work given to another CPU is done once", cpus::given_away),
    ("the stacks of every CPU are guarded and named", cpus::guards),
    ("every CPU has a timer", cpus::timers),
    ("CPUs wake one another, and none sleeps over it", cpus::wake_ups),
    ("what interrupts a CPU ends the slice of its process", cpus::woken_slices),
    ("time never goes back from one CPU to another", cpus::one_time),
    ("all CPUs allocate at once", cpus::allocation),
    ("no CPU sees a stranger where its memory was", sharing::strangers),
    ("what a page allows changes for all CPUs", sharing::protections),
    ("memory comes back while other CPUs sleep", sharing::drains),
    ("all CPUs take the last memory at once", sharing::drains_at_once),
    ("all CPUs map, run and unmap at once", sharing::storm),
    ("no memory is writable and executable, with all CPUs up", memory::w_xor_x),
    ("the serial port says when it has room", traps::serial_interrupts),
    ("seeds differ", traps::seeds),
    ("the configuration device reads whole files", traps::configuration),
];

/// Fails the test with a message unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(alloc::format!($($message)+));
        }
    };
}
pub(crate) use check;

/// A generator for the tests' own use, deterministic so that a failure comes again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound.max(1)
    }
}
