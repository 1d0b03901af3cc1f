//! A flood of SYNs beside real peers, and peers that wait because there is no room.

extern crate std;

use super::link::{World, at, fixed, frame, link};
use super::streams::{PORT, SOON, accepted, bytes, exchange, pair};
use crate::emit::Bare;
use crate::tuple::Tuple;
use crate::{
    Buffers, Config, DialError, DialOptions, Event, ListenOptions, Owner, Stack, Usage, limit,
};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use craton_abi::Duration;
use rand_chacha::rand_core::Rng;
use smoltcp::wire::TcpControl;

const GATEWAY_MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];

/// A SYN to stack 1 from anywhere.
fn stray_syn(world: &mut World) -> Vec<u8> {
    let random = world.random.next_u64();
    let from = Ipv4Addr::from_bits(0x0b00_0000 | (random as u32 & 0x00ff_ffff));
    let syn = Bare {
        tuple: Tuple {
            local: SocketAddr::new(from.into(), 1024 + (random >> 48) as u16 % 60_000),
            remote: at(1, PORT),
        },
        control: TcpControl::Syn,
        sequence: (random >> 16) as u32,
        acknowledges: None,
        window: 64_240,
        segment_bytes_max: Some(1460),
        window_scale: Some(7),
        selective: true,
    };
    frame(world.stacks[1].link().mac, GATEWAY_MAC, &syn.packet())
}

/// 20,000 SYNs a second from everywhere, while frames take `delay`. An echo on an established
/// stream and a new stream every 100 ms go on as if nothing were.
fn flood(seed: u64, delay: Duration) -> World {
    let mut world = World::new(2, seed);
    let (a, b) = pair(&mut world);
    world.delay = delay;
    let patience = Duration::from_micros(delay.as_micros() * 3) + Duration::from_millis(5);
    let mut dialled = Vec::new();
    let mut last = None;
    for millisecond in 0..2_000_u64 {
        for _ in 0..20 {
            let syn = stray_syn(&mut world);
            world.plugs[1].deliver(world.now, syn);
        }
        if millisecond % 100 == 0 {
            let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("there is room");
            dialled.push((stream, world.now));
            assert_eq!(last.replace(world.now), None, "seed {seed}: the last echo has arrived");
            assert_eq!(world.stacks[0].write(a, b"x"), Ok(1));
        }
        world.run_for(Duration::from_millis(1));
        let mut got = Vec::new();
        if world.stacks[1].read(b, &mut got, 9).expect("it lives") > 0 {
            world.stacks[1].write(b, &got).expect("it lives");
        }
        if last.is_some() && world.stacks[0].read(a, &mut got, 9).expect("it lives") > 0 {
            last = None;
        }
        dialled.retain(|(stream, since)| {
            let connected =
                |event: &Event| (*event == Event::Connected { stream: *stream }).then_some(());
            let open = world.pick(0, connected).is_some();
            assert!(open || world.now - *since < patience, "seed {seed}: not open in time");
            !open
        });
    }
    world
}

#[test]
fn a_flood_neither_drops_old_peers_nor_keeps_new_ones_out() {
    let mut world = flood(1, Duration::from_micros(50));
    let usage = world.stacks[1].usage();
    assert_eq!((usage.streams, usage.handshakes), (21, limit::HANDSHAKES_MAX));
    assert_eq!(usage.buffer_bytes, 21 * 2 * limit::BULK_BYTES, "a SYN has no buffers");
    assert!(world.stacks[1].counters().handshakes_evicted > 20_000);
    // When it is over, nothing of it stays.
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.stacks[1].usage().handshakes, 0);
}

/// Frames take longer than the flood needs to fill the table of handshakes: real peers are pushed
/// out of it, and complete by the number of the answer that they got.
#[test]
fn a_flood_keeps_no_distant_peer_out() {
    let mut world = flood(2, Duration::from_millis(45));
    world.delay = Duration::from_millis(300);
    for _ in 0..5 {
        let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("there is room");
        let before = world.stacks[1].counters().handshakes_evicted;
        let connected = |event: &Event| (*event == Event::Connected { stream }).then_some(());
        for _ in 0..700 {
            for _ in 0..20 {
                let syn = stray_syn(&mut world);
                world.plugs[1].deliver(world.now, syn);
            }
            world.run_for(Duration::from_millis(1));
        }
        let evicted = world.stacks[1].counters().handshakes_evicted - before;
        assert!(evicted > limit::HANDSHAKES_MAX as u64, "{evicted} made room meanwhile");
        assert!(world.pick(0, connected).is_some(), "it is open within a round trip");
        while world.pick(1, accepted).is_some() {}
        world.run_for(Duration::from_millis(700));
        // Accepted too, and it carries data both ways.
        world.delay = Duration::from_micros(50);
        world.stacks[0].write(stream, b"hello").expect("it lives");
        world.run_for(Duration::from_millis(700));
        world.delay = Duration::from_millis(300);
    }
    assert_eq!(world.stacks[1].usage().streams, 21 + 5);
}

