//! Counts the primes below a number on every CPU of a cluster.
//!
//! `craton run primes.craton 100000000`: one worker for each shard of each node takes ranges from
//! the coordinator, sieves them and answers with what it found. What a lost worker had in hand is
//! given to another, so the count is exact also where a node is lost in the middle.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod sieve;
mod work;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use craton::{Error, Event, Mailbox, Pid, Request, Run, SpawnOptions, me, nodes, shards};
use sieve::{base_primes, count};
use work::{Done, LIMIT_MAX, Range, Work};

/// The primes below this number are counted unless another one is given.
const LIMIT_DEFAULT: u64 = 10_000_000;

craton::entries! {
    /// Where a run begins; takes the number below which to count.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Counts in ranges for the coordinator, up to the square of a number.
    pub WORKER: "worker" = worker as fn((Pid, u64));
}

fn main_entry(run: Run) -> Result<(), String> {
    let limit = match run.arguments() {
        [] => LIMIT_DEFAULT,
        [limit] => limit.parse().map_err(|_| format!("not a number: {limit}"))?,
        _ => return Err("usage: primes [LIMIT]".into()),
    };
    if limit > LIMIT_MAX {
        return Err(format!("the limit is {LIMIT_MAX} at most"));
    }
    let text = |error: Error| format!("{error}");
    let (primes, workers) = coordinate(limit).map_err(text)?;
    run.stderr().line(&format!("{workers} workers")).map_err(text)?;
    run.stdout().line(&format!("{primes} primes below {limit}")).map_err(text)
}

/// Spreads the work; answers with the number of primes and of workers.
fn coordinate(limit: u64) -> Result<(u64, usize), Error> {
    let mut mailbox = Mailbox::new();
    let mut workers = BTreeMap::new();
    for node in nodes()? {
        for _ in 0..shards(node).unwrap_or(1) {
            // A node that is lost meanwhile is one less.
            let argument = (me(), limit);
            if let Ok(child) = WORKER.spawn(&argument, SpawnOptions::on(node).monitored()) {
                workers.insert(child.pid, None);
            }
        }
    }
    let started = workers.len();
    let mut work = Work::new(limit, started);
    while !work.is_done() {
        if workers.is_empty() {
            // All were lost: this node is still there.
            let options = SpawnOptions::here().monitored();
            workers.insert(WORKER.spawn(&(me(), limit), options)?.pid, None);
        }
        match mailbox.next_event()? {
            Event::Message(message) if message.is::<Request<Done>>() => {
                let request: Request<Done> = message.decode()?;
                let held = workers.entry(message.from).or_default();
                if let Some(range) = held.take() {
                    work.done(range, request.body.0);
                }
                *held = work.next();
                request.reply(held)?;
            }
            Event::Down(down) => {
                // One that ended in good order holds nothing.
                if let Some(Some(range)) = workers.remove(&down.pid) {
                    work.lost(range);
                }
            }
            _ => {}
        }
    }
    Ok((work.primes(), started))
}

fn worker((coordinator, limit): (Pid, u64)) -> Result<(), Error> {
    let base = base_primes(limit);
    let mut mailbox = Mailbox::new();
    let mut done = Done(0);
    loop {
        let next: Option<Range> = mailbox.call(&coordinator, &done, craton::Duration::MAX)?;
        let Some(range) = next else { return Ok(()) };
        done = Done(count(&base, range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton::ExitReason;
    use craton::host::{self, Fault, FaultKind, Scenario};

    fn run(arguments: &[&str], fault: Option<Fault>) -> (ExitReason, String, String) {
        let arguments = arguments.iter().map(|&text| text.into()).collect();
        let scenario = Scenario { arguments, fault, shards: 2, ..Scenario::default() };
        let outcome = host::run(ENTRIES, scenario);
        assert!(outcome.left_over.is_empty(), "{:?} live on", outcome.left_over);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (outcome.reason, text(outcome.stdout), text(outcome.stderr))
    }

    #[test]
    fn the_count_is_exact() {
        for (limit, primes) in [("0", 0), ("2", 0), ("3", 1), ("100", 25), ("1000000", 78_498)] {
            let (reason, output, workers) = run(&[limit], None);
            assert_eq!(reason, ExitReason::Normal);
            assert_eq!(output, format!("{primes} primes below {limit}\n"));
            assert_eq!(workers, "6 workers\n");
        }
    }

    #[test]
    fn the_count_is_exact_though_workers_and_nodes_are_lost() {
        for after_sends in 1..20 {
            for kind in [FaultKind::Kill("worker"), FaultKind::LoseNode(1)] {
                let (reason, output, _) = run(&["300000"], Some(Fault { after_sends, kind }));
                assert_eq!(reason, ExitReason::Normal, "after {after_sends}");
                assert_eq!(output, "25997 primes below 300000\n", "after {after_sends}");
            }
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for bad in [&["many"][..], &["-1"], &["1", "2"], &["1000000000001"]] {
            assert!(matches!(run(bad, None).0, ExitReason::Error(_)), "{bad:?}");
        }
    }
}
