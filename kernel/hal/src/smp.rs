//! All CPUs of the machine: starting them, giving them jobs, waking and stopping them.
//!
//! Owns the ways in which CPUs reach one another. [`Starting`] brings them up, each with its own
//! data, stacks, protections, interrupt controller and timer; they wait, halted, for jobs
//! ([`run_on`], [`Task`]). [`wake`] gets the attention of one that sleeps or runs a process (the
//! argument that none is lost is in `activity.rs`). [`stop_others`] is for a panic. Neighbours:
//! [`crate::cpu`] has the data of each CPU, [`crate::timer`] the halting, [`crate::interrupt`] the
//! vectors.

mod activity;
mod job;
#[cfg(any(feature = "metal", feature = "fuzz", test))]
pub(crate) mod processors;
#[cfg(feature = "metal")]
mod start;
mod stop;
mod task;
#[cfg(any(feature = "metal", test))]
mod time_stamps;

pub(crate) use activity::Activity;
pub use job::Job;
pub(crate) use job::JobSlot;
#[cfg(feature = "metal")]
pub use start::Starting;
pub(crate) use stop::is_stopping;
#[cfg(feature = "metal")]
pub(crate) use stop::stop_if_asked;
pub use stop::stop_others;
pub use task::Task;

use crate::apic::{self, Command};
use crate::cpu::{self, PerCpu};
use crate::interrupt::WAKE_VECTOR;
use crate::memory::tlb;

/// Gives an idle CPU something to run, on its main stack, with interrupts on. The CPU is idle again
/// when the job returns.
///
/// # Panics
/// If there is no such CPU, or it is the boot CPU, or it has a job.
pub fn run_on(cpu: usize, job: Job) {
    assert!(cpu != 0, "the boot CPU is never idle");
    let target = cpu::of(cpu);
    let given = target.is_some_and(|target| target.job.fill(job));
    assert!(given, "CPU {cpu} is there and has no job");
    wake(cpu);
}

/// The id of a CPU's local APIC, by which devices interrupt it. The boot CPU is 0.
pub fn apic_id(cpu: usize) -> Option<u32> {
    Some(cpu::of(cpu)?.apic_id())
}

/// Whether a CPU waits for a job.
pub fn is_idle(cpu: usize) -> bool {
    cpu != 0 && cpu::of(cpu).is_some_and(|target| target.job.is_idle())
}

/// Whether a CPU sleeps and nobody has woken it yet. It may be awake by the time the caller knows.
pub fn is_asleep(cpu: usize) -> bool {
    cpu::of(cpu).is_some_and(|target| target.activity.is_asleep())
}

/// Gets the attention of a CPU that sleeps or runs a process; one that works in its loop will look
/// by itself before it does either. What was written before is seen in the turn of the loop that
/// follows. Costs an interrupt at most once a turn. From any context.
pub fn wake(cpu: usize) {
    if let Some(target) = cpu::of(cpu) {
        wake_cpu(target);
    }
}

fn wake_cpu(target: &PerCpu) {
    if target.activity.wake() {
        apic::send(target.apic_id(), Command::Interrupt(WAKE_VECTOR));
    }
}

/// To be called by the loop of each CPU once a turn, before it looks at what others left for it,
/// where it holds no reference into memory that others may unmap. Forgets what they did unmap, if
/// they wait for that.
pub fn quiescent() {
    tlb::serve();
    cpu::current().activity.begin_turn();
}

/// The loop of a CPU that has none of its own.
#[cfg(feature = "metal")]
fn idle(this: &PerCpu) -> ! {
    loop {
        quiescent();
        if !this.job.run() {
            crate::timer::halt_unless(|| this.job.waits());
        }
    }
}
