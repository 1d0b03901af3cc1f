//! Tests of the other CPUs: that they run, wake, keep the time and share memory.
//!
//! A machine of one CPU passes those that need a second without running them, and says so.

use super::{Dice, Outcome, check};
use crate::apic::{self, Command};
use crate::fiber::{Fiber, Left};
use crate::memory::layout::PAGE_BYTES;
use crate::memory::{guard_at, is_mapped};
use crate::{clock, cpu, interrupt, smp, timer};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use craton_abi::{Duration, Instant};
use log::info;
use spin::Mutex;

/// How long anything here may take before it is called stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a halt is that nothing ends; seen only if a wake-up is lost.
const LONG_HALT: Duration = Duration::from_secs(20);
/// No main stack is larger.
const MAIN_STACK_BYTES_MAX: usize = 1 << 20;
/// A vector for devices that none has here.
const DEVICE_VECTOR: u8 = 0xef;
/// Rounds of waking one another.
const WAKE_ROUNDS: u64 = 10_000;
/// Rounds of giving work away.
const TASK_ROUNDS: usize = 200;
/// Rounds of handing the time over, and how long they may take on a busy host.
const TIME_ROUNDS: u64 = 5_000;
const TIME_ROUNDS_MAX: Duration = Duration::from_millis(300);

// Stands in for a program's text: a loop without end, in a range of its own.
global_asm!(
    ".balign 64",
    "selftest_compute:",
    "inc qword ptr [rdi]",
    "jmp selftest_compute",
    ".balign 64",
    "selftest_compute_end:",
);

unsafe extern "C" {
    fn selftest_compute(counter: *const AtomicU64);
    static selftest_compute_end: u8;
}

/// Whether there is a second CPU to test with.
fn has_second(what: &str) -> bool {
    let found = cpu::count() > 1;
    if !found {
        info!("left out, with one CPU: {what}");
    }
    found
}

/// Work given away is done once, whoever comes first, and leaves its CPU idle.
pub(super) fn given_away() -> Outcome {
    let runs = Arc::new(AtomicUsize::new(0));
    for round in 0..TASK_ROUNDS {
        let counter = runs.clone();
        let task = smp::Task::start(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            round
        });
        if round % 2 == 0 && cpu::count() > 1 {
            // Late, so that the other CPU has it for certain.
            wait_until("work by another CPU", || runs.load(Ordering::Relaxed) > round)?;
        }
        let result = task.finish();
        check!(result == round, "round {round} gave {result}");
        check!(runs.load(Ordering::Relaxed) == round + 1, "round {round} ran more than once");
        check!((1..cpu::count()).all(smp::is_idle), "a CPU is busy after round {round}");
    }
    Ok(())
}

/// Halts until something holds that another CPU brings about and wakes this one for.
pub(super) fn wait_until(what: &str, holds: impl Fn() -> bool) -> Outcome {
    let give_up = clock::now() + PATIENCE;
    while !holds() {
        check!(clock::now() < give_up, "{what} did not come within {PATIENCE}");
        timer::halt_at_most(Duration::from_millis(10), &holds);
    }
    Ok(())
}

