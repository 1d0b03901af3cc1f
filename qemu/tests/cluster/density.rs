//! How many processes a node holds, and that it holds nothing of them afterwards.

use crate::bed::{Bed, run_quiet, run_well};

/// Idle processes at once on a node of 64 MiB.
const MANY: &str = "1000";
/// More than such a node can hold.
const TOO_MANY: &str = "50000";
/// Memory of the node that holds a hundred thousand.
const LARGE_MIB: u32 = 4096;

/// The rounds come after one that gives every table its size.
const ROUNDS: usize = 3;

#[test]
fn a_thousand_idle_processes_fit_64_mib_and_leave_nothing() {
    let bed = Bed::boot_with(1, 1, "log=warn");
    let bench = bed.program("bench");
    // A client for each: nobody answers for one that waits while memory settles, so that the node
    // gives it up.
    let fill = || {
        let said = run_well(&mut bed.client(0), &bench, &["idle", MANY]);
        assert!(said.starts_with("idle 1000 "), "{said}");
    };
    fill();
    let before = bed.settled(0);
    for _ in 0..ROUNDS {
        fill();
        bed.expect_memory_back(0, &before);
    }
}

#[test]
fn a_full_node_says_that_it_is_memory_and_goes_on() {
    let bed = Bed::boot_with(1, 1, "log=warn");
    let bench = bed.program("bench");
    let mut client = bed.client(0);
    let ran = run_quiet(&mut client, &bench, &["idle", TOO_MANY]).unwrap();
    let reason = ran.reason.to_string();
    assert!(reason.contains("of 50000 were spawned: limit: memory"), "{reason}");
    assert!(run_well(&mut client, &bench, &["spawn", "20"]).starts_with("spawn 20 "));
    assert_eq!(bed.count_lines(0, "PANIC"), 0);
}

#[test]
#[ignore = "needs a machine of 4 GiB and a minute or two"]
fn a_hundred_thousand_idle_processes_fit_4_gib_and_leave_nothing() {
    let bed = Bed::boot_large(LARGE_MIB);
    let bench = bed.program("bench");
    let fill = || {
        let said = run_well(&mut bed.client(0), &bench, &["idle", "100000"]);
        assert!(said.starts_with("idle 100000 "), "{said}");
    };
    fill();
    let before = bed.settled(0);
    fill();
    bed.expect_memory_back(0, &before);
}
