//! A Linux guest with Erlang/OTP that measures when it is asked.
//!
//! Owns [`Beam`]: its boot with as many schedulers as CPUs, the module `craton_bench` and the
//! native program that are laid over its image, and one question at a time over its serial
//! console. The image and the compiler of the module are those of the peers' folder.

use crate::cpio::{Entry, archive};
use crate::peers::Peers;
use craton_qemu::{Machine, MachineConfig};
use craton_tool::error::{Context, Error, Result};
use craton_tool::scratch::Scratch;
use serde_json::Value;
use std::time::Duration;

const MEMORY_MIB: u32 = 1536;
/// Linux boots in half a second, BEAM in two; both in many times that where instructions are
/// counted.
const READY_WAIT: Duration = Duration::from_secs(120);
/// How long one figure may take.
const ANSWER_WAIT: Duration = Duration::from_secs(100);
/// Without `no_timer_check` Linux gives up where the host is too busy to let it calibrate.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=0 panic=-1 no_timer_check mitigations=off";

/// A running guest.
pub struct Beam {
    machine: Machine,
    answers: usize,
}

impl Beam {
    /// Boots one with so many CPUs and schedulers.
    ///
    /// # Errors
    ///
    /// If the peers lack a part of it, or it does not come up.
    pub fn boot(peers: &Peers, cpus: u8, counted: bool) -> Result<Self> {
        let tried = || "boot a Linux guest with BEAM".to_string();
        let image = peers.built("beam.cpio");
        let mut image =
            std::fs::read(&image).tried(|| format!("read {} of the peers", image.display()))?;
        image.extend(overlay(peers)?);
        let line = format!("{COMMAND_LINE} peer.run=craton_bench,main peer.erl=+S,{cpus}:{cpus}");
        let mut config = MachineConfig::new(peers.kernel())
            .cpus(cpus)
            .memory_mib(MEMORY_MIB)
            .module(image)
            .command_line(line)
            .typed();
        if counted {
            config = config.counted(0);
        }
        let machine = Machine::launch(config).tried(tried)?;
        machine.wait_for(|line| line == "READY", READY_WAIT).map_err(|error| {
            let last = machine.lines().pop().unwrap_or_default();
            Error::new(tried(), format!("{error}; its last line: {last}"))
        })?;
        Ok(Beam { machine, answers: 0 })
    }

    /// Seconds for one of what `question` (`NAME COUNT`) asks for.
    ///
    /// # Errors
    ///
    /// If the guest says that it failed, or nothing.
    pub fn ask(&mut self, question: &str) -> Result<f64> {
        let tried = || format!("have BEAM do '{question}'");
        self.machine.type_line(question).tried(tried)?;
        let mut nth = 0;
        let answered = |line: &str| {
            nth += usize::from(answer_in(line).is_some());
            nth > self.answers
        };
        let answer = self.machine.wait_for(answered, ANSWER_WAIT).tried(tried)?;
        self.answers += 1;
        seconds(&answer).ok_or_else(|| Error::new(tried(), answer))
    }
}

/// The answer in a line of the console, on which Linux may have begun one of its own.
fn answer_in(line: &str) -> Option<&str> {
    line.find("{\"").map(|at| &line[at..])
}

/// Seconds for one, of `{"name":…,"count":…,"nanos":…}`.
pub fn seconds(line: &str) -> Option<f64> {
    let answer: Value = serde_json::from_str(answer_in(line)?).ok()?;
    let (count, nanos) = (answer["count"].as_f64()?, answer["nanos"].as_f64()?);
    (count > 0.0).then(|| nanos / count / 1e9)
}

/// What is laid over the image: the compiled module, and the program beside this one.
fn overlay(peers: &Peers) -> Result<Vec<u8>> {
    let erlang = peers.erlang().ok_or_else(|| {
        Error::new("find the peers' Erlang", "there is no erts").advise("build.sh makes it")
    })?;
    let folder = Scratch::new("beam")?;
    let module = erlang.compile(folder.path())?;
    let module = std::fs::read(&module).tried(|| format!("read {}", module.display()))?;
    let native = craton_tool::beside("craton-native")?;
    let native = std::fs::read(&native)
        .tried(|| format!("read {} (make build makes it)", native.display()))?;
    Ok(archive(&[
        Entry { path: "app", bytes: None },
        Entry { path: "app/craton_bench.beam", bytes: Some(&module) },
        Entry { path: "native", bytes: Some(&native) },
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_time_for_one_or_a_failure() {
        let answer = "{\"name\":\"fib\",\"count\":4,\"nanos\":8000}";
        assert_eq!(seconds(answer), Some(2e-6));
        assert_eq!(seconds(&format!("clocksource: {answer}")), Some(2e-6));
        for bad in ["", "{\"error\":\"fib is 3\"}", "{\"count\":0,\"nanos\":1}"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
