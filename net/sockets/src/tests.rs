//! Processes of two nodes, over a link in memory and in virtual time.

use crate::{Shared, Sockets};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{
    AppId, Duration, ErrorCode, Incarnation, Instant, NodeId, Payload, Pid, ShardId, Slot,
    SocketCall, SocketEvent, SocketId, SocketNote, SocketOrder, SocketReply, TimerId, limit,
};
use craton_net::memory::MemoryEnd;
use craton_net::{Address, AddressSource, Config, Link, Owner, Segments, Stack, Steer, Target};
use random::Random;

mod cpus;
mod ends;
mod random;
mod watches;

/// One CPU of a node: its stack and its sockets.
struct Cpu {
    stack: Stack,
    end: MemoryEnd,
    sockets: Sockets,
}

/// What one CPU tells another.
enum Letter {
    Note(SocketNote),
    Event(SocketEvent),
}

/// A letter under way.
struct Mail {
    due: Instant,
    from: usize,
    to: usize,
    letter: Letter,
}

/// A node: its CPUs, and what its shards know of its processes.
struct Machine {
    cpus: Vec<Cpu>,
    steer: Steer,
    shared: Arc<Shared>,
    /// In the order in which it was sent; due in order between any two CPUs.
    mail: VecDeque<Mail>,
    /// How long mail takes.
    delays: Random,
    living: BTreeSet<Pid>,
    /// Who has a call under way.
    asking: BTreeSet<Pid>,
    replies: BTreeMap<Pid, SocketReply>,
    /// Who was given a connection.
    given: Vec<Pid>,
    /// Watches that were fulfilled.
    ready: Vec<(Pid, TimerId)>,
}

struct World {
    now: Instant,
    machines: [Machine; 2],
    slots: u32,
}

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
const APP: AppId = AppId::new(1);
const MS: Duration = Duration::from_millis(1);
const FOREVER: Option<Duration> = None;

