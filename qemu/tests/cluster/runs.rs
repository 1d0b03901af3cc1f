//! Programs on one node and on three: isolation, kills, messages, and the exact count.
//!
//! The programs check themselves (`userland/programs/stress`); here it is checked that they say so,
//! and what they leave behind.

use crate::bed::{
    Bed, ask_nodes, ask_processes, count_words, count_words_watched, run_quiet, run_well,
};
use crate::random::text;
use std::collections::BTreeSet;

/// Kills before memory is looked at for the first time: by then every table has its size.
const WARM_UP: &str = "500";
/// Ten thousand kills, in rounds.
const ROUNDS: [&str; 3] = ["3333", "3333", "3334"];
/// Text that is counted.
const TEXT_BYTES: usize = 2_000_000;

#[test]
fn processes_are_isolated_and_the_node_goes_on() {
    let bed = Bed::boot(1);
    let stress = bed.program("stress");
    let mut client = bed.client(0);
    assert_eq!(run_well(&mut client, &stress, &["isolate"]), "isolated 34 deeds\n");
    // The same client and another: the node answers, and runs programs.
    assert_eq!(ask_nodes(&mut client).unwrap().len(), 1);
    assert_eq!(run_well(&mut bed.client(0), &stress, &["isolate"]), "isolated 34 deeds\n");
    let trapped = run_quiet(&mut client, &bed.guest("trap"), &[]).unwrap();
    assert!(trapped.reason.to_string().contains("unreachable"), "{}", trapped.reason);
    bed.settled(0);
    assert_eq!(bed.count_lines(0, "PANIC"), 0);
}

#[test]
fn ten_thousand_kills_leave_the_memory_as_it_was() {
    let bed = Bed::boot_with(1, 1, "log=warn");
    let stress = bed.program("stress");
    // A client for each: nobody answers for one that waits while memory settles, so that the node
    // gives it up.
    let storm = |count: &str| {
        let said = run_well(&mut bed.client(0), &stress, &["kill-storm", count]);
        assert_eq!(said, format!("killed {count} of {count}\n"));
    };
    storm(WARM_UP);
    let before = bed.settled(0);
    for round in ROUNDS {
        storm(round);
        // All rounds together: 53 bytes that each kill leaves would be missing at the end.
        bed.expect_memory_back(0, &before);
    }
}

#[test]
fn three_nodes_exchange_messages_and_get_each_program_once() {
    let bed = Bed::boot(3);
    let stress = bed.program("stress");
    for at in [0, 1] {
        let said = run_well(&mut bed.client(at), &stress, &["remote"]);
        assert!(said.starts_with("2 nodes, 1000 messages each way"), "{said}");
        let said = run_well(&mut bed.client(at), &stress, &["together"]);
        assert_eq!(said, "1000 numbers came back\n");
    }
    let id = craton_bundle::program_id(&stress);
    for at in 0..3 {
        // By then the serial lines have caught up with the network.
        bed.settled(at);
        assert_eq!(bed.count_lines(at, &format!("loaded program {id}")), 1);
    }
    // The operator sent it to the first node only, which sent it to each other node once.
    assert_eq!(bed.count_lines(0, &format!("sent program {id}")), 2);
    assert_eq!(bed.count_lines(1, &format!("sent program {id}")), 0);
    assert_eq!(bed.count_lines(2, &format!("sent program {id}")), 0);
}

#[test]
fn kills_on_all_nodes_are_told_and_leave_nothing() {
    let bed = Bed::boot_with(3, 1, "log=warn");
    let stress = bed.program("stress");
    let said = run_well(&mut bed.client(0), &stress, &["kill-storm", "300", "everywhere"]);
    assert_eq!(said, "killed 300 of 300\n");
    for at in 0..3 {
        bed.settled(at);
    }
}

#[test]
fn one_node_counts_exactly() {
    let bed = Bed::boot(1);
    let wordcount = bed.program("wordcount");
    let mut client = bed.client(0);
    count_words(&mut client, &wordcount, Vec::new());
    count_words(&mut client, &wordcount, text(1, TEXT_BYTES));
}

#[test]
fn three_nodes_count_exactly_whichever_is_asked() {
    let bed = Bed::boot(3);
    let wordcount = bed.program("wordcount");
    for at in 0..3 {
        count_words(&mut bed.client(at), &wordcount, text(at as u64 + 2, TEXT_BYTES));
    }
    for at in 0..3 {
        bed.settled(at);
    }
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let bed = Bed::boot(3);
    let wordcount = bed.program("wordcount");
    std::thread::scope(|scope| {
        for at in [0, 2] {
            let (bed, wordcount) = (&bed, &wordcount);
            scope.spawn(move || {
                count_words(&mut bed.client(at), wordcount, text(at as u64 + 9, 500_000));
            });
        }
    });
}

#[test]
fn every_cpu_of_every_node_counts() {
    let bed = Bed::boot_with(3, 2, "log=info");
    let nodes = ask_nodes(&mut bed.client(0)).unwrap();
    assert!(nodes.iter().all(|node| node.shards == 2), "{nodes:?}");
    let mut mapping = BTreeSet::new();
    let look = |_| {
        let missing = if mapping.len() < 6 { 0..3 } else { 0..0 };
        for at in missing {
            let processes = ask_processes(&mut bed.client(at)).unwrap();
            let mappers = processes.into_iter().filter(|process| process.entry == "mapper");
            mapping.extend(mappers.map(|mapper| (mapper.pid.node, mapper.pid.slot.shard())));
        }
    };
    let (wordcount, text) = (bed.program("wordcount"), text(5, 1_000_000));
    count_words_watched(&mut bed.client(0), &wordcount, text, look);
    assert_eq!(mapping.len(), 6, "two shards of three nodes: {mapping:?}");
}
