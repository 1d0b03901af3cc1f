//! The node's contact with the network: its connections and datagrams over the stack.
//!
//! Owns [`Network`]: card, stack, and which connection is which stream. It turns what the stack
//! tells into inputs of the node and does what the node asks. No policy.

use super::board::{Board, NodeFacts};
use super::nic::{Nic, link};
use super::served::{EVENTS_PER_POLL_MAX, Served};
use super::sockets::{PROCESSES, ProcessSockets};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{Instant, ShardId, limit};
use craton_hal::memory;
use craton_hal::virtio::Broken;
use craton_hal::virtio::net::{Info, Net, Pair};
use craton_net::{
    AddressSource, Config, Event, Lanes, Owner, Shard, Stack, Steer, StreamId, UdpId,
};
use craton_node::{Node, NodeEffect, NodeInput};
use craton_services::{Enabled, Services};
use craton_session::ConnId;
use craton_sockets::{Shared, Sockets};
use log::warn;

/// Bytes moved between the node and a stream at once.
const BLOCK_BYTES: usize = 32 << 10;
/// Whom the buffers of the services count against; the node's own are owner 0's.
const SERVICES: Owner = Owner(1);

const _: () = assert!(SERVICES.0 < PROCESSES.0, "nobody counts against another's owner");

/// The network as the node and its processes see it.
pub(crate) struct Network {
    /// What every CPU has of the network.
    base: Served,
    membership: UdpId,
    streams: BTreeMap<ConnId, StreamId>,
    conns: BTreeMap<StreamId, ConnId>,
    /// Connections for which the node has bytes.
    ready: BTreeSet<ConnId>,
    block: Vec<u8>,
}

impl Network {
    /// Listens for sessions and membership, and begins to ask for an address. Each of the node's
    /// other CPUs has a network too, which it is to be given.
    pub(crate) fn new(
        net: Net,
        cpus: usize,
        mut seed: impl FnMut() -> [u8; 32],
        enabled: Enabled,
        now: Instant,
    ) -> (Self, Vec<Served>) {
        let (info, mut pairs) = (net.info(), net.into_pairs());
        let board = Board::new(cpus, info);
        let lanes = Lanes::new(cpus);
        let key = seed();
        let key = core::array::from_fn(|at| key[at]);
        // Sessions are the control's, which is on the boot CPU.
        let steer = Steer::new(key, cpus as u16).except([limit::SESSION_PORT]);
        let shared = Shared::new(cpus as u8);
        let mut base = |own: usize, nic: Nic| {
            let (stack, services) = new_stack(&info, &steer, own, seed(), enabled, now);
            let sockets = Sockets::new(ShardId::new(own as u8), shared.clone(), PROCESSES);
            let (sockets, board) = (ProcessSockets::new(sockets), board.clone());
            Served { own, nic, stack, services, sockets, board, seen: 0, dirty: own == 0 }
        };
        let first = pairs.next().expect("a card has a pair of queues");
        let nic = if cpus == 1 {
            Nic::alone(first)
        } else {
            Nic::shared(0, Some(first), steer.clone(), lanes.clone())
        };
        let network = Network::over(base(0, nic));
        let served = (1..cpus)
            .map(|own| base(own, Nic::shared(own, pairs.next(), steer.clone(), lanes.clone())));
        (network, served.collect())
    }

    fn over(mut base: Served) -> Self {
        base.stack.listen(limit::SESSION_PORT).expect("no service has this port");
        let membership = base.stack.bind(limit::MEMBERSHIP_PORT).expect("no service has this port");
        Network {
            base,
            membership,
            streams: BTreeMap::new(),
            conns: BTreeMap::new(),
            ready: BTreeSet::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
        }
    }

    /// Sends what is waiting, receives what came, and steps the node with it. Returns whether there
    /// is more to do at once.
    pub(super) fn poll(
        &mut self,
        node: &mut Node,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) -> bool {
        self.pump(node, now);
        let base = &mut self.base;
        base.dirty = false;
        let mut more = base.stack.poll(&mut base.nic, now).more;
        more |= base.nic.send_for_others();
        while let Some((shard, frame)) = base.stack.forwarded() {
            base.nic.pass(shard, &frame);
        }
        base.nic.wake_others();
        for _ in 0..EVENTS_PER_POLL_MAX {
            let Some(event) = self.base.stack.poll_event() else { break };
            self.take(event, node, now, out);
        }
        self.base.serve(node, now, out);
        let mut datagram = Vec::new();
        for _ in 0..EVENTS_PER_POLL_MAX {
            let from = self.base.stack.receive_from(self.membership, &mut datagram);
            let Some(from) = from else { break };
            let bytes = core::mem::take(&mut datagram);
            node.step(NodeInput::Datagram { from, bytes }, now, out);
        }
        self.pump(node, now);
        self.base.tell_board();
        more | self.base.dirty
    }

    fn take(&mut self, event: Event, node: &mut Node, now: Instant, out: &mut Vec<NodeEffect>) {
        let base = &mut self.base;
        if matches!(event, Event::Address(_) | Event::Announced(_)) {
            let (address, announced) = (base.stack.address(), base.stack.announced());
            base.board.tell_addresses(address.cloned(), announced.clone());
        }
        if base.take(&event, node, now, out) {
            base.dirty = true;
            return;
        }
        match event {
            Event::Address(Some(address)) => {
                node.step(NodeInput::Address(address.address.into()), now, out);
            }
            Event::Address(None) | Event::Announced(_) | Event::Resolved { .. } => {}
            Event::Accepted { stream, from, .. } => {
                let conn = ConnId(stream.to_bits());
                self.join(conn, stream);
                node.step(NodeInput::Accepted { conn, from }, now, out);
            }
            Event::Connected { stream } => {
                if let Some(&conn) = self.conns.get(&stream) {
                    node.step(NodeInput::Connected { conn }, now, out);
                }
            }
            Event::Readable { stream } => self.receive(stream, node, now, out),
            Event::Writable { stream } => {
                if let Some(&conn) = self.conns.get(&stream) {
                    self.ready.insert(conn);
                }
            }
            Event::Finished { stream } => {
                // A session needs both directions.
                self.base.stack.close(stream, now);
                self.lost(stream, node, now, out);
            }
            Event::Closed { stream, .. } => self.lost(stream, node, now, out),
        }
    }

