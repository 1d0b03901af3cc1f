//! What a machine promises, shown with a kernel of a few bytes (`probe/`).
//!
//! Covers the serial log, exit statuses, the secret configuration, crash and pause, and that no
//! QEMU outlives its parent.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod probe;

use craton_qemu::{
    EXIT_FAILURE, EXIT_SUCCESS, Lan, LaunchError, Machine, MachineConfig, WaitError, node_mac,
};
use probe::Probe;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for any machine; a test that works never waits for it.
const LONG: Duration = Duration::from_secs(120);

fn launch(probe: &Probe, config: &[u8]) -> Machine {
    Machine::launch(MachineConfig::new(probe.path()).memory_mib(32).node_config(config)).unwrap()
}

#[test]
fn the_configuration_arrives_and_the_exit_status_comes_back() {
    let probe = Probe::new();
    for (byte, status) in [(b'\x10', EXIT_SUCCESS), (b'\x11', EXIT_FAILURE)] {
        let mut config = b"name=node1\nnoise-key=5ec2e7\n".to_vec();
        config.push(byte);
        let mut machine = launch(&probe, &config);
        assert_eq!(machine.wait_exit(LONG).unwrap().code(), Some(status), "{:?}", machine.lines());
        assert_eq!(machine.lines()[..3], ["boot", "name=node1", "noise-key=5ec2e7"]);
    }
}

#[test]
fn a_configuration_longer_than_a_pipe_arrives_whole() {
    let probe = Probe::new();
    let line = "x".repeat(99);
    let config = format!("{line}\n").repeat(1000) + "\x10";
    let mut machine = launch(&probe, config.as_bytes());
    machine.wait_exit(LONG).unwrap();
    let lines = machine.lines();
    assert_eq!(lines.iter().filter(|seen| **seen == line).count(), 1000);
}

#[test]
fn a_killed_machine_ends_the_waits_for_it() {
    let probe = Probe::new();
    let mut machine = launch(&probe, b"up\n");
    machine.wait_for(|line| line == "up", LONG).unwrap();
    assert_eq!(machine.wait_exit(Duration::ZERO), Err(WaitError::TimedOut));
    assert!(machine.resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    machine.kill();
    assert_eq!(machine.wait_for(|line| line == "never", LONG), Err(WaitError::Ended));
    assert_eq!(machine.wait_exit(LONG).unwrap().signal(), Some(9));
    assert_eq!(machine.resident_bytes(), None);
    machine.kill();
}

#[test]
fn a_paused_machine_goes_on_where_it_was() {
    let probe = Probe::new();
    let mut machine = launch(&probe, b"\x10");
    machine.pause();
    machine.resume();
    assert_eq!(machine.wait_exit(LONG).unwrap().code(), Some(EXIT_SUCCESS));
}

#[test]
fn a_machine_takes_its_place_on_a_lan() {
    let (lan, probe) = (Lan::new(1), Probe::new());
    let port = lan.attach().unwrap();
    let id = port.id();
    let config = MachineConfig::new(probe.path()).memory_mib(32).network(port, node_mac(1));
    let machine = Machine::launch(config).unwrap();
    machine.wait_for(|line| line == "boot", LONG).unwrap();
    assert!(lan.counters(id).is_some());
    drop(machine);
    let deadline = Instant::now() + LONG;
    while lan.counters(id).is_some() {
        assert!(Instant::now() < deadline, "the port of a dead machine stays");
        std::thread::yield_now();
    }
}

#[test]
fn the_lines_go_to_the_sink_as_they_come() {
    let probe = Probe::new();
    let (sender, lines) = std::sync::mpsc::channel();
    let config = MachineConfig::new(probe.path())
        .memory_mib(32)
        .node_config(b"one\ntwo\n".to_vec())
        .on_line(move |line| sender.send(line.to_owned()).unwrap());
    let _machine = Machine::launch(config).unwrap();
    let lines: Vec<String> = lines.iter().take(3).collect();
    assert_eq!(lines, ["boot", "one", "two"]);
}

#[test]
fn a_kernel_that_is_not_there_or_is_none_is_an_error_with_words() {
    let error = Machine::launch(MachineConfig::new("/nonexistent/kernel.elf")).err().unwrap();
    assert!(matches!(error, LaunchError::File(..)), "{error}");
    assert!(error.to_string().contains("/nonexistent/kernel.elf"), "{error}");
    let mut machine = Machine::launch(MachineConfig::new("/dev/null")).unwrap();
    assert_eq!(machine.wait_for(|_| false, LONG), Err(WaitError::Ended));
    assert!(!machine.wait_exit(LONG).unwrap().success());
    let lines = machine.lines();
    assert!(lines.iter().any(|line| line.starts_with("qemu: ")), "{lines:?}");
}

const ORPHAN: &str = "CRATON_QEMU_TEST_ORPHAN";

/// Not a test by itself: what the test below starts and kills.
#[test]
fn parent_to_be_killed() {
    if std::env::var_os(ORPHAN).is_none() {
        return;
    }
    let probe = Probe::new();
    let config = MachineConfig::new(probe.path()).memory_mib(32).paused();
    let mut machine = Machine::launch(config).unwrap();
    // On a line of its own, whatever the test harness has printed before.
    println!("\nmachine {}", machine.process_id());
    let _ = machine.wait_exit(LONG);
}

#[test]
fn a_parent_killed_outright_leaves_no_qemu() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_to_be_killed", "--nocapture"])
        .env(ORPHAN, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(parent.stdout.take().unwrap());
    let machine = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("machine ")?.parse().ok())
        .expect("the parent launches a machine");
    let machine = pidfd_open(Pid::from_raw(machine).unwrap(), PidfdFlags::empty()).unwrap();
    let mut ended = [PollFd::new(&machine, PollFlags::IN)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut ended, Some(&zero)).unwrap(), 0, "the machine runs");
    parent.kill().unwrap();
    parent.wait().unwrap();
    let long = rustix::event::Timespec { tv_sec: 120, tv_nsec: 0 };
    assert_eq!(poll(&mut ended, Some(&long)).unwrap(), 1, "the machine outlived its parent");
}
