//! The options of whatever boots machines here.
//!
//! Owns [`Machines`], which `craton up`, `boot` and `debug` and the demo have in common.

use crate::cluster::{ClusterOptions, default_kernel};
use crate::error::Result;
use crate::keys::Keys;
use clap::Args;
use std::path::PathBuf;

/// What local machines are made of, and the name of the cluster that they are.
#[derive(Debug, Args)]
pub struct Machines {
    /// CPUs of each machine
    #[arg(long, default_value_t = 1, value_name = "C")]
    cpus: u8,
    /// Memory of each machine, in MiB
    #[arg(long, default_value_t = 64, value_name = "M")]
    memory: u32,
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
    /// If there is no kernel to boot.
    pub fn options(&self, nodes: u8) -> Result<ClusterOptions> {
        let kernel = self.kernel.clone().map_or_else(default_kernel, Ok)?;
        Ok(ClusterOptions::new(kernel, nodes, self.cpus, self.memory))
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
