//! A node on a tap: the host's own TCP at the other end, checksums and segments left to the card.
//!
//! Needs root, for a network namespace and a tap in it; is skipped, with a word, where it is none.

use crate::bed::{guest_for, run};
use crate::random::Random;
use craton_abi::limit;
use craton_qemu::testing::{in_network_namespace, kernel, launch};
use craton_qemu::{Board, EXIT_SUCCESS, MachineConfig, Tap, node_address, node_mac};
use craton_tool::client::Client;
use craton_tool::keys::Keys;
use std::io::Cursor;

/// Bytes that go to the node and come back.
const BYTES: usize = 4 << 20;
/// The longest frame that is not cut, with its header.
const ORDINARY_FRAME_BYTES_MAX: u64 = 1514;

#[test]
fn segments_are_left_to_a_card_on_pci() {
    in_network_namespace("tap::segments_are_left_to_a_card_on_pci", || echo(Board::Q35));
}

#[test]
fn segments_are_left_to_a_card_in_memory() {
    in_network_namespace("tap::segments_are_left_to_a_card_in_memory", || echo(Board::Microvm));
}

/// Each CPU has a pair of queues of its own, and is interrupted by it alone.
#[test]
fn every_cpu_has_queues_of_its_own() {
    in_network_namespace("tap::every_cpu_has_queues_of_its_own", || {
        let tap = Tap::start_with_queues("tap0", 2).unwrap();
        let machine = MachineConfig::new(kernel()).cpus(2).memory_mib(64);
        let machine = machine.command_line("selftest=card").tap(&tap, node_mac(0));
        let mut machine = launch(machine);
        assert_eq!(machine.expect_exit().code(), Some(EXIT_SUCCESS));
        machine.expect_line("ok card_pairs");
    });
}

fn echo(board: Board) {
    let tap = Tap::start("tap0").unwrap();
    let keys = Keys::generate("tester").unwrap();
    let config = keys.node_config("n1").unwrap().render();
    let machine = MachineConfig::new(kernel()).board(board).memory_mib(64).node_config(config);
    let machine = launch(machine.tap(&tap, node_mac(0)));
    machine.expect_line(" node: address ");
    let mut client = Client::connect((node_address(0), limit::SESSION_PORT).into(), &keys).unwrap();
    let sent = Random::new(1).bytes(BYTES);
    let program = guest_for("echo", &keys);
    let before = tap.traffic().unwrap();
    let ran = run(&mut client, &program, &[], Cursor::new(sent.clone()), |_| {}).unwrap();
    assert!(ran.reason.is_orderly(), "{}: {}", ran.reason, ran.stderr);
    assert!(ran.stdout == sent, "{} bytes came back of {}", ran.stdout.len(), sent.len());
    let after = tap.traffic().unwrap();
    for (way, (before, after)) in ["to", "from"].into_iter().zip(before.into_iter().zip(after)) {
        let (frames, bytes) = (after.frames - before.frames, after.bytes - before.bytes);
        // Were each of them an ordinary frame at most, they could not have carried so much.
        assert!(bytes > BYTES as u64, "{bytes} bytes {way} the node");
        assert!(bytes > frames * ORDINARY_FRAME_BYTES_MAX, "{bytes} bytes, {frames} {way} it");
    }
}
