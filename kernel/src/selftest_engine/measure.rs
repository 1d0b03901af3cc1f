//! What processes cost on this machine. Fails only where nothing could be measured.

use super::{Bench, Outcomes, check, messages, timed};
use alloc::format;
use alloc::vec::Vec;
use craton_abi::{Duration, ExitReason};
use craton_hal::{memory, serial};
use craton_shard::port::{HostCall, HostReply, Outcome, Resume};

const SWITCHES: u32 = 20_000;
const TRIPS: u32 = 10_000;
const CALLS: u32 = 1_000_000;
const STARTS: usize = 500;
const LIVE: usize = 64;

pub(super) fn measure(bench: &mut Bench) -> Outcomes {
    let switches = switches(bench)?;
    print("switch through a suspending call", switches, u64::from(SWITCHES));
    let calls = calls(bench)?;
    print("call of the host, answered in place", calls, u64::from(CALLS));
    let trips = messages::round_trips(bench, TRIPS)?;
    print("round trip between two processes", trips, u64::from(TRIPS));
    let starts = timed(|| {
        for _ in 0..STARTS {
            let slot = bench.start("nothing", b"")?;
            bench.engine.reclaim(slot);
        }
        Ok(())
    })?;
    print("start and drop", starts, STARTS as u64);
    let runs = timed(|| {
        for _ in 0..STARTS {
            bench.run("nothing", b"")?;
        }
        Ok(())
    })?;
    print("start, run and drop", runs, STARTS as u64);
    footprint(bench)
}

fn print(what: &str, total: Duration, count: u64) {
    let nanos = total.as_nanos() / count;
    serial::write(format_args!("measured engine: {what}: {nanos} ns\n"));
}

fn switches(bench: &mut Bench) -> Result<Duration, alloc::string::String> {
    let slot = bench.start("measure_yield", &SWITCHES.to_le_bytes())?;
    let took = timed(|| {
        let mut outcome = bench.advance(slot, Resume::Start);
        while outcome == Outcome::Call(HostCall::Yield) {
            outcome = bench.advance(slot, Resume::Reply(HostReply::Done));
        }
        let ended = outcome == Outcome::Exited(ExitReason::Normal);
        check(ended, || format!("measure_yield: {outcome:?}"))
    });
    bench.engine.reclaim(slot);
    took
}

fn calls(bench: &mut Bench) -> Result<Duration, alloc::string::String> {
    timed(|| {
        let end = bench.run("measure_call", &CALLS.to_le_bytes())?;
        check(end == ExitReason::Normal, || format!("measure_call: {end}"))
    })
}

fn footprint(bench: &mut Bench) -> Outcomes {
    let (heap, free) = (memory::heap::live_bytes(), memory::free_bytes());
    let mut live = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        live.push(bench.start("wait", b"")?);
    }
    let heap = memory::heap::live_bytes() - heap;
    let taken = free - memory::free_bytes();
    live.into_iter().for_each(|slot| bench.engine.reclaim(slot));
    serial::write(format_args!(
        "measured engine: a process with 128 KiB of memory: {} bytes of heap, {} bytes in all\n",
        heap / LIVE,
        taken / LIVE as u64,
    ));
    Ok(())
}
