//! The node's contact with the network: its connections and datagrams over the stack.
//!
//! Owns [`Network`]: card, stack, and which connection is which stream. It turns what the stack
//! tells into inputs of the node and does what the node asks. No policy.

use super::board::{Board, NodeFacts};
use super::nic::{Nic, link};
use super::report::NodeReport;
use super::served::{Served, facts};
use super::sockets::{PROCESSES, ProcessSockets};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{Instant, ShardId, SocketNote, SocketOrder, limit};
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
/// Events taken from the stack before the processes have their turn.
const EVENTS_PER_POLL_MAX: usize = 256;
/// Whom the buffers of the services count against; the node's own are owner 0's.
const SERVICES: Owner = Owner(1);

const _: () = assert!(SERVICES.0 < PROCESSES.0, "nobody counts against another's owner");

/// The network as the node and its processes see it.
pub(crate) struct Network {
    nic: Nic,
    board: Arc<Board>,
    stack: Box<Stack>,
    membership: UdpId,
    services: Services,
    sockets: ProcessSockets,
    streams: BTreeMap<ConnId, StreamId>,
    conns: BTreeMap<StreamId, ConnId>,
    /// Connections for which the node has bytes.
    ready: BTreeSet<ConnId>,
    block: Vec<u8>,
    /// Something was given to the stack since it was last polled.
    dirty: bool,
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
        let sockets = |own: usize| {
            let own = ShardId::new(own as u8);
            ProcessSockets::new(Sockets::new(own, shared.clone(), PROCESSES))
        };
        let first = pairs.next().expect("a card has a pair of queues");
        let nic = if cpus == 1 {
            Nic::alone(first)
        } else {
            Nic::shared(0, Some(first), steer.clone(), lanes.clone())
        };
        let (mut stack, services) = new_stack(&info, &steer, 0, seed(), enabled, now);
        stack.listen(limit::SESSION_PORT).expect("no service has this port");
        let membership = stack.bind(limit::MEMBERSHIP_PORT).expect("no service has this port");
        let mut serve = |own: usize, pair: Option<Pair>| {
            let (stack, services) = new_stack(&info, &steer, own, seed(), enabled, now);
            let nic = Nic::shared(own, pair, steer.clone(), lanes.clone());
            let (sockets, board) = (sockets(own), board.clone());
            Served { own, nic, stack, services, sockets, board, seen: 0, dirty: false }
        };
        let served = (1..cpus).map(|own| serve(own, pairs.next())).collect();
        let network = Network {
            nic,
            board,
            stack,
            membership,
            services,
            sockets: sockets(0),
            streams: BTreeMap::new(),
            conns: BTreeMap::new(),
            ready: BTreeSet::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
            dirty: true,
        };
        (network, served)
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
        self.dirty = false;
        let mut more = self.stack.poll(&mut self.nic, now).more;
        more |= self.nic.send_for_others();
        while let Some((shard, frame)) = self.stack.forwarded() {
            self.nic.pass(shard, &frame);
        }
        self.nic.wake_others();
        for _ in 0..EVENTS_PER_POLL_MAX {
            let Some(event) = self.stack.poll_event() else { break };
            self.take(event, node, now, out);
        }
        self.services.poll(&mut self.stack, now);
        self.sockets.poll(&mut self.stack, node, now, out);
        let mut datagram = Vec::new();
        for _ in 0..EVENTS_PER_POLL_MAX {
            let Some(from) = self.stack.receive_from(self.membership, &mut datagram) else { break };
            let bytes = core::mem::take(&mut datagram);
            node.step(NodeInput::Datagram { from, bytes }, now, out);
        }
        self.pump(node, now);
        if self.services.any() {
            // Nobody else asks the board for it.
            self.board.tell(0, facts(&self.nic, &self.stack, &self.services));
        }
        more |= self.dirty;
        more
    }

    fn take(&mut self, event: Event, node: &mut Node, now: Instant, out: &mut Vec<NodeEffect>) {
        let report = NodeReport { board: &self.board, own: 0, now };
        if self.services.take(&event, &mut self.stack, &report, now) {
            self.dirty = true;
            return;
        }
        if matches!(event, Event::Address(_) | Event::Announced(_)) {
            let (address, announced) = (self.stack.address(), self.stack.announced());
            self.board.tell_addresses(address.cloned(), announced.clone());
        }
        if self.sockets.take(&event, &mut self.stack, node, now, out) {
            self.dirty = true;
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
                self.stack.close(stream, now);
                self.lost(stream, node, now, out);
            }
            Event::Closed { stream, .. } => self.lost(stream, node, now, out),
        }
    }

    /// Does what processes want of the network.
    pub(super) fn socket(
        &mut self,
        order: SocketOrder,
        node: &mut Node,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) {
        self.sockets.order(order, &mut self.stack, node, now, out);
        self.dirty = true;
    }

    /// Hears what the network of another CPU has to tell.
    pub(super) fn note(
        &mut self,
        from: ShardId,
        note: SocketNote,
        node: &mut Node,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) {
        self.sockets.hear((from, note), &mut self.stack, node, now, out);
        self.dirty = true;
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
            match self.stack.read(stream, &mut bytes, BLOCK_BYTES) {
                Ok(count) if count > 0 => {
                    node.step(NodeInput::Received { conn, bytes }, now, out);
                    self.dirty = true;
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
        match self.stack.dial(to, now) {
            Ok(stream) => {
                self.join(conn, stream);
                self.dirty = true;
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
            self.stack.close(stream, now);
            self.dirty = true;
        }
    }

    /// The node has bytes for this connection.
    pub(super) fn ready(&mut self, conn: ConnId) {
        self.ready.insert(conn);
        self.dirty = true;
    }

    /// Sends a datagram; one that cannot be sent is lost, as datagrams are.
    pub(super) fn datagram(&mut self, to: SocketAddr, bytes: &[u8], now: Instant) {
        // Membership lives with loss, whatever the cause.
        let _ = self.stack.send_to(self.membership, to, bytes, now);
        self.dirty = true;
    }

    /// Moves bytes from the node to the stack, as far as there is room.
    fn pump(&mut self, node: &mut Node, now: Instant) {
        let ready = core::mem::take(&mut self.ready);
        for conn in ready {
            let Some(&stream) = self.streams.get(&conn) else { continue };
            loop {
                let room = self.stack.room(stream).unwrap_or(0).min(BLOCK_BYTES);
                if room == 0 {
                    // The stack says when there is room again.
                    break;
                }
                self.block.clear();
                node.transmit(conn, room, &mut self.block, now);
                if self.block.is_empty() {
                    break;
                }
                let sent = self.stack.write(stream, &self.block);
                assert!(sent != Ok(0), "a stream takes what it has room for");
                self.dirty = true;
            }
        }
    }

    /// When to poll next if no frame comes.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let own = [self.services.deadline(), self.sockets.deadline()];
        let due = own.into_iter().chain([self.stack.deadline(now)]);
        due.flatten().min()
    }

    /// Whether something waits to be given to the stack, or to be sent by it.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Why the card is of no use any more, if so.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.nic.pair().and_then(Pair::broken)
    }

    /// Tells the other CPUs of the node.
    pub(super) fn tell_of(&self, node: &Node) {
        self.board.tell_node(NodeFacts {
            name: node.config().name.clone(),
            id: node.id(),
            life: node.incarnation(),
            nodes_alive: node.nodes_alive().len(),
            processes: node.processes(),
            link_up: self.nic.pair().is_none_or(Pair::link_up),
        });
    }

    /// What the CPUs tell one another.
    pub(super) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Asks for an interrupt at the next frame. True if one is there already.
    pub(super) fn arm(&mut self) -> bool {
        self.nic.arm()
    }

    /// Forgets every connection: the node starts a new life.
    pub(super) fn reset(&mut self, now: Instant) {
        self.sockets.reset(&mut self.stack, now);
        for (_, stream) in core::mem::take(&mut self.streams) {
            self.stack.abort(stream, now);
        }
        self.conns.clear();
        self.ready.clear();
        self.dirty = true;
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
    config.shard = Some(Shard { steer: steer.clone(), index: own as u16 });
    let mut stack = Box::new(Stack::new(config, now));
    let mut services = Services::new(enabled, SERVICES);
    if let Err(error) = services.open(&mut stack) {
        warn!("services: {error}");
    }
    (stack, services)
}