impl Machine {
    fn new(address: Ipv4Addr, cpus: u8, seed: u64, now: Instant) -> Machine {
        let [.., last] = address.octets();
        let steer = Steer::new([last; 16], u16::from(cpus));
        let shared = Shared::new(cpus);
        let cpu = |own: u8| {
            let link = Link {
                mac: [2, 0, 0, 0, 0, last],
                mtu: 1500,
                checksum_transmit: false,
                segments_bytes_max: Segments::default(),
            };
            let (gateway, name_servers) = (None, Vec::new());
            let address = Address { address, prefix: 24, gateway, name_servers };
            let source = AddressSource::Static(address);
            let mut config = Config::new(link, [last + 16 * own; 32], source);
            let shard = craton_net::Shard { steer: steer.clone(), index: own.into() };
            config.shard = (cpus > 1).then_some(shard);
            Cpu {
                stack: Stack::new(config, now),
                end: MemoryEnd::default(),
                sockets: Sockets::new(ShardId::new(own), shared.clone(), Owner(100)),
            }
        };
        Machine {
            cpus: (0..cpus).map(cpu).collect(),
            steer,
            shared,
            mail: VecDeque::new(),
            delays: Random(seed),
            living: BTreeSet::new(),
            asking: BTreeSet::new(),
            replies: BTreeMap::new(),
            given: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Lets the shard of a process want something.
    fn order(&mut self, pid: Pid, order: SocketOrder, now: Instant) {
        self.with(pid.slot.shard().index(), now, |cpu, out| {
            cpu.sockets.order(order, &mut cpu.stack, now, out);
        });
    }

    /// Steps the sockets of a CPU, and carries what they say.
    fn with(
        &mut self,
        at: usize,
        now: Instant,
        step: impl FnOnce(&mut Cpu, &mut Vec<SocketEvent>),
    ) {
        let mut out = Vec::new();
        step(&mut self.cpus[at], &mut out);
        while let Some((to, note)) = self.cpus[at].sockets.next_note() {
            assert_ne!(to.index(), at, "what it tells itself is no mail");
            self.post(at, to.index(), Letter::Note(note), now);
        }
        for event in out {
            match event.to().slot.shard().index() {
                shard if shard == at || shard >= self.cpus.len() => self.hear(event, now),
                shard => self.post(at, shard, Letter::Event(event), now),
            }
        }
    }

    fn post(&mut self, from: usize, to: usize, letter: Letter, now: Instant) {
        let before = self.mail.iter().rev().find(|mail| (mail.from, mail.to) == (from, to));
        let due = now + Duration::from_millis(self.delays.below(4));
        let due = before.map_or(due, |before| due.max(before.due));
        self.mail.push_back(Mail { due, from, to, letter });
    }

    fn deliver(&mut self, now: Instant) {
        while let Some(next) = self.mail.iter().position(|mail| mail.due <= now) {
            let Some(Mail { from, to, letter, .. }) = self.mail.remove(next) else { return };
            match letter {
                Letter::Event(event) => self.hear(event, now),
                Letter::Note(note) => self.with(to, now, |cpu, out| {
                    let from = ShardId::new(from as u8);
                    cpu.sockets.hear(from, note, &mut cpu.stack, now, out);
                }),
            }
        }
    }

    /// As a shard does it.
    fn hear(&mut self, event: SocketEvent, now: Instant) {
        match event {
            // It was killed while the answer was under way.
            SocketEvent::Done { to, .. } if !self.living.contains(&to) && self.cpus.len() > 1 => {}
            SocketEvent::Done { to, reply } => {
                assert!(self.asking.remove(&to), "{to} did not ask, and hears {reply:?}");
                self.replies.insert(to, reply);
            }
            SocketEvent::Ready { to, timer } => self.ready.push((to, timer)),
            SocketEvent::Given { to, .. } if self.living.contains(&to) => self.given.push(to),
            SocketEvent::Given { to, .. } => {
                self.order(to, SocketOrder::Release { owner: to, orderly: false }, now);
            }
        }
    }

    fn poll(&mut self, now: Instant) {
        self.deliver(now);
        for at in 0..self.cpus.len() {
            self.with(at, now, |cpu, out| {
                let _ = cpu.stack.poll(&mut cpu.end, now);
                while let Some(event) = cpu.stack.poll_event() {
                    cpu.sockets.take(&event, &mut cpu.stack, now, out);
                }
                cpu.sockets.poll(&mut cpu.stack, now, out);
            });
        }
    }

    /// A frame of the other machine came.
    fn receive(&mut self, frame: Vec<u8>) {
        match self.steer.frame(&frame) {
            Target::Shard(shard) => self.cpus[usize::from(shard)].end.hear(frame),
            Target::Every => {
                for cpu in &mut self.cpus {
                    cpu.end.hear(frame.clone());
                }
            }
        }
    }
}

impl World {
    /// Two machines of one CPU.
    fn new() -> World {
        World::with(1, 0)
    }

    /// Two machines of so many CPUs, between which mail takes a while, under a seed.
    fn with(cpus: u8, seed: u64) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let machines = ADDRESSES.map(|address| Machine::new(address, cpus, seed, now));
        World { now, machines, slots: 0 }
    }

    /// A process, on each of the CPUs in turn.
    fn process(&mut self, at: usize) -> Pid {
        let cpus = self.machines[at].cpus.len() as u32;
        let cpu = (self.slots / 2 % cpus) as u8;
        self.process_on(at, cpu)
    }

    fn process_on(&mut self, at: usize, cpu: u8) -> Pid {
        self.slots += 1;
        let slot = Slot::new(ShardId::new(cpu), self.slots, 1).expect("few processes");
        let (node, incarnation) = (NodeId::new(at as u64), Incarnation::new(7));
        let pid = Pid { node, incarnation, slot };
        self.machines[at].living.insert(pid);
        pid
    }

    fn machine(&mut self, pid: Pid) -> &mut Machine {
        &mut self.machines[pid.node.get() as usize]
    }

    fn step(&mut self) {
        for index in 0..2 {
            self.machines[index].poll(self.now);
            for at in 0..self.machines[index].cpus.len() {
                for frame in self.machines[index].cpus[at].end.take_sent() {
                    self.machines[1 - index].receive(frame);
                }
            }
        }
        self.now += MS;
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// Lets a process ask, without waiting for the answer.
    fn ask(&mut self, pid: Pid, call: SocketCall) {
        let now = self.now;
        let machine = self.machine(pid);
        assert!(machine.asking.insert(pid), "a process asks one thing at a time");
        machine.order(pid, SocketOrder::Call { from: pid, app: APP, call }, now);
    }

    /// The answer, if it is there.
    fn answer(&mut self, pid: Pid) -> Option<SocketReply> {
        self.machine(pid).replies.remove(&pid)
    }

    /// Asks and waits.
    fn call(&mut self, pid: Pid, call: SocketCall) -> SocketReply {
        self.ask(pid, call);
        for _ in 0..100_000 {
            if let Some(reply) = self.answer(pid) {
                return reply;
            }
            self.step();
        }
        panic!("no answer");
    }

    fn open(&mut self, pid: Pid, call: SocketCall) -> SocketId {
        match self.call(pid, call) {
            SocketReply::Opened { socket, .. } => socket,
            other => panic!("{other:?}"),
        }
    }

    fn fails(&mut self, pid: Pid, call: SocketCall, error: ErrorCode) {
        let name = alloc::format!("{call:?}");
        assert_eq!(self.call(pid, call), SocketReply::Failed(error), "{name}");
    }

    fn end(&mut self, pid: Pid, orderly: bool) {
        let now = self.now;
        let machine = self.machine(pid);
        machine.living.remove(&pid);
        machine.asking.remove(&pid);
        machine.order(pid, SocketOrder::Release { owner: pid, orderly }, now);
    }

    /// A server on machine 1 and a client on machine 0, connected.
    fn pair(&mut self) -> Pair {
        let (client, server) = (self.process(0), self.process(1));
        let listener = self.open(server, SocketCall::Listen { port: 80, bulk: false });
        self.ask(server, SocketCall::Accept { socket: listener, timeout: FOREVER });
        let near = self.open(client, connect(80));
        self.run(if self.machines[1].cpus.len() > 1 { Duration::from_millis(50) } else { MS });
        let Some(SocketReply::Opened { socket: far, peer }) = self.answer(server) else {
            panic!("nothing was accepted");
        };
        assert_eq!(peer.map(|peer| peer.ip()), Some(IpAddr::V4(ADDRESSES[0])));
        Pair { client, server, listener, near, far }
    }

    /// Nothing is left of anybody.
    fn expect_empty(&mut self) {
        self.run(Duration::from_secs(2));
        for Machine { cpus, shared, mail, .. } in &self.machines {
            assert_eq!((shared.sockets(), shared.ports(), shared.parked_bytes()), (0, 0, 0));
            assert!(mail.is_empty());
            for Cpu { stack, sockets, .. } in cpus {
                let usage = stack.usage();
                assert_eq!(sockets.holders(), 0);
                assert_eq!((usage.streams, usage.sockets, usage.buffer_bytes), (0, 0, 0));
                assert_eq!(sockets.deadline(), None);
                assert!(sockets.streams.is_empty() && sockets.ports.is_empty());
                assert!(sockets.doors.is_empty() && sockets.arrived.is_empty());
                assert!(sockets.questions.is_empty() && sockets.datagrams.is_empty());
                assert!(sockets.watched.is_empty());
            }
        }
    }
}

impl World {
    fn watch(&mut self, owner: Pid, socket: SocketId, timer: u64) {
        let (now, timer) = (self.now, TimerId::new(timer));
        self.machine(owner).order(owner, SocketOrder::Watch { owner, socket, timer }, now);
    }

    /// The watches of a process that were fulfilled since the last look.
    fn fulfilled(&mut self, pid: Pid) -> Vec<u64> {
        let machine = self.machine(pid);
        let (own, others) = machine.ready.drain(..).partition(|(to, _)| *to == pid);
        machine.ready = others;
        let own: Vec<(Pid, TimerId)> = own;
        own.into_iter().map(|(_, timer)| timer.get()).collect()
    }
}

/// In a world of one CPU for each node, and in some of three.
fn each(test: impl Fn(World)) {
    test(World::new());
    for seed in 0..3 {
        std::eprintln!("3 CPUs, seed {seed}");
        test(World::with(3, seed));
    }
}

struct Pair {
    client: Pid,
    server: Pid,
    listener: SocketId,
    near: SocketId,
    far: SocketId,
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[1].into(), port)
}

fn connect(port: u16) -> SocketCall {
    SocketCall::Connect { to: at(port), bulk: false, timeout: Some(Duration::from_secs(3)) }
}

fn read(socket: SocketId, timeout: Option<Duration>) -> SocketCall {
    SocketCall::Read { socket, bytes_max: 1 << 20, timeout }
}

fn write(socket: SocketId, bytes: &[u8], timeout: Option<Duration>) -> SocketCall {
    SocketCall::Write { socket, bytes: Payload(bytes.to_vec()), timeout }
}

fn bytes(bytes: &[u8]) -> SocketReply {
    SocketReply::Bytes(Payload(bytes.to_vec()))
}

#[test]
fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    each(|mut world| {
        let Pair { client, server, near, far, .. } = world.pair();
        assert_eq!(world.call(client, write(near, b"question", FOREVER)), SocketReply::Count(8));
        assert_eq!(world.call(server, read(far, FOREVER)), bytes(b"question"));
        assert_eq!(world.call(client, SocketCall::Finish { socket: near }), SocketReply::Done);
        assert_eq!(world.call(server, read(far, FOREVER)), bytes(b""));
        assert_eq!(world.call(server, read(far, FOREVER)), bytes(b""), "and it stays so");
        world.fails(client, write(near, b"more", FOREVER), ErrorCode::Invalid);
        assert_eq!(world.call(server, write(far, b"answer", FOREVER)), SocketReply::Count(6));
        assert_eq!(world.call(server, SocketCall::Close { socket: far }), SocketReply::Done);
        assert_eq!(world.call(client, read(near, FOREVER)), bytes(b"answer"));
        assert_eq!(world.call(client, read(near, FOREVER)), bytes(b""));
        world.fails(server, SocketCall::Close { socket: far }, ErrorCode::NoSocket);
        world.end(client, true);
        world.end(server, true);
        world.expect_empty();
    });
}

