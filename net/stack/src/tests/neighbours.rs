//! Datagrams, broadcast, and peers that do not answer.

use super::link::{Faults, World, at, ip};
use crate::{DatagramError, Event, UdpId, limit};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::Duration;

const PORT: u16 = 7700;

fn bound(world: &mut World) -> Vec<UdpId> {
    let stacks = world.stacks.iter_mut();
    stacks.map(|stack| stack.bind(PORT).expect("it is free")).collect()
}

/// All datagrams that `index` received.
fn taken(world: &mut World, index: usize, socket: UdpId) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut all = Vec::new();
    let mut bytes = Vec::new();
    while let Some(from) = world.stacks[index].receive_from(socket, &mut bytes) {
        all.push((from, bytes.clone()));
    }
    all
}

#[test]
fn a_datagram_reaches_its_receiver_and_no_other() {
    let mut world = World::new(3, 1);
    let sockets = bound(&mut world);
    let long = vec![7; 1472];
    for datagram in [&b"a"[..], &long] {
        world.stacks[0].send_to(sockets[0], at(1, PORT), datagram, world.now).expect("it fits");
    }
    let error = world.stacks[0].send_to(sockets[0], at(1, PORT), &[7; 1473], world.now);
    assert_eq!(error, Err(DatagramError::TooLong));
    world.run_for(Duration::from_millis(5));
    let expected = vec![(at(0, PORT), b"a".to_vec()), (at(0, PORT), long)];
    assert_eq!(taken(&mut world, 1, sockets[1]), expected);
    assert_eq!(taken(&mut world, 2, sockets[2]), vec![]);
}

#[test]
fn a_broadcast_reaches_everybody() {
    let mut world = World::new(4, 2);
    let sockets = bound(&mut world);
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 1, 0, 255)] {
        let to = SocketAddr::new(IpAddr::V4(to), PORT);
        world.stacks[0].send_to(sockets[0], to, b"hello", world.now).expect("it can be sent");
        world.run_for(Duration::from_millis(5));
        for (index, socket) in sockets.iter().enumerate().skip(1) {
            let expected = vec![(at(0, PORT), b"hello".to_vec())];
            assert_eq!(taken(&mut world, index, *socket), expected);
        }
    }
}

#[test]
fn a_silent_neighbour_holds_up_nobody() {
    let mut world = World::new(3, 3);
    let sockets = bound(&mut world);
    world.stacks[1].listen(PORT).expect("it is free");
    for absent in 100..120 {
        let sent = world.stacks[0].send_to(sockets[0], at(absent, PORT), b"x", world.now);
        sent.expect("it waits");
        world.stacks[0].dial(at(absent, PORT), world.now).expect("it waits");
    }
    let start = world.now;
    world.stacks[0].send_to(sockets[0], at(1, PORT), b"y", world.now).expect("it can be sent");
    let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("it can be dialled");
    let connected = |event: &Event| (*event == Event::Connected { stream }).then_some(());
    world.wait(0, Duration::from_secs(1), connected);
    assert!(world.now - start < Duration::from_millis(2), "took {}", world.now - start);
    assert_eq!(taken(&mut world, 1, sockets[1]).len(), 1);
    world.run_for(limit::DIAL_TIMEOUT);
    assert_eq!(world.stacks[0].counters().datagrams_dropped, 20);
    assert_eq!(world.stacks[0].usage().streams, 1, "only the live stream is left");
}

#[test]
fn a_neighbour_that_dies_and_returns_is_found_again() {
    let mut world = World::new(2, 4);
    let sockets = bound(&mut world);
    let mut received = 0;
    for second in 0..240 {
        world.dead[1] = (60..120).contains(&second);
        let sent = world.stacks[0].send_to(sockets[0], at(1, PORT), b"x", world.now);
        assert!(matches!(sent, Ok(()) | Err(DatagramError::Full)));
        world.run_for(Duration::from_secs(1));
        received += taken(&mut world, 1, sockets[1]).len();
    }
    assert!((176..=184).contains(&received), "{received} of 180");
}

#[test]
fn datagrams_survive_a_bad_link_whole() {
    for seed in 0..5 {
        let mut world = World::new(2, seed);
        world.faults = Faults { lost: 100, doubled: 100, delayed: 100, flipped: 0 };
        let sockets = bound(&mut world);
        let mut received = 0;
        for number in 0..500_u32 {
            let bytes = number.to_be_bytes().repeat(1 + number as usize % 300);
            let _ = world.stacks[0].send_to(sockets[0], at(1, PORT), &bytes, world.now);
            world.run_for(Duration::from_millis(3));
            for (_, bytes) in taken(&mut world, 1, sockets[1]) {
                let number = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
                let whole = number.to_be_bytes().repeat(1 + number as usize % 300);
                assert!(bytes == whole, "seed {seed}: datagram {number} is torn");
                received += 1;
            }
        }
        // One in ten is lost, one in ten doubled; a lost question costs a quarter of a second.
        assert!((350..600).contains(&received), "seed {seed}: {received} of 500");
    }
}

#[test]
fn what_cannot_be_reached_is_said_at_once() {
    let mut world = World::new(2, 6);
    let sockets = bound(&mut world);
    let nowhere = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1)];
    for to in nowhere {
        let to = SocketAddr::new(IpAddr::V4(to), PORT);
        let sent = world.stacks[0].send_to(sockets[0], to, b"x", world.now);
        assert_eq!(sent, Err(DatagramError::Unreachable));
    }
    assert!(world.stacks[0].dial(SocketAddr::new(IpAddr::V4(ip(0)), PORT), world.now).is_err());
    world.stacks[0].unbind(sockets[0]);
    let sent = world.stacks[0].send_to(sockets[0], at(1, PORT), b"x", world.now);
    world.run_for(Duration::from_millis(5));
    let sent = sent.and(world.stacks[0].send_to(sockets[0], at(1, PORT), b"x", world.now));
    assert_eq!(sent, Err(DatagramError::NoSocket));
}
