//! A node on a tap: the host's own TCP at the other end, checksums and segments left to the card.
//!
//! Needs root, for a network namespace and a tap in it; is skipped, with a word, where it is none.

use crate::bed::{guest_for, run};
use crate::random::Random;
use craton_abi::limit;
use craton_qemu::testing::{in_network_namespace, kernel, launch};
use craton_qemu::{Board, EXIT_SUCCESS, MachineConfig, Tap, Traffic, node_address, node_mac};
use craton_tool::client::Client;
use craton_tool::keys::Keys;
use std::io::Cursor;

/// Bytes that go to the node and come back.
const BYTES: usize = 4 << 20;
/// The longest frame that is not cut, with its header.
const ORDINARY_FRAME_BYTES_MAX: u64 = 1514;

/// Cards that can do less, as QEMU's options have it, and what the kernel says of them.
const LESSER_CARDS: [(&str, &str); 6] = [
    ("mrg_rxbuf=off", "checksums: sent and received; TCP segments: sent"),
    ("csum=off", "checksums: received; TCP segments: received"),
    ("guest_csum=off", "checksums: sent; TCP segments: sent"),
    ("event_idx=off", "checksums: sent and received; TCP segments: sent and received"),
    ("host_mtu=1400", "MTU 1400, link up"),
    ("rx_queue_size=1024", "MTU 1500, link up"),
];

#[test]
fn segments_are_left_to_a_card_on_pci() {
    in_network_namespace("tap::segments_are_left_to_a_card_on_pci", || leave_segments(Board::Q35));
}

#[test]
fn segments_are_left_to_a_card_in_memory() {
    in_network_namespace("tap::segments_are_left_to_a_card_in_memory", || {
        leave_segments(Board::Microvm);
    });
}

#[test]
fn a_card_that_can_do_less_carries_the_same() {
    in_network_namespace("tap::a_card_that_can_do_less_carries_the_same", || {
        let tap = Tap::start("tap0").unwrap();
        for (options, said) in LESSER_CARDS {
            let machine = MachineConfig::new(kernel()).card_options(options);
            echo(&tap, machine, said);
        }
    });
}

/// Each CPU has a pair of queues of its own, and is interrupted by it alone.
#[test]
fn every_cpu_has_queues_of_its_own() {
    in_network_namespace("tap::every_cpu_has_queues_of_its_own", || {
        test_pairs(&Tap::start_with_queues("tap0", 2).unwrap(), MachineConfig::new(kernel()));
    });
}

/// One line leads to one CPU.
#[test]
fn a_card_in_memory_interrupts_by_its_line() {
    in_network_namespace("tap::a_card_in_memory_interrupts_by_its_line", || {
        let machine = MachineConfig::new(kernel()).board(Board::Microvm);
        test_pairs(&Tap::start("tap0").unwrap(), machine);
    });
}

/// Lets the kernel test the card's pairs, as many as the tap has.
fn test_pairs(tap: &Tap, machine: MachineConfig) {
    let machine = machine.cpus(tap.queues()).memory_mib(64).command_line("selftest=card");
    let mut machine = launch(machine.tap(tap, node_mac(0)));
    assert_eq!(machine.expect_exit().code(), Some(EXIT_SUCCESS));
    machine.expect_line("ok card_pairs");
}

fn leave_segments(board: Board) {
    let tap = Tap::start("tap0").unwrap();
    let said = "checksums: sent and received; TCP segments: sent and received";
    let traffic = echo(&tap, MachineConfig::new(kernel()).board(board), said);
    for (way, Traffic { frames, bytes }) in ["to", "from"].into_iter().zip(traffic) {
        // Were each of them an ordinary frame at most, they could not have carried so much.
        assert!(bytes > BYTES as u64, "{bytes} bytes {way} the node");
        assert!(bytes > frames * ORDINARY_FRAME_BYTES_MAX, "{bytes} bytes, {frames} {way} it");
    }
}

/// Boots a node whose card does what is said, sends it bytes and has them back; gives what passed
/// the tap for that.
fn echo(tap: &Tap, machine: MachineConfig, said: &str) -> [Traffic; 2] {
    let keys = Keys::generate("tester").unwrap();
    let config = keys.node_config("n1").unwrap().render();
    let machine = launch(machine.memory_mib(64).node_config(config).tap(tap, node_mac(0)));
    let line = machine.expect_line("network card: ");
    assert!(line.contains(said), "{line}");
    machine.expect_line(" node: address ");
    let to = (node_address(0), limit::SESSION_PORT).into();
    let mut client = Client::connect(to, &keys).unwrap();
    let sent = Random::new(1).bytes(BYTES);
    let program = guest_for("echo", &keys);
    let before = tap.traffic().unwrap();
    let ran = run(&mut client, &program, &[], Cursor::new(sent.clone()), |_| {}).unwrap();
    assert!(ran.reason.is_orderly(), "{}: {}", ran.reason, ran.stderr);
    assert!(ran.stdout == sent, "{} bytes came back of {}", ran.stdout.len(), sent.len());
    let after = tap.traffic().unwrap();
    [0, 1].map(|way| Traffic {
        frames: after[way].frames - before[way].frames,
        bytes: after[way].bytes - before[way].bytes,
    })
}
