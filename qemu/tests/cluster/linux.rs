//! A node's TCP against the host's own: crowds, floods, a bad line.
//!
//! On a tap in a network namespace of its own, as in `tap.rs`; skipped without root.

use crate::clients::{connect, echo_much, metric};
use craton_qemu::testing::{Watched, in_network_namespace, kernel, launch, skipped};
use craton_qemu::{MachineConfig, Tap, node_address, node_mac};
use craton_tool::keys::Keys;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Connections that are open at once.
const CROWD: usize = 10_000;
/// SYNs of a flood between two round trips, and how often; more than a node remembers.
const SYNS_PER_ROUND: usize = 100;
const ROUNDS: usize = 300;
pub const ECHO: u16 = 7;
pub const HTTP: u16 = 80;
/// Hosts are slow and busy; what is asserted is that it comes, not when.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node with services on a tap.
pub struct Node {
    _tap: Tap,
    _machine: Watched,
}

impl Node {
    pub fn boot(memory_mib: u32) -> Node {
        Node::boot_with(memory_mib, 1, 1)
    }

    /// A node of several CPUs, with a card of as many pairs of queues as the tap has.
    pub fn boot_with(memory_mib: u32, cpus: u8, queues: u8) -> Node {
        let tap = Tap::start_with_queues("tap0", queues).unwrap();
        let keys = Keys::generate("tester").unwrap();
        let config = keys.node_config("n1").unwrap().render();
        let config = MachineConfig::new(kernel())
            .cpus(cpus)
            .memory_mib(memory_mib)
            .command_line("services=echo,discard,http")
            .node_config(config)
            .tap(&tap, node_mac(0));
        let machine = launch(config);
        machine.expect_line(" node: address ");
        Node { _tap: tap, _machine: machine }
    }

    pub fn connect(&self, port: u16) -> TcpStream {
        connect(to(port))
    }

    /// A number of the node's metrics.
    pub fn metric(&self, name: &str) -> u64 {
        metric(to(HTTP), name)
    }
}

pub fn to(port: u16) -> SocketAddr {
    SocketAddrV4::new(node_address(0), port).into()
}

pub fn echo(stream: &mut TcpStream, byte: u8) {
    stream.write_all(&[byte]).unwrap();
    let mut got = [0];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, [byte]);
}

/// The median of so many round trips on one connection.
fn round_trip(stream: &mut TcpStream) -> Duration {
    let mut all: Vec<Duration> = (0..301)
        .map(|number| {
            let start = Instant::now();
            echo(stream, number as u8);
            start.elapsed()
        })
        .collect();
    all.sort_unstable();
    all[all.len() / 2]
}

pub fn open_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn ten_thousand_connections_are_open_and_each_answers() {
    in_network_namespace("linux::ten_thousand_connections_are_open_and_each_answers", || {
        open_many_files();
        let node = Node::boot(256);
        let mut streams: Vec<TcpStream> = (0..10).map(|_| node.connect(ECHO)).collect();
        let few = round_trip(&mut streams[0]);
        streams.extend((10..CROWD).map(|_| node.connect(ECHO)));
        for (number, stream) in streams.iter_mut().enumerate() {
            echo(stream, number as u8);
        }
        assert_eq!(node.metric("craton_net_service_clients"), CROWD as u64 + 1);
        let many = round_trip(&mut streams[0]);
        println!("a round trip takes {few:?} beside 9 others, {many:?} beside {}", CROWD - 1);
        drop(streams);
        let start = Instant::now();
        while node.metric("craton_net_service_clients") > 1 {
            assert!(start.elapsed() < PATIENCE, "the node holds on to closed connections");
        }
    });
}

/// A SYN from an address of the network for tests (RFC 2544), which nobody answers for.
fn syn(random: u64) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    let from = Ipv4Addr::from_bits(0xc612_0000 | random as u32 & 0x1_ffff);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&node_address(0).octets());
    packet[20..22].copy_from_slice(&(1024 + (random >> 48) as u16 % 60_000).to_be_bytes());
    packet[22..24].copy_from_slice(&ECHO.to_be_bytes());
    packet[24..28].copy_from_slice(&((random >> 16) as u32).to_be_bytes());
    packet[32..34].copy_from_slice(&[0x50, 0x02]);
    packet[34..36].copy_from_slice(&64_000_u16.to_be_bytes());
    let pseudo = [&packet[12..20], &[0, 6, 0, 20], &packet[20..]].concat();
    let mut sum: u32 =
        pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[36..38].copy_from_slice(&(!sum as u16).to_be_bytes());
    packet
}

