//! Tests of large memories that are given back in steps.

use super::{Bench, Outcomes, check};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{ExitReason, Slot, TrapKind};
use craton_hal::memory::{self, physical};
use craton_shard::port::{Outcome, Resume};

/// What `fill_large` fills, and what that has to do with more than one step.
const LARGE_BYTES: u64 = 8 << 20;
const STEPS_MIN: usize = 6;
/// Slices in which it has done so, on the slowest host.
const SLICES_MAX: usize = 10_000;
/// Frames that may be kept for ever: list nodes, tables of the heap.
const KEPT_FRAMES_MAX: usize = 2;

/// A process that has filled its memory, or how it ended before.
fn filled(bench: &mut Bench) -> Result<Result<Slot, ExitReason>, String> {
    let slot = bench.start("fill_large", b"")?;
    let mut resume = Resume::Start;
    for _ in 0..SLICES_MAX {
        match bench.resume(slot, resume) {
            Outcome::Preempted if bench.engine.memory_bytes(slot) > LARGE_BYTES => {
                return Ok(Ok(slot));
            }
            Outcome::Preempted => resume = Resume::Continue,
            Outcome::Exited(reason) => {
                bench.engine.reclaim(slot);
                return Ok(Err(reason));
            }
            other => return Err(format!("filling ended with {other:?}")),
        }
    }
    Err(String::from("it never filled its memory"))
}

/// What was there before is there again, once all steps are done.
fn back(before: usize) -> Outcomes {
    let free = physical::free_frames();
    check(free + KEPT_FRAMES_MAX >= before, || format!("{free} frames are free, {before} were"))
}

pub(super) fn a_large_memory_goes_in_steps(bench: &mut Bench) -> Outcomes {
    bench.engine.give_back();
    let (before, free_bytes) = (physical::free_frames(), memory::free_bytes());
    let slot = filled(bench)?.map_err(|reason| format!("it ended with {reason}"))?;
    bench.engine.reclaim(slot);
    let held = before.saturating_sub(physical::free_frames());
    check(held > LARGE_BYTES as usize / 4096 / 2, || String::from("it went at once"))?;
    // Tables are not counted before they are empty.
    let taken = free_bytes.saturating_sub(memory::free_bytes());
    check(taken < LARGE_BYTES / 64, || format!("{taken} bytes do not count as free"))?;
    let steps = (0..).take_while(|_| bench.engine.tidy()).count();
    check(steps >= STEPS_MIN, || format!("only {steps} steps"))?;
    bench.engine.give_back();
    back(before)
}

/// Few pages, far from one another: what is between them costs little, and nothing is forgotten.
pub(super) fn a_scattered_memory_goes_too(bench: &mut Bench) -> Outcomes {
    let end = bench.run("touch_here_and_there", b"")?;
    check(end == ExitReason::Normal, || format!("it ended with {end}"))?;
    bench.engine.give_back();
    let before = physical::free_frames();
    for _ in 0..20 {
        let end = bench.run("touch_here_and_there", b"")?;
        check(end == ExitReason::Normal, || format!("it ended with {end}"))?;
        bench.engine.give_back();
    }
    back(before)
}

/// Who wants memory does not wait for the steps.
pub(super) fn what_goes_can_be_had(bench: &mut Bench) -> Outcomes {
    bench.engine.give_back();
    let before = physical::free_frames();
    let mut first = None;
    for _ in 0..3 {
        let mut slots: Vec<Slot> = Vec::new();
        let end = loop {
            match filled(bench)? {
                Ok(slot) => slots.push(slot),
                Err(reason) => break reason,
            }
        };
        // It is refused as it grows, then fills what it has not.
        let is_due = matches!(end, ExitReason::Trap(TrapKind::MemoryOutOfBounds, _));
        check(is_due, || format!("a full machine: {end}"))?;
        let count = slots.len();
        // None of it is given back yet when the next ones ask for it.
        slots.into_iter().for_each(|slot| bench.engine.reclaim(slot));
        let due = *first.get_or_insert(count);
        check(count >= due, || format!("{count} had room where {due} had"))?;
    }
    bench.engine.give_back();
    back(before)
}
