//! What the command line asks of the kernel itself, in place of a node or beside it.
//!
//! Owns [`OWN_KEYS`] and what they do: `selftest` (and its `soak`), `fault`, `boottrace`, what is
//! measured on the machine (`heapbench`, `timerbench`), its two ends, `poweroff` and `reboot`,
//! which show that it has them, and the `services` that a node gives everybody. All other keys are
//! the node's configuration and are read in `start.rs`.

use crate::start::refuse;
use crate::{selftest, selftest_card, selftest_engine};
use alloc::vec::Vec;
use craton_hal::power::{self, ExitCode};
use craton_hal::{boot, fault, heapbench, measure};
use craton_node::command_line::{Word, parse};
use craton_node::config::nearest;
use craton_services::Enabled;
use log::{LevelFilter, warn};

/// Keys that are not the node's. The last is the hypervisor's, and read in `craton-hal`.
pub(crate) const OWN_KEYS: [&str; 10] = [
    "selftest",
    "soak",
    "fault",
    "boottrace",
    "heapbench",
    "timerbench",
    "poweroff",
    "reboot",
    "services",
    "virtio_mmio.device",
];

/// The words of the machine's command line.
pub(crate) fn words() -> Vec<Word> {
    parse(boot::command_line()).0
}

/// The log level that the line asks for; the node will complain about one that is none.
pub(crate) fn log_level() -> Option<LevelFilter> {
    let words = words();
    let level = words.iter().rfind(|word| word.key == "log")?;
    level.value.as_deref()?.parse().ok()
}

/// Whether a word stands there, alone.
pub(crate) fn asks_for(key: &str) -> bool {
    words().iter().any(|word| word.key == key && word.value.is_none())
}

/// The services that the line turns on; a machine that is asked for one that it does not have ends.
pub(crate) fn services() -> Enabled {
    let words = words();
    let word = words.iter().find(|word| word.key == "services");
    let list = word.and_then(|word| word.value.as_deref()).unwrap_or("");
    Enabled::parse(list).unwrap_or_else(|error| refuse(format_args!("services: {error}")))
}

/// Runs the tests, measures or provokes the fault that the line asks for. Returns if it asks for
/// none of them.
pub(crate) fn obey() {
    let (words, problem) = parse(boot::command_line());
    if let Some(problem) = problem {
        warn!("command line: {problem}");
    }
    for Word { key, value } in &words {
        match (key.as_str(), value.as_deref()) {
            ("selftest", None) => selftest::run(),
            ("selftest", Some("engine")) => selftest_engine::run(),
            ("selftest", Some("card")) => selftest_card::run(),
            ("selftest", Some(_)) => {
                refuse(format_args!("the tests are selftest, selftest=engine and selftest=card"))
            }
            ("heapbench", None) => {
                heapbench::run();
                power::end(ExitCode::Success)
            }
            ("timerbench", None) => {
                measure::timer();
                power::end(ExitCode::Success)
            }
            ("poweroff", None) => power::power_off(),
            ("reboot", None) => power::reset(),
            ("fault", name) => provoke(name.unwrap_or("")),
            _ => {}
        }
    }
}

/// Never inlined, so that a backtrace has it.
#[inline(never)]
fn provoke(name: &str) -> ! {
    if name == "panic" {
        panic!("asked for by the command line");
    }
    fault::provoke(name);
    let known = fault::NAMES;
    match nearest(name, &known) {
        _ if known.contains(&name) => refuse(format_args!("fault={name} did not happen")),
        Some(near) => refuse(format_args!("no fault of this name: did you mean fault={near}?")),
        None => refuse(format_args!("no fault of this name: {}, panic", known.join(", "))),
    }
}
