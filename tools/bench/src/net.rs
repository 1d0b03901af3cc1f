//! What serving costs: bulk, round trips and HTTP, by a node and by a Linux guest alike.
//!
//! Owns [`measure`] and the [`Guest`]s. A guest boots in a network namespace of its own on a tap,
//! with one CPU, the same memory, board and card, and is asked by the same clients (`load`). That
//! takes root; without it there are no such rows. This program starts itself again in the
//! namespace ([`inside`]), and gives its figures back as JSON.

use crate::load;
use crate::report::{Row, Unit};
use clap::ValueEnum;
use craton_qemu::{Machine, MachineConfig, Tap, node_address, node_mac};
use craton_tool::complain;
use craton_tool::error::{Context, Error, Result};
use craton_tool::keys::Keys;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Samples of each rate.
const SAMPLES: usize = 3;
const CONNECTIONS: [(&str, usize); 3] =
    [("net.http.1", 1), ("net.http.64", 64), ("net.http.1000", 1_000)];
const MEMORY_MIB: u32 = 256;
/// How long a guest may take until it serves.
const READY_WAIT: Duration = Duration::from_secs(60);
/// As the peers' own scripts start a guest.
const LEAN_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check mitigations=off";
const SERVICES: &str = "services=echo,discard,chargen,http";

/// Rows: name, words, unit.
const ROWS: [(&str, &str, Unit); 7] = [
    ("net.to", "TCP to a guest, on a tap", Unit::BytesPerSecond),
    ("net.from", "TCP from a guest", Unit::BytesPerSecond),
    ("net.echo", "TCP round trip, 32 bytes, median", Unit::Seconds),
    ("net.echo.p99", "the 99th percentile of it", Unit::Seconds),
    ("net.http.1", "HTTP on 1 connection", Unit::PerSecond),
    ("net.http.64", "HTTP on 64 connections", Unit::PerSecond),
    ("net.http.1000", "HTTP on 1,000 connections", Unit::PerSecond),
];

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Guest {
    /// A node with its services.
    Craton,
    /// A Linux guest whose only process is one static server.
    Lean,
}

impl Guest {
    fn name(self) -> &'static str {
        match self {
            Guest::Craton => "craton",
            Guest::Lean => "lean",
        }
    }
}

/// Measures a guest, with this kernel and initial RAM disk; no rows where that is not allowed.
///
/// # Errors
///
/// If a guest does not serve.
pub fn measure(guest: Guest, kernel: &Path, initrd: Option<&Path>) -> Result<Vec<Row>> {
    let tried = || "measure the network".to_string();
    let unshare = || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net"]);
        command
    };
    let probe = unshare().args(["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        complain!("the network is not measured: it takes root, /dev/net/tun and iproute2");
        return Ok(Vec::new());
    }
    let program = std::env::current_exe().tried(tried)?;
    let mut command = unshare();
    command.arg(program).args(["--serve", guest.name(), "--kernel"]).arg(kernel);
    if let Some(initrd) = initrd {
        command.arg("--initrd").arg(initrd);
    }
    let output = command.stderr(Stdio::inherit()).output().tried(tried)?;
    if !output.status.success() {
        return Err(Error::new(tried(), output.status));
    }
    let figures: Value = serde_json::from_slice(&output.stdout).tried(tried)?;
    Ok(rows(&figures))
}

fn rows(figures: &Value) -> Vec<Row> {
    let samples = |name: &str| -> Vec<f64> {
        let list = figures[name].as_array();
        list.into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let rows = ROWS.map(|(name, what, unit)| Row { name, what, unit, samples: samples(name) });
    rows.into_iter().filter(|row| !row.samples.is_empty()).collect()
}

/// Boots a guest in this network namespace, asks it, and prints the figures.
///
/// # Errors
///
/// As [`measure`].
pub fn inside(guest: Guest, kernel: &Path, initrd: Option<PathBuf>) -> Result<()> {
    let tried = || format!("boot the guest '{}'", guest.name());
    open_many_files();
    let tap = Tap::start("tap0").tried(tried)?;
    let mut config = MachineConfig::new(kernel).memory_mib(MEMORY_MIB).tap(&tap, node_mac(0));
    let server = node_address(0);
    let ready = match guest {
        Guest::Craton => {
            let keys = Keys::generate("bench")?;
            let node = keys.node_config("n1")?.render();
            config = config.node_config(node).command_line(SERVICES);
            " node: address "
        }
        Guest::Lean => {
            let line = format!("{LEAN_COMMAND_LINE} peer.ip={server}/24");
            config = config.command_line(line);
            "READY"
        }
    };
    if let Some(initrd) = initrd {
        config = config.initrd(initrd);
    }
    let machine = Machine::launch(config).tried(tried)?;
    machine.wait_for(|line| line.contains(ready), READY_WAIT).tried(tried)?;
    let several = |load: &dyn Fn() -> Result<f64>| -> Result<Vec<f64>> {
        (0..SAMPLES).map(|_| load()).collect()
    };
    let mut figures = json!({});
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    real_time(machine.process_id(), true);
    for _ in 0..SAMPLES {
        let mut trips = load::echo(server)?;
        trips.sort_by(f64::total_cmp);
        let at = |percent| trips.get(trips.len() * percent / 100).copied().unwrap_or(f64::NAN);
        medians.push(at(50));
        tails.push(at(99));
    }
    real_time(machine.process_id(), false);
    figures["net.echo"] = json!(medians);
    figures["net.echo.p99"] = json!(tails);
    for (row, connections) in CONNECTIONS {
        figures[row] = json!(several(&|| load::http(server, connections))?);
    }
    figures["net.to"] = json!(several(&|| load::to(server))?);
    figures["net.from"] = json!(several(&|| load::from(server))?);
    craton_tool::say!("{figures}");
    Ok(())
}

/// Lets the guest and this program go before all others, or no more. A round trip wakes three
/// threads of the host one after the other: what else runs there would be its tail, whoever serves.
/// Not for loads without pause, which would keep one another from the CPUs.
fn real_time(guest: u32, on: bool) {
    let policy = if on { ["--fifo", "1"] } else { ["--other", "0"] };
    for process in [guest, std::process::id()] {
        let arguments = ["--all-tasks", policy[0], "--pid", policy[1], &process.to_string()];
        let set = Command::new("chrt").args(arguments).output();
        if !set.is_ok_and(|output| output.status.success()) {
            complain!(
                "without chrt (util-linux) and the right to it, round trips have the host's tail"
            );
            return;
        }
    }
}

/// A thousand connections are more files than a program usually may have.
fn open_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it may not, a connection will say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_rows_and_what_is_missing_none() {
        let rows = rows(&json!({"net.to": [3.0, 1.0, 2.0], "net.from": [], "else": [1.0]}));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.name, row.samples.as_slice()), ("net.to", &[3.0, 1.0, 2.0][..]));
    }
}
