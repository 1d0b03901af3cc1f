//! The network of a CPU other than the first: a stack of its own, for the services.
//!
//! Owns [`Served`]. Addresses are the boot CPU's to find and are followed here; the node's own
//! connections, ARP, DHCP and datagrams are at the boot CPU's stack.

use super::board::{Board, CpuFacts};
use super::nic::Nic;
use super::report::NodeReport;
use alloc::sync::Arc;
use craton_abi::Instant;
use craton_net::Stack;
use craton_services::Services;

/// Events taken from the stack before the processes have their turn.
const EVENTS_PER_POLL_MAX: usize = 256;

/// A stack and the services over it.
pub(crate) struct Served {
    pub(super) own: usize,
    pub(super) nic: Nic,
    pub(super) stack: Stack,
    pub(super) services: Services,
    pub(super) board: Arc<Board>,
    /// The version of the addresses that the stack has.
    pub(super) seen: u64,
}

impl Served {
    /// Sends what is waiting, receives what came, serves it. True if there is more to do at once.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        if let Some((address, announced)) = self.board.addresses(&mut self.seen) {
            self.stack.set_addresses(address, announced);
        }
        let mut more = self.stack.poll(&mut self.nic, now).more;
        for _ in 0..EVENTS_PER_POLL_MAX {
            let Some(event) = self.stack.poll_event() else { break };
            let report = NodeReport { board: &self.board, own: self.own, now };
            // What was served is to be sent. Others than the services listen to nothing here.
            more |= self.services.take(&event, &mut self.stack, &report, now);
        }
        self.services.poll(&mut self.stack, now);
        self.nic.wake_others();
        self.board.tell(self.own, facts(&self.nic, &self.stack, &self.services));
        more
    }

    /// When to poll next if no frame comes.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let due = [self.stack.deadline(now), self.services.deadline()];
        due.into_iter().flatten().min()
    }
}

/// What a CPU has to say of its part of the network.
pub(super) fn facts(nic: &Nic, stack: &Stack, services: &Services) -> CpuFacts {
    let (card, interrupts) = nic.counters();
    CpuFacts { totals: services.totals(stack), card, interrupts, dropped: nic.dropped() }
}
