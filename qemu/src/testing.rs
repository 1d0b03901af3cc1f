//! Help for tests with real machines.
//!
//! Owns finding the kernel under test, and what happens to a machine's log when its test fails: it
//! is printed, and kept in `build/test`. Used by `qemu/tests` and by the tests of the tool.

use crate::{EXIT_SUCCESS, Machine, MachineConfig, WaitError};
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// For everything that a working machine does: a test that passes never waits so long, and one
/// on a host a hundred times slower still passes.
pub const LONG: Duration = Duration::from_secs(120);

/// The kernel to test: `CRATON_KERNEL`, or the newer of what `make build` and cargo left.
///
/// # Panics
/// When there is none.
pub fn kernel() -> PathBuf {
    if let Some(path) = std::env::var_os("CRATON_KERNEL") {
        return path.into();
    }
    let top = top();
    ["build/kernel.elf", "target/release/craton-kernel"]
        .into_iter()
        .filter_map(|path| Some((top.join(path).metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| top.join(path))
        .expect("no kernel to test; run: make build")
}

/// The top of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Keeps the log of a machine whose test fails in `build/test`, under the name of the test, and
/// says where. Nothing is done in a test that goes well.
pub fn keep_log(machine: &Machine) {
    if !std::thread::panicking() {
        return;
    }
    // The harness names a test's thread after the test.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").replace("::", ".");
    let folder = top().join("build/test");
    let file = folder.join(format!("{test}.{}.log", machine.process_id()));
    let text: String = machine.lines().iter().map(|line| format!("{line}\n")).collect();
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text)) {
        Ok(()) => eprintln!("--- the log is kept in {}", file.display()),
        Err(error) => eprintln!("--- the log is not kept in {}: {error}", file.display()),
    }
}

/// For the kernel's own tests, which touch every byte of a memory that may be large.
const SELFTEST_LONG: Duration = Duration::from_secs(600);

/// Runs the kernel's own tests on a machine: all of them are to pass.
///
/// # Panics
/// When one does not.
#[track_caller]
pub fn expect_selftest(config: MachineConfig) {
    let cpus = match config.cpu_count() {
        1 => ": 1 CPU,".to_string(),
        cpus => format!(": {cpus} CPUs,"),
    };
    let mut machine = launch(config.command_line("selftest"));
    let status = machine.wait_exit(SELFTEST_LONG).expect("the tests come to an end");
    assert_eq!(status.code(), Some(EXIT_SUCCESS));
    let lines = machine.lines();
    assert!(lines.iter().any(|line| line.contains(&cpus)), "not all CPUs run");
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert!(count("ok ") > 0);
    assert_eq!(count("FAILED "), 0);
    let sum = format!("selftest: {} passed, 0 failed", count("ok "));
    assert_eq!(lines.last(), Some(&sum));
}

/// How the line begins that says that something is not tested here.
const SKIPPED: &str = "skipped: ";

/// Says that a test, or a part of it, is not run here, and what is missing for it.
pub fn skipped(test: &str, why: &str) {
    // Past the harness, which shows what a test prints only when it fails.
    let _ = writeln!(std::io::stderr(), "{SKIPPED}{test}: {why}");
}

/// Says to a test that it runs in a network namespace of its own.
const NAMESPACE: &str = "CRATON_TEST_NAMESPACE";

/// Runs the body of a test in a network namespace of its own, where it may make network cards as it
/// likes: in another process of the same test binary, which runs the one test of this name. Where
/// that is not possible the test is skipped, and says so.
///
/// # Panics
/// When the body does.
pub fn in_network_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(NAMESPACE).is_some() {
        return body();
    }
    let in_namespace = || {
        // The namespace and all that is in it end with this process.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net"]);
        command
    };
    let probe = in_namespace().args(["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped(test, "it needs root, /dev/net/tun and iproute2");
    }
    let binary = std::env::current_exe().expect("a test is a program");
    let output = in_namespace()
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(NAMESPACE, "1")
        .output()
        .expect("it was there a moment ago");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}{complained}");
    for line in complained.lines().filter(|line| line.starts_with(SKIPPED)) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A machine whose log is printed and kept when the test that owns it fails.
pub struct Watched(Machine);

/// Starts a machine for a test.
///
/// # Panics
/// When it does not start.
#[track_caller]
pub fn launch(config: MachineConfig) -> Watched {
    match Machine::launch(config) {
        Ok(machine) => Watched(machine),
        Err(error) => panic!("{error}"),
    }
}

impl Watched {
    /// Waits for a line that contains the text.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn expect_line(&self, text: &str) -> String {
        match self.wait_for(|line| line.contains(text), LONG) {
            Ok(line) => line,
            Err(error) => panic!("no line with {text:?}: {error}"),
        }
    }

    /// Waits for the machine's end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn expect_exit(&mut self) -> ExitStatus {
        match self.wait_exit(LONG) {
            Ok(status) => status,
            Err(WaitError::TimedOut) => panic!("the machine runs on"),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Deref for Watched {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.0
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- serial log of the machine:");
            self.lines().iter().for_each(|line| eprintln!("{line}"));
            eprintln!("--- end of the log");
        }
        keep_log(&self.0);
    }
}