#[test]
fn who_finishes_before_it_is_accepted_is_heard() {
    each(|mut world| {
        let (client, server) = (world.process(0), world.process(1));
        let socket = world.open(server, SocketCall::Listen { port: 80, bulk: false });
        let near = world.open(client, connect(80));
        assert_eq!(world.call(client, SocketCall::Finish { socket: near }), SocketReply::Done);
        world.run(Duration::from_millis(50));
        let far = world.open(server, SocketCall::Accept { socket, timeout: FOREVER });
        assert_eq!(world.call(server, read(far, FOREVER)), bytes(b""));
    });
}

#[test]
fn time_outs_take_nothing() {
    each(|mut world| {
        let Pair { client, server, listener, near, far } = world.pair();
        let began = world.now;
        world.fails(server, read(far, Some(Duration::from_millis(50))), ErrorCode::TimedOut);
        assert!(world.now.since(began) >= Duration::from_millis(50));
        world.fails(server, read(far, Some(Duration::ZERO)), ErrorCode::TimedOut);
        let accept = SocketCall::Accept { socket: listener, timeout: Some(MS) };
        world.fails(server, accept, ErrorCode::TimedOut);
        world.fails(server, SocketCall::Take { timeout: Some(MS) }, ErrorCode::TimedOut);
        // A peer that reads nothing: what went off is counted, and not less of it comes.
        let block = [7; 32 << 10];
        let SocketReply::Count(sent) =
            world.call(client, write(near, &block, Some(Duration::from_millis(100))))
        else {
            panic!("nothing was taken");
        };
        assert!(sent > 0 && (sent as usize) < block.len());
        world.fails(
            client,
            write(near, &block, Some(Duration::from_millis(100))),
            ErrorCode::TimedOut,
        );
        world.fails(client, write(near, &block, Some(Duration::ZERO)), ErrorCode::TimedOut);
        let mut got = 0;
        while got < sent {
            match world.call(server, read(far, FOREVER)) {
                SocketReply::Bytes(bytes) => got += bytes.0.len() as u32,
                other => panic!("{other:?}"),
            }
        }
        world.fails(server, read(far, Some(Duration::from_millis(100))), ErrorCode::TimedOut);
        assert_eq!(got, sent);
    });
}

