//! A world of peers joined by virtual TCP connections: virtual time, one seed.
//!
//! Connections deliver in order after a delay, in pieces of any size. They can be cut (what is
//! under way is lost), go silent, flip a bit, and dials can fail.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use craton_abi::{AppId, Duration, Incarnation, Instant, NodeId, Payload, ProgramId, TraceId};
use craton_session::cert::Request;
use craton_session::{
    AuthoritySecret, Certificate, Config, ConnId, Event, Identity, LostWhy, NoiseSecret, Peer,
    Refusal, Role, SendError, Sessions,
};
use craton_wire::{Body, Lane};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

pub const NEVER: u64 = u64::MAX;

pub fn authority() -> AuthoritySecret {
    AuthoritySecret::from_bytes(&[42; 32])
}

pub fn request(index: u8, role: Role) -> (Request, NoiseSecret) {
    let secret = NoiseSecret::from_bytes(&[index + 1; 32]);
    let request = Request {
        role,
        name: format!("peer-{index}"),
        noise: secret.public(),
        not_before_secs: 1_000,
        not_after_secs: 1_000_000,
        serial: u64::from(index),
    };
    (request, secret)
}

pub fn config(index: u8, role: Role, seed: u64) -> Config {
    let (request, secret) = request(index, role);
    let certificate = Certificate::issue(request, &authority()).expect("a sound request");
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (u64::from(index) << 32) ^ 0x5eed);
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    Config {
        identity: Identity::new(certificate, secret).expect("its own key"),
        authorities: vec![authority().public()],
        incarnation: Incarnation::new(rng.next_u64()),
        seed: bytes,
        wall_clock_secs: Some(1_500),
    }
}

pub fn address(host: usize) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, host as u8 + 1).into(), 7700)
}

pub struct Host {
    pub sessions: Sessions,
    pub node: NodeId,
    pub life: Incarnation,
    pub ends: BTreeMap<ConnId, (u64, usize)>,
    ready: BTreeSet<ConnId>,
    pub log: Vec<Logged>,
    /// Whether events are polled: a host that does not read.
    pub reads: bool,
    next_conn: u64,
}

#[derive(Debug)]
pub enum Logged {
    Up(Peer),
    Body(Peer, Body),
    Lost(NodeId, LostWhy),
    Unreachable(NodeId),
    Refused(Refusal),
    Room(NodeId),
}

pub struct Pipe {
    pub ends: [Option<(usize, ConnId)>; 2],
    /// Under way towards each end.
    pub flows: [VecDeque<(Instant, Vec<u8>)>; 2],
    /// Nothing is delivered any more, and nobody is told.
    pub silent: bool,
    /// When each end hears that it is closed.
    pub closing: Option<Instant>,
}

