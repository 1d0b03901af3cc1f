//! IPv6: addresses from a router's word, neighbours, streams and datagrams.

use super::link::{World, frame};
use super::streams::{PORT, SOON, accepted, bytes, exchange};
use crate::slaac;
use crate::{Announced, DatagramError, DialError, Event};
use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};
use craton_abi::Duration;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv6Packet, IpProtocol, IpRepr, Ipv6Repr};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xff);
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xff];
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, 0);
const NAME_SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a router says: how long it, its prefix and its name server are good for.
#[derive(Copy, Clone)]
struct Word {
    router_secs: u16,
    prefix: Ipv6Addr,
    prefix_secs: u32,
    hop_limit: u8,
}

const WORD: Word = Word { router_secs: 1_800, prefix: PREFIX, prefix_secs: 86_400, hop_limit: 255 };

impl Word {
    fn frame(self) -> Vec<u8> {
        let mut message = alloc::vec![134, 0, 0, 0, 64, 0];
        message.extend(self.router_secs.to_be_bytes());
        message.extend([0; 8]);
        message.extend([3, 4, 64, 0xc0]);
        message.extend(self.prefix_secs.to_be_bytes());
        message.extend([0; 8]);
        message.extend(self.prefix.octets());
        message.extend([25, 3, 0, 0]);
        message.extend(self.prefix_secs.to_be_bytes());
        message.extend(NAME_SERVER.octets());
        let ip = IpRepr::Ipv6(Ipv6Repr {
            src_addr: ROUTER,
            dst_addr: ALL_NODES,
            next_header: IpProtocol::Icmpv6,
            payload_len: message.len(),
            hop_limit: self.hop_limit,
        });
        let mut packet = alloc::vec![0; ip.buffer_len()];
        ip.emit(&mut packet[..], &ChecksumCapabilities::default());
        packet[40..].copy_from_slice(&message);
        Icmpv6Packet::new_unchecked(&mut packet[40..]).fill_checksum(&ROUTER, &ALL_NODES);
        frame([0x33, 0x33, 0, 0, 0, 1], ROUTER_MAC, &packet)
    }
}

fn tell(world: &mut World, word: Word) {
    for plug in &mut world.plugs {
        plug.deliver(world.now, word.frame());
    }
    world.run_for(Duration::from_millis(2));
}

fn global(world: &World, index: usize) -> Ipv6Addr {
    world.stacks[index].announced().address.expect("a router announced a network")
}

fn to(address: Ipv6Addr) -> SocketAddr {
    SocketAddr::new(address.into(), PORT)
}

#[test]
fn an_address_is_made_from_what_a_router_announces() {
    let mut world = World::new(2, 1);
    let own = world.stacks[0].link_local().expect("IPv6 is on");
    assert_eq!(own, "fe80::ff:fe00:1".parse::<Ipv6Addr>().expect("an address"));
    assert_eq!(world.stacks[0].dial(to(PREFIX), world.now), Err(DialError::NoAddress));
    tell(&mut world, WORD);
    let expected = Announced {
        address: Some(slaac::address(PREFIX, [2, 0, 0, 0, 0, 1])),
        gateway: Some(ROUTER),
        name_servers: alloc::vec![NAME_SERVER],
    };
    assert_eq!(*world.stacks[0].announced(), expected);
    let told = world.pick(0, |event| match event {
        Event::Announced(announced) => Some(announced.clone()),
        _ => None,
    });
    assert_eq!(told, Some(expected));
}

#[test]
fn what_routers_announced_ends_in_its_time() {
    let mut world = World::new(1, 2);
    tell(&mut world, Word { router_secs: 60, prefix_secs: 120, ..WORD });
    assert!(world.stacks[0].announced().gateway.is_some());
    world.run_for(Duration::from_secs(61));
    assert!(world.stacks[0].announced().gateway.is_none());
    assert!(world.stacks[0].announced().address.is_some());
    world.run_for(Duration::from_secs(60));
    assert_eq!(*world.stacks[0].announced(), Announced::default());
}

#[test]
fn a_forged_announcement_does_not_take_an_address_away() {
    let mut world = World::new(1, 3);
    tell(&mut world, WORD);
    let address = global(&world, 0);
    // From beyond the link; to a shorter life; of another network.
    tell(&mut world, Word { hop_limit: 254, prefix_secs: 0, router_secs: 0, ..WORD });
    tell(&mut world, Word { prefix_secs: 0, ..WORD });
    tell(&mut world, Word { prefix: Ipv6Addr::new(0x2001, 0xbad, 0, 0, 0, 0, 0, 0), ..WORD });
    world.run_for(Duration::from_secs(600));
    assert_eq!(global(&world, 0), address);
}

#[test]
fn routers_are_asked_for_a_few_times() {
    let mut world = World::new(1, 4);
    let mut asked = 0;
    for _ in 0..600 {
        world.run_for(Duration::from_millis(100));
        asked = world.stacks[0].counters().frames_sent;
    }
    assert_eq!(asked, 3);
}

#[test]
fn streams_run_over_ipv6_on_a_bad_link() {
    for (seed, link_local) in [(5, true), (6, false)] {
        let mut world = World::new(2, seed);
        tell(&mut world, WORD);
        let address = match link_local {
            true => world.stacks[1].link_local().expect("IPv6 is on"),
            false => global(&world, 1),
        };
        world.faults = super::link::Faults { lost: 10, doubled: 20, delayed: 50, flipped: 0 };
        world.stacks[1].listen(PORT).expect("it is free");
        let a = world.stacks[0].dial(to(address), world.now).expect("it can be dialled");
        let connected = |event: &Event| (*event == Event::Connected { stream: a }).then_some(());
        world.wait(0, Duration::from_secs(5), connected);
        let b = world.wait(1, Duration::from_secs(5), accepted);
        let data = [bytes(seed, 200_000), bytes(seed + 9, 200_000)];
        exchange(&mut world, [a, b], &data, Duration::from_secs(300));
    }
}

#[test]
fn datagrams_run_over_ipv6() {
    let mut world = World::new(2, 7);
    let sockets: Vec<_> =
        world.stacks.iter_mut().map(|stack| stack.bind(PORT).expect("it is free")).collect();
    let address = world.stacks[1].link_local().expect("IPv6 is on");
    let longest = bytes(1, 1452);
    world.stacks[0].send_to(sockets[0], to(address), &longest, world.now).expect("it fits");
    let error = world.stacks[0].send_to(sockets[0], to(address), &[0; 1453], world.now);
    assert_eq!(error, Err(DatagramError::TooLong));
    world.run_for(Duration::from_millis(5));
    let mut got = Vec::new();
    let from = world.stacks[1].receive_from(sockets[1], &mut got).expect("it came");
    assert_eq!((from.ip(), got), (world.stacks[0].link_local().expect("IPv6").into(), longest));
}

#[test]
fn an_absent_neighbour_is_unreachable() {
    let mut world = World::new(1, 8);
    let absent = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
    let stream = world.stacks[0].dial(to(absent), world.now).expect("it can be dialled");
    let why = world.wait(0, SOON, super::streams::closed(stream));
    assert_eq!(why, crate::Closed::Unreachable);
}