#[test]
fn a_long_write_is_answered_when_all_of_it_is_on_its_way() {
    each(|mut world| {
        let Pair { client, server, near, far, .. } = world.pair();
        let text: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
        world.ask(client, write(near, &text, FOREVER));
        let mut got = Vec::new();
        while got.len() < text.len() {
            match world.call(server, read(far, FOREVER)) {
                SocketReply::Bytes(bytes) => got.extend(bytes.0),
                other => panic!("{other:?}"),
            }
        }
        assert!(got == text);
        assert_eq!(world.answer(client), Some(SocketReply::Count(60_000)));
        world.fails(
            client,
            SocketCall::Read { socket: near, bytes_max: 0, timeout: FOREVER },
            ErrorCode::Invalid,
        );
    });
}

#[test]
fn nobody_there_is_told_apart_from_nobody_answering() {
    each(|mut world| {
        let client = world.process(0);
        world.fails(client, connect(81), ErrorCode::Refused);
        let to = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 77).into(), 80);
        let silent = |timeout| SocketCall::Connect { to, bulk: true, timeout };
        world.fails(client, silent(Some(Duration::from_millis(10))), ErrorCode::TimedOut);
        world.fails(client, silent(FOREVER), ErrorCode::Unreachable);
        let far = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 80);
        let off_link = SocketCall::Connect { to: far, bulk: true, timeout: FOREVER };
        world.fails(client, off_link, ErrorCode::Unreachable);
        let name = String::from("nowhere.example");
        let resolve = |name| SocketCall::Resolve { name, timeout: FOREVER };
        world.fails(client, resolve(name), ErrorCode::Unreachable);
        world.fails(client, resolve(String::new()), ErrorCode::Invalid);
        world.fails(client, resolve(String::from("not a name")), ErrorCode::Invalid);
        let literal = world.call(client, resolve(String::from("10.0.0.9")));
        assert_eq!(literal, SocketReply::Addresses(vec![Ipv4Addr::new(10, 0, 0, 9).into()]));
        world.end(client, false);
        world.expect_empty();
    });
}

