//! How a machine becomes a node: where the time goes, and what it cannot be without.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use craton_qemu::testing::{kernel, launch};
use craton_qemu::{Accelerator, Board, EXIT_FAILURE, Gateway, Lan, MachineConfig, node_mac};
use craton_tool::keys::Keys;

/// A machine that has all that a node needs.
fn node(lan: &Lan) -> MachineConfig {
    let config = Keys::generate("tester").unwrap().node_config("n1").unwrap().render();
    let port = lan.attach().unwrap();
    MachineConfig::new(kernel()).memory_mib(64).node_config(config).network(port, node_mac(0))
}

/// The time in `boottrace: N us ...`.
fn micros(line: &str) -> u64 {
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_trace_of_booting_has_all_stages_in_order() {
    let lan = Lan::new(1);
    let machine = launch(node(&lan).command_line("boottrace"));
    machine.expect_line(" us before the kernel's entry");
    let mut before = 0;
    for stage in [
        "entry code",
        "memory",
        "first line",
        "clocks",
        "configuration",
        "other CPUs",
        "devices, randomness",
        "network card",
        "node",
        "engine",
        "ready",
    ] {
        let line = machine.expect_line(&format!(" us {stage}"));
        assert!(micros(&line) > before, "{line} after {before}");
        before = micros(&line);
    }
    assert!(before < 60_000_000, "a minute from the entry to ready");
}

#[test]
fn a_node_names_the_sources_of_its_randomness() {
    let lan = Lan::new(1);
    for (cpu, device, sources) in [
        (true, true, "the CPU and virtio-rng"),
        (true, false, "the CPU"),
        (false, true, "virtio-rng"),
    ] {
        let machine = launch(node(&lan).entropy(cpu, device));
        machine.expect_line("ready: node ");
        let line = machine.expect_line("randomness comes from ");
        assert!(line.ends_with(&format!("randomness comes from {sources}")), "{line}");
    }
}

#[test]
fn a_machine_without_randomness_refuses_to_be_a_node() {
    let lan = Lan::new(1);
    let mut machine = launch(node(&lan).entropy(false, false));
    machine.expect_line("cannot run: no source of randomness");
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
    assert!(machine.lines().iter().all(|line| !line.contains("ready: node ")));
}

/// Its devices lie in memory and interrupt through an I/O APIC.
#[test]
fn a_node_on_a_board_without_pci_joins_one_on_pci() {
    let lan = Lan::new(1);
    let _gateway = Gateway::start(&lan).unwrap();
    let keys = Keys::generate("tester").unwrap();
    let launch_on = |board, number: u8| {
        let config = keys.node_config(&format!("n{number}")).unwrap().render();
        let port = lan.attach().unwrap();
        let machine = MachineConfig::new(kernel()).board(board).memory_mib(64);
        let machine = machine.node_config(config).network(port, node_mac(number));
        launch(machine.entropy(false, true))
    };
    let machines = [launch_on(Board::Microvm, 1), launch_on(Board::Q35, 2)];
    for machine in &machines {
        machine.expect_line("randomness comes from virtio-rng");
        machine.expect_line(" node: address ");
        machine.expect_line(" is up at ");
    }
}

/// A machine without anything but a kernel, that cannot run it.
#[track_caller]
fn expect_refusal(config: MachineConfig, words: &str) {
    let mut machine = launch(config);
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
    let lines = machine.lines();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("cannot run: ")).collect();
    assert_eq!(told.len(), 1, "one sentence");
    assert!(told[0].contains(words), "{words:?} in {:?}", told[0]);
    assert!(lines.iter().all(|line| !line.contains("PANIC") && !line.contains("FATAL")));
}

#[test]
fn a_machine_whose_memory_does_not_hold_the_kernel_says_so() {
    let config = MachineConfig::new(kernel()).memory_mib(4);
    expect_refusal(config, "too little memory, not even the kernel fits in");
}

#[test]
fn a_command_line_that_is_too_long_is_refused() {
    let config = MachineConfig::new(kernel()).command_line("x".repeat(2049));
    expect_refusal(config, "the command line is longer than 2048 bytes");
}

/// CPUs that only emulation can show.
fn with_cpu(model: &str) -> MachineConfig {
    MachineConfig::new(kernel()).accelerator(Accelerator::Tcg).cpu(model)
}

#[test]
fn a_cpu_without_what_the_kernel_needs_is_refused() {
    expect_refusal(with_cpu("486"), "this CPU has no 64-bit mode");
    expect_refusal(with_cpu("qemu32"), "this CPU has no 64-bit mode");
    expect_refusal(with_cpu("qemu64,-nx"), "this CPU cannot forbid execution of a page (NX)");
}

#[test]
fn a_cpu_that_cannot_run_programs_is_none_of_a_node() {
    expect_refusal(with_cpu("Nehalem,-popcnt"), "this CPU has no POPCNT;");
    expect_refusal(with_cpu("core2duo,-ssse3"), "has no SSSE3, SSE4.1, SSE4.2, POPCNT;");
}
