//! A network that fails between machines which live on.
//!
//! Cuts are made in the switch; the operator's way to each node stays whole.

use crate::bed::{Bed, DOWN, ask_nodes, count_words, run, run_quiet};
use crate::random::text;
use craton_abi::{ExitReason, Incarnation, NodeId, Pid};
use craton_qemu::Cut;
use std::io::Cursor;
use std::time::Duration;

/// Shorter than what a session survives.
const SHORT: Duration = Duration::from_secs(2);

/// Cuts all ways between this node and the others.
fn isolate(bed: &Bed, at: usize) {
    for other in (0..bed.nodes.len()).filter(|other| *other != at) {
        bed.lan.cut(bed.nodes[at].port, bed.nodes[other].port, Cut::Both);
    }
}

fn identity(bed: &Bed, at: usize) -> (NodeId, Incarnation) {
    let own = ask_nodes(&mut bed.client(at)).unwrap().swap_remove(0);
    (own.id, own.incarnation)
}

/// Of whom a watcher heard first, and what.
fn heard(reason: &ExitReason) -> (NodeId, ExitReason) {
    let ExitReason::Error(bytes) = reason else { panic!("{reason}") };
    let (pid, reason) = bytes.split_at(Pid::BYTES);
    let pid = Pid::from_bytes(pid.try_into().unwrap());
    (pid.node, ExitReason::from_bytes(reason).unwrap())
}

#[test]
fn a_short_cut_is_bridged_and_the_count_is_exact() {
    let bed = Bed::boot(3);
    let wordcount = bed.program("wordcount");
    let text = text(7, 3_000_000);
    let counts = wordcount_reference::count(&text[..]).unwrap();
    let expected = wordcount_reference::render(&counts);
    let mut client = bed.client(0);
    let mut was_cut = false;
    let ran = std::thread::scope(|scope| {
        run(&mut client, &wordcount, &[], Cursor::new(text), |sent| {
            if sent > 500_000 && !was_cut {
                bed.lan.cut(bed.nodes[0].port, bed.nodes[1].port, Cut::Both);
                was_cut = true;
                scope.spawn(|| {
                    // Sleeps: how long the cut lasts is what the test is about.
                    std::thread::sleep(SHORT);
                    bed.lan.heal();
                });
            }
        })
        .unwrap_or_else(|error| panic!("{error}"))
    });
    assert!(ran.reason.is_orderly(), "{}: {}", ran.reason, ran.stderr);
    assert_eq!(ran.stdout, expected);
    for at in 0..3 {
        assert_eq!(bed.count_lines(at, DOWN), 0);
        assert_eq!(bed.count_lines(at, "lost"), 0);
    }
}

#[test]
fn a_long_cut_is_told_on_both_sides_and_heals() {
    let bed = Bed::boot(3);
    let watch = bed.guest("watch");
    let before = [0, 1, 2].map(|at| identity(&bed, at));
    let [(n1, _), (n2, _), (n3, _)] = before;
    let ends = std::thread::scope(|scope| {
        let watchers = [0, 2].map(|at| {
            let (bed, watch) = (&bed, &watch);
            scope.spawn(move || run_quiet(&mut bed.client(at), watch, &[]).unwrap().reason)
        });
        for at in [0, 2] {
            bed.expect_line(at, "watching");
        }
        isolate(&bed, 2);
        watchers.map(|watcher| heard(&watcher.join().unwrap()))
    });
    assert_eq!(ends[0], (n3, ExitReason::NoConnection));
    assert_eq!(ends[1].1, ExitReason::NoConnection);
    assert!([n1, n2].contains(&ends[1].0), "{:?}", ends[1]);
    for at in 0..3 {
        bed.expect_line(at, DOWN);
    }
    bed.lan.heal();
    bed.wait_until_all_see(&[0, 1, 2]);
    let after = [0, 1, 2].map(|at| identity(&bed, at));
    assert_eq!(before.map(|(node, _)| node), after.map(|(node, _)| node));
    let renewed = (0..3).filter(|at| before[*at].1 != after[*at].1).count();
    assert!(renewed >= 1, "whoever was declared dead begins a new life");
    for at in 0..3 {
        bed.settled(at);
    }
    count_words(&mut bed.client(2), &bed.program("wordcount"), text(8, 500_000));
}

#[test]
fn a_long_cut_between_two_of_three_is_told_to_both_and_heals() {
    let bed = Bed::boot(3);
    let watch = bed.guest("watch");
    let [n1, n2] = [0, 1].map(|at| identity(&bed, at).0);
    let ends = std::thread::scope(|scope| {
        let watchers = [0, 1].map(|at| {
            let (bed, watch) = (&bed, &watch);
            scope.spawn(move || run_quiet(&mut bed.client(at), watch, &[]).unwrap().reason)
        });
        for at in [0, 1] {
            bed.expect_line(at, "watching");
        }
        bed.lan.cut(bed.nodes[0].port, bed.nodes[1].port, Cut::Both);
        watchers.map(|watcher| heard(&watcher.join().unwrap()))
    });
    assert_eq!(ends, [(n2, ExitReason::NoConnection), (n1, ExitReason::NoConnection)]);
    bed.lan.heal();
    bed.wait_until_all_see(&[0, 1, 2]);
    count_words(&mut bed.client(0), &bed.program("wordcount"), text(8, 500_000));
}
