//! `selftest` on the command line: runs the tests of the machine and exits with a code.
//!
//! Owns the lines that the QEMU tests read: `ok NAME`, `FAILED NAME: why`, and a last one with the
//! counts. The tests are [`craton_hal::selftest::TESTS`].

use craton_hal::power::{self, ExitCode};
use craton_hal::selftest::{TESTS, Test};
use craton_hal::{clock, serial};

/// Runs all tests and ends the machine.
pub(crate) fn run() -> ! {
    let failed = TESTS.iter().filter(|test| !passes(test)).count();
    serial::write(format_args!("selftest: {} passed, {failed} failed\n", TESTS.len() - failed));
    power::end(if failed == 0 { ExitCode::Success } else { ExitCode::Failure })
}

fn passes((name, test): &Test) -> bool {
    let start = clock::now();
    let outcome = test();
    let took = clock::now() - start;
    match &outcome {
        Ok(()) => serial::write(format_args!("ok {name} ({took})\n")),
        Err(why) => serial::write(format_args!("FAILED {name}: {why}\n")),
    }
    outcome.is_ok()
}
