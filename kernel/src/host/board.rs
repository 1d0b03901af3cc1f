//! What the kernel's CPUs tell one another of themselves.
//!
//! Owns the facts; how they are told is [`craton_services::Board`]'s.

use alloc::string::String;
use craton_abi::{Incarnation, NodeId};
use craton_hal::virtio::net::{Counters, Info};
use craton_services::Totals;

/// The board with these facts.
pub(super) type Board = craton_services::Board<Info, NodeFacts, CpuFacts>;

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
