//! A few nodes on a perfect network, scripted processes, and peers under the test's control.
//!
//! Owns [`World`]. Time passes only in [`World::run`]; bytes and datagrams arrive at once. Mail
//! between the CPUs of a node arrives at once too, but with a seed that chooses what comes first:
//! every pair of CPUs has its order, and everything else may overtake.

mod hosting;
pub(crate) mod scripts;

use craton_abi::{
    AppId, Duration, Incarnation, Instant, Payload, Pid, ProgramId, ShardId, Slot, SocketEvent,
    SocketNote, SocketOrder, TraceId, limit,
};
use craton_node::{
    ControlEffect, Mail, Node, NodeConfig, NodeEffect, NodeInput, Worker, WorkerEffect, WorkerInput,
};
use craton_session::cert::Request;
use craton_session::{
    AuthoritySecret, Certificate, ConnId, Event, Identity, NoiseSecret, PeerKey, Role, Sessions,
};
use craton_shard::port::{HostAnswer, HostEffect, LogLevel, Outcome, Resume};
use craton_wire::{Body, Lane};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a process does each time it is run.
pub(crate) type Script = Box<dyn FnMut(Resume) -> Outcome>;
/// Makes the script of a process from its pid, entry and argument.
pub(crate) type Program = fn(Pid, &str, &[u8]) -> Script;

const STEP: Duration = Duration::from_millis(1);

fn authority() -> AuthoritySecret {
    AuthoritySecret::from_bytes(&[1; 32])
}

fn certify(role: Role, name: &str, secret: &NoiseSecret) -> Certificate {
    let request = Request {
        role,
        name: name.into(),
        noise: secret.public(),
        not_before_secs: 0,
        not_after_secs: u64::MAX,
        serial: 1,
    };
    Certificate::issue(request, &authority()).expect("the name is allowed")
}

/// A configuration as an authority would make it.
pub(crate) fn config(number: u8) -> NodeConfig {
    let secret = NoiseSecret::from_bytes(&[10 + number; 32]);
    let name = format!("node{number}");
    NodeConfig {
        certificate: certify(Role::Node, &name, &secret).to_bytes(),
        name,
        noise_key: Some(secret.to_bytes()),
        authorities: vec![authority().public().to_bytes()],
        discovery: Some([3; 32]),
        log: LogLevel::Debug,
        ..NodeConfig::default()
    }
}

/// A peer that the test speaks for.
pub(crate) struct Guest {
    pub(crate) sessions: Sessions,
    pub(crate) peer: Option<PeerKey>,
    pub(crate) heard: Vec<Body>,
    pub(crate) lost: bool,
    /// Its machine is dark.
    pub(crate) dark: bool,
    /// Its own life, to speak in its name.
    pub(crate) me: PeerKey,
}

type End = (usize, ConnId);

/// What arrives at a place: nodes come first, guests behind them.
enum Arrival {
    Input(NodeInput),
    Connected(ConnId),
    Received(ConnId, Vec<u8>),
    Closed(ConnId),
}

/// Mail under way on a node, from one shard to another.
type Way = (usize, ShardId, ShardId);

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Of each node, the shards from 1 on.
    workers: Vec<Vec<Worker>>,
    mail: BTreeMap<Way, VecDeque<Mail>>,
    /// Chooses what comes next; without it everything comes in order.
    random: Option<u64>,
    /// No mail of workers arrives.
    held: bool,
    pub(crate) guests: Vec<Guest>,
    program: Program,
    /// By node and CPU.
    scripts: BTreeMap<(usize, ShardId, Slot), Script>,
    /// Those that one CPU gave and another is to take: who gave them.
    transit: BTreeMap<(usize, Slot), (ShardId, Script)>,
    /// How often a process went from one CPU to another.
    pub(crate) taken: usize,
    streams: Vec<[End; 2]>,
    conn_next: u64,
    arrivals: VecDeque<(usize, Arrival)>,
    /// How often each node got another address.
    moved: Vec<u8>,
    /// Bundles that each node's engine was given.
    pub(crate) loads: Vec<usize>,
    /// Bytes that nodes sent to nodes.
    pub(crate) bytes_between: usize,
    pub(crate) logs: Vec<String>,
    /// What processes of each node wanted of the network.
    pub(crate) orders: Vec<(usize, (ShardId, SocketOrder))>,
    /// What networks of CPUs told one another: at which node, who, and whom.
    pub(crate) notes: Vec<(usize, ShardId, ShardId, SocketNote)>,
}

