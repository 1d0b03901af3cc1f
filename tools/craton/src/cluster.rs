//! A cluster of local machines in QEMU, on a virtual network that lives in this process.
//!
//! Owns [`Cluster`]: machines, switch and gateway, alive as long as the value is. Nothing is left
//! behind when it ends, however it ends. Neighbours: `craton-qemu` does the work.

use crate::complain;
use crate::error::{Context, Error, Result};
use crate::keys::Keys;
use craton_abi::limit;
use craton_qemu::{
    Accelerator, Gateway, Lan, Machine, MachineConfig, NODES_MAX, node_address, node_mac,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long machines may take to join; generous, since a test host may be very slow.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// What a node's log says when it found another: `cluster: n2 (id) is up at ADDRESS`.
const FOUND: &str = " is up at ";

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many machines.
    pub nodes: u8,
    /// CPUs of each.
    pub cpus: u8,
    /// Memory of each, in MiB.
    pub memory_mib: u32,
    /// The kernel that they boot.
    pub kernel: PathBuf,
    /// Added to the kernel's command line.
    pub command_line: String,
    /// Print every machine's log as it comes, with its name in front where there are several.
    pub verbose: bool,
    /// TCP ports of each machine that are reached from this one.
    pub ports: Vec<u16>,
    /// The bundle that each machine's image carries and runs.
    pub program: Option<Vec<u8>>,
    /// Machines wait for gdb, the first at this port, the next at the one after it.
    pub debugger: Option<u16>,
    /// Machines' clocks count their instructions, a nanosecond for each.
    pub counted: bool,
}

/// A running node of a local cluster.
pub struct LocalNode {
    /// Its name.
    pub name: String,
    /// Its address on the virtual network.
    pub address: Ipv4Addr,
    /// Where an operator reaches it from this machine.
    pub forwarded: SocketAddr,
    /// The other ports that are reached from this machine, and where.
    pub ports: Vec<(u16, SocketAddr)>,
    /// The machine itself.
    pub machine: Machine,
}

/// A running local cluster. Dropping it ends every machine.
pub struct Cluster {
    nodes: Vec<LocalNode>,
    gateway: Gateway,
    lan: Lan,
    started: Instant,
}

/// The kernel to boot: `CRATON_KERNEL`, or `kernel.elf` beside the tool.
///
/// # Errors
///
/// If there is none.
pub fn default_kernel() -> Result<PathBuf> {
    if let Some(kernel) = std::env::var_os("CRATON_KERNEL") {
        return Ok(kernel.into());
    }
    let kernel = crate::beside("kernel.elf")?;
    if kernel.exists() {
        return Ok(kernel);
    }
    Err(Error::new("find the kernel", format!("no {}", kernel.display()))
        .advise("make build, --kernel FILE, or CRATON_KERNEL=FILE"))
}

impl ClusterOptions {
    /// Machines that say nothing here and get nothing on their command line.
    pub fn new(kernel: PathBuf, nodes: u8, cpus: u8, memory_mib: u32) -> Self {
        let command_line = String::new();
        ClusterOptions {
            nodes,
            cpus,
            memory_mib,
            kernel,
            command_line,
            verbose: false,
            ports: Vec::new(),
            program: None,
            debugger: None,
            counted: false,
        }
    }
}

impl Cluster {
    /// Starts the machines; [`Cluster::wait_joined`] waits until they have found each other.
    ///
    /// # Errors
    ///
    /// If QEMU is missing or does not start.
    pub fn start(options: &ClusterOptions, keys: &Keys) -> Result<Self> {
        if options.nodes == 0 || usize::from(options.nodes) > usize::from(NODES_MAX) {
            let happened = format!("a cluster has 1 to {NODES_MAX} nodes here");
            return Err(Error::new(format!("start {} nodes", options.nodes), happened));
        }
        let started = Instant::now();
        let lan = Lan::new(u64::from_le_bytes(crate::random()));
        let gateway = Gateway::start(&lan).tried(|| "start the virtual network".into())?;
        let mut cluster = Cluster { nodes: Vec::new(), gateway, lan, started };
        for number in 0..options.nodes {
            cluster.add(number, options, keys)?;
        }
        Ok(cluster)
    }

    fn add(&mut self, number: u8, options: &ClusterOptions, keys: &Keys) -> Result<()> {
        let name = format!("n{}", number + 1);
        let tried = || format!("start the machine {name}");
        let address = node_address(number);
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let forward = |port| self.gateway.forward(local, SocketAddrV4::new(address, port));
        let forwarded = forward(limit::SESSION_PORT).tried(tried)?;
        let ports = options.ports.iter().map(|&port| Ok((port, forward(port).tried(tried)?)));
        let ports = ports.collect::<Result<Vec<_>>>()?;
        let port = self.lan.attach().tried(tried)?;
        let mut config = MachineConfig::new(&options.kernel)
            .cpus(options.cpus)
            .memory_mib(options.memory_mib)
            .command_line(options.command_line.as_str())
            .node_config(keys.node_config(&name)?.render())
            .network(port, node_mac(number));
        if let Some(program) = &options.program {
            config = config.module(program.as_slice());
        }
        if options.verbose {
            let prefix = if options.nodes > 1 { format!("{name} | ") } else { String::new() };
            config = config.on_line(move |line| complain!("{prefix}{line}"));
        }
        if let Some(first) = options.debugger {
            let port = first.checked_add(number.into()).ok_or_else(|| {
                Error::new(tried(), format!("there is no port {first} + {number} for gdb"))
            })?;
            config = config.debugger(port).paused();
        }
        if options.counted {
            config = config.counted(0);
        }
        let machine = Machine::launch(config).tried(tried)?;
        self.nodes.push(LocalNode { name, address, forwarded, ports, machine });
        Ok(())
    }

    /// Waits until every machine sees all the others, and says how long that took from the start.
    ///
    /// # Errors
    ///
    /// If a machine ends or they do not all join in time; the machine's last lines are told.
    pub fn wait_joined(&self) -> Result<Duration> {
        for node in &self.nodes {
            let mut found = BTreeSet::new();
            let all_found = |line: &str| {
                let name = line.split_once(FOUND).map(|(before, _)| before.to_string());
                found.extend(name.and_then(|text| text.split(' ').nth_back(1).map(String::from)));
                found.len() + 1 >= self.nodes.len()
            };
            let seen = node.machine.wait_for(all_found, JOIN_TIMEOUT);
            if let Err(error) = seen {
                let lines = node.machine.lines();
                let last = lines.iter().rev().take(20).rev().map(|line| format!("\n    {line}"));
                let happened = format!("{error}; its log ends:{}", last.collect::<String>());
                return Err(Error::new(format!("see {} join", node.name), happened));
            }
        }
        Ok(self.started.elapsed())
    }

    /// The nodes.
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// The nodes, to take one out of service.
    pub fn nodes_mut(&mut self) -> &mut Vec<LocalNode> {
        &mut self.nodes
    }

    /// The switch, for faults.
    pub fn lan(&self) -> &Lan {
        &self.lan
    }
}

/// One phrase on how machines run here, and why.
pub fn accelerator_phrase() -> &'static str {
    match Accelerator::detect() {
        Accelerator::Kvm => "QEMU with KVM",
        Accelerator::Tcg => "QEMU, emulated: no usable KVM here",
    }
}