/// Runs a test on all CPUs at once, this one included, and waits for all.
pub(super) fn on_all(test: impl Fn(usize) -> Outcome + Send + Sync + 'static) -> Outcome {
    let test = Arc::new(test);
    let failures = Arc::new(Mutex::new(Vec::<String>::new()));
    let ended = Arc::new(AtomicUsize::new(1));
    for index in 1..cpu::count() {
        let (test, failures, ended) = (test.clone(), failures.clone(), ended.clone());
        let job = move || {
            if let Err(why) = test(index) {
                failures.lock().push(format!("CPU {index}: {why}"));
            }
            ended.fetch_add(1, Ordering::Release);
            smp::wake(0);
        };
        wait_until("an idle CPU", || smp::is_idle(index))?;
        smp::run_on(index, Box::new(job));
    }
    test(0)?;
    wait_until("the end of all jobs", || ended.load(Ordering::Acquire) == cpu::count())?;
    (1..cpu::count()).try_for_each(|i| wait_until("an idle CPU", || smp::is_idle(i)))?;
    let failures = failures.lock();
    check!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

pub(super) fn jobs() -> Outcome {
    on_all(|index| {
        check!(cpu::index() == index, "it takes itself for CPU {}", cpu::index());
        let base = x86_64::registers::model_specific::GsBase::read().as_u64();
        check!(base == core::ptr::from_ref(cpu::current()) as u64, "the GS base is {base:#x}");
        check!(cpu::current().apic_id() == crate::apic::id(), "its APIC is another's");
        check!(x86_64::instructions::interrupts::are_enabled(), "interrupts are off");
        super::traps::all_caught()?;
        super::traps::registers_survive()
    })
}

pub(super) fn guards() -> Outcome {
    on_all(|index| {
        let marker = 0_u8;
        let here = &raw const marker as u64;
        let guards = cpu::current().guards();
        for guard in guards {
            check!(!is_mapped(guard) && !is_mapped(guard + PAGE_BYTES - 1), "{guard:#x} is mapped");
            check!(is_mapped(guard + PAGE_BYTES), "no stack above the guard {guard:#x}");
            let name = guard_at(guard + 8).map(|guarded| format!("{guarded}"));
            let name = name.unwrap_or_default();
            let named = index == 0 || name.ends_with(&format!("stack of CPU {index}"));
            check!(named && name.contains("stack"), "{guard:#x} guards {name}");
        }
        let main = cpu::current().guards().last().unwrap_or(0);
        let on_it = main < here && here - main < (MAIN_STACK_BYTES_MAX as u64);
        check!(on_it, "its main stack is at {main:#x}, it runs at {here:#x}");
        Ok(())
    })
}

pub(super) fn timers() -> Outcome {
    on_all(|index| {
        for micros in [0, 100, 2000] {
            let start = clock::now();
            let longest = Duration::from_micros(micros);
            timer::halt_at_most(longest, || false);
            let took = clock::now() - start;
            check!(took < LONG_HALT, "CPU {index} halted for {took} instead of {longest}");
        }
        Ok(())
    })
}

/// One number that two CPUs raise in turn.
#[derive(Default)]
struct Turns {
    asked: AtomicU64,
    answered: AtomicU64,
}

pub(super) fn wake_ups() -> Outcome {
    if !has_second("waking a halted CPU") {
        return Ok(());
    }
    let turns = Arc::new(Turns::default());
    let theirs = turns.clone();
    let answer = move || {
        for round in 1..=WAKE_ROUNDS {
            while theirs.asked.load(Ordering::Relaxed) < round {
                timer::halt_unless(|| theirs.asked.load(Ordering::Relaxed) >= round);
            }
            theirs.answered.store(round, Ordering::Relaxed);
            smp::wake(0);
        }
    };
    smp::run_on(1, Box::new(answer));
    let mut dice = Dice(3);
    for round in 1..=WAKE_ROUNDS {
        turns.asked.store(round, Ordering::Relaxed);
        smp::wake(1);
        // Sometimes the answer comes before this CPU sleeps, sometimes while it falls asleep.
        (0..dice.below(200)).for_each(|_| core::hint::spin_loop());
        while turns.answered.load(Ordering::Relaxed) < round {
            let start = clock::now();
            timer::halt_at_most(LONG_HALT, || turns.answered.load(Ordering::Relaxed) >= round);
            let took = clock::now() - start;
            check!(took < LONG_HALT, "round {round} was slept over");
        }
    }
    wait_until("an idle CPU", || smp::is_idle(1))
}

/// A fiber that counts for as long as it may.
fn counting_fiber(counter: Arc<AtomicU64>) -> Result<Fiber, String> {
    let body = Box::new(move || {
        // SAFETY: Counts in memory that the body keeps alive; never returns.
        unsafe { selftest_compute(Arc::as_ptr(&counter)) };
    });
    // SAFETY: The body is preempted in the loop only, where its frames own nothing and point to
    // what the body owns.
    unsafe { Fiber::new(16 << 10, body) }.ok_or_else(|| String::from("no memory for a fiber"))
}

/// Runs a counting fiber for a long slice on this CPU; how it ended, and after how long.
fn run_counting(counter: &Arc<AtomicU64>) -> Result<(Left, Duration), String> {
    let mut fiber = counting_fiber(counter.clone())?;
    let start = clock::now();
    let left = fiber.resume(LONG_HALT);
    let took = clock::now() - start;
    timer::disarm();
    Ok((left, took))
}

pub(super) fn woken_slices() -> Outcome {
    let text = selftest_compute as *const () as usize..&raw const selftest_compute_end as usize;
    check!(interrupt::register_text(text.clone()), "no room for a range of text");
    let counter = Arc::new(AtomicU64::new(0));
    smp::wake(0);
    let (left, took) = run_counting(&counter)?;
    check!(left == Left::Preempted && took < LONG_HALT, "woken before it ran: {left:?} in {took}");
    smp::quiescent();
    if has_second("ending the slice of a process on another CPU") {
        for _ in 0..20 {
            end_slice_of_other(|| smp::wake(1))?;
            // As a device does it, whose frame may be what another process waits for.
            end_slice_of_other(|| {
                let id = smp::apic_id(1).expect("there is a second CPU");
                apic::send(id, Command::Interrupt(DEVICE_VECTOR));
            })?;
        }
    }
    interrupt::unregister_text(text.start);
    Ok(())
}

fn end_slice_of_other(interrupt: impl Fn()) -> Outcome {
    let counter = Arc::new(AtomicU64::new(0));
    let result = Arc::new(Mutex::new(None));
    let (their_counter, their_result) = (counter.clone(), result.clone());
    let job = move || *their_result.lock() = Some(run_counting(&their_counter));
    wait_until("an idle CPU", || smp::is_idle(1))?;
    smp::run_on(1, Box::new(job));
    wait_until("the process", || counter.load(Ordering::Relaxed) > 0)?;
    interrupt();
    wait_until("the end of the slice", || smp::is_idle(1))?;
    let result = result.lock().take();
    let (left, took) = result.ok_or_else(|| String::from("the job did not run"))??;
    check!(left == Left::Preempted && took < LONG_HALT, "{left:?} in {took}");
    Ok(())
}

/// The time that was handed over last, and who is to look at it next.
#[derive(Default)]
struct Clock {
    turn: AtomicU64,
    nanos: AtomicU64,
    broken: AtomicBool,
}

impl Clock {
    /// Takes the time over and hands it on, whenever it is this side's turn.
    fn take_turns(&self, side: u64, end: Instant) -> Outcome {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            if turn >= TIME_ROUNDS || self.broken.load(Ordering::Relaxed) {
                return Ok(());
            }
            let now = clock::now();
            if turn % 2 != side {
                core::hint::spin_loop();
                if now > end {
                    return Ok(());
                }
                continue;
            }
            // Read again: before this side's turn the time may have been less.
            let (now, before) = (clock::now().as_nanos(), self.nanos.load(Ordering::Relaxed));
            self.broken.store(now < before, Ordering::Relaxed);
            check!(now >= before, "{now} ns came after {before} ns on another CPU");
            self.nanos.store(now, Ordering::Relaxed);
            self.turn.store(turn + 1, Ordering::Release);
        }
    }
}

