//! Tables that are kept, on threads.

use super::*;
use craton::ExitReason;
use craton::host::{self, Scenario};

fn run(table: &str, runs: &str) -> (ExitReason, String, Vec<String>) {
    let (arguments, input) = (vec![runs.into()], table.into());
    let outcome = host::run(ENTRIES, Scenario { arguments, input, ..Scenario::default() });
    assert!(outcome.left_over.is_empty(), "{:?} live on", outcome.left_over);
    (outcome.reason, String::from_utf8(outcome.stdout).expect("text"), outcome.log)
}

#[test]
fn jobs_run_at_their_times() {
    let (reason, output, log) = run("@every 1s log a\n@every 2s log b", "4");
    assert_eq!(reason, ExitReason::Normal);
    let count = |line: &str| output.lines().filter(|one| *one == line).count();
    assert!(count("@every 1s log a: done") >= 2, "{output}");
    assert!(count("@every 2s log b: done") >= 1, "{output}");
    assert!(log.iter().any(|line| line.ends_with(" a")), "{log:?}");
}

#[test]
fn a_job_that_fails_is_tried_again_and_given_up() {
    // Nobody listens.
    let (reason, output, _) = run("@every 1s get http://127.0.0.1:9/", "1");
    assert_eq!(reason, ExitReason::Normal);
    let with = |words: &str| output.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        (with("failed, trying again: error: "), with("given up: error: ")),
        (2, 1),
        "{output}"
    );
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (table, runs, words) in [
        ("", "1", "no jobs"),
        ("@every 1s log x", "many", "not a number of runs"),
        // Threads have no time of day.
        ("* * * * * log x", "1", "does not know the time of day"),
    ] {
        let (reason, _, _) = run(table, runs);
        assert!(reason.to_string().contains(words), "{reason}");
    }
}
