//! A machine dies in the middle of a count: never a wrong number, and soon a clear word.
//!
//! Input is drawn from a text without end, and the machine is killed once so much of it is read.

use crate::bed::{Bed, DOWN, Ran, count_words, run};
use crate::random::{Endless, text};
use craton_tool::error::Result;
use std::time::{Duration, Instant};

/// Input read before the machine is killed.
const READ_BYTES: u64 = 1_000_000;
/// The promise is 5 s; the rest is for hosts that are slow or busy.
const TOLD_WITHIN: Duration = Duration::from_secs(5 + 25);

/// Counts words by way of the first node and kills a machine on the way. When it was killed is
/// told too.
fn count_and_kill(bed: &Bed, victim: usize) -> (Result<Ran>, Duration) {
    let mut killed_at = None;
    let mut client = bed.client(0);
    let ran = run(&mut client, &bed.program("wordcount"), &[], Endless::new(3), |sent| {
        if sent > READ_BYTES && killed_at.is_none() {
            bed.nodes[victim].machine.kill();
            killed_at = Some(Instant::now());
        }
    });
    let took = killed_at.expect("enough is read").elapsed();
    (ran, took)
}

#[test]
fn a_killed_worker_node_fails_the_run_and_the_survivors_count_on() {
    let bed = Bed::boot(3);
    let (ran, took) = count_and_kill(&bed, 2);
    let ran = ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(!ran.reason.is_orderly(), "{}", ran.reason);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "", "a count was printed");
    assert!(ran.stderr.contains("no-connection"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing is counted"), "{}", ran.stderr);
    assert!(took < TOLD_WITHIN, "{took:?}");
    for at in [0, 1] {
        bed.expect_line(at, DOWN);
    }
    bed.wait_until_all_see(&[0, 1]);
    count_words(&mut bed.client(0), &bed.program("wordcount"), text(4, 500_000));
    for at in [0, 1] {
        bed.settled(at);
    }
}

#[test]
fn when_the_asked_node_is_killed_the_operator_is_told() {
    let bed = Bed::boot(3);
    let (ran, took) = count_and_kill(&bed, 0);
    let error = ran.expect_err("nobody is left to tell how it ended").to_string();
    assert!(error.contains("connection was lost") && error.contains("try: "), "{error}");
    assert!(took < TOLD_WITHIN, "{took:?}");
    bed.wait_until_all_see(&[1, 2]);
    // What the dead node's coordinator had spawned ends with it.
    for at in [1, 2] {
        bed.settled(at);
    }
    count_words(&mut bed.client(1), &bed.program("wordcount"), text(4, 500_000));
}

#[test]
fn a_dead_node_returns_in_a_new_life() {
    let mut bed = Bed::boot(3);
    let config = bed.keys.node_config("n3").unwrap().render();
    bed.nodes[2].machine.kill();
    bed.wait_until_all_see(&[0, 1]);
    bed.nodes[2] = bed.launch(2, config);
    bed.wait_until_all_see(&[0, 1, 2]);
    count_words(&mut bed.client(2), &bed.program("wordcount"), text(6, 500_000));
}