pub(super) fn one_time() -> Outcome {
    if !has_second("one time on all CPUs") {
        return Ok(());
    }
    for index in 1..cpu::count() {
        let clock = Arc::new(Clock::default());
        let (theirs, end) = (clock.clone(), clock::now() + TIME_ROUNDS_MAX);
        wait_until("an idle CPU", || smp::is_idle(index))?;
        let job = move || theirs.take_turns(1, end).unwrap_or_else(|why| panic!("{why}"));
        smp::run_on(index, Box::new(job));
        clock.take_turns(0, end)?;
        wait_until("an idle CPU", || smp::is_idle(index))?;
        check!(clock.turn.load(Ordering::Relaxed) > 0, "the time was never handed over");
    }
    Ok(())
}

pub(super) fn allocation() -> Outcome {
    on_all(|index| {
        let mut dice = Dice(index as u64);
        let mut held: Vec<Vec<u8>> = Vec::new();
        for step in 0..2000_usize {
            if held.len() < 50 && dice.below(5) < 3 {
                let max = if dice.below(20) == 0 { 20_000 } else { 500 };
                held.push(vec![(step + index) as u8; dice.below(max)]);
            } else if !held.is_empty() {
                let object = held.swap_remove(dice.below(held.len()));
                let first = object.first().copied().unwrap_or(0);
                check!(object.iter().all(|&byte| byte == first), "somebody wrote to it");
            }
        }
        Ok(())
    })
}