/// A card with queues for each of two CPUs: both take frames from it and serve.
#[test]
fn every_cpu_serves_by_its_own_queues() {
    in_network_namespace("linux::every_cpu_serves_by_its_own_queues", || {
        // Below that the card's second pair of queues would cost too much of the memory.
        let node = Node::boot_with(128, 2, 2);
        let mut streams: Vec<TcpStream> = (0..100).map(|_| node.connect(ECHO)).collect();
        for round in 0..3 {
            for (number, stream) in streams.iter_mut().enumerate() {
                echo(stream, (number * round) as u8);
            }
        }
        let sockets: Vec<u64> = (0..2)
            .map(|cpu| {
                let metric = |name| node.metric(&format!("craton_cpu_{name}{{cpu=\"{cpu}\"}}"));
                assert!(metric("card_interrupts_total") > 0, "CPU {cpu} has no queues");
                assert!(metric("frames_sent_total") > 100, "CPU {cpu} answers nobody");
                metric("sockets")
            })
            .collect();
        assert!(sockets.iter().all(|count| *count > 20), "connections of each CPU: {sockets:?}");
        assert!(sockets.iter().sum::<u64>() >= 100, "{sockets:?}");
    });
}

/// A flood that is paced by what the node answers, so that a slow host has a slower flood, not
/// another outcome. Its rate where hosts do not matter is in the stack's own tests. Two CPUs share
/// a pair of queues: half of the flood goes from one to the other.
#[test]
fn a_flood_neither_drops_old_connections_nor_keeps_new_ones_out() {
    in_network_namespace(
        "linux::a_flood_neither_drops_old_connections_nor_keeps_new_ones_out",
        || {
            let node = Node::boot_with(128, 2, 1);
            let mut old: Vec<TcpStream> = (0..20).map(|_| node.connect(ECHO)).collect();
            let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap();
            let target = SocketAddrV4::new(node_address(0), 0);
            let mut random = 1_u64;
            let start = Instant::now();
            for round in 0..ROUNDS {
                for _ in 0..SYNS_PER_ROUND {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let syn = syn(random ^ random >> 31);
                    sendto(&raw, &syn, SendFlags::empty(), &target).unwrap();
                }
                let place = round % old.len();
                echo(&mut old[place], b'o');
                if round % 10 == 0 {
                    echo(&mut node.connect(ECHO), b'n');
                }
            }
            println!("{} SYNs in {:?}", ROUNDS * SYNS_PER_ROUND, start.elapsed());
            assert!(node.metric("craton_net_handshakes_evicted_total") > 0);
            // The old ones and this question; those that just closed may take a moment.
            assert!(node.metric("craton_net_service_clients") <= 30);
        },
    );
}

#[test]
fn a_lossy_line_of_fifty_milliseconds_carries_all_bytes() {
    in_network_namespace("linux::a_lossy_line_of_fifty_milliseconds_carries_all_bytes", || {
        let _node = Node::boot(64);
        let netem = ["qdisc", "add", "dev", "tap0", "root", "netem", "loss", "5%", "delay", "50ms"];
        let added = Command::new("tc").args(netem).output();
        if !added.is_ok_and(|output| output.status.success()) {
            let why = "this kernel has no netem; netem.rs brings one that has";
            return skipped("a_lossy_line_of_fifty_milliseconds_carries_all_bytes", why);
        }
        echo_much(to(ECHO), 300_000);
    });
}

/// Clients of the slowloris kind: each sends the head of a request byte by byte, for ever.
#[test]
fn slow_clients_keep_nobody_out_and_are_given_up() {
    in_network_namespace("linux::slow_clients_keep_nobody_out_and_are_given_up", || {
        let node = Node::boot_with(64, 2, 1);
        let mut slow: Vec<TcpStream> = (0..400).map(|_| node.connect(HTTP)).collect();
        for stream in &mut slow {
            stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").unwrap();
        }
        // Others are served beside them.
        for _ in 0..20 {
            slow.iter_mut().for_each(|stream| stream.write_all(b"a").unwrap());
            assert!(node.metric("craton_net_service_clients") > 400);
        }
        // A byte now and then buys no time: each is given up within seconds of its first.
        let start = Instant::now();
        while !slow.is_empty() {
            assert!(start.elapsed() < PATIENCE, "{} are not given up", slow.len());
            slow.retain_mut(|stream| stream.write_all(b"a").is_ok());
            node.metric("craton_uptime_seconds");
        }
        assert_eq!(node.metric("craton_net_service_clients"), 1, "only who asks this");
    });
}

#[test]
fn pings_are_answered() {
    in_network_namespace("linux::pings_are_answered", || {
        let _node = Node::boot(64);
        let address = node_address(0).to_string();
        for size in ["0", "56", "1400"] {
            let arguments = ["-c", "5", "-i", "0.2", "-W", "10", "-s", size, &address];
            let Ok(output) = Command::new("ping").args(arguments).output() else {
                return skipped("pings_are_answered", "there is no ping; install iputils-ping");
            };
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
    });
}
