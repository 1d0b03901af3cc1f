//! `craton up` and `craton down`: a cluster of local machines.
//!
//! Owns what a person sees of it. The cluster lives in the process of `up` and ends with it.

use crate::cluster::{Cluster, ClusterOptions, accelerator_phrase, default_kernel};
use crate::error::Result;
use crate::keys::Keys;
use crate::registry::{self, Registered, RegisteredNode};
use crate::signals;
use clap::Args;
use std::path::PathBuf;
use std::sync::mpsc::channel;

/// The options of `craton up`.
#[derive(Debug, Args)]
pub struct Up {
    /// How many machines
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u8,
    /// CPUs of each machine
    #[arg(long, default_value_t = 1, value_name = "C")]
    cpus: u8,
    /// Memory of each machine, in MiB
    #[arg(long, default_value_t = 64, value_name = "M")]
    memory: u32,
    /// The cluster's name, where there are several
    #[arg(long, value_name = "NAME", default_value = "local")]
    cluster: String,
    /// The kernel to boot [default: kernel.elf beside this tool]
    #[arg(long, value_name = "FILE", env = "CRATON_KERNEL")]
    kernel: Option<PathBuf>,
    /// The folder with the cluster's keys; made if it is not there [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    keys: Option<PathBuf>,
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
    down: std::sync::mpsc::Sender<()>,
) -> Result<Running> {
    let keys = Keys::load_or_create(&keys_folder)?;
    println!(
        "booting {} machines, {} CPU and {} MiB each ({})",
        options.nodes,
        options.cpus,
        options.memory_mib,
        accelerator_phrase()
    );
    let cluster = Cluster::start(options, &keys)?;
    let registered = register(&cluster, name, keys_folder, down)?;
    let joined = cluster.wait_joined()?;
    for node in cluster.nodes() {
        println!("  {:<4} {:<12} from here {}", node.name, node.address, node.forwarded);
    }
    let count = options.nodes;
    println!("{count} nodes joined {:.2} s after the start of QEMU", joined.as_secs_f64());
    Ok(Running { cluster, registered })
}

/// Lets other `craton` commands find the cluster, and end it by a message to `down`.
pub(super) fn register(
    cluster: &Cluster,
    name: &str,
    keys_folder: PathBuf,
    down: std::sync::mpsc::Sender<()>,
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
        let options = ClusterOptions {
            nodes: self.nodes,
            cpus: self.cpus,
            memory_mib: self.memory,
            kernel: self.kernel.map_or_else(default_kernel, Ok)?,
            command_line: String::new(),
            verbose: self.verbose,
            debugger: None,
        };
        let (down, downed) = channel();
        let keys = Keys::folder(&self.keys)?;
        let running = boot(&options, &self.cluster, keys, down.clone())?;
        signals::forward_to(down)?;
        println!("next: craton nodes; craton run PROGRAM; craton down; Ctrl-C here ends it too");
        // Only the signals' and the registry's threads hold the other end, and they never end.
        let _ = downed.recv();
        println!("shutting {} machines down", running.cluster.nodes().len());
        Ok(())
    }
}

impl Down {
    pub(super) fn run(self) -> Result<()> {
        let registered = registry::down(&self.cluster)?;
        println!("the cluster '{}' of {} nodes is down", registered.name, registered.nodes.len());
        Ok(())
    }
}
