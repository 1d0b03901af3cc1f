//! What every measure needs: keys, kernel, text, and how long to wait.
//!
//! Owns [`Bench`] and the list of [`Section`]s.

use crate::peers::Peers;
use crate::report::{PeerFigures, Row};
use crate::{host, kernel, machines, net, programs, turns};
use clap::ValueEnum;
use craton_tool::cluster::ClusterOptions;
use craton_tool::complain;
use craton_tool::error::Result;
use craton_tool::keys::Keys;
use std::path::PathBuf;
use std::time::Duration;

/// How long a machine may take to boot.
pub const BOOT_WAIT: Duration = Duration::from_secs(15);

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Time from the start of QEMU; size of image and process
    Boot,
    /// The least memory that works
    Memory,
    /// Spawn and message, on a node and between nodes
    Processes,
    /// The rate of wordcount
    Words,
    /// What the kernel's heap costs
    Heap,
    /// How soon the death of a machine is told
    Loss,
    /// CPU time of idle nodes, and how soon a timer is answered
    Idle,
    /// The benchmarks of processes beside BEAM's and native ones, by turns; takes the peers
    Turns,
    /// What a shard costs on the host, without an engine, beside BEAM there
    Host,
    /// Bulk, round trips and HTTP over a tap; takes root
    Net,
}

/// What is measured with.
pub struct Bench {
    /// Keys of the clusters.
    pub keys: Keys,
    /// The kernel that they boot.
    pub kernel: PathBuf,
    /// A folder of text to count, in place of the dependencies' sources.
    pub text: Option<PathBuf>,
    /// Instructions are counted in place of time, where a section can.
    pub counted: bool,
}

impl Bench {
    /// A cluster of so many machines.
    pub fn options(&self, nodes: u8, cpus: u8, memory_mib: u32) -> ClusterOptions {
        ClusterOptions::new(self.kernel.clone(), nodes, cpus, memory_mib)
    }

    /// Measures a section, and its peers where they go by turns.
    ///
    /// # Errors
    ///
    /// If a machine does not do its work, or does it wrong.
    pub fn measure(
        &self,
        section: Section,
        peers: Option<&Peers>,
    ) -> Result<(Vec<Row>, PeerFigures)> {
        let rows = match section {
            Section::Boot => machines::boot(self),
            Section::Memory => machines::memory(self),
            Section::Processes => programs::processes(self),
            Section::Words => programs::words(self),
            Section::Heap => kernel::heap(self),
            Section::Loss => programs::loss(self),
            Section::Idle => machines::idle(self),
            Section::Net => net::measure(net::Guest::Craton, &self.kernel, None),
            Section::Host => return host::measure(peers),
            Section::Turns => {
                let Some(peers) = peers else {
                    complain!("turns are not measured: that takes the peers");
                    return Ok(Default::default());
                };
                return turns::measure(self, peers);
            }
        };
        Ok((rows?, PeerFigures::new()))
    }
}
