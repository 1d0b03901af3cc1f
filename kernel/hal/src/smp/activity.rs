//! What a CPU is doing, for who wants to wake it: one word, and no wake-up lost.
//!
//! Owns [`Activity`]. The CPU itself goes its rounds; anybody wakes it.
//!
//! ```text
//!           1 fall_asleep             3 begin_run
//!   asleep <------------- working -----------------> running a process
//!      |   2 end_turn        ^ |                        |
//!      +---------------------+ +------------------------+ 4 end_run
//! ```
//!
//! The word holds one of the three states and the bit *woken*: somebody wants the CPU's attention
//! since its last turn began. A turn begins with [`Activity::begin_turn`], which takes the bit
//! back; then the CPU looks at everything that others may have left for it.
//!
//! **Why no wake-up is lost.** Every change of the word is one atomic read-modify-write, so all of
//! them have one order. Let P be what the waker left, W its [`Activity::wake`] after P, and B the
//! first beginning of a turn after W in that order. B takes the bit that W (or a wake-up before it
//! and after the last turn began, to which W's release is chained) has set, and acquires: the turn
//! that B begins sees P. It remains that B comes. Between W and B the bit is set, and
//! [`Activity::fall_asleep`] refuses while it is: the CPU halts between them only if it fell asleep
//! before W. Then W sees *asleep* without the bit and has the interrupt sent, or an earlier wake-up
//! has seen that and sent it. The CPU had turned interrupts off before it fell asleep and turns
//! them on by the instruction before its halt, so the interrupt is pending then or comes later:
//! either ends the halt, and B follows. The interrupt itself carries nothing, so it does no harm
//! where it finds the CPU awake again.
//!
//! A process that runs is the same case with a slice for a halt: a W after `begin_run` has the
//! interrupt sent, which ends the slice; a W before it is seen by `begin_run`, whose caller makes
//! the slice short.

use core::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

/// Runs its loop, or nothing that has to do with one.
const WORKING: u32 = 0;
const RUNNING: u32 = 1 << 0;
const ASLEEP: u32 = 1 << 1;
/// Somebody wants its attention.
const WOKEN: u32 = 1 << 2;

/// The state of one CPU.
#[derive(Debug)]
pub(crate) struct Activity(AtomicU32);

impl Activity {
    pub(crate) const fn new() -> Self {
        Activity(AtomicU32::new(WORKING))
    }