#[test]
fn a_lost_last_word_of_the_handshake_is_asked_for_again() {
    let mut world = World::new(2, 3);
    world.stacks[1].listen(PORT).expect("it is free");
    let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("there is room");
    let connected = |event: &Event| (*event == Event::Connected { stream }).then_some(());
    world.wait(0, SOON, connected);
    // The acknowledgement is under way and gets lost; the dialler has nothing to say.
    world.plugs[1].inbox.clear();
    world.run_for(Duration::from_millis(500));
    assert!(world.pick(1, accepted).is_none());
    world.run_for(Duration::from_millis(600));
    assert!(world.pick(1, accepted).is_some(), "the answer was repeated, and so was the last word");
}

#[test]
fn a_full_backlog_makes_peers_wait_and_loses_none() {
    let mut world = World::new(2, 4);
    let options = ListenOptions { backlog: 4, ..ListenOptions::default() };
    world.stacks[1].listen_with(PORT, options).expect("it is free");
    world.deaf[1] = true;
    for _ in 0..10 {
        world.stacks[0].dial(at(1, PORT), world.now).expect("there is room");
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.stacks[1].usage().streams, 4, "the owner takes none");
    assert!(world.stacks[1].counters().accepts_deferred > 0);
    world.deaf[1] = false;
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.stacks[1].usage().streams, 10);
}

#[test]
fn buffers_are_counted_against_their_owner() {
    let mut world = World::new(2, 5);
    let (server, client) = (Owner(7), Owner(8));
    let small = 2 * limit::SMALL_BYTES;
    let options = ListenOptions { owner: server, buffers: Buffers::Small, ..Default::default() };
    world.stacks[1].listen_with(PORT, options).expect("it is free");
    world.stacks[1].limit_buffers(server, Some(2 * small));
    world.stacks[0].limit_buffers(client, Some(3 * small));
    let options = DialOptions { owner: client, buffers: Buffers::Small };
    let dial = |world: &mut World| world.stacks[0].dial_with(at(1, PORT), options, world.now);
    let streams: Vec<_> = (0..3).map(|_| dial(&mut world).expect("there is room")).collect();
    assert_eq!(dial(&mut world), Err(DialError::LimitOwner));
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.stacks[1].buffer_bytes(server), 2 * small, "the third waits");
    assert_eq!(world.stacks[0].buffer_bytes(client), 3 * small);
    world.stacks[0].abort(streams[0], world.now);
    world.run_for(Duration::from_secs(8));
    assert_eq!(world.stacks[1].buffer_bytes(server), 2 * small);
    assert_eq!(world.stacks[0].buffer_bytes(client), 2 * small);
    for stream in &streams[1..] {
        world.stacks[0].abort(*stream, world.now);
    }
    world.run_for(Duration::from_secs(8));
    for stack in &world.stacks {
        assert_eq!(stack.usage(), Usage::default());
    }
}

#[test]
fn all_buffers_together_are_limited() {
    let config = Config {
        buffer_bytes_max: 5 * limit::BULK_BYTES,
        ..Config::new(link(0, false), [1; 32], fixed(0))
    };
    let mut stack = Stack::new(config, craton_abi::Instant::ZERO);
    for _ in 0..2 {
        stack.dial(at(1, PORT), craton_abi::Instant::ZERO).expect("there is room");
    }
    let refused = stack.dial(at(1, PORT), craton_abi::Instant::ZERO);
    assert_eq!(refused, Err(DialError::LimitBuffers));
    assert_eq!(refused.expect_err("refused").to_string(), "limit: buffers of all streams");
}

std::thread_local! {
    static IS_SHORT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[test]
fn who_comes_while_memory_is_short_waits_until_it_is_not() {
    let mut world = World::new(2, 8);
    let config = Config::new(link(1, false), [1; 32], fixed(1));
    let has_room = |_| !IS_SHORT.get();
    world.stacks[1] = Stack::new(Config { has_room, ..config }, world.now);
    world.stacks[1].listen(PORT).expect("it is free");
    IS_SHORT.set(true);
    world.stacks[0].dial(at(1, PORT), world.now).expect("there is room there");
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.stacks[1].usage().streams, 0);
    assert!(world.stacks[1].counters().accepts_deferred > 0);
    let refused = world.stacks[1].dial(at(0, PORT), world.now);
    assert_eq!(refused, Err(DialError::LimitMemory));
    IS_SHORT.set(false);
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.stacks[1].usage().streams, 1);
}

#[test]
fn small_buffers_carry_much_too() {
    let mut world = World::new(2, 6);
    let options = ListenOptions { buffers: Buffers::Small, ..Default::default() };
    world.stacks[1].listen_with(PORT, options).expect("it is free");
    let (a, b) = pair(&mut world);
    let data = [bytes(1, 200_000), bytes(2, 200_000)];
    exchange(&mut world, [a, b], &data, Duration::from_secs(20));
}
