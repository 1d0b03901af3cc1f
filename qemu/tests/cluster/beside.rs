//! What others notice of a process that does its worst, and what it leaves behind.
//!
//! The processes are `stress`'s. The machines count their instructions in place of
//! time, so that a busy host makes nobody late.

use crate::bed::{Bed, ask_processes, run_well};
use crate::sockets::run_and_serve;
use craton_abi::limit;
use std::collections::BTreeMap;

/// Rounds after which memory must be back. After one it is not looked at.
const ROUNDS: usize = 3;
/// Memory in which 64 MiB can be.
const HELD_MIB: u32 = 256;
/// Memory in which a GiB can be filled.
const LARGE_MIB: u32 = 1280;
/// How late a timer may be beside somebody who computes: two slices more than beside nobody, or
/// than a millisecond, since it is the host that lets an idle machine wait.
const LATER_NANOS: u64 = 2 * limit::SLICE.as_nanos();
const IDLE_NANOS: u64 = 1_000_000;
#[test]
fn others_live_beside_every_kind_of_foe() {
    let foes = [
        ("spin", "killed"),
        ("exhaust", "limit: memory"),
        ("recurse", "trap: stack overflow"),
        ("divide", "trap: division by zero"),
        ("flood", "killed"),
        ("timers", "error: limit: timers"),
        ("hoard", "error: limit: sockets"),
        ("breed", "error: limit: memory"),
    ];
    live_beside(&Bed::boot_counted(64), &foes, ROUNDS);
}

#[test]
fn others_live_beside_one_that_is_killed_with_64_mib() {
    live_beside(&Bed::boot_counted(HELD_MIB), &[("hold", "killed")], 1);
}

#[test]
#[ignore = "a machine of 1,280 MiB; `make test-all` runs it"]
fn others_live_beside_one_that_is_killed_with_a_gib() {
    live_beside(&Bed::boot_counted(LARGE_MIB), &[("hold-most", "killed")], ROUNDS);
}

#[test]
#[ignore = "a machine of 1,280 MiB; `make test-all` runs it"]
fn others_live_beside_one_that_fills_a_gib() {
    live_beside(&Bed::boot_counted(LARGE_MIB), &[("fill", "killed")], ROUNDS);
}

fn live_beside(bed: &Bed, foes: &[(&str, &str)], rounds: usize) {
    let stress = bed.program("stress");
    let arguments: Vec<&str> = ["beside"].into_iter().chain(foes.iter().map(|foe| foe.0)).collect();
    let mut before = None;
    for _ in 0..rounds {
        let said = run_well(&mut bed.client(0), &stress, &arguments);
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        let told: BTreeMap<&str, &str> = lines.collect();
        let late = |name: &str| -> (u64, &str) {
            let told = told.get(name).and_then(|rest| rest.split_once(' '));
            let (nanos, reason) = told.unwrap_or_else(|| panic!("nothing of {name}: {said}"));
            (nanos.parse().unwrap(), reason)
        };
        let (idle, _) = late("idle");
        println!("{said}");
        for (name, due) in foes {
            let (nanos, reason) = late(name);
            assert!(reason.starts_with(due), "{name} ended with {reason}");
            let most = idle.max(IDLE_NANOS) + LATER_NANOS;
            assert!(nanos <= most, "{nanos} ns late beside {name}:\n{said}");
        }
        // What the first round leaves is there for good: tables have their size then.
        if rounds > 1 {
            before.get_or_insert_with(|| bed.settled(0));
        }
    }
    if let Some(before) = before {
        bed.expect_memory_back(0, &before);
    }
}

/// CPU time that two processes have had, when it is compared.
const SHARED_NANOS: u64 = 400_000_000;

#[test]
fn the_time_of_a_cpu_is_divided_as_shares_are() {
    let bed = Bed::boot_counted(64);
    let (mut said, mut times) = (String::new(), Vec::new());
    let (_, stopped) = run_and_serve((&bed, 0), "stress", &["shares", "50", "200"], |text| {
        said.push_str(text);
        if !said.ends_with("computing\n") {
            return false;
        }
        let pids = said.lines().filter_map(|line| line.split_once(' ')).map(|(_, pid)| pid);
        let pids: Vec<&str> = pids.collect();
        times = bed.eventually("they have computed", || {
            let processes = ask_processes(&mut bed.client(0)).unwrap();
            let of = |pid: &&str| processes.iter().find(|process| process.pid.to_string() == **pid);
            let nanos = |pid| of(pid).map(|process| process.cpu_nanos);
            let times: Vec<u64> = pids.iter().filter_map(nanos).collect();
            (times.iter().sum::<u64>() > SHARED_NANOS).then_some(times)
        });
        true
    });
    assert!(stopped);
    let &[few, many] = times.as_slice() else { panic!("{said}{times:?}") };
    let ratio = many as f64 / few as f64;
    assert!((3.6..4.4).contains(&ratio), "{few} and {many} ns: {ratio}");
}