pub struct World {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub pipes: BTreeMap<u64, Pipe>,
    pub rng: ChaCha8Rng,
    next_pipe: u64,
    /// Dials fail while this holds.
    pub dials_fail: bool,
    pub dials: usize,
    /// Faults in a million pieces delivered.
    pub cuts: u32,
    pub flips: u32,
    pub silences: u32,
    /// Bytes that a connection takes in before it must deliver.
    pub room: usize,
    pub delay: Duration,
    pub bytes_carried: u64,
    counters: BTreeMap<(usize, usize), u32>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        World {
            now: Instant::from_nanos(1_000_000_000),
            hosts: Vec::new(),
            pipes: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            next_pipe: 0,
            dials_fail: false,
            dials: 0,
            cuts: 0,
            flips: 0,
            silences: 0,
            room: 64 << 10,
            delay: Duration::from_micros(200),
            bytes_carried: 0,
            counters: BTreeMap::new(),
        }
    }

    pub fn nodes(seed: u64, count: u8) -> Self {
        let mut world = World::new(seed);
        for index in 0..count {
            world.add(config(index, Role::Node, seed));
        }
        for host in 0..world.hosts.len() {
            for other in 0..world.hosts.len() {
                let node = world.hosts[other].node;
                world.hosts[host].sessions.dial_at(node, address(other));
            }
        }
        world
    }

    pub fn add(&mut self, config: Config) -> usize {
        let (node, life) = (config.identity.node(), config.incarnation);
        self.hosts.push(Host {
            sessions: Sessions::new(config),
            node,
            life,
            ends: BTreeMap::new(),
            ready: BTreeSet::new(),
            log: Vec::new(),
            reads: true,
            next_conn: 0,
        });
        self.hosts.len() - 1
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < per_million
    }

    /// Numbers what a host says on a lane.
    pub fn count(&mut self, from: usize, lane: usize) -> u32 {
        let counter = self.counters.entry((from, lane)).or_insert(0);
        *counter += 1;
        *counter - 1
    }

    /// The host is restarted; its old connections are cut.
    pub fn begin_new_life(&mut self, host: usize) {
        let mut config = config(host as u8, Role::Node, 99);
        config.incarnation = Incarnation::new(self.rng.next_u64());
        self.hosts[host].life = config.incarnation;
        self.hosts[host].sessions = Sessions::new(config);
        for other in 0..self.hosts.len() {
            let node = self.hosts[other].node;
            self.hosts[host].sessions.dial_at(node, address(other));
        }
        self.hosts[host].log.clear();
        self.hosts[host].ready.clear();
        for (conn, (pipe, end)) in core::mem::take(&mut self.hosts[host].ends) {
            assert!(self.pipes.get(&pipe).is_none_or(|pipe| pipe.ends[end] == Some((host, conn))));
            if let Some(state) = self.pipes.get_mut(&pipe) {
                state.ends[end] = None;
            }
            self.cut(pipe);
        }
    }

    pub fn life(&self, host: usize) -> Incarnation {
        self.hosts[host].life
    }

    pub fn numbered(counter: u32, lane: usize, length: usize) -> Body {
        let part = Payload(vec![counter as u8; length]);
        Body::ProgramPart { program: ProgramId([3; 32]), offset: counter, total: lane as u32, part }
    }

    pub fn send(
        &mut self,
        from: usize,
        to: usize,
        lane: usize,
        body: Body,
    ) -> Result<(), SendError> {
        let to = self.hosts[to].node;
        let lane = Lane::new(lane).expect("a lane");
        let host = &mut self.hosts[from];
        host.sessions.send(to, lane, AppId::new(1), TraceId::new(2), body, self.now)?;
        self.pump(from);
        Ok(())
    }

    /// Connects an attacker's end (no host) to a host.
    pub fn intrude(&mut self, host: usize) -> u64 {
        let pipe = self.open_pipe(None, Some(host));
        self.pump(host);
        pipe
    }

    fn open_pipe(&mut self, dialler: Option<(usize, ConnId)>, host: Option<usize>) -> u64 {
        let id = self.next_pipe;
        self.next_pipe += 1;
        let accepted = host.map(|host| {
            let conn = ConnId(self.hosts[host].next_conn);
            self.hosts[host].next_conn += 1;
            self.hosts[host].ends.insert(conn, (id, 1));
            (host, conn)
        });
        self.pipes.insert(
            id,
            Pipe {
                ends: [dialler, accepted],
                flows: [VecDeque::new(), VecDeque::new()],
                silent: false,
                closing: None,
            },
        );
        if let Some((host, conn)) = accepted {
            self.hosts[host].sessions.accepted(conn, self.now);
        }
        id
    }

    pub fn cut(&mut self, pipe: u64) {
        let at = self.now + self.delay;
        if let Some(pipe) = self.pipes.get_mut(&pipe) {
            pipe.flows = [VecDeque::new(), VecDeque::new()];
            pipe.closing.get_or_insert(at);
        }
    }

    pub fn cut_all(&mut self) {
        for pipe in self.pipes.keys().copied().collect::<Vec<_>>() {
            self.cut(pipe);
        }
    }

    /// Performs what a host's sessions ask for, until they ask for nothing.
    pub fn pump(&mut self, host: usize) {
        loop {
            let mut busy = false;
            while self.hosts[host].reads
                && let Some(event) = self.hosts[host].sessions.poll()
            {
                busy = true;
                self.perform(host, event);
            }
            if !self.hosts[host].reads {
                self.drain_unread(host);
            }
            let ready: Vec<ConnId> = self.hosts[host].ready.iter().copied().collect();
            for conn in ready {
                busy |= self.transmit(host, conn);
            }
            if !busy {
                return;
            }
        }
    }

    /// A host that does not read still transmits.
    fn drain_unread(&mut self, host: usize) {
        let conns: Vec<ConnId> = self.hosts[host].ends.keys().copied().collect();
        self.hosts[host].ready.extend(conns);
    }

    fn perform(&mut self, host: usize, event: Event) {
        let logged = match event {
            Event::Dial { conn, to } => return self.dial(host, conn, to),
            Event::Close { conn } => {
                self.hosts[host].ready.remove(&conn);
                if let Some((pipe, end)) = self.hosts[host].ends.remove(&conn)
                    && let Some(state) = self.pipes.get_mut(&pipe)
                {
                    // The other end first receives what is under way, then hears of the close.
                    state.ends[end] = None;
                    let last = state.flows[1 - end].back().map_or(self.now, |(at, _)| *at);
                    state.closing.get_or_insert(last + self.delay);
                }
                return;
            }
            Event::Ready { conn } => {
                self.hosts[host].ready.insert(conn);
                return;
            }
            Event::Up { peer } => Logged::Up(peer),
            Event::Body { peer, body, app, trace } => {
                assert_eq!((app, trace), (AppId::new(1), TraceId::new(2)));
                Logged::Body(peer, body)
            }
            Event::Room { node } => Logged::Room(node),
            Event::Lost { node, why, .. } => Logged::Lost(node, why),
            Event::Unreachable { node } => Logged::Unreachable(node),
            Event::Refused { why, .. } => Logged::Refused(why),
        };
        self.hosts[host].log.push(logged);
    }

    fn dial(&mut self, host: usize, conn: ConnId, to: SocketAddr) {
        self.dials += 1;
        let target = (0..self.hosts.len()).find(|target| address(*target) == to);
        let Some(target) = target.filter(|_| !self.dials_fail) else {
            self.hosts[host].sessions.closed(conn, self.now);
            return;
        };
        let pipe = self.open_pipe(Some((host, conn)), Some(target));
        self.hosts[host].ends.insert(conn, (pipe, 0));
        self.hosts[host].sessions.connected(conn, self.now);
        self.pump(target);
    }

    fn transmit(&mut self, host: usize, conn: ConnId) -> bool {
        let Some((pipe, end)) = self.hosts[host].ends.get(&conn).copied() else {
            self.hosts[host].ready.remove(&conn);
            return false;
        };
        let Some(state) = self.pipes.get_mut(&pipe) else { return false };
        let flow = &mut state.flows[1 - end];
        let under_way: usize = flow.iter().map(|(_, bytes)| bytes.len()).sum();
        let room = self.room.saturating_sub(under_way);
        if room == 0 {
            return false;
        }
        let mut out = Vec::new();
        self.hosts[host].sessions.transmit(conn, room, &mut out, self.now);
        assert!(out.len() <= room, "more than the connection has room for");
        if out.len() < room {
            self.hosts[host].ready.remove(&conn);
        }
        if out.is_empty() {
            return false;
        }
        if state.closing.is_none() && !state.silent {
            self.bytes_carried += out.len() as u64;
            let jitter = Duration::from_nanos(u64::from(self.rng.next_u32() % 100_000));
            let at = flow.back().map_or(self.now, |(at, _)| *at).max(self.now + self.delay);
            flow.push_back((at + jitter, out));
        }
        true
    }

    fn next_instant(&self) -> Instant {
        let flows = self.pipes.values().filter(|pipe| !pipe.silent).flat_map(|pipe| {
            let heads = pipe.flows.iter().filter_map(|flow| flow.front().map(|(at, _)| *at));
            heads.chain(pipe.closing)
        });
        let deadlines = self.hosts.iter().filter_map(|host| host.sessions.deadline());
        flows.chain(deadlines).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Lets time pass up to `until` or until nothing more will happen before.
    pub fn run_until(&mut self, until: Instant) {
        let mut steps = 0u64;
        loop {
            let next = self.next_instant().max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            let stuck = next == self.now;
            steps = if stuck { steps + 1 } else { 0 };
            assert!(steps < 100_000, "time stands still at {}", self.now);
            self.now = next;
            self.deliver();
            for host in 0..self.hosts.len() {
                if self.hosts[host].sessions.deadline().is_some_and(|at| at <= self.now) {
                    self.hosts[host].sessions.tick(self.now);
                    self.pump(host);
                }
            }
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn deliver(&mut self) {
        for id in self.pipes.keys().copied().collect::<Vec<_>>() {
            for end in 0..2 {
                self.deliver_to(id, end);
            }
            self.close_if_due(id);
        }
    }

    fn deliver_to(&mut self, id: u64, end: usize) {
        loop {
            let Some(pipe) = self.pipes.get_mut(&id).filter(|pipe| !pipe.silent) else { return };
            if pipe.flows[end].front().is_none_or(|(at, _)| *at > self.now) {
                return;
            }
            let Some((_, mut bytes)) = pipe.flows[end].pop_front() else { return };
            let sender = pipe.ends[1 - end];
            let Some((host, conn)) = pipe.ends[end] else { continue };
            if self.chance(self.silences) {
                if let Some(pipe) = self.pipes.get_mut(&id) {
                    pipe.silent = true;
                }
                return;
            }
            let cut = self.chance(self.cuts);
            if cut {
                let keep = self.below(bytes.len() as u32 + 1) as usize;
                bytes.truncate(keep);
            }
            if self.chance(self.flips) && !bytes.is_empty() {
                let bit = self.below(bytes.len() as u32 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let piece = if self.below(4) == 0 {
                    1 + self.below(rest.len().min(100) as u32) as usize
                } else {
                    rest.len()
                };
                self.hosts[host].sessions.received(conn, &rest[..piece], self.now);
                rest = &rest[piece..];
            }
            if cut {
                self.cut(id);
            }
            self.pump(host);
            if let Some((sender, _)) = sender {
                self.pump(sender);
            }
        }
    }

    fn close_if_due(&mut self, id: u64) {
        let due = self
            .pipes
            .get(&id)
            .is_some_and(|pipe| !pipe.silent && pipe.closing.is_some_and(|at| at <= self.now));
        if !due {
            return;
        }
        let Some(pipe) = self.pipes.remove(&id) else { return };
        for (host, conn) in pipe.ends.into_iter().flatten() {
            if self.hosts[host].ends.remove(&conn).is_some() {
                self.hosts[host].ready.remove(&conn);
                self.hosts[host].sessions.closed(conn, self.now);
                self.pump(host);
            }
        }
    }

    // --- what a test asks ---

    pub fn ups(&self, host: usize) -> usize {
        self.hosts[host].log.iter().filter(|entry| matches!(entry, Logged::Up(_))).count()
    }

    pub fn losts(&self, host: usize) -> Vec<LostWhy> {
        let why = |entry: &Logged| match entry {
            Logged::Lost(_, why) => Some(*why),
            _ => None,
        };
        self.hosts[host].log.iter().filter_map(why).collect()
    }

    pub fn refusals(&self, host: usize) -> Vec<Refusal> {
        let why = |entry: &Logged| match entry {
            Logged::Refused(why) => Some(*why),
            _ => None,
        };
        self.hosts[host].log.iter().filter_map(why).collect()
    }

    pub fn unreachables(&self, host: usize) -> usize {
        let is = |entry: &&Logged| matches!(entry, Logged::Unreachable(_));
        self.hosts[host].log.iter().filter(is).count()
    }

    pub fn bodies(&self, host: usize) -> usize {
        self.hosts[host].log.iter().filter(|entry| matches!(entry, Logged::Body(..))).count()
    }

    /// Asserts that what a host received is in order, without duplicate, and without a gap within
    /// an epoch; returns how many bodies there were.
    pub fn check_order(&self, host: usize) -> usize {
        let mut last: BTreeMap<(NodeId, u32), u32> = BTreeMap::new();
        let mut fresh: BTreeSet<(NodeId, u32)> = BTreeSet::new();
        let mut up: BTreeSet<NodeId> = BTreeSet::new();
        let mut bodies = 0;
        for entry in &self.hosts[host].log {
            match entry {
                Logged::Up(peer) => {
                    assert!(up.insert(peer.node), "up twice");
                    fresh.extend((0..16).map(|lane| (peer.node, lane)));
                }
                Logged::Lost(node, _) => assert!(up.remove(node), "lost without up"),
                Logged::Body(peer, Body::ProgramPart { offset, total, part, .. }) => {
                    assert!(up.contains(&peer.node), "a body without an epoch");
                    assert!(part.0.iter().all(|byte| *byte == *offset as u8), "mixed up");
                    let stream = (peer.node, *total);
                    let before = last.insert(stream, *offset);
                    let next = before.map_or(0, |before| before + 1);
                    if fresh.remove(&stream) {
                        assert!(*offset >= next, "a duplicate across epochs");
                    } else {
                        assert_eq!(*offset, next, "a gap or a duplicate");
                    }
                    bodies += 1;
                }
                _ => {}
            }
        }
        bodies
    }
}
