//! Two hundred seeds hold every promise; equal seeds give equal traces; broken rules are noticed.

use craton_sim::{Options, Report, Sabotage, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 200;

fn run_or_fail(seed: u64) -> Report {
    match run(seed, Options::default()) {
        Ok(report) => report,
        Err(violation) => {
            panic!("seed {seed}: {violation}\nreplay: craton-sim --seed {seed} --trace")
        }
    }
}

#[test]
fn two_hundred_seeds_hold_every_promise() {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let report = run_or_fail(seed);
                    reports.lock().expect("nobody panicked").push(report);
                }
            });
        }
    });
    let reports = reports.into_inner().expect("nobody panicked");
    assert_eq!(reports.len() as u64, SEEDS);
    // A simulator in which nothing happens would find nothing either.
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>() / SEEDS;
    let enough = [
        ("messages", sum(|r| r.messages), 500),
        ("notices", sum(|r| r.notices), 100),
        ("answers", sum(|r| r.answers), 80),
        ("processes", sum(|r| r.processes), 50),
        ("timers", sum(|r| r.timers), 50),
        ("names", sum(|r| r.names), 50),
        ("names of others", sum(|r| r.names_taken), 10),
        ("processes taken by another CPU", sum(|r| r.taken), 10),
    ];
    for (what, count, least) in enough {
        assert!(count > least, "too few {what}: {count}");
    }
    assert!(reports.iter().filter(|r| r.runs > 0).count() as u64 > SEEDS * 9 / 10, "too few runs");
    assert!(reports.iter().filter(|r| r.lives_ended > 0).count() > 50, "too few crashes");
    assert!(reports.iter().filter(|r| r.gaps > 0).count() > 50, "too few gaps");
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let [first, again, other] = [7, 7, 8].map(run_or_fail);
    assert_eq!(first, again);
    assert_ne!(first.hash, other.hash);
}

#[test]
fn a_message_delivered_twice_is_noticed() {
    let options = Options { sabotage: Some(Sabotage::DuplicateMessages), ..Options::default() };
    let violation = run(1, options).expect_err("messages came twice");
    assert!(violation.0.contains("came twice"), "{violation}");
}

#[test]
fn a_notice_that_is_thrown_away_is_noticed() {
    let options = Options { sabotage: Some(Sabotage::SwallowNotices), ..Options::default() };
    let violation = run(1, options).expect_err("notices are missing");
    assert!(violation.0.contains("was never told"), "{violation}");
}

#[test]
fn a_timer_that_does_not_ring_is_noticed() {
    let options = Options { sabotage: Some(Sabotage::SwallowTimers), ..Options::default() };
    let violation = run(1, options).expect_err("timers do not ring");
    assert!(violation.0.contains("never rang"), "{violation}");
}

#[test]
fn a_name_with_two_owners_is_noticed() {
    let options = Options { sabotage: Some(Sabotage::ShareNames), ..Options::default() };
    let violation = run(1, options).expect_err("names have two owners");
    assert!(violation.0.contains("two owners"), "{violation}");
}
