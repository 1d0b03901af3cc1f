//! `craton up` and `craton down`: a cluster of local machines.
//!
//! Owns what a person sees of it. The cluster lives in the process of `up` and ends with it.

use super::machines::{Machines, print_ports};
use crate::cluster::{Cluster, ClusterOptions, accelerator_phrase};
use crate::error::Result;
use crate::keys::Keys;
use crate::registry::{self, Registered, RegisteredNode};
use crate::say;
use crate::signals;
use crate::table::counted;
use clap::Args;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The options of `craton up`.
#[derive(Debug, Args)]
pub struct Up {
    /// How many machines
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u8,
    #[command(flatten)]
    machines: Machines,
    /// Print every machine's log as it comes
    #[arg(long)]
    verbose: bool,
}

/// The options of `craton down`.
#[derive(Debug, Args)]
pub struct Down {
    /// The cluster's name
    #[arg(long, value_name = "NAME", default_value = "local")]
    cluster: String,
}

/// A cluster that other `craton` commands of this user can find while it lives.
pub struct Running {
    /// The machines.
    pub cluster: Cluster,
    /// What other commands are told.
    pub registered: Registered,
}

/// Boots a cluster, waits until it has joined and tells each step.
///
/// # Errors
///
/// If the machines do not start or do not join.
pub fn boot(
    options: &ClusterOptions,
    name: &str,
    keys_folder: PathBuf,
    down: Sender<()>,
) -> Result<Running> {
    let keys = Keys::load_or_create(&keys_folder)?;
    say!(
        "booting {}: {} and {} MiB each ({})",
        counted(options.nodes, "machine"),
        counted(options.cpus, "CPU"),
        options.memory_mib,
        accelerator_phrase()
    );
    let cluster = Cluster::start(options, &keys)?;
    let registered = register(&cluster, name, keys_folder, down)?;
    let joined = cluster.wait_joined()?;
    for node in cluster.nodes() {
        say!("  {:<4} {:<12} from here {}", node.name, node.address, node.forwarded);
        print_ports(node);
    }
    let seconds = joined.as_secs_f64();
    say!("{} joined {seconds:.2} s after the start of QEMU", counted(options.nodes, "node"));
    Ok(Running { cluster, registered })
}

impl Running {
    /// Waits for somebody to wish its end, and says so; it ends with this value.
    pub fn wait_and_end(self, downed: &Receiver<()>) {
        // Only the signals' and the registry's threads hold the other end, and they never end.
        let _ = downed.recv();
        self.end();
    }

    /// Says that it ends; it does with this value.
    pub fn end(self) {
        say!("shutting down {}", counted(self.cluster.nodes().len() as u64, "machine"));
    }
}

/// Lets other `craton` commands find the cluster, and end it by a message to `down`.
pub(super) fn register(
    cluster: &Cluster,
    name: &str,
    keys_folder: PathBuf,
    down: Sender<()>,
) -> Result<Registered> {
    let nodes = cluster.nodes().iter().map(|node| RegisteredNode {
        name: node.name.clone(),
        forwarded: node.forwarded,
        process: node.machine.process_id(),
    });
    let registered = Registered {
        name: name.into(),
        keys: keys_folder.canonicalize().unwrap_or(keys_folder),
        owner: std::process::id(),
        nodes: nodes.collect(),
    };
    registry::serve(registered.clone(), down)?;
    Ok(registered)
}

impl Up {
    pub(super) fn run(self) -> Result<()> {
        let options =
            ClusterOptions { verbose: self.verbose, ..self.machines.options(self.nodes)? };
        let (down, downed) = channel();
        let keys_folder = self.machines.keys_folder()?;
        let running = boot(&options, &self.machines.cluster, keys_folder, down.clone())?;
        signals::forward_to(down)?;
        say!("next: craton nodes; craton run PROGRAM; craton down; Ctrl-C here ends it too");
        running.wait_and_end(&downed);
        Ok(())
    }
}

impl Down {
    pub(super) fn run(self) -> Result<()> {
        let registered = registry::down(&self.cluster)?;
        let nodes = counted(registered.nodes.len() as u64, "node");
        say!("the cluster '{}' of {nodes} is down", registered.name);
        Ok(())
    }
}