    fn receive(
        &mut self,
        stream: StreamId,
        node: &mut Node,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(&conn) = self.conns.get(&stream) else { return };
        loop {
            let mut bytes = Vec::new();
            match self.base.stack.read(stream, &mut bytes, BLOCK_BYTES) {
                Ok(count) if count > 0 => {
                    node.step(NodeInput::Received { conn, bytes }, now, out);
                    self.base.dirty = true;
                }
                // The end is told by an event of its own.
                _ => return,
            }
        }
    }

    fn lost(&mut self, stream: StreamId, node: &mut Node, now: Instant, out: &mut Vec<NodeEffect>) {
        if let Some(conn) = self.conns.remove(&stream) {
            self.streams.remove(&conn);
            self.ready.remove(&conn);
            node.step(NodeInput::Closed { conn }, now, out);
        }
    }

    fn join(&mut self, conn: ConnId, stream: StreamId) {
        self.streams.insert(conn, stream);
        self.conns.insert(stream, conn);
    }

    /// Opens a connection for the node. False if it cannot even begin.
    pub(super) fn dial(&mut self, conn: ConnId, to: SocketAddr, now: Instant) -> bool {
        match self.base.stack.dial(to, now) {
            Ok(stream) => {
                self.join(conn, stream);
                self.base.dirty = true;
                true
            }
            Err(_) => false,
        }
    }

    /// Closes a connection, after what was given to it is sent.
    pub(super) fn close(&mut self, conn: ConnId, node: &mut Node, now: Instant) {
        self.pump(node, now);
        self.ready.remove(&conn);
        if let Some(stream) = self.streams.remove(&conn) {
            self.conns.remove(&stream);
            self.base.stack.close(stream, now);
            self.base.dirty = true;
        }
    }

    /// The node has bytes for this connection.
    pub(super) fn ready(&mut self, conn: ConnId) {
        self.ready.insert(conn);
        self.base.dirty = true;
    }

    /// Sends a datagram; one that cannot be sent is lost, as datagrams are.
    pub(super) fn datagram(&mut self, to: SocketAddr, bytes: &[u8], now: Instant) {
        // Membership lives with loss, whatever the cause.
        let _ = self.base.stack.send_to(self.membership, to, bytes, now);
        self.base.dirty = true;
    }

    /// Moves bytes from the node to the stack, as far as there is room.
    fn pump(&mut self, node: &mut Node, now: Instant) {
        let ready = core::mem::take(&mut self.ready);
        for conn in ready {
            let Some(&stream) = self.streams.get(&conn) else { continue };
            loop {
                let room = self.base.stack.room(stream).unwrap_or(0).min(BLOCK_BYTES);
                if room == 0 {
                    // The stack says when there is room again.
                    break;
                }
                self.block.clear();
                node.transmit(conn, room, &mut self.block, now);
                if self.block.is_empty() {
                    break;
                }
                let sent = self.base.stack.write(stream, &self.block);
                assert!(sent != Ok(0), "a stream takes what it has room for");
                self.base.dirty = true;
            }
        }
    }

    /// Why the card is of no use any more, if so.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.base.nic.pair().and_then(Pair::broken)
    }

    /// Tells the other CPUs of the node.
    pub(super) fn tell_of(&self, node: &Node) {
        self.base.board.tell_node(NodeFacts {
            name: node.config().name.clone(),
            id: node.id(),
            life: node.incarnation(),
            nodes_alive: node.nodes_alive().len(),
            processes: node.processes(),
            link_up: self.base.nic.pair().is_none_or(Pair::link_up),
        });
    }

    /// What every CPU has of the network.
    pub(super) fn base(&mut self) -> &mut Served {
        &mut self.base
    }

    /// Forgets every connection: the node starts a new life.
    pub(super) fn reset(&mut self, now: Instant) {
        self.base.reset(now);
        for (_, stream) in core::mem::take(&mut self.streams) {
            self.base.stack.abort(stream, now);
        }
        self.conns.clear();
        self.ready.clear();
        self.base.dirty = true;
    }
}

/// A CPU's stack, with the services that are on. In a box: it has kilobytes, of which the boot
/// CPU's small main stack would hold one copy for each hand that it goes through.
#[inline(never)]
fn new_stack(
    info: &Info,
    steer: &Steer,
    own: usize,
    seed: [u8; 32],
    enabled: Enabled,
    now: Instant,
) -> (Box<Stack>, Services) {
    let source = if own == 0 { AddressSource::Dhcp } else { AddressSource::Follow };
    let mut config = Config::new(link(info), seed, source);
    // Half of the memory at most for all, so that processes are not starved by connections.
    let half = usize::try_from(memory::free_bytes() / 2).unwrap_or(usize::MAX);
    let share = half.min(config.buffer_bytes_max) / usize::from(steer.shards());
    config.buffer_bytes_max = share;
    config.has_room = memory::can_spare;
    config.shard = Some(Shard { steer: steer.clone(), index: own as u16 });
    let mut stack = Box::new(Stack::new(config, now));
    let mut services = Services::new(enabled, SERVICES);
    if let Err(error) = services.open(&mut stack) {
        warn!("services: {error}");
    }
    (stack, services)
}
