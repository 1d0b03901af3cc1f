//! Help for tests with real machines.
//!
//! Owns finding the kernel under test, and showing a machine's log when its test fails. Used by
//! `qemu/tests` and by the tests of the tool.

use crate::{Machine, MachineConfig, WaitError};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
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
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    ["build/kernel.elf", "target/release/craton-kernel"]
        .into_iter()
        .filter_map(|path| Some((top.join(path).metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| top.join(path))
        .expect("no kernel to test; run: make build")
}

/// A machine whose log is printed when the test that owns it fails.
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
    }
}
