//! Kills ten thousand processes in random states and looks for what they left behind.

use super::{Bench, Outcomes, Random, check};
use alloc::format;
use alloc::vec::Vec;
use craton_abi::{Duration, Slot};
use craton_hal::memory;
use craton_shard::port::{HostReply, Outcome, Resume};

const KILLS: usize = 10_000;
/// Processes alive at once, so that they are not killed in the order in which they came.
const LIVE_MAX: usize = 16;
const SEED: u64 = 42;

pub(super) const ENTRIES: [&str; 15] = [
    "nothing",
    "trap_memory",
    "trap_stack",
    "spin",
    "fill",
    "clock_forever",
    "yield_forever",
    "wait",
    "wait_in_send",
    "wait_in_spawn",
    "wait_in_log",
    "wait_in_exit",
    "wait_in_nodes",
    "random_long",
    "grow_refused",
];

/// Where a victim stands: what it can be resumed with, if with anything.
pub(super) struct Victim(pub(super) Slot, pub(super) Option<Resume>);

pub(super) fn ten_thousand_kills(bench: &mut Bench) -> Outcomes {
    let left = || {
        memory::heap::trim();
        (memory::heap::live_bytes(), memory::free_bytes())
    };
    // The first round warms what is kept for ever: tables of pages and of the engine.
    kill(bench, KILLS / 10)?;
    bench.engine.give_back();
    let before = left();
    kill(bench, KILLS)?;
    bench.engine.give_back();
    let after = left();
    check(before == after, || {
        format!("(heap in use, memory free) went from {before:?} to {after:?}, seed {SEED}")
    })
}

fn kill(bench: &mut Bench, kills: usize) -> Outcomes {
    let mut random = Random(SEED);
    let mut live: Vec<Victim> = Vec::with_capacity(LIVE_MAX);
    for _ in 0..kills {
        while live.len() < LIVE_MAX {
            let entry = ENTRIES[random.below(ENTRIES.len())];
            live.push(Victim(bench.start(entry, b"")?, Some(Resume::Start)));
        }
        for _ in 0..random.below(4) {
            let index = random.below(LIVE_MAX);
            step(bench, &mut live[index], &mut random);
        }
        let Victim(slot, _) = live.swap_remove(random.below(LIVE_MAX));
        bench.engine.reclaim(slot);
    }
    live.iter().for_each(|Victim(slot, _)| bench.engine.reclaim(*slot));
    Ok(())
}

/// Runs a victim for a moment, unless it has ended.
pub(super) fn step(
    bench: &mut Bench,
    Victim(slot, state): &mut Victim,
    random: &mut Random,
) -> Option<Outcome> {
    let resume = state.take()?;
    let slice = Duration::from_micros(1 + random.below(100) as u64);
    let outcome = bench.engine.run(*slot, resume, slice).0;
    *state = match outcome {
        Outcome::Preempted => Some(Resume::Continue),
        Outcome::Call(_) | Outcome::Waiting => Some(Resume::Reply(HostReply::Done)),
        Outcome::Exited(_) => None,
    };
    Some(outcome)
}
