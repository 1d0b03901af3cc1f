//! Tests of processes that one CPU's engine gives and another's takes, in the midst of computing.

use super::preemption::{RESULT, ROUNDS, result};
use super::{Bench, Outcomes, check};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use craton_abi::{Duration, ExitReason, Slot};
use craton_hal::{cpu, smp};
use craton_shard::port::{HostCall, Outcome, Resume};
use spin::Mutex;

/// A slice that lets it move often.
const SHORT: Duration = Duration::from_micros(100);
/// As many moves must be seen to change nothing.
const MOVES_MIN: u32 = 20;
/// A machine that others use too can be too late for many of them: so often it may try.
const TRIES_MAX: usize = 50;
/// Each time its memory is used again by the next, on both CPUs.
const MARKS: usize = 20;

/// The engine of another CPU, if there is one; else another of this CPU.
struct Elsewhere(Arc<Mutex<Bench>>);

impl Elsewhere {
    fn new(bench: &Bench) -> Self {
        Elsewhere(Arc::new(Mutex::new(bench.sibling())))
    }

    /// Does something with that engine, on its CPU.
    fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Bench) -> R + Send + 'static,
    ) -> Option<R> {
        let result = Arc::new(Mutex::new(None));
        let (bench, place) = (self.0.clone(), result.clone());
        let job = move || *place.lock() = Some(work(&mut bench.lock()));
        if cpu::count() > 1 {
            smp::run_on(1, Box::new(job));
            while !smp::is_idle(1) {
                smp::quiescent();
            }
        } else {
            job();
        }
        result.lock().take()
    }

    /// Runs a process there, which was given, for as long as `keep` says of how it comes back; and
    /// gives it back.
    fn run(
        &self,
        slot: Slot,
        mut resume: Resume,
        keep: fn(&Outcome) -> bool,
    ) -> Result<Outcome, String> {
        let run = move |there: &mut Bench| {
            if !there.engine.take(slot) {
                return Err(String::from("it was given and is not there"));
            }
            let outcome = loop {
                let next = core::mem::replace(&mut resume, Resume::Continue);
                let outcome = there.engine.run(slot, next, SHORT).0;
                if !keep(&outcome) {
                    break outcome;
                }
            };
            there.engine.give(slot);
            Ok(outcome)
        };
        self.with(run).unwrap_or_else(|| Err(String::from("the other CPU did nothing")))
    }
}

pub(super) fn results_are_equal(bench: &mut Bench) -> Outcomes {
    let elsewhere = Elsewhere::new(bench);
    let mut moves = 0;
    for _ in 0..TRIES_MAX {
        moves += compute(bench, &elsewhere)?;
        if moves >= MOVES_MIN {
            return Ok(());
        }
    }
    Err(format!("only {moves} moves: nothing was tested"))
}

/// Lets a process compute on both CPUs in turns. How often it went there and back.
fn compute(bench: &mut Bench, elsewhere: &Elsewhere) -> Result<u32, String> {
    let slot = bench.start("compute", &ROUNDS.to_le_bytes())?;
    let (mut resume, mut moves) = (Resume::Start, 0);
    let end = loop {
        bench.engine.give(slot);
        check(!bench.engine.take(Slot::default()), || String::from("nobody gave that"))?;
        let outcome = elsewhere.run(slot, resume, |_| false)?;
        check(bench.engine.take(slot), || String::from("it did not come back"))?;
        if outcome != Outcome::Preempted {
            break outcome;
        }
        moves += 1;
        let outcome = bench.engine.run(slot, Resume::Continue, SHORT).0;
        if outcome != Outcome::Preempted {
            break outcome;
        }
        resume = Resume::Continue;
    };
    bench.engine.reclaim(slot);
    let Outcome::Call(HostCall::Exit { reason }) = end else { return Err(format!("{end:?}")) };
    let found = result(reason)?;
    check(found == RESULT, || format!("{found:#x} instead of {RESULT:#x} after {moves} moves"))?;
    Ok(moves)
}

/// What is left of a process on the CPU that ran it is gone for the next one in its place.
pub(super) fn slots_are_clean(bench: &mut Bench) -> Outcomes {
    let elsewhere = Elsewhere::new(bench);
    for round in 0..MARKS {
        for (entry, there) in [("mark", true), ("unmarked", false)] {
            let slot = bench.start(entry, b"")?;
            let outcome = if there {
                bench.engine.give(slot);
                elsewhere.run(slot, Resume::Start, |out| *out == Outcome::Preempted)?
            } else {
                bench.advance(slot, Resume::Start)
            };
            // Where it was given and not taken.
            bench.engine.reclaim(slot);
            let well = outcome == Outcome::Exited(ExitReason::Normal);
            check(well, || format!("{entry} came back with {outcome:?} in round {round}"))?;
        }
    }
    Ok(())
}
