//! Processes of two nodes, over a link in memory and in virtual time.

use crate::Sockets;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{
    AppId, Duration, ErrorCode, Incarnation, Instant, NodeId, Payload, Pid, ShardId, Slot,
    SocketCall, SocketEvent, SocketId, SocketOrder, SocketReply, TimerId, limit,
};
use craton_net::memory::MemoryEnd;
use craton_net::{Address, AddressSource, Config, Link, Owner, Segments, Stack};

mod ends;
mod random;

/// A node: its stack, its sockets, and what its shard knows of its processes.
struct Machine {
    stack: Stack,
    end: MemoryEnd,
    sockets: Sockets,
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
    fn new(address: Ipv4Addr, now: Instant) -> Machine {
        let [.., last] = address.octets();
        let link = Link {
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            checksum_transmit: false,
            segments_bytes_max: Segments::default(),
        };
        let (gateway, name_servers) = (None, Vec::new());
        let address = Address { address, prefix: 24, gateway, name_servers };
        let config = Config::new(link, [last; 32], AddressSource::Static(address));
        Machine {
            stack: Stack::new(config, now),
            end: MemoryEnd::default(),
            sockets: Sockets::new(Owner(100)),
            living: BTreeSet::new(),
            asking: BTreeSet::new(),
            replies: BTreeMap::new(),
            given: Vec::new(),
            ready: Vec::new(),
        }
    }

    fn order(&mut self, order: SocketOrder, now: Instant) {
        let mut out = Vec::new();
        self.sockets.order(order, &mut self.stack, now, &mut out);
        self.hear(out, now);
    }

    /// As a shard does it.
    fn hear(&mut self, events: Vec<SocketEvent>, now: Instant) {
        for event in events {
            match event {
                SocketEvent::Done { to, reply } => {
                    assert!(self.asking.remove(&to), "{to} did not ask, and hears {reply:?}");
                    self.replies.insert(to, reply);
                }
                SocketEvent::Ready { to, timer } => self.ready.push((to, timer)),
                SocketEvent::Given { to, .. } if self.living.contains(&to) => self.given.push(to),
                SocketEvent::Given { to, .. } => {
                    self.order(SocketOrder::Release { owner: to, orderly: false }, now);
                }
            }
        }
    }

    fn poll(&mut self, now: Instant) {
        let mut out = Vec::new();
        let _ = self.stack.poll(&mut self.end, now);
        while let Some(event) = self.stack.poll_event() {
            self.sockets.take(&event, &mut self.stack, now, &mut out);
        }
        self.sockets.poll(&mut self.stack, now, &mut out);
        self.hear(out, now);
    }
}

impl World {
    fn new() -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let machines = ADDRESSES.map(|address| Machine::new(address, now));
        World { now, machines, slots: 0 }
    }

    fn process(&mut self, at: usize) -> Pid {
        self.slots += 1;
        let slot = Slot::new(ShardId::new(0), self.slots, 1).expect("few processes");
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
            for frame in self.machines[index].end.take_sent() {
                self.machines[1 - index].end.hear(frame);
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
        machine.order(SocketOrder::Call { from: pid, app: APP, call }, now);
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
        machine.order(SocketOrder::Release { owner: pid, orderly }, now);
    }

    /// A server on machine 1 and a client on machine 0, connected.
    fn pair(&mut self) -> Pair {
        let (client, server) = (self.process(0), self.process(1));
        let listener = self.open(server, SocketCall::Listen { port: 80, bulk: false });
        self.ask(server, SocketCall::Accept { socket: listener, timeout: FOREVER });
        let near = self.open(client, connect(80));
        self.run(MS);
        let Some(SocketReply::Opened { socket: far, peer }) = self.answer(server) else {
            panic!("nothing was accepted");
        };
        assert_eq!(peer.map(|peer| peer.ip()), Some(IpAddr::V4(ADDRESSES[0])));
        Pair { client, server, listener, near, far }
    }

    /// Nothing is left of anybody.
    fn expect_empty(&mut self) {
        self.run(Duration::from_secs(2));
        for Machine { stack, sockets, .. } in &self.machines {
            let usage = stack.usage();
            assert_eq!((sockets.count(), sockets.holders()), (0, 0));
            assert_eq!((usage.streams, usage.sockets, usage.buffer_bytes), (0, 0, 0));
            assert_eq!(sockets.deadline(), None);
            assert!(sockets.streams.is_empty() && sockets.ports.is_empty());
            assert!(sockets.questions.is_empty() && sockets.datagrams.is_empty());
            assert!(sockets.watched.is_empty());
            assert_eq!(sockets.parked_bytes, 0);
        }
    }
}

impl World {
    fn watch(&mut self, owner: Pid, socket: SocketId, timer: u64) {
        let (now, timer) = (self.now, TimerId::new(timer));
        self.machine(owner).order(SocketOrder::Watch { owner, socket, timer }, now);
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
    let mut world = World::new();
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
}

#[test]
fn who_finishes_before_it_is_accepted_is_heard() {
    let mut world = World::new();
    let (client, server) = (world.process(0), world.process(1));
    let socket = world.open(server, SocketCall::Listen { port: 80, bulk: false });
    let near = world.open(client, connect(80));
    assert_eq!(world.call(client, SocketCall::Finish { socket: near }), SocketReply::Done);
    world.run(Duration::from_millis(50));
    let far = world.open(server, SocketCall::Accept { socket, timeout: FOREVER });
    assert_eq!(world.call(server, read(far, FOREVER)), bytes(b""));
}

#[test]
fn time_outs_take_nothing() {
    let mut world = World::new();
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
    world.fails(client, write(near, &block, Some(Duration::from_millis(100))), ErrorCode::TimedOut);
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
}

#[test]
fn a_long_write_is_answered_when_all_of_it_is_on_its_way() {
    let mut world = World::new();
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
}

#[test]
fn nobody_there_is_told_apart_from_nobody_answering() {
    let mut world = World::new();
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
}

#[test]
fn the_node_and_the_cloud_are_out_of_bounds() {
    let mut world = World::new();
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
}

#[test]
fn datagrams_come_whole_and_from_whom_they_say() {
    let mut world = World::new();
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
}

#[test]
fn a_watch_is_fulfilled_once_when_there_is_something_to_take() {
    let mut world = World::new();
    let Pair { client, server, listener, near, far } = world.pair();
    let datagrams = world.open(server, SocketCall::Bind { port: 53 });
    for (socket, timer) in [(listener, 1), (far, 2), (datagrams, 3)] {
        world.watch(server, socket, timer);
    }
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), []);
    let _ = world.open(client, connect(80));
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [1]);
    assert_eq!(world.call(client, write(near, b"two", FOREVER)), SocketReply::Count(3));
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [2]);
    let socket = world.open(client, SocketCall::Bind { port: 0 });
    let send = SocketCall::SendTo { socket, to: at(53), bytes: Payload(vec![3]) };
    assert_eq!(world.call(client, send), SocketReply::Done);
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [3]);
    // What has something already, and what is no socket, is ready at once; a newer watch counts.
    world.watch(server, far, 4);
    assert_eq!(world.fulfilled(server), [4]);
    world.watch(server, SocketId::new(77), 5);
    assert_eq!(world.fulfilled(server), [5]);
    assert_eq!(world.call(server, read(far, FOREVER)), bytes(b"two"));
    world.watch(server, far, 6);
    world.watch(server, far, 7);
    assert_eq!(world.fulfilled(server), []);
    world.end(client, false);
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [7], "its end is something too");
    world.watch(server, datagrams, 8);
    world.end(server, true);
    world.expect_empty();
}
