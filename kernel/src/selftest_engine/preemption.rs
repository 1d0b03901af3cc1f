//! Tests of preemption: nothing holds the CPU, and nobody notices that it was taken.

use super::{Bench, Outcomes, SLICE, check};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{Duration, ExitReason, Slot};
use craton_hal::interrupt;
use craton_shard::port::{HostCall, Outcome, Resume};

/// Longest that a slice may last beyond its time. The loops have no end, so this only tells a slice
/// that ended from one that would not, on the busiest host too.
const OVERRUN_MAX: Duration = Duration::from_secs(2);
/// Rounds of the guest's `compute`: tens of milliseconds.
pub(super) const ROUNDS: u32 = 300_000;
/// What `compute` answers for [`ROUNDS`], as wasmtime on a host has it.
pub(super) const RESULT: u64 = 0x40c6_4dc3_7335_b44d;

pub(super) fn endless_loops(bench: &mut Bench) -> Outcomes {
    for entry in ["spin", "fill", "fill_large", "clock_forever"] {
        let slot = bench.start(entry, b"")?;
        let mut resume = Resume::Start;
        for turn in 0..20 {
            let (outcome, used) = bench.engine.run(slot, resume, SLICE);
            resume = Resume::Continue;
            check(outcome == Outcome::Preempted, || format!("{entry}: {outcome:?}"))?;
            check(used.as_nanos() < OVERRUN_MAX.as_nanos(), || {
                format!("{entry} held the CPU for {used} in turn {turn}")
            })?;
        }
        bench.engine.reclaim(slot);
    }
    Ok(())
}

pub(super) fn result(reason: ExitReason) -> Result<u64, String> {
    match &reason {
        ExitReason::Error(bytes) => match bytes.as_slice().try_into() {
            Ok(bytes) => Ok(u64::from_le_bytes(bytes)),
            Err(_) => Err(format!("a result of {} bytes", bytes.len())),
        },
        other => Err(format!("compute ended with {other}")),
    }
}

/// As many preemptions must be seen to change nothing.
const PREEMPTIONS_MIN: u64 = 100;
/// A machine that others use too can be too late for many of them: so often it may try.
const TRIES_MAX: usize = 50;

pub(super) fn results_are_equal(bench: &mut Bench) -> Outcomes {
    let before = interrupt::counters().preemptions;
    let seen = || interrupt::counters().preemptions - before;
    for _ in 0..TRIES_MAX {
        compute(bench)?;
        if seen() >= PREEMPTIONS_MIN {
            return Ok(());
        }
    }
    Err(format!("only {} preemptions: nothing was tested", seen()))
}

fn compute(bench: &mut Bench) -> Outcomes {
    let argument = ROUNDS.to_le_bytes();
    let mut live: Vec<(Slot, Resume)> = Vec::new();
    for entry in ["compute", "compute", "fill", "compute", "spin"] {
        live.push((bench.start(entry, &argument)?, Resume::Start));
    }
    let mut results = 0;
    while results < 3 {
        for (slot, resume) in &mut live {
            let next = core::mem::replace(resume, Resume::Continue);
            let outcome = bench.engine.run(*slot, next, Duration::from_micros(100)).0;
            match outcome {
                Outcome::Preempted => {}
                Outcome::Call(HostCall::Exit { reason }) => {
                    let found = result(reason)?;
                    check(found == RESULT, || format!("{found:#x} instead of {RESULT:#x}"))?;
                    bench.engine.reclaim(*slot);
                    *slot = Slot::default();
                    results += 1;
                }
                other => return Err(format!("{other:?}")),
            }
        }
        live.retain(|(slot, _)| *slot != Slot::default());
    }
    live.iter().for_each(|(slot, _)| bench.engine.reclaim(*slot));
    Ok(())
}

pub(super) fn unload_under_a_process(bench: &mut Bench) -> Outcomes {
    let slot = bench.start("spin", b"")?;
    check(bench.resume(slot, Resume::Start) == Outcome::Preempted, || String::from("no loop"))?;
    bench.engine.programs().unload(bench.program);
    let outcome = bench.resume(slot, Resume::Continue);
    check(outcome == Outcome::Preempted, || format!("after unloading: {outcome:?}"))?;
    bench.load()?;
    let end = bench.run("nothing", b"")?;
    check(end == ExitReason::Normal, || format!("loaded again, it ended with {end}"))?;
    let outcome = bench.resume(slot, Resume::Continue);
    check(outcome == Outcome::Preempted, || format!("after loading again: {outcome:?}"))?;
    bench.engine.reclaim(slot);
    Ok(())
}
