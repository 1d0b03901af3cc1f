//! The engine's own tests, run in the kernel on a machine (`kernel/src/selftest_engine.rs`).
//!
//! The guest is compiled and signed here and handed to the kernel as its module.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use craton_bundle::CompilerSecret;
use craton_qemu::testing::{Watched, kernel, launch};
use craton_qemu::{EXIT_FAILURE, EXIT_SUCCESS, MachineConfig};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

const GUEST: &str = include_str!("../../kernel/engine/guests/selftest.wat");
/// How long they may take on a machine that does much else.
const LONG: Duration = Duration::from_secs(600);
/// Tests of the engine in the kernel: fewer means that one was lost.
const TESTS: usize = 33;

fn secret() -> CompilerSecret {
    CompilerSecret::from_bytes([7; 32])
}

fn bundle() -> Vec<u8> {
    craton_compile::bundle("selftest", &wat::parse_str(GUEST).unwrap(), &secret()).unwrap()
}

/// Starts a machine that tests its engine with `bundle`, which only exists in memory; `more` is
/// added to its command line.
fn test_with(bundle: &[u8], more: &str) -> Watched {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("bundle", flags).unwrap());
    file.write_all(bundle).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let line = format!("selftest=engine compiler-keys={} {more}", secret().key());
    let config = MachineConfig::new(kernel()).cpus(2).memory_mib(64);
    let config = config.command_line(line).initrd(path);
    let mut machine = launch(config);
    machine.wait_exit(LONG).expect("the tests come to an end");
    machine
}

fn expect_all_passed(mut machine: Watched) {
    let lines = machine.lines();
    let sum = format!("selftest: {TESTS} passed, 0 failed");
    assert_eq!(lines.last(), Some(&sum));
    assert_eq!(machine.expect_exit().code(), Some(EXIT_SUCCESS));
}

#[test]
fn the_engine_passes_its_tests_on_a_machine() {
    expect_all_passed(test_with(&bundle(), ""));
}

#[test]
#[ignore = "soaks for a minute what the other test soaks for a moment"]
fn the_engine_soaks_for_a_minute_on_two_cpus() {
    expect_all_passed(test_with(&bundle(), "soak=60"));
}

#[test]
fn a_mutated_bundle_is_refused_by_the_machine() {
    let mut bundle = bundle();
    let last = bundle.len() - 1;
    bundle[last] ^= 1;
    let mut machine = test_with(&bundle, "");
    machine.expect_line("FAILED engine_loads: artifact 0 is not what was signed");
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
}
