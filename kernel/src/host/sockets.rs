//! The sockets of processes on one CPU, between its network stack and its part of the node.
//!
//! Owns [`ProcessSockets`]: it carries what comes of a step to whom it is for. Notes for the
//! networks of other CPUs and events for processes go by the node's mail, in order.

use alloc::vec::Vec;
use craton_abi::{Instant, ShardId, SocketEvent, SocketNote, SocketOrder};
use craton_net::{Event, Owner, Stack};
use craton_node::{Part, PartEffect};
use craton_sockets::Sockets;

/// The sockets of processes count against owners above this.
pub(super) const PROCESSES: Owner = Owner(1 << 8);

/// The sockets of a CPU.
pub(super) struct ProcessSockets {
    sockets: Sockets,
    /// What is told to processes; kept for its room, and empty in between.
    told: Vec<SocketEvent>,
}

impl ProcessSockets {
    pub(super) fn new(sockets: Sockets) -> Self {
        ProcessSockets { sockets, told: Vec::new() }
    }

    /// Does what processes of this CPU want of the network.
    pub(super) fn order<P: Part>(
        &mut self,
        order: SocketOrder,
        stack: &mut Stack,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.sockets.order(order, stack, now, &mut self.told);
        self.tell(part, now, out);
    }

    /// Hears what the network of another CPU has to tell.
    pub(super) fn hear<P: Part>(
        &mut self,
        (from, note): (ShardId, SocketNote),
        stack: &mut Stack,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.sockets.hear(from, note, stack, now, &mut self.told);
        self.tell(part, now, out);
    }

    /// Deals with an event of the stack, if it is about a socket of a process; says whether it was.
    pub(super) fn take<P: Part>(
        &mut self,
        event: &Event,
        stack: &mut Stack,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) -> bool {
        let taken = self.sockets.take(event, stack, now, &mut self.told);
        if taken {
            self.tell(part, now, out);
        }
        taken
    }

    /// To be called after each poll of the stack.
    pub(super) fn poll<P: Part>(
        &mut self,
        stack: &mut Stack,
        part: &mut P,
        now: Instant,
        out: &mut Vec<PartEffect<P::Own>>,
    ) {
        self.sockets.poll(stack, now, &mut self.told);
        self.tell(part, now, out);
    }

    /// The node starts a new life.
    pub(super) fn reset(&mut self, stack: &mut Stack, now: Instant) {
        self.sockets.reset(stack, now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sockets.deadline()
    }

    fn tell<P: Part>(&mut self, part: &mut P, now: Instant, out: &mut Vec<PartEffect<P::Own>>) {
        while let Some((to, note)) = self.sockets.next_note() {
            part.pass_note(to, note, now, out);
        }
        for event in self.told.drain(..) {
            part.hear_network(event, now, out);
        }
    }
}
