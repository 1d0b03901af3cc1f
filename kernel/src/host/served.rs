//! The network of a CPU other than the first: a stack of its own, for processes and services.
//!
//! Owns [`Served`]. Addresses are the boot CPU's to find and are followed here; the node's own
//! connections, ARP, DHCP and datagrams are at the boot CPU's stack.

use super::board::{Board, CpuFacts};
use super::nic::Nic;
use super::report::NodeReport;
use super::sockets::ProcessSockets;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{Instant, ShardId, SocketNote, SocketOrder};
use craton_net::Stack;
use craton_node::{Worker, WorkerEffect};
use craton_services::Services;

/// Events taken from the stack before the processes have their turn.
const EVENTS_PER_POLL_MAX: usize = 256;

/// A stack, and the sockets and services over it.
pub(crate) struct Served {
    pub(super) own: usize,
    pub(super) nic: Nic,
    pub(super) stack: Box<Stack>,
    pub(super) services: Services,
    pub(super) sockets: ProcessSockets,
    pub(super) board: Arc<Board>,
    /// The version of the addresses that the stack has.
    pub(super) seen: u64,
    /// Something was given to the stack since it was last polled.
    pub(super) dirty: bool,
}

impl Served {
    /// Sends what is waiting, receives what came, serves it. True if there is more to do at once.
    pub(super) fn poll(
        &mut self,
        worker: &mut Worker,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) -> bool {
        if let Some((address, announced)) = self.board.addresses(&mut self.seen) {
            self.stack.set_addresses(address, announced);
        }
        self.dirty = false;
        let mut more = self.stack.poll(&mut self.nic, now).more;
        for _ in 0..EVENTS_PER_POLL_MAX {
            let Some(event) = self.stack.poll_event() else { break };
            let report = NodeReport { board: &self.board, own: self.own, now };
            // What was served is to be sent.
            more |= self.services.take(&event, &mut self.stack, &report, now)
                || self.sockets.take(&event, &mut self.stack, worker, now, out);
        }
        self.services.poll(&mut self.stack, now);
        self.sockets.poll(&mut self.stack, worker, now, out);
        self.nic.wake_others();
        if self.services.any() {
            // Nobody else asks the board for it.
            self.board.tell(self.own, facts(&self.nic, &self.stack, &self.services));
        }
        more
    }

    /// Does what processes want of the network.
    pub(super) fn socket(
        &mut self,
        order: SocketOrder,
        worker: &mut Worker,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) {
        self.sockets.order(order, &mut self.stack, worker, now, out);
        self.dirty = true;
    }

    /// Hears what the network of another CPU has to tell.
    pub(super) fn note(
        &mut self,
        from: ShardId,
        note: SocketNote,
        worker: &mut Worker,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) {
        self.sockets.hear((from, note), &mut self.stack, worker, now, out);
        self.dirty = true;
    }

    /// The node starts a new life.
    pub(super) fn reset(&mut self, now: Instant) {
        self.sockets.reset(&mut self.stack, now);
        self.dirty = true;
    }

    /// When to poll next if no frame comes.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let own = [self.services.deadline(), self.sockets.deadline()];
        own.into_iter().chain([self.stack.deadline(now)]).flatten().min()
    }
}

/// What a CPU has to say of its part of the network.
pub(super) fn facts(nic: &Nic, stack: &Stack, services: &Services) -> CpuFacts {
    let (card, interrupts) = nic.counters();
    CpuFacts { totals: services.totals(stack), card, interrupts, dropped: nic.dropped() }
}
