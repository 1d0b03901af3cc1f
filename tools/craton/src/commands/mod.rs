//! The tool's verbs.
//!
//! Owns the list of them and the options they share. One file a verb that does more than ask.

mod boot;
mod build;
mod key;
mod listing;
mod machines;
mod new;
mod run;
mod up;

pub use listing::print_nodes;
pub use machines::Machines;
pub use up::{Running, boot};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::registry;
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make and show the keys of a cluster
    Key(key::Key),
    /// Make an app from a template
    New(new::New),
    /// Compile a program and sign it
    Build(build::Build),
    /// Boot a cluster of local machines in QEMU and stay until Ctrl-C
    Up(up::Up),
    /// Boot one machine with its log on this terminal, until Ctrl-C
    Boot(boot::Boot),
    /// Boot one machine that waits for gdb
    Debug(boot::Debug),
    /// Shut a local cluster down
    Down(up::Down),
    /// Run a program on the cluster, with this terminal's input and output
    Run(run::Run),
    /// List the nodes
    Nodes(listing::Nodes),
    /// List the processes of every node
    Ps(listing::Processes),
    /// Print the log of a node
    Logs(listing::Logs),
}

/// Which cluster is meant.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// A local cluster by its name
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: String,
    /// Any node of a cluster, by its address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub connect: Option<SocketAddr>,
    /// The folder with the cluster's keys [default: the local cluster's, or ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    pub keys: Option<PathBuf>,
    /// The node to talk to, by its name [default: the first]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// A node that can be reached.
struct Reachable {
    name: String,
    address: SocketAddr,
}

impl Target {
    /// Where the nodes are, and the keys that open them.
    fn find(&self) -> Result<(Vec<Reachable>, Keys)> {
        if let Some(address) = self.connect {
            let name = address.to_string();
            return Ok((vec![Reachable { name, address }], Keys::load_or_default(&self.keys)?));
        }
        let registered = registry::find(&self.cluster)?;
        // A local cluster knows its keys better than the environment does.
        let keys = Keys::load(&registered.keys)?;
        let nodes = registered.nodes.into_iter();
        let reachable = nodes.map(|node| Reachable { name: node.name, address: node.forwarded });
        Ok((reachable.collect(), keys))
    }

    /// Connects to the node that was named, or to the first that answers.
    fn connect(&self) -> Result<Client> {
        let (nodes, keys) = self.find()?;
        let mut last = Error::new("find a node", "the cluster has none");
        if let Some(wanted) = &self.node {
            let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            let Some(node) = nodes.iter().find(|node| &node.name == wanted) else {
                return Err(Error::new(format!("find the node '{wanted}'"), "no such node")
                    .advise(format!("one of: {}", known.join(", "))));
            };
            return Client::connect(node.address, &keys);
        }
        for node in nodes {
            match Client::connect(node.address, &keys) {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// What a person should read, with what to do about it.
pub fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Key(key) => key.run().map(|()| ExitCode::SUCCESS),
        Verb::New(new) => new.run().map(|()| ExitCode::SUCCESS),
        Verb::Build(build) => build.run().map(|()| ExitCode::SUCCESS),
        Verb::Up(up) => up.run().map(|()| ExitCode::SUCCESS),
        Verb::Boot(boot) => boot.run(),
        Verb::Debug(debug) => debug.run(),
        Verb::Down(down) => down.run().map(|()| ExitCode::SUCCESS),
        Verb::Run(run) => run.run(),
        Verb::Nodes(nodes) => nodes.run().map(|()| ExitCode::SUCCESS),
        Verb::Ps(processes) => processes.run().map(|()| ExitCode::SUCCESS),
        Verb::Logs(logs) => logs.run().map(|()| ExitCode::SUCCESS),
    }
}
