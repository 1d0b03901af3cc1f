//! The program against the plain count, whole and in its parts, on the host.
//!
//! Random texts are drawn from a seed; a failure prints it.

use crate::cutter::{CHUNK_BYTES_MAX, Cutter};
use crate::protocol::{TAG_BATCH, TAG_CHUNK};
use crate::table::{Table, word_bytes};
use crate::{ENTRIES, text};
use craton::ExitReason;
use craton::host::{self, Fault, FaultKind, Outcome, Scenario};
use std::collections::BTreeMap;
use wordcount_reference::{count, render};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Text with common and rare words, words of every length about the bounds of 8 and 64 bytes,
    /// bytes that are no text at all, and, now and then, a word longer than a chunk.
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < bytes {
            match self.below(100) {
                0..60 => {
                    text.extend_from_slice(format!("w{}", letters(self.below(300))).as_bytes())
                }
                60..75 => text.extend_from_slice(letters(self.below(1 << 40)).as_bytes()),
                75..85 => text.extend((0..self.below(12)).map(|_| self.next() as u8)),
                85..95 => {
                    let len = [7, 8, 9, 15, 16, 17, 63, 64, 65, 66, 130][self.below(11) as usize];
                    let byte = b"aQ\xc3\xff"[self.below(4) as usize];
                    text.extend(std::iter::repeat_n(byte, len));
                }
                _ => text.extend_from_slice("Größe née ÉTÉ 'tis".as_bytes()),
            }
            if self.below(5000) == 0 {
                let len = self.below(3 * CHUNK_BYTES_MAX as u64) as usize;
                text.extend(std::iter::repeat_n(b'l', len));
            }
            let separators = [&b" "[..], b"\n", b", ", b"\0", b"        ", b"@[`{", b""];
            text.extend_from_slice(separators[self.below(7) as usize]);
        }
        text
    }
}

/// A number in letters.
fn letters(mut number: u64) -> String {
    let mut text = String::new();
    while number > 0 || text.is_empty() {
        text.push(char::from(b"abcdefghijklmnopqrstuvwxYZ"[(number % 26) as usize]));
        number /= 26;
    }
    text
}

fn scenario(input: &[u8], input_parts: Vec<usize>, nodes: u64, arguments: &[&str]) -> Scenario {
    let arguments = arguments.iter().map(|&text| text.into()).collect();
    Scenario { input: input.to_vec(), input_parts, nodes, arguments, ..Scenario::default() }
}

fn run(scenario: Scenario) -> Outcome {
    let outcome = host::run(ENTRIES, scenario);
    assert!(outcome.left_over.is_empty(), "left over: {:?}", outcome.left_over);
    outcome
}

fn expected(input: &[u8]) -> Vec<u8> {
    render(&count(input).expect("a slice can be read"))
}

fn assert_counts(input: &[u8], parts: Vec<usize>, nodes: u64, arguments: &[&str], seed: u64) {
    let outcome = run(scenario(input, parts, nodes, arguments));
    assert_eq!(outcome.reason, ExitReason::Normal, "seed {seed}");
    let (left, right) = (String::from_utf8_lossy(&outcome.stdout), expected(input));
    assert_eq!(left, String::from_utf8_lossy(&right), "seed {seed}");
}

#[test]
fn counting_equals_the_plain_count_wherever_the_input_is_cut() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let input = random.text(200_000);
        let (mut cutter, mut table, mut words, mut mapped) =
            (Cutter::default(), Table::new().expect("memory"), 0, 0);
        let mut chunks = Vec::new();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let scale = random.below(18);
            let len = random.below(1 << scale) as usize;
            let (part, after) = rest.split_at(len.clamp(1, rest.len()));
            let keep = |chunk| {
                chunks.push(chunk);
                Ok::<(), ()>(())
            };
            cutter.push(part, keep).expect("keeping does not fail");
            rest = after;
        }
        chunks.extend(cutter.finish());
        for chunk in &chunks {
            assert!((1..=CHUNK_BYTES_MAX).contains(&chunk.len()), "seed {seed}");
            words += text::count(chunk, &mut table).expect("memory");
            mapped += chunk.len() as u64;
        }
        assert_eq!(cutter.bytes(), input.len() as u64, "seed {seed}");
        assert_eq!(mapped + cutter.passed_over(), cutter.bytes(), "seed {seed}");
        let plain = count(&input[..]).expect("a slice can be read");
        assert_eq!((words, table.distinct() as u64), (plain.words, plain.distinct), "seed {seed}");
        let counts: BTreeMap<_, _> =
            table.iter().map(|(units, count)| (word_bytes(units), count)).collect();
        assert_eq!(counts.values().sum::<u64>(), plain.words, "seed {seed}");
        for (word, count) in &plain.top {
            assert_eq!(counts.get(word), Some(count), "seed {seed}");
        }
    }
}

