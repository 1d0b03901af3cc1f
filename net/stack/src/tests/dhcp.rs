//! The address: a lease from a small server, its renewal and loss, and servers that lie.

use super::link::{World, link};
use crate::{Address, AddressSource, Event, limit};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use craton_abi::Duration;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);

/// What the server says.
#[derive(Clone)]
struct Server {
    /// The address its packets come from.
    source: Ipv4Addr,
    gateway: Ipv4Addr,
    lease_secs: u32,
    silent: bool,
    answered: usize,
    /// Bytes of each answer that are changed.
    mutations: usize,
    random: u64,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            source: SERVER,
            gateway: SERVER,
            lease_secs: 600,
            silent: false,
            answered: 0,
            mutations: 0,
            random: 0,
        }
    }
}

impl Server {
    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let udp = UdpPacket::new_checked(packet.payload()).ok()?;
        let dhcp = DhcpPacket::new_checked(udp.payload()).ok()?;
        let asked = DhcpRepr::parse(&dhcp).ok()?;
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            _ => return None,
        };
        self.answered += 1;
        Some(self.frame(&asked, message_type, ethernet.src_addr()))
    }

    fn mutate(&mut self, frame: &mut [u8]) {
        for _ in 0..self.mutations {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = (self.random >> 33) as usize;
            // Addresses, names of nobody and options; not the ports, or nobody would look.
            let place = [26, 42 + 16, 42 + 236][dice % 3] + dice / 3 % 40;
            if let Some(byte) = frame.get_mut(place).filter(|_| !(34..38).contains(&place)) {
                *byte = (dice >> 16) as u8;
            }
        }
    }

    fn frame(&self, asked: &DhcpRepr, kind: DhcpMessageType, to: EthernetAddress) -> Vec<u8> {
        let dhcp = DhcpRepr {
            message_type: kind,
            your_ip: LEASED,
            server_identifier: Some(SERVER),
            router: Some(self.gateway),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            lease_duration: Some(self.lease_secs),
            dns_servers: None,
            parameter_request_list: None,
            client_identifier: None,
            max_size: None,
            requested_ip: None,
            ..asked.clone()
        };
        let udp = UdpRepr { src_port: 67, dst_port: 68 };
        let ip = Ipv4Repr {
            src_addr: self.source,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + dhcp.buffer_len(),
            hop_limit: 64,
        };
        let sums = ChecksumCapabilities::default();
        let mut bytes = vec![0; 14 + 20 + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_src_addr(EthernetAddress([2, 9, 9, 9, 9, 9]));
        frame.set_dst_addr(to);
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &sums);
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &IpAddress::Ipv4(self.source),
            &IpAddress::Ipv4(Ipv4Addr::BROADCAST),
            dhcp.buffer_len(),
            |payload| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).expect("there is room"),
            &sums,
        );
        bytes
    }
}

/// Runs a lone stack beside a server until `done` or `span` is over.
fn run(world: &mut World, server: &mut Server, span: Duration, done: fn(&World) -> bool) -> bool {
    let end = world.now + span;
    while world.now < end {
        let _ = world.stacks[0].poll(&mut world.plugs[0], world.now);
        while let Some(event) = world.stacks[0].poll_event() {
            world.events[0].push_back(event);
        }
        for frame in core::mem::take(&mut world.plugs[0].outbox.frames) {
            if let Some(mut answer) = server.answer(&frame).filter(|_| !server.silent) {
                server.mutate(&mut answer);
                world.plugs[0].inject(answer);
            }
        }
        if done(world) {
            return true;
        }
        world.advance(end);
        world.step_clock();
    }
    false
}

fn lone(seed: u64) -> World {
    let mut world = World::new(0, seed);
    world.add(link(0, false), AddressSource::Dhcp);
    world
}

fn has_address(world: &World) -> bool {
    world.stacks[0].address().is_some()
}

#[test]
fn a_lease_is_taken_at_once() {
    let mut world = lone(1);
    let mut server = Server::default();
    assert!(run(&mut world, &mut server, Duration::from_millis(50), has_address));
    let address =
        Address { address: LEASED, prefix: 24, gateway: Some(SERVER), name_servers: Vec::new() };
    assert_eq!(world.stacks[0].address(), Some(&address));
    run(&mut world, &mut server, Duration::from_millis(1), |_| false);
    assert_eq!(world.events[0].pop_front(), Some(Event::Address(Some(address))));
}

#[test]
fn a_server_that_comes_late_is_found() {
    let mut world = lone(2);
    let mut server = Server { silent: true, ..Server::default() };
    assert!(!run(&mut world, &mut server, Duration::from_secs(5), has_address));
    server.silent = false;
    assert!(run(&mut world, &mut server, Duration::from_secs(2), has_address));
}

#[test]
fn a_lease_is_renewed_and_lost_when_the_server_is_gone() {
    let mut world = lone(3);
    let mut server = Server::default();
    run(&mut world, &mut server, Duration::from_secs(3_000), |_| false);
    assert!(has_address(&world), "renewed for five times its length");
    let renewed = world.events[0].len();
    assert_eq!(renewed, 1, "a renewal changes nothing");
    server.silent = true;
    let gone = |world: &World| !has_address(world);
    assert!(run(&mut world, &mut server, Duration::from_secs(700), gone));
    run(&mut world, &mut server, Duration::from_millis(1), |_| false);
    assert_eq!(world.events[0].pop_back(), Some(Event::Address(None)));
}

#[test]
fn a_server_without_an_address_is_not_believed() {
    let mut world = lone(4);
    let mut server = Server { source: Ipv4Addr::UNSPECIFIED, ..Server::default() };
    assert!(!run(&mut world, &mut server, Duration::from_secs(10), has_address));
    assert!(server.answered > 0 && world.stacks[0].counters().frames_refused > 0);
}

#[test]
fn a_lease_of_no_length_is_not_taken_in_a_circle() {
    let mut world = lone(5);
    let mut server = Server { lease_secs: 0, ..Server::default() };
    assert!(!run(&mut world, &mut server, Duration::from_secs(10), has_address));
    assert!(server.answered < 20, "{} answers in ten seconds", server.answered);
}

#[test]
fn mutated_answers_do_no_harm() {
    for seed in 0..300 {
        let mut world = lone(seed);
        let mut server = Server { lease_secs: 10, mutations: 3, random: seed, ..Server::default() };
        run(&mut world, &mut server, Duration::from_secs(30), |_| false);
        server.mutations = 0;
        assert!(run(&mut world, &mut server, Duration::from_secs(30), has_address), "seed {seed}");
    }
}

#[test]
fn impossible_gateways_and_leases_do_no_harm() {
    let gateways = [
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(10, 9, 0, 255),
        Ipv4Addr::new(192, 0, 2, 1),
        LEASED,
    ];
    for (index, gateway) in gateways.into_iter().enumerate() {
        for lease_secs in [limit::LEASE_SECS_MIN, u32::MAX] {
            let mut world = lone(5 + index as u64);
            let mut server = Server { gateway, lease_secs, ..Server::default() };
            assert!(run(&mut world, &mut server, Duration::from_secs(3), has_address));
            let now = world.now;
            let away = "198.51.100.7:80".parse().expect("an address");
            let _ = world.stacks[0].dial(away, now);
            run(&mut world, &mut server, Duration::from_secs(3), |_| false);
        }
    }
}