#[test]
fn the_node_and_the_cloud_are_out_of_bounds() {
    each(|mut world| {
        let client = world.process(0);
        let socket = world.open(client, SocketCall::Bind { port: 0 });
        let denied = [
            "169.254.169.254:80",
            "169.254.170.2:80",
            "168.63.129.16:80",
            "100.100.100.200:80",
            "192.0.0.192:80",
            "10.0.0.1:7700",
            "10.0.0.1:80",
            "127.0.0.1:80",
            "127.1.2.3:7700",
            "[::1]:7700",
            "[::ffff:169.254.169.254]:80",
            "[::ffff:10.0.0.1]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[fd00:ec2::254]:80",
        ];
        for to in denied {
            let to: SocketAddr = to.parse().expect("an address");
            let connect = SocketCall::Connect { to, bulk: false, timeout: FOREVER };
            world.fails(client, connect, ErrorCode::Denied);
            let bytes = Payload(vec![1]);
            world.fails(client, SocketCall::SendTo { socket, to, bytes }, ErrorCode::Denied);
        }
        let listen = |port| SocketCall::Listen { port, bulk: false };
        world.fails(client, listen(limit::SESSION_PORT), ErrorCode::Denied);
        world.fails(client, listen(0), ErrorCode::Invalid);
        for port in [limit::MEMBERSHIP_PORT, 67, 68, 546, 547] {
            world.fails(client, SocketCall::Bind { port }, ErrorCode::Denied);
        }
        let to = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 80);
        let anywhere = SocketCall::Connect { to, bulk: false, timeout: FOREVER };
        world.fails(client, anywhere, ErrorCode::Invalid);
    });
}

#[test]
fn datagrams_come_whole_and_from_whom_they_say() {
    each(|mut world| {
        let (client, server) = (world.process(0), world.process(1));
        let near = world.open(client, SocketCall::Bind { port: 0 });
        let far = world.open(server, SocketCall::Bind { port: 53 });
        world.fails(server, SocketCall::Bind { port: 53 }, ErrorCode::InUse);
        let receive = |socket, bytes_max| SocketCall::ReceiveFrom {
            socket,
            bytes_max,
            timeout: Some(Duration::from_secs(1)),
        };
        world.ask(server, receive(far, 100));
        let send = |socket, to, bytes: &[u8]| SocketCall::SendTo {
            socket,
            to,
            bytes: Payload(bytes.to_vec()),
        };
        assert_eq!(world.call(client, send(near, at(53), b"who")), SocketReply::Done);
        world.run(Duration::from_millis(20));
        let Some(SocketReply::Datagram { from, bytes }) = world.answer(server) else {
            panic!("no datagram");
        };
        assert_eq!((from.ip(), bytes.0.as_slice()), (ADDRESSES[0].into(), &b"who"[..]));
        world.fails(client, send(near, at(53), &[0; 2_000]), ErrorCode::TooLong);
        world.fails(client, send(SocketId::new(99), at(53), b""), ErrorCode::NoSocket);
        assert_eq!(world.call(server, send(far, from, b"a long answer")), SocketReply::Done);
        let SocketReply::Datagram { bytes, .. } = world.call(client, receive(near, 6)) else {
            panic!("no answer");
        };
        assert_eq!(bytes.0, b"a long", "the rest of it is lost");
        world.fails(client, receive(near, 6), ErrorCode::TimedOut);
        // A socket for datagrams is no connection.
        world.fails(client, read(near, FOREVER), ErrorCode::NoSocket);
        world.end(client, true);
        world.end(server, true);
        world.expect_empty();
    });
}
