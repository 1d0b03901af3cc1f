//! `make bench`: what Craton costs on this machine, beside its peers where they are there.
//!
//! Owns the command line and the order of measuring: each section's peers run right after it, under
//! the same QEMU and accelerator. Neighbours: `machines`, `kernel`, `net` and `programs` measure
//! Craton, `peers` runs the others, `turns` and `host` both by turns, `report` shows it all.

mod beam;
mod bench;
mod benchmarks;
mod cpio;
mod erlang;
mod host;
mod kernel;
mod load;
mod machines;
mod net;
mod peers;
mod programs;
mod report;
mod turns;

use bench::{Bench, Section};
use clap::{Parser, ValueEnum};
use craton_tool::cluster::{accelerator_phrase, default_kernel};
use craton_tool::error::{Context, Error, Result, exit_code};
use craton_tool::keys::Keys;
use craton_tool::{complain, say};
use peers::Peers;
use report::PeerFigures;
use serde_json::json;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Measures boot, memory, processes and programs on emulated machines.
#[derive(Parser)]
#[command(name = "craton-bench", version)]
struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only these sections [default: all]
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// A folder with the built peers, to measure beside
    #[arg(long, value_name = "FOLDER", env = "CRATON_PEERS")]
    peers: Option<PathBuf>,
    /// The kernel to measure [default: kernel.elf beside this program]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The folder whose files are the text [default: the sources of this build's dependencies]
    #[arg(long, value_name = "FOLDER")]
    text: Option<PathBuf>,
    /// Count instructions in place of time (section turns), which does not depend on the host
    #[arg(long)]
    counted: bool,
    /// The folder with the keys that the programs are signed with [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    keys: Option<PathBuf>,
    /// Measures the network of one guest, in a network namespace: this program itself says so
    #[arg(long, hide = true)]
    serve: Option<net::Guest>,
    /// The initial RAM disk of that guest
    #[arg(long, hide = true, requires = "serve")]
    initrd: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = run(&Arguments::parse());
    exit_code("craton-bench", done.map(|()| ExitCode::SUCCESS))
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(guest) = arguments.serve {
        let kernel = arguments.kernel.clone().map_or_else(default_kernel, Ok)?;
        return net::inside(guest, &kernel, arguments.initrd.clone());
    }
    let bench = Bench {
        keys: Keys::load_or_default(&arguments.keys)?,
        kernel: arguments.kernel.clone().map_or_else(default_kernel, Ok)?,
        text: arguments.text.clone(),
        counted: arguments.counted,
    };
    let peers = arguments.peers.as_deref().map(Peers::open).transpose()?;
    let sections = match arguments.only.as_slice() {
        [] => Section::value_variants(),
        some => some,
    };
    let before = load();
    let mut rows = Vec::new();
    let mut figures = PeerFigures::new();
    for section in sections {
        complain!("measuring {}", format!("{section:?}").to_lowercase());
        let (more, mut theirs) = bench.measure(*section, peers.as_ref())?;
        rows.extend(more);
        figures.append(&mut theirs);
        if let Some(peers) = &peers {
            complain!("measuring {} of the peers", format!("{section:?}").to_lowercase());
            figures.append(&mut peers.measure(*section));
        }
    }
    let host = Host { load: [before, load()] };
    if arguments.json {
        let report = json!({ "host": host.json(), "rows": report::json(&rows, &figures) });
        let text = serde_json::to_string_pretty(&report).tried(|| "write JSON".into())?;
        say!("{text}");
    } else {
        say!("{}\n", host.phrase());
        say!(+ "{}", report::table(&rows, &figures));
        let peers = peers.map_or_else(|| "none".into(), |peers| peers.phrase());
        say!("\npeers: {peers}; docs/promises.md says more of them");
    }
    match report::broken(&rows).as_slice() {
        [] => Ok(()),
        broken => Err(Error::new("keep every promise", broken.join("\n  "))),
    }
}

/// What the figures depend on.
struct Host {
    /// Processes that wanted a CPU in the minute before and at the end.
    load: [String; 2],
}

impl Host {
    fn cpus() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn phrase(&self) -> String {
        let [before, after] = &self.load;
        format!(
            "{} CPUs ({}); {} ({}); load {before} before, {after} after",
            Host::cpus(),
            cpu_model(),
            qemu_version(),
            accelerator_phrase(),
        )
    }

    fn json(&self) -> serde_json::Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        json!({
            "unix_seconds": now.map_or(0, |now| now.as_secs()),
            "cpus": Host::cpus(),
            "cpu": cpu_model(),
            "qemu": qemu_version(),
            "accelerator": accelerator_phrase(),
            "load_before": self.load[0],
            "load_after": self.load[1],
        })
    }
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("an unknown CPU", |text| text.trim_start_matches([' ', '\t', ':'])).into()
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().into()
}

fn qemu_version() -> String {
    let output = Command::new("qemu-system-x86_64").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let version = text.split(" version ").nth(1).and_then(|rest| rest.split([' ', '\n']).next());
    format!("QEMU {}", version.unwrap_or("of unknown version"))
}
