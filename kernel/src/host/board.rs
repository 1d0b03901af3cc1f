//! What the CPUs tell one another of themselves, for status pages and for each stack's addresses.
//!
//! Owns [`Board`]. Each CPU writes what is its own and any may read all. The locks are held for a
//! copy, never two at once, and by no interrupt handler.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::{Duration, Incarnation, NodeId};
use craton_hal::virtio::net::{Counters, Info};
use craton_net::{Address, Announced};
use craton_services::Totals;
use spin::Mutex;

/// What a CPU says of itself.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct CpuFacts {
    /// Of its stack and services.
    pub(super) totals: Totals,
    /// Of its queues of the card: received and sent.
    pub(super) card: [Counters; 2],
    pub(super) interrupts: u64,
    /// Frames for it that the others had to drop.
    pub(super) dropped: u64,
}

/// What the node says of itself.
#[derive(Clone, Debug)]
pub(super) struct NodeFacts {
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) life: Incarnation,
    pub(super) nodes_alive: usize,
    pub(super) processes: usize,
    pub(super) link_up: bool,
}

/// What is told, by all CPUs to all.
pub(super) struct Board {
    pub(super) card: Info,
    node: Mutex<Option<NodeFacts>>,
    addresses: Mutex<(Option<Address>, Announced)>,
    /// Rises whenever the addresses change.
    version: AtomicU64,
    cpus: Vec<CpuBoard>,
}

#[derive(Default)]
struct CpuBoard {
    facts: Mutex<CpuFacts>,
    /// How long it slept.
    idle_nanos: AtomicU64,
}

impl Board {
    pub(super) fn new(cpus: usize, card: Info) -> Arc<Self> {
        Arc::new(Board {
            card,
            node: Mutex::new(None),
            addresses: Mutex::new((None, Announced::default())),
            version: AtomicU64::new(0),
            cpus: (0..cpus).map(|_| CpuBoard::default()).collect(),
        })
    }

    pub(super) fn tell_node(&self, facts: NodeFacts) {
        *self.node.lock() = Some(facts);
    }

    /// What the node said last, if it has yet.
    pub(super) fn node(&self) -> Option<NodeFacts> {
        self.node.lock().clone()
    }

    /// The node's addresses are these from now on.
    pub(super) fn tell_addresses(&self, address: Option<Address>, announced: Announced) {
        *self.addresses.lock() = (address, announced);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The node's addresses, if they are not those of the version `seen`, which is renewed.
    pub(super) fn addresses(&self, seen: &mut u64) -> Option<(Option<Address>, Announced)> {
        let version = self.version.load(Ordering::Acquire);
        if version == *seen {
            return None;
        }
        // Those of a later version are right too; they will be taken twice.
        *seen = version;
        Some(self.addresses.lock().clone())
    }

    pub(super) fn tell(&self, cpu: usize, facts: CpuFacts) {
        *self.cpus[cpu].facts.lock() = facts;
    }

    /// A CPU slept.
    pub(super) fn slept(&self, cpu: usize, span: Duration) {
        self.cpus[cpu].idle_nanos.fetch_add(span.as_nanos(), Ordering::Relaxed);
    }

    /// What each CPU said last, and how long it slept.
    pub(super) fn cpus(&self) -> impl Iterator<Item = (CpuFacts, Duration)> {
        self.cpus.iter().map(|cpu| {
            let idle = Duration::from_nanos(cpu.idle_nanos.load(Ordering::Relaxed));
            (*cpu.facts.lock(), idle)
        })
    }
}
