//! The options of whatever boots machines here.
//!
//! Owns [`Machines`], which `craton up`, `boot` and `debug` and the demo have in common, and what
//! they print of the ports by which a machine is reached from here.

use crate::cluster::{ClusterOptions, LocalNode, default_kernel};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::say;
use clap::Args;
use std::path::PathBuf;

/// The kernel's own services and their ports.
const SERVICES: [(&str, u16); 4] = [("echo", 7), ("discard", 9), ("chargen", 19), ("http", 80)];
/// Ports where browsers and curl are at home.
const HTTP_PORTS: [u16; 2] = [80, 8080];

/// What local machines are made of, and the name of the cluster that they are.
#[derive(Debug, Args)]
pub struct Machines {
    /// CPUs of each machine
    #[arg(long, default_value_t = 1, value_name = "C")]
    cpus: u8,
    /// Memory of each machine, in MiB
    #[arg(long, default_value_t = 64, value_name = "M")]
    memory: u32,
    /// Services to turn on: echo, discard, chargen, http, with commas between them
    #[arg(long, value_name = "LIST", default_value = "")]
    services: String,
    /// A TCP port of each machine to reach from here; can be given several times
    #[arg(long, value_name = "PORT")]
    forward: Vec<u16>,
    /// The name by which other craton commands find the cluster
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: String,
    /// The kernel to boot [default: kernel.elf beside this tool]
    #[arg(long, value_name = "FILE", env = "CRATON_KERNEL")]
    kernel: Option<PathBuf>,
    /// The folder with the cluster's keys; made if it is not there [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    keys: Option<PathBuf>,
}

impl Machines {
    /// A cluster of so many of them.
    ///
    /// # Errors
    ///
    /// If there is no kernel to boot, or no service of a name.
    pub fn options(&self, nodes: u8) -> Result<ClusterOptions> {
        let kernel = self.kernel.clone().map_or_else(default_kernel, Ok)?;
        let mut options = ClusterOptions::new(kernel, nodes, self.cpus, self.memory);
        options.add_ports(&self.forward);
        if !self.services.is_empty() {
            options.add_ports(&service_ports(&self.services)?);
            options.command_line = format!("services={}", self.services);
        }
        Ok(options)
    }

    /// Where the cluster's keys are, or are to be.
    ///
    /// # Errors
    ///
    /// If no folder is given and there is no home to have one in.
    pub fn keys_folder(&self) -> Result<PathBuf> {
        Keys::folder(&self.keys)
    }
}

impl ClusterOptions {
    /// Adds to the kernel's command line; the ports of services that it turns on are forwarded.
    ///
    /// # Errors
    ///
    /// If there is no service of a name.
    pub(super) fn append(&mut self, line: &str) -> Result<()> {
        for list in line.split_whitespace().filter_map(|word| word.strip_prefix("services=")) {
            self.add_ports(&service_ports(list)?);
        }
        let both = [self.command_line.as_str(), line];
        self.command_line = both.join(" ").trim().into();
        Ok(())
    }

    fn add_ports(&mut self, ports: &[u16]) {
        self.ports.extend(ports);
        self.ports.sort_unstable();
        self.ports.dedup();
    }
}

fn service_ports(list: &str) -> Result<Vec<u16>> {
    let names = list.trim_matches('"').split(',').map(str::trim).filter(|name| !name.is_empty());
    let port = |name: &str| {
        let known = SERVICES.iter().find(|(known, _)| *known == name);
        known.map(|(_, port)| *port).ok_or_else(|| {
            let known = SERVICES.map(|(name, _)| name).join(", ");
            Error::new(format!("turn on the service '{name}'"), format!("the services are {known}"))
        })
    };
    names.map(port).collect()
}

/// Prints how a node is reached from here, as curl and others take it.
pub(super) fn print_ports(node: &LocalNode) {
    for (port, from_here) in &node.ports {
        let (host, service) = (node.address, SERVICES.iter().find(|(_, known)| known == port));
        let what = service.map_or(String::new(), |(name, _)| format!(" ({name})"));
        let url = if HTTP_PORTS.contains(port) {
            format!("http://{from_here}/")
        } else {
            from_here.to_string()
        };
        say!("  {:<4} {url:<29} is {host}:{port}{what}", node.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ClusterOptions {
        ClusterOptions::new("k".into(), 1, 1, 64)
    }

    #[test]
    fn ports_of_services_are_forwarded_once_however_they_are_turned_on() {
        let mut options = options();
        options.add_ports(&[8080, 80]);
        options.append("log=debug services=http,echo boottrace").expect("all are known");
        assert_eq!(options.ports, [7, 80, 8080]);
        assert_eq!(options.command_line, "log=debug services=http,echo boottrace");
        options.append("x=y").expect("nothing to know");
        assert_eq!(options.command_line, "log=debug services=http,echo boottrace x=y");
    }

    #[test]
    fn an_unknown_service_is_named_and_so_are_those_there_are() {
        let error = options().append("services=echo,gopher").expect_err("there is none");
        let text = error.to_string();
        assert!(
            text.contains("'gopher'") && text.contains("echo, discard, chargen, http"),
            "{text}"
        );
    }
}
