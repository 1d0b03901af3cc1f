//! Clients of all sorts, over a link in memory and in virtual time.

use crate::{Enabled, Report, Services, Totals, limit};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use craton_abi::{Duration, Instant};
use craton_net::memory::MemoryEnd;
use craton_net::{Address, AddressSource, Config, Event, Link, Owner, Segments, Stack, StreamId};

struct Nothing;

impl Report for Nothing {
    fn status(&self, out: &mut String) {
        out.push_str("node one\n");
    }

    fn metrics(&self, _: &Totals, out: &mut String) {
        out.push_str("craton_up 1\n");
    }
}

/// A client's stack and a node with all services.
struct World {
    now: Instant,
    stacks: [Stack; 2],
    ends: [MemoryEnd; 2],
    services: Services,
    /// Streams of the client that ended.
    ended: Vec<StreamId>,
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn stack(address: Ipv4Addr, now: Instant) -> Stack {
    let [.., last] = address.octets();
    let link = Link {
        mac: [2, 0, 0, 0, 0, last],
        mtu: 1500,
        checksum_transmit: false,
        segments_bytes_max: Segments::default(),
    };
    let (gateway, name_servers) = (None, Vec::new());
    let address = Address { address, prefix: 24, gateway, name_servers };
    Stack::new(Config::new(link, [last; 32], AddressSource::Static(address)), now)
}

impl World {
    fn new() -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let mut stacks = [stack(CLIENT, now), stack(NODE, now)];
        let enabled = Enabled::parse("echo,discard,chargen,http").expect("all are known");
        let mut services = Services::new(enabled, Owner(1));
        services.open(&mut stacks[1]).expect("the ports are free");
        World { now, stacks, ends: Default::default(), services, ended: Vec::new() }
    }

    fn step(&mut self) {
        for index in 0..2 {
            let _ = self.stacks[index].poll(&mut self.ends[index], self.now);
            for frame in self.ends[index].take_sent() {
                self.ends[1 - index].hear(frame);
            }
        }
        while let Some(event) = self.stacks[0].poll_event() {
            match event {
                Event::Finished { stream } | Event::Closed { stream, .. } => {
                    self.ended.push(stream);
                }
                _ => {}
            }
        }
        while let Some(event) = self.stacks[1].poll_event() {
            self.services.take(&event, &mut self.stacks[1], &Nothing, self.now);
        }
        self.services.poll(&mut self.stacks[1], self.now);
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
            self.now += Duration::from_millis(1);
        }
    }

    fn dial(&mut self, port: u16) -> StreamId {
        let to = SocketAddr::new(NODE.into(), port);
        let stream = self.stacks[0].dial(to, self.now).expect("there is room");
        self.run(Duration::from_millis(10));
        stream
    }

    fn say(&mut self, stream: StreamId, bytes: &[u8]) {
        assert_eq!(self.stacks[0].write(stream, bytes), Ok(bytes.len()));
        self.run(Duration::from_millis(20));
    }

    fn hear(&mut self, stream: StreamId) -> String {
        let mut got = Vec::new();
        // A stream that ended has nothing more to say.
        let _ = self.stacks[0].read(stream, &mut got, 1 << 20);
        String::from_utf8(got).expect("it is text")
    }

    fn ask(&mut self, request: &str) -> (StreamId, String) {
        let stream = self.dial(80);
        self.say(stream, request.as_bytes());
        let answer = self.hear(stream);
        (stream, answer)
    }
}

#[test]
fn echo_gives_back_what_it_gets() {
    let mut world = World::new();
    let stream = world.dial(7);
    let text = "abcdefgh".repeat(4_000);
    let (mut sent, mut heard) = (0, String::new());
    while heard.len() < text.len() {
        sent += world.stacks[0].write(stream, &text.as_bytes()[sent..]).expect("it lives");
        world.run(Duration::from_millis(2));
        heard += &world.hear(stream);
    }
    assert!(heard == text);
    world.stacks[0].finish(stream).expect("it lives");
    world.run(Duration::from_millis(20));
    assert_eq!((world.services.clients.len(), world.ended.contains(&stream)), (0, true));
}

#[test]
fn discard_takes_all_and_chargen_never_ends() {
    let mut world = World::new();
    let (discard, chargen) = (world.dial(9), world.dial(19));
    for _ in 0..20 {
        world.say(discard, &[b'x'; 50_000]);
    }
    assert_eq!(world.hear(discard), "");
    let mut heard = String::new();
    while heard.len() < 500_000 {
        heard += &world.hear(chargen);
        world.run(Duration::from_millis(5));
    }
    let lines: Vec<&str> = heard.split("\r\n").collect();
    assert!(lines[0].starts_with(" !\"#$%&'") && lines[1].starts_with("!\"#$%&'("));
    assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == 72));
    world.stacks[0].abort(chargen, world.now);
    world.run(Duration::from_millis(20));
    assert_eq!(world.services.clients.len(), 1);
}