    /// Asks for the CPU's attention. True if it must be interrupted for that: it sleeps or runs a
    /// process, and nobody has done it yet.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        matches!(self.0.fetch_or(WOKEN, AcqRel), RUNNING | ASLEEP)
    }

    /// Begins a turn: what was left for the CPU before any wake-up so far is seen after this.
    pub(crate) fn begin_turn(&self) {
        self.0.fetch_and(!WOKEN, AcqRel);
    }

    /// The CPU is about to halt, with interrupts off. False if it must not, since it was woken.
    #[must_use]
    pub(crate) fn fall_asleep(&self) -> bool {
        self.0.compare_exchange(WORKING, ASLEEP, AcqRel, Acquire).is_ok()
    }

    /// The CPU does not halt any more, or never did; begins a turn.
    pub(crate) fn end_sleep(&self) {
        self.0.swap(WORKING, AcqRel);
    }

    /// Whether the CPU sleeps and was not woken.
    pub(crate) fn is_asleep(&self) -> bool {
        self.0.load(Relaxed) == ASLEEP
    }

    /// A process is about to run. True if the CPU was woken since its turn began.
    #[must_use]
    pub(crate) fn begin_run(&self) -> bool {
        self.0.fetch_or(RUNNING, AcqRel) & WOKEN != 0
    }

    /// The process has given the CPU back.
    pub(crate) fn end_run(&self) {
        self.0.fetch_and(!RUNNING, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU that takes work from a counter and halts when there is none, step by step.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    enum Cpu {
        /// Takes what is there.
        Drain,
        FallAsleep,
        /// Asks once more whether there is work.
        Ready,
        Halt,
        EndSleep,
        BeginRun,
        /// Computes until it is interrupted.
        Run,
        EndRun,
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct World {
        cpu: Cpu,
        word: u32,
        left: u32,
        interrupt_pending: bool,
        /// Steps of each waker: publish, then wake.
        wakers: [u32; 2],
    }

    impl World {
        fn with<R>(&mut self, f: impl FnOnce(&Activity) -> R) -> R {
            let activity = Activity(AtomicU32::new(self.word));
            let result = f(&activity);
            self.word = activity.0.into_inner();
            result
        }

        /// One step of the CPU; `None` if it waits for an interrupt.
        fn step_cpu(mut self, runs: bool) -> Option<World> {
            self.cpu = match self.cpu {
                Cpu::Drain => {
                    self.left = 0;
                    if runs { Cpu::BeginRun } else { Cpu::FallAsleep }
                }
                Cpu::FallAsleep => {
                    if self.with(Activity::fall_asleep) {
                        Cpu::Ready
                    } else {
                        Cpu::EndSleep
                    }
                }
                Cpu::Ready => {
                    if self.left > 0 {
                        Cpu::EndSleep
                    } else {
                        Cpu::Halt
                    }
                }
                Cpu::Halt | Cpu::Run => {
                    if !core::mem::take(&mut self.interrupt_pending) {
                        return None;
                    }
                    if self.cpu == Cpu::Halt { Cpu::EndSleep } else { Cpu::EndRun }
                }
                Cpu::EndSleep => {
                    self.with(Activity::end_sleep);
                    Cpu::Drain
                }
                Cpu::BeginRun => {
                    // Woken, it runs for so short a time that the interrupt does not matter.
                    if self.with(Activity::begin_run) { Cpu::EndRun } else { Cpu::Run }
                }
                Cpu::EndRun => {
                    self.with(Activity::end_run);
                    self.with(Activity::begin_turn);
                    Cpu::Drain
                }
            };
            Some(self)
        }

        fn step_waker(mut self, waker: usize) -> Option<World> {
            match self.wakers[waker] {
                0 => self.left += 1,
                1 => self.interrupt_pending |= self.with(Activity::wake),
                _ => return None,
            }
            self.wakers[waker] += 1;
            Some(self)
        }
    }

    /// Follows every interleaving; a CPU that waits for good has nothing left to do.
    fn explore(runs: bool) -> usize {
        let word = WORKING;
        let start =
            World { cpu: Cpu::Drain, word, left: 0, interrupt_pending: false, wakers: [0; 2] };
        let mut seen = std::collections::BTreeSet::from([start]);
        let mut open = std::vec![start];
        while let Some(world) = open.pop() {
            let next = [world.step_cpu(runs), world.step_waker(0), world.step_waker(1)];
            let stuck = next.iter().all(Option::is_none);
            assert!(!stuck || world.left == 0, "a wake-up is lost: {world:?}");
            let fresh = next.into_iter().flatten().filter(|world| seen.insert(*world));
            open.extend(fresh.collect::<std::vec::Vec<_>>());
        }
        seen.len()
    }

    #[test]
    fn no_interleaving_loses_a_wake_up() {
        assert!(explore(false) > 50);
        assert!(explore(true) > 50);
    }

    #[test]
    fn one_interrupt_until_the_next_turn() {
        let activity = Activity::new();
        assert!(!activity.wake(), "a CPU that works looks by itself");
        assert!(!activity.fall_asleep(), "it was woken");
        activity.end_sleep();
        assert!(activity.fall_asleep());
        assert!(activity.wake() && !activity.wake(), "once is enough");
        activity.end_sleep();
        assert!(!activity.begin_run());
        assert!(activity.wake() && !activity.wake());
        activity.end_run();
        assert!(activity.begin_run(), "still the same turn");
        activity.end_run();
        activity.begin_turn();
        assert!(!activity.begin_run());
    }
}