#[test]
fn the_whole_program_equals_the_plain_count() {
    for seed in 100..112 {
        let mut random = Random(seed);
        let len = random.below(1_500_000) as usize;
        let input = random.text(len);
        let parts = (0..random.below(4)).map(|_| random.below(1 << 18) as usize).collect();
        let mappers = format!("{}", 1 + random.below(3));
        assert_counts(&input, parts, 1 + random.below(4), &["--mappers", &mappers], seed);
    }
}

#[test]
fn small_and_odd_inputs_are_counted() {
    for input in [&b""[..], b" ", b"a", b"\xff", b"a b", b"one\ntwo", &[0; 9], &[b'q'; 200_000]] {
        assert_counts(input, vec![1], 2, &[], 0);
        assert_counts(input, vec![], 3, &[], 0);
    }
}

#[test]
fn nodes_of_several_cpus_count_as_well() {
    let input = Random(5).text(300_000);
    let outcome = run(Scenario { shards: 4, ..scenario(&input, vec![], 2, &[]) });
    assert_eq!(outcome.reason, ExitReason::Normal);
    assert_eq!(outcome.stdout, expected(&input));
}

#[test]
fn counts_beyond_a_mappers_table_are_sent_on_in_between() {
    let mut input = Vec::new();
    (0..120_000_u64)
        .for_each(|n| input.extend_from_slice(format!("{} the ", letters(n * 977)).as_bytes()));
    assert_counts(&input, vec![], 2, &["--mappers", "1"], 0);
}

#[test]
fn a_lost_worker_or_node_fails_the_run_and_prints_no_count() {
    let input = Random(7).text(3_000_000);
    let whole = run(scenario(&input, vec![], 3, &[])).sends;
    let kinds = [
        FaultKind::Kill("mapper"),
        FaultKind::Kill("reducer"),
        FaultKind::LoseNode(1),
        FaultKind::LoseNode(2),
    ];
    for (round, kind) in kinds.iter().cycle().take(24).enumerate() {
        let after_sends = 1 + whole * round as u64 / 26;
        let fault = Some(Fault { after_sends, kind: kind.clone() });
        let outcome = run(Scenario { fault, ..scenario(&input, vec![], 3, &[]) });
        // A fault after the victim's work was done, or before it began, may leave the count whole.
        if outcome.reason == ExitReason::Normal {
            assert_eq!(outcome.stdout, expected(&input), "{kind:?} after {after_sends}");
            continue;
        }
        assert!(matches!(outcome.reason, ExitReason::Error(_)), "{:?}", outcome.reason);
        assert_eq!(outcome.stdout, b"", "{kind:?} after {after_sends}");
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert!(stderr.starts_with("wordcount: "), "{kind:?} after {after_sends}: {stderr}");
    }
}

#[test]
fn a_fault_in_the_middle_is_never_survived() {
    let input = Random(8).text(3_000_000);
    let whole = run(scenario(&input, vec![], 3, &[])).sends;
    for kind in [FaultKind::Kill("mapper"), FaultKind::Kill("reducer"), FaultKind::LoseNode(2)] {
        let fault = Some(Fault { after_sends: whole / 2, kind: kind.clone() });
        let outcome = run(Scenario { fault, ..scenario(&input, vec![], 3, &[]) });
        assert!(matches!(outcome.reason, ExitReason::Error(_)), "{kind:?}: {:?}", outcome.reason);
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert!(stderr.contains("nothing is counted"), "{kind:?}: {stderr}");
    }
}

#[test]
fn a_message_that_vanishes_is_missed() {
    let input = Random(9).text(1_000_000);
    for (tag, complaint) in [(TAG_CHUNK, "bytes read but"), (TAG_BATCH, "batches with")] {
        let fault = Some(Fault { after_sends: 1, kind: FaultKind::DropMessage(tag) });
        let outcome = run(Scenario { fault, ..scenario(&input, vec![], 2, &[]) });
        assert!(matches!(outcome.reason, ExitReason::Error(_)), "{:?}", outcome.reason);
        assert_eq!(outcome.stdout, b"");
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert!(stderr.contains(complaint), "{stderr}");
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [&["--mappers"][..], &["--mappers", "0"], &["--mappers", "65"], &["x"]] {
        let outcome = run(scenario(b"", vec![], 1, arguments));
        assert!(matches!(outcome.reason, ExitReason::Error(_)), "{arguments:?}");
        assert!(outcome.stderr.starts_with(b"wordcount: "), "{arguments:?}");
    }
}