#[test]
fn datagrams_are_answered_and_never_by_more() {
    let mut world = World::new();
    let socket = world.stacks[0].bind(5_000).expect("it is free");
    let low = world.stacks[0].bind(7).expect("it is free");
    let send = |world: &mut World, socket, port, bytes: &[u8]| {
        let to = SocketAddr::new(NODE.into(), port);
        world.stacks[0].send_to(socket, to, bytes, world.now).expect("it fits");
        world.run(Duration::from_millis(10));
        let mut got = Vec::new();
        world.stacks[0].receive_from(socket, &mut got).map(|_| got)
    };
    assert_eq!(send(&mut world, socket, 7, b"hello"), Some(b"hello".to_vec()));
    assert_eq!(send(&mut world, socket, 9, b"hello"), None);
    assert_eq!(send(&mut world, socket, 19, b"hello"), Some(b" !\"#$".to_vec()));
    assert_eq!(send(&mut world, socket, 19, &[0; 900]).map(|line| line.len()), Some(74));
    assert_eq!(send(&mut world, low, 7, b"hello"), None, "echo does not talk to echo");
}

#[test]
fn pages_are_served() {
    let mut world = World::new();
    let (_, answer) = world.ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
                    Connection: keep-alive\r\n\r\nhello, world\n";
    assert_eq!(answer, expected);
    let (_, answer) = world.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("node one\n") && answer.contains("IPv4        10.0.0.2\n"));
    let (_, answer) = world.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("\ncraton_up 1\n") || answer.contains("\r\ncraton_up 1\n"));
    assert!(answer.contains("\ncraton_net_streams 3\n"), "{answer}");
    assert!(answer.contains("\ncraton_net_http_requests_total 3\n"));
    let (_, answer) = world.ask("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("Content-Length: 13\r\n") && answer.ends_with("\r\n\r\n"));
    let (_, answer) = world.ask("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_connection_is_kept_and_requests_may_come_at_once_or_in_pieces() {
    let mut world = World::new();
    let one = "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    let (stream, answer) = world.ask(&one.repeat(20));
    assert_eq!(answer.matches("hello, world\n").count(), 20);
    for byte in one.repeat(2).into_bytes() {
        assert_eq!(world.stacks[0].write(stream, &[byte]), Ok(1));
        world.run(Duration::from_millis(1));
    }
    world.run(Duration::from_millis(20));
    assert_eq!(world.hear(stream).matches("hello, world\n").count(), 2);
    world.say(stream, b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(world.hear(stream).contains("Connection: close\r\n"));
    world.run(Duration::from_millis(20));
    assert!(world.ended.contains(&stream) && world.services.clients.is_empty());
}

#[test]
fn what_is_wrong_is_said_and_the_connection_closed() {
    let mut world = World::new();
    let long =
        format!("GET /hello HTTP/1.1\r\nHost: x\r\nA: {}", "x".repeat(limit::HEAD_BYTES_MAX));
    let cases = [
        ("NONSENSE\r\n\r\n", "400"),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "501"),
        (&long, "431"),
    ];
    for (request, status) in cases {
        let (stream, answer) = world.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        world.run(Duration::from_millis(20));
        assert!(world.ended.contains(&stream));
    }
    assert_eq!(world.services.clients.len(), 0);
}

#[test]
fn slow_clients_are_given_up_and_idle_ones_kept_for_a_while() {
    let mut world = World::new();
    // One sends a header every second and never ends; one takes nothing of what it asked for; one
    // asked and is idle.
    let (slow, deaf, idle) = (world.dial(80), world.dial(80), world.dial(80));
    world.say(idle, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    world.say(slow, b"GET / HTTP/1.1\r\n");
    let many = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    world.say(deaf, many.as_bytes());
    for _ in 0..9 {
        world.say(slow, b"X: y\r\n");
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.services.clients.len(), 3);
    world.run(Duration::from_secs(3));
    assert_eq!(world.services.clients.len(), 2, "the slow one is gone");
    world.run(Duration::from_secs(15));
    assert_eq!(world.services.clients.len(), 1, "and the deaf one");
    assert!(world.ended.contains(&slow) && !world.ended.contains(&idle));
    world.run(limit::IDLE_PATIENCE);
    assert_eq!(world.services.clients.len(), 0);
    assert_eq!(world.services.deadline(), None);
}
