//! `craton boot` and `craton debug`: one machine, with its log on this terminal.
//!
//! Owns what a person at work on the kernel sees: the log as it comes, how to attach gdb, and how
//! the machine ended. The machine is a cluster of one, so the other verbs find it.

use super::machines::{Machines, print_ports};
use super::up::register;
use crate::cluster::{Cluster, ClusterOptions};
use crate::error::{Context, Result};
use crate::keys::Keys;
use crate::say;
use crate::{guest, signals};
use clap::Args;
use craton_qemu::WaitError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Longer than any machine is watched: ten years.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The options of `craton boot`.
#[derive(Debug, Args)]
pub struct Boot {
    #[command(flatten)]
    machine: Machines,
    /// The kernel's command line, such as "boottrace log=debug"
    #[arg(long, value_name = "LINE", default_value = "")]
    append: String,
    /// A program that the image carries and the node runs, its output in the log: a folder with a
    /// Cargo.toml, a .wasm or .wat module, or a .craton bundle
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// The options of `craton debug`.
#[derive(Debug, Args)]
pub struct Debug {
    #[command(flatten)]
    boot: Boot,
    /// Where gdb attaches
    #[arg(long, value_name = "PORT", default_value_t = 1234)]
    port: u16,
}

impl Boot {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.start(None)
    }

    fn start(self, debugger: Option<u16>) -> Result<ExitCode> {
        let keys_folder = self.machine.keys_folder()?;
        let keys = Keys::load_or_create(&keys_folder)?;
        let program = self.program.map(|program| guest::bundle(&program, &keys)).transpose()?;
        let mut options =
            ClusterOptions { verbose: true, debugger, program, ..self.machine.options(1)? };
        options.append(&self.append)?;
        let (stop, stopped) = channel();
        signals::forward_to(stop.clone())?;
        let mut cluster = Cluster::start(&options, &keys)?;
        register(&cluster, &self.machine.cluster, keys_folder, stop.clone())?;
        cluster.nodes().iter().for_each(print_ports);
        if let Some(port) = debugger {
            say_how_to_attach(&options.kernel, port);
        }
        watch(&mut cluster, stop, &stopped)
    }
}

impl Debug {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.boot.start(Some(self.port))
    }
}

fn say_how_to_attach(kernel: &Path, port: u16) {
    let symbols = kernel.with_extension("debug");
    let symbols = if symbols.exists() { &symbols } else { kernel };
    say!("the machine waits for gdb; in another terminal:");
    say!("  gdb {} -ex 'target remote :{port}'", symbols.display());
    say!("breakpoints before the kernel is loaded are hardware's: hbreak craton_kernel::main");
    say!("then: continue. CPUs are gdb's threads: info threads, thread 2, thread apply all bt");
    say!("Ctrl-C here ends the machine");
}

/// Waits for the machine's end, or for somebody to wish it.
fn watch(cluster: &mut Cluster, stop: Sender<()>, stopped: &Receiver<()>) -> Result<ExitCode> {
    let Some(node) = cluster.nodes_mut().first_mut() else { return Ok(ExitCode::FAILURE) };
    let machine = &mut node.machine;
    let wished = thread::scope(|scope| {
        let watched = &*machine;
        scope.spawn(move || {
            // No line is waited for: this returns when there will be no more.
            let _ = watched.wait_for(|_| false, FOREVER);
            // Fails if nobody listens any more, who then knows.
            let _ = stop.send(());
        });
        // The signals' thread holds the other end for ever.
        let _ = stopped.recv();
        let wished = watched.wait_for(|_| false, Duration::ZERO) == Err(WaitError::TimedOut);
        watched.kill();
        wished
    });
    let status = machine.wait_exit(FOREVER).tried(|| "see the machine end".into())?;
    if wished {
        say!("the machine was shut down");
        return Ok(ExitCode::SUCCESS);
    }
    say!("the machine ended: {status}");
    Ok(ExitCode::FAILURE)
}