/// The key of every guest.
pub(crate) fn guest_secret() -> NoiseSecret {
    NoiseSecret::from_bytes(&[200; 32])
}

fn address(index: usize) -> SocketAddr {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1));
    SocketAddr::new(ip, limit::SESSION_PORT)
}

impl World {
    /// `count` nodes that have found one another.
    pub(crate) fn new(count: usize, program: Program) -> Self {
        World::with_shards(count, 2, None, program)
    }

    /// The same with so many shards each, and mail in the order that `seed` brings.
    pub(crate) fn with_shards(
        count: usize,
        shards: u8,
        seed: Option<u64>,
        program: Program,
    ) -> Self {
        let mut world = World {
            now: Instant::ZERO,
            nodes: Vec::new(),
            workers: Vec::new(),
            mail: BTreeMap::new(),
            random: seed,
            held: false,
            moved: vec![0; count],
            guests: Vec::new(),
            program,
            scripts: BTreeMap::new(),
            transit: BTreeMap::new(),
            taken: 0,
            streams: Vec::new(),
            conn_next: 0,
            arrivals: VecDeque::new(),
            loads: vec![0; count],
            bytes_between: 0,
            logs: Vec::new(),
            orders: Vec::new(),
            notes: Vec::new(),
        };
        for index in 0..count {
            let life = Incarnation::new(100 + index as u64);
            let node = Node::new(config(index as u8), life, shards, [index as u8; 32], world.now);
            let mut node = node.expect("the configuration is right");
            world.workers.push(node.workers());
            assert!(node.workers().is_empty(), "a worker was given out twice");
            world.nodes.push(node);
        }
        for index in 0..count {
            world.step(index, NodeInput::Address(address(index).ip()));
        }
        world.run(Duration::from_millis(600));
        for node in &world.nodes {
            assert_eq!(node.nodes_alive().len(), count, "the nodes did not join");
        }
        world
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            for index in 0..self.nodes.len() {
                if self.random.is_some() {
                    self.lend();
                }
                self.step(index, NodeInput::Tick);
                for worker in 0..self.workers[index].len() {
                    self.step_worker(index, worker, WorkerInput::Tick);
                    self.settle();
                }
            }
            for guest in
                (0..self.guests.len()).filter(|g| !self.guests[*g].dark).collect::<Vec<_>>()
            {
                self.guests[guest].sessions.tick(self.now);
                self.settle_guest(guest);
                self.settle();
            }
        }
    }

    /// Steps a node, and whoever hears of it.
    pub(crate) fn step(&mut self, index: usize, input: NodeInput) {
        self.arrivals.push_back((index, Arrival::Input(input)));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let arrives = |way: &Way| !self.held || way.1 == ShardId::new(0);
            let ways: Vec<Way> = self.mail.keys().copied().filter(arrives).collect();
            let arrivals = usize::from(!self.arrivals.is_empty());
            let due = self.due();
            let count = arrivals + ways.len() + due.len();
            if count == 0 {
                return;
            }
            if self.random.is_some() && self.choose(4) == 0 {
                self.lend();
            }
            match self.choose(count) {
                choice if choice < arrivals => self.arrive(),
                choice if choice < arrivals + ways.len() => self.deliver(ways[choice - arrivals]),
                choice => {
                    let (index, worker) = due[choice - arrivals - ways.len()];
                    self.step_worker(index, worker, WorkerInput::Tick);
                }
            }
        }
    }

    /// The network of a CPU has something to tell a process.
    pub(crate) fn network_says(&mut self, index: usize, cpu: ShardId, event: SocketEvent) {
        match cpu.index().checked_sub(1) {
            None => self.step_node(index, Arrival::Input(NodeInput::Socket(event))),
            Some(worker) => self.step_worker(index, worker, WorkerInput::Socket(event)),
        }
    }

    /// The network of a CPU has something to tell that of another.
    pub(crate) fn network_notes(&mut self, cpu: ShardId, to: ShardId, note: SocketNote) {
        match cpu.index().checked_sub(1) {
            None => self.step_node(0, Arrival::Input(NodeInput::SocketNote { to, note })),
            Some(worker) => self.step_worker(0, worker, WorkerInput::SocketNote { to, note }),
        }
    }

    /// Holds the mail of workers up, or lets it go.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
        self.settle();
    }

    /// Lets time pass, and then as many things happen as are given, and no more.
    pub(crate) fn run_held(&mut self, time: Duration, things: usize) {
        self.run(time);
        for index in 0..self.nodes.len() {
            self.step_node(index, Arrival::Input(NodeInput::Tick));
        }
        for _ in 0..things {
            let ways: Vec<Way> = self.mail.keys().copied().collect();
            for worker in 0..self.workers[0].len() {
                self.step_worker(0, worker, WorkerInput::Tick);
            }
            if !ways.is_empty() {
                let way = ways[self.choose(ways.len())];
                self.deliver(way);
            }
        }
    }

    /// Gives a node another address, upon which it begins a new life. Its mail stays under way.
    pub(crate) fn readdress(&mut self, index: usize) {
        self.moved[index] += 1;
        let address = NodeInput::Address(self.address(index).ip());
        self.step_node(index, Arrival::Input(address));
        assert!(self.mail.keys().any(|way| way.0 == index), "workers are told by mail");
        self.settle();
    }

    fn address(&self, index: usize) -> SocketAddr {
        let moved = self.moved.get(index).copied().unwrap_or(0);
        let ip = IpAddr::V4(Ipv4Addr::new(10, moved, 0, index as u8 + 1));
        SocketAddr::new(ip, limit::SESSION_PORT)
    }

    /// Workers that have to be stepped whatever the time is.
    fn due(&self) -> Vec<(usize, usize)> {
        let mut due = Vec::new();
        for (index, workers) in self.workers.iter().enumerate() {
            for (worker, value) in workers.iter().enumerate() {
                if value.deadline() == Some(Instant::ZERO) {
                    due.push((index, worker));
                }
            }
        }
        due
    }

    /// One of `count`, at random if there is a seed (xorshift64*, Vigna, 2016).
    fn choose(&mut self, count: usize) -> usize {
        let Some(state) = &mut self.random else { return 0 };
        *state = (*state).max(1);
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % count
    }

    fn arrive(&mut self) {
        let Some((place, arrival)) = self.arrivals.pop_front() else { return };
        match place.checked_sub(self.nodes.len()) {
            None => self.step_node(place, arrival),
            Some(guest) => self.step_guest(guest, arrival),
        }
    }

    fn deliver(&mut self, way: Way) {
        let (index, _, to) = way;
        let Some(queue) = self.mail.get_mut(&way) else { return };
        let Some(mail) = queue.pop_front() else { return };
        if queue.is_empty() {
            self.mail.remove(&way);
        }
        match to.index().checked_sub(1) {
            None => self.step_node(index, Arrival::Input(NodeInput::Mail(mail))),
            Some(worker) => self.step_worker(index, worker, WorkerInput::Mail(mail)),
        }
    }

    fn post(&mut self, index: usize, from: ShardId, to: ShardId, mail: Mail) {
        self.mail.entry((index, from, to)).or_default().push_back(mail);
    }

    fn step_worker(&mut self, index: usize, worker: usize, input: WorkerInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.workers[index][worker].step(input, self.now, &mut effects);
            for effect in effects {
                self.carry_out_for_worker(index, worker, effect, &mut inputs);
            }
        }
    }

    fn step_node(&mut self, index: usize, arrival: Arrival) {
        let input = match arrival {
            Arrival::Input(input) => input,
            Arrival::Connected(conn) => NodeInput::Connected { conn },
            Arrival::Received(conn, bytes) => NodeInput::Received { conn, bytes },
            Arrival::Closed(conn) => NodeInput::Closed { conn },
        };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.nodes[index].step(input, self.now, &mut effects);
            for effect in effects {
                self.carry_out(index, effect, &mut inputs);
            }
        }
    }

    fn step_guest(&mut self, guest: usize, arrival: Arrival) {
        let (sessions, now) = (&mut self.guests[guest].sessions, self.now);
        match arrival {
            Arrival::Input(_) => {}
            Arrival::Connected(conn) => sessions.connected(conn, now),
            Arrival::Received(conn, bytes) => sessions.received(conn, &bytes, now),
            Arrival::Closed(conn) => sessions.closed(conn, now),
        }
        self.settle_guest(guest);
    }

    fn carry_out(&mut self, index: usize, effect: NodeEffect, inputs: &mut VecDeque<NodeInput>) {
        match effect {
            NodeEffect::Host(effect) => {
                let answer = self.host(index, ShardId::new(0), effect);
                inputs.extend(answer.map(NodeInput::Host));
            }
            NodeEffect::Post { to, mail } => self.post(index, ShardId::new(0), to, mail),
            // What processes want of the network is answered by a test, if it is about that.
            NodeEffect::Socket(order) => {
                self.orders.push((index, (ShardId::new(0), order)));
            }
            NodeEffect::SocketNote { from, note } => {
                self.notes.push((index, from, ShardId::new(0), note));
            }
            NodeEffect::Restart => {
                inputs.clear();
                self.reclaim_all(index, ShardId::new(0));
            }
            NodeEffect::Own(effect) => self.carry_out_for_control(index, effect, inputs),
        }
    }

    fn carry_out_for_control(
        &mut self,
        index: usize,
        effect: ControlEffect,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        match effect {
            ControlEffect::Dial { conn, to } => self.dial((index, conn), to),
            ControlEffect::Close { conn } => self.close((index, conn)),
            ControlEffect::Ready { conn } => self.pump((index, conn)),
            ControlEffect::Datagram { to, bytes } => {
                let all = to.ip() == Ipv4Addr::BROADCAST;
                for other in (0..self.nodes.len()).filter(|other| *other != index) {
                    if all || to == self.address(other) {
                        let (from, bytes) = (self.address(index), bytes.clone());
                        let input = NodeInput::Datagram { from, bytes };
                        self.arrivals.push_back((other, Arrival::Input(input)));
                    }
                }
            }
            ControlEffect::Load { program, .. } => {
                self.loads[index] += 1;
                inputs.push_back(NodeInput::Loaded { program, result: Ok(()) });
            }
            ControlEffect::Unload { .. } => {}
            ControlEffect::Log { module, text, .. } => {
                self.logs.push(format!("{index} {module}: {text}"));
            }
        }
    }

    // --- connections: places beyond the nodes are guests ---

    fn dial(&mut self, from: End, to: SocketAddr) {
        let Some(index) = (0..self.nodes.len()).find(|index| self.address(*index) == to) else {
            return;
        };
        self.conn_next += 1;
        let conn = ConnId(self.conn_next);
        self.streams.push([from, (index, conn)]);
        let accepted = NodeInput::Accepted { conn, from: address(200) };
        self.arrivals.push_back((index, Arrival::Input(accepted)));
        self.arrivals.push_back((from.0, Arrival::Connected(from.1)));
    }

    fn peer_of(&self, end: End) -> Option<End> {
        let stream = self.streams.iter().find(|stream| stream.contains(&end))?;
        stream.iter().copied().find(|other| *other != end)
    }

    fn close(&mut self, end: End) {
        let Some(other) = self.peer_of(end) else { return };
        self.streams.retain(|stream| !stream.contains(&end));
        self.arrivals.push_back((other.0, Arrival::Closed(other.1)));
    }

    fn pump(&mut self, end: End) {
        while let Some((place, conn)) = self.peer_of(end) {
            let mut bytes = Vec::new();
            match end.0.checked_sub(self.nodes.len()) {
                None => self.nodes[end.0].transmit(end.1, 4096, &mut bytes, self.now),
                Some(guest) => {
                    self.guests[guest].sessions.transmit(end.1, 4096, &mut bytes, self.now);
                }
            }
            let more = bytes.len() == 4096;
            if !bytes.is_empty() {
                let between = end.0.max(place) < self.nodes.len();
                self.bytes_between += if between { bytes.len() } else { 0 };
                self.arrivals.push_back((place, Arrival::Received(conn, bytes)));
            }
            if !more {
                return;
            }
        }
    }

    // --- guests ---

    /// A peer with this role, in session with node 0.
    pub(crate) fn guest(&mut self, role: Role, life: u64) -> usize {
        let secret = guest_secret();
        let certificate = certify(role, "guest", &secret);
        let identity = Identity::new(certificate, secret).expect("it belongs to it");
        let me = PeerKey { node: identity.node(), incarnation: Incarnation::new(life) };
        let sessions = Sessions::new(craton_session::Config {
            identity,
            authorities: vec![authority().public()],
            incarnation: me.incarnation,
            seed: [life as u8; 32],
            wall_clock_secs: None,
        });
        self.guests.push(Guest {
            sessions,
            peer: None,
            heard: Vec::new(),
            lost: false,
            dark: false,
            me,
        });
        let guest = self.guests.len() - 1;
        let to = self.address(0);
        let _ = self.guests[guest].sessions.dial_any(to, self.now);
        self.settle_guest(guest);
        self.settle();
        self.run(Duration::from_millis(50));
        assert!(self.guests[guest].peer.is_some(), "no session: {:?}", self.logs);
        guest
    }

    fn settle_guest(&mut self, guest: usize) {
        let place = self.nodes.len() + guest;
        while let Some(event) = self.guests[guest].sessions.poll() {
            match event {
                Event::Dial { conn, to } => self.dial((place, conn), to),
                Event::Close { conn } => self.close((place, conn)),
                Event::Ready { conn } => self.pump((place, conn)),
                Event::Up { peer } => self.guests[guest].peer = Some(peer.key()),
                Event::Body { body, .. } => self.guests[guest].heard.push(body),
                Event::Lost { .. } | Event::Unreachable { .. } => self.guests[guest].lost = true,
                _ => {}
            }
        }
    }

    /// Says something to node 0 and lets it sink in.
    pub(crate) fn say(&mut self, guest: usize, body: Body) {
        let peer = self.guests[guest].peer.expect("it is in session");
        let (app, trace) = (AppId::new(0), TraceId::new(0));
        self.guests[guest]
            .sessions
            .send(peer.node, Lane::CONTROL, app, trace, body, self.now)
            .expect("there is room");
        self.run(Duration::from_millis(50));
    }

    /// Connects to node 0 and says nothing that it would understand.
    pub(crate) fn knock(&mut self) {
        self.conn_next += 1;
        let conn = ConnId(self.conn_next);
        self.step(0, NodeInput::Accepted { conn, from: address(200) });
        self.step(0, NodeInput::Received { conn, bytes: b"GET / HTTP/1.1".to_vec() });
    }

    /// What a guest heard since it was last asked.
    pub(crate) fn heard(&mut self, guest: usize) -> Vec<Body> {
        core::mem::take(&mut self.guests[guest].heard)
    }

    /// The guest's machine goes dark.
    pub(crate) fn silence(&mut self, guest: usize) {
        let place = self.nodes.len() + guest;
        self.guests[guest].dark = true;
        self.streams.retain(|stream| stream.iter().all(|end| end.0 != place));
    }

    /// Hands over a bundle in parts.
    pub(crate) fn hand_over(&mut self, guest: usize, program: ProgramId, bundle: &[u8]) {
        let total = bundle.len() as u32;
        for (index, part) in bundle.chunks(32 << 10).enumerate() {
            let offset = (index * (32 << 10)) as u32;
            let part = Payload(part.to_vec());
            self.say(guest, Body::ProgramPart { program, offset, total, part });
        }
    }

    /// Processes that the hosts of all nodes run.
    pub(crate) fn scripts(&self) -> usize {
        self.scripts.len() + self.transit.len()
    }

    /// Processes on all nodes, those that stand for operators among them.
    pub(crate) fn processes(&self) -> usize {
        self.nodes.iter().map(Node::processes).sum()
    }
}
