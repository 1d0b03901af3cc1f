//! One machine that boots the real kernel: it tests itself, and reports each fault in words.
//!
//! `selftest` runs the kernel's tests in the kernel (on many kinds of machines: `matrix.rs`);
//! `fault=NAME` provokes a fault, which must be reported once, with the right words and exit
//! status.

use craton_qemu::testing::{LONG, expect_selftest, kernel, launch};
use craton_qemu::{
    Board, EXIT_EXCEPTION, EXIT_FAILURE, EXIT_PANIC, Lan, MachineConfig, WaitError, node_mac,
};

/// Where most faults happen.
const PROVOKE: &str = "craton_hal::fault::provoke";

/// What the kernel's first line has in it.
const FIRST_LINE: &str = "kernel: craton ";
const BOARDS: [Board; 3] = [Board::Q35, Board::Pc, Board::Microvm];

fn machine() -> MachineConfig {
    MachineConfig::new(kernel()).memory_mib(64)
}

/// Whether the kernel under test carries the names of its functions: `make` gives it them, cargo
/// alone does not.
fn has_names() -> bool {
    !kernel().ends_with("craton-kernel")
}

/// Provokes a fault and expects a line that contains the words, then a backtrace that names the
/// function in which it happened, then the end.
#[track_caller]
fn expect_report(fault: &str, words: &[&str], function: &str, status: i32) {
    expect_report_of(machine(), fault, words, function, status);
}

#[track_caller]
fn expect_report_of(
    machine: MachineConfig,
    fault: &str,
    words: &[&str],
    function: &str,
    status: i32,
) {
    let mut machine = launch(machine.command_line(format!("fault={fault}")));
    assert_eq!(machine.expect_exit().code(), Some(status));
    let lines = machine.lines();
    for words in words.iter().chain(&["backtrace:"]) {
        let times = lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!(times, 1, "{words:?} in the report");
    }
    let trace = lines.iter().skip_while(|line| *line != "backtrace:").skip(1);
    let trace: Vec<_> = trace.take_while(|line| line.starts_with("  0x")).collect();
    assert!(!trace.is_empty(), "no backtrace");
    let place = format!(" {function}+0x");
    let named = trace.iter().any(|line| line.contains(&place));
    assert_eq!(named, has_names(), "{function} in the backtrace");
}

#[test]
fn the_selftest_passes_with_a_network_and_two_cpus() {
    let lan = Lan::new(1);
    let port = lan.attach().expect("a LAN has ports");
    expect_selftest(machine().cpus(2).network(port, node_mac(1)));
}

#[test]
fn a_null_read_is_reported() {
    let words = ["FATAL EXCEPTION 14: page fault", "read where nothing is mapped at address 0x8"];
    expect_report("null-read", &words, PROVOKE, EXIT_EXCEPTION);
}

#[test]
fn a_write_to_text_is_reported() {
    let words = ["FATAL EXCEPTION 14: page fault", "write against the page's protection"];
    expect_report("write-text", &words, PROVOKE, EXIT_EXCEPTION);
}

#[test]
fn execution_of_data_is_reported() {
    let words = ["FATAL EXCEPTION 14: page fault", "execution against the page's protection"];
    expect_report("exec-data", &words, PROVOKE, EXIT_EXCEPTION);
}

#[test]
fn a_stack_overflow_is_reported_with_the_name_of_the_stack() {
    let words = ["FATAL EXCEPTION 14: page fault", "overflow of the main stack"];
    expect_report("stack-overflow", &words, "craton_hal::fault::overflow", EXIT_EXCEPTION);
}

#[test]
fn a_division_by_zero_is_reported() {
    expect_report("divide", &["FATAL EXCEPTION 0: divide error"], PROVOKE, EXIT_EXCEPTION);
}

#[test]
fn an_invalid_opcode_is_reported() {
    expect_report(
        "invalid-opcode",
        &["FATAL EXCEPTION 6: invalid opcode"],
        PROVOKE,
        EXIT_EXCEPTION,
    );
}

#[test]
fn a_double_fault_is_reported() {
    expect_report("double-fault", &["FATAL EXCEPTION 8: double fault"], PROVOKE, EXIT_EXCEPTION);
}

#[test]
fn memory_that_is_used_up_is_reported_with_what_was_asked_for() {
    let words = ["PANIC on CPU 0 at ", "memory allocation of 65536 bytes failed"];
    expect_report("out-of-memory", &words, PROVOKE, EXIT_PANIC);
}

#[test]
fn a_panic_in_an_interrupt_is_reported_as_such() {
    let words = ["PANIC on CPU 0 in an interrupt at kernel/hal/src/fault.rs:"];
    expect_report("panic-in-interrupt", &words, "craton_hal::interrupt::dispatch", EXIT_PANIC);
}

#[test]
fn a_panic_on_another_cpu_is_reported_with_its_number() {
    let words = ["PANIC on CPU 1 at kernel/hal/src/fault.rs:", "asked for, on CPU 1"];
    let function = "craton_hal::fault::panic_elsewhere";
    expect_report_of(machine().cpus(2), "panic-on-second-cpu", &words, function, EXIT_PANIC);
}

#[test]
fn a_panic_is_reported_with_its_place() {
    let words = ["PANIC on CPU 0 at kernel/src/command_line.rs:"];
    expect_report("panic", &words, "craton_kernel::command_line::provoke", EXIT_PANIC);
}

#[test]
fn every_board_is_switched_off() {
    for board in BOARDS {
        let config = machine().board(board).command_line("poweroff").reboots();
        let mut machine = launch(config);
        assert_eq!(machine.expect_exit().code(), Some(0), "{board:?}");
        let boots = machine.lines().iter().filter(|line| line.contains(FIRST_LINE)).count();
        assert_eq!(boots, 1, "{board:?}");
    }
}

#[test]
fn every_board_reboots() {
    for board in BOARDS {
        let machine = launch(machine().board(board).command_line("reboot").reboots());
        let mut boots = 0;
        let thrice = machine.wait_for(
            |line| {
                boots += u32::from(line.contains(FIRST_LINE));
                boots == 3
            },
            LONG,
        );
        assert_ne!(thrice.err(), Some(WaitError::TimedOut), "{board:?} booted {boots} times");
        assert_eq!(boots, 3, "{board:?}");
    }
}

#[test]
fn what_the_command_line_gets_wrong_is_told_with_the_nearest_that_is_right() {
    let line = "sedes=10.0.0.1 name=\"n 1\" boot log=\"debug";
    let mut machine = launch(machine().command_line(line));
    machine.expect_line("command line: a quote is not closed");
    machine.expect_line("unknown configuration key 'sedes': did you mean 'seeds'?");
    machine.expect_line("configuration key 'name': wanted 1 to 63 letters");
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
}

#[test]
fn a_fault_of_no_known_name_is_refused() {
    let mut machine = launch(machine().command_line("fault=nul-read"));
    machine.expect_line("did you mean fault=null-read?");
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
}
