//! The network of a CPU: a stack of its own, for processes and services.
//!
//! Owns [`Served`], which `network` builds upon for the boot CPU. On the others addresses are
//! followed that the boot CPU's finds; the node's own connections, ARP, DHCP and datagrams are
//! there.

use super::board::{Board, CpuFacts};
use super::nic::Nic;
use super::report::NodeReport;
use super::sockets::ProcessSockets;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{Instant, ShardId, SocketNote, SocketOrder};
use craton_net::{Event, Stack};
use craton_node::{Part, PartEffect, Worker, WorkerEffect};
use craton_services::Services;

/// Events taken from the stack before the processes have their turn.
pub(super) const EVENTS_PER_POLL_MAX: usize = 256;

/// A stack, and the sockets and services over it: what every CPU has of the network.
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
    /// For a CPU other than the first, which has more to do with what came.
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
            // What was served is to be sent.
            more |= self.take(&event, worker, now, out);
        }
        self.serve(worker, now, out);
        self.nic.wake_others();
        self.tell_board();
        more
    }

    /// Deals with an event of the stack, if it is about a service or a socket of a process; says
    /// whether it was.
    pub(super) fn take<P: Part>(
        &mut self,
        event: &Event,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) -> bool {
        let report = NodeReport { board: &self.board, own: self.own, now };
        self.services.take(event, &mut self.stack, &report, now)
            || self.sockets.take(event, &mut self.stack, part, now, out)
    }

    /// To be called after the events of each poll of the stack.
    pub(super) fn serve<P: Part>(
        &mut self,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.services.poll(&mut self.stack, now);
        self.sockets.poll(&mut self.stack, part, now, out);
    }

    /// Tells the board of this CPU's part of the network, if there is who asks the board for it.
    pub(super) fn tell_board(&self) {
        if self.services.any() {
            let (card, interrupts) = self.nic.counters();
            let (totals, dropped) = (self.services.totals(&self.stack), self.nic.dropped());
            self.board.tell(self.own, CpuFacts { totals, card, interrupts, dropped });
        }
    }

    /// Does what processes want of the network.
    pub(super) fn socket<P: Part>(
        &mut self,
        order: SocketOrder,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.sockets.order(order, &mut self.stack, part, now, out);
        self.dirty = true;
    }

    /// Hears what the network of another CPU has to tell.
    pub(super) fn note<P: Part>(
        &mut self,
        heard: (ShardId, SocketNote),
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.sockets.hear(heard, &mut self.stack, part, now, out);
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
