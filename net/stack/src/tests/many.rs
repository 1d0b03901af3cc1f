//! Ten thousand connections: what one of them costs does not depend on the others.

use super::link::{World, at};
use super::streams::{PORT, accepted, readable};
use crate::{Buffers, DialOptions, Event, ListenOptions, StreamId, limit};
use alloc::vec::Vec;
use craton_abi::Duration;

/// Two stacks with so many streams between them, and the first of them.
fn connected(count: usize) -> (World, StreamId, StreamId) {
    let mut world = World::new(2, 1);
    let options = ListenOptions { buffers: Buffers::Small, ..Default::default() };
    world.stacks[1].listen_with(PORT, options).expect("it is free");
    let options = DialOptions { buffers: Buffers::Small, ..Default::default() };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    while theirs.len() < count {
        for _ in 0..50.min(count - theirs.len()) {
            world.stacks[0].dial_with(at(1, PORT), options, world.now).expect("there is room");
        }
        let wanted = count.min(theirs.len() + 50);
        world.run_until(Duration::from_secs(5), |world| {
            let open = |event: &Event| match event {
                Event::Connected { stream } => Some(*stream),
                _ => None,
            };
            ours.extend(core::iter::from_fn(|| world.pick(0, open)));
            theirs.extend(core::iter::from_fn(|| world.pick(1, accepted)));
            ours.len() == wanted && theirs.len() == wanted
        });
    }
    world.run_for(Duration::from_millis(20));
    (world, ours[0], theirs[0])
}

/// Streams looked at, and frames moved, by one byte there and back.
fn cost(count: usize) -> (u64, u64) {
    let (mut world, a, b) = connected(count);
    let sum = |world: &World| {
        world.stacks.iter().fold((0, 0), |(polled, sent), stack| {
            let counters = stack.counters();
            (polled + counters.streams_polled, sent + counters.frames_sent)
        })
    };
    let before = sum(&world);
    for _ in 0..10 {
        world.stacks[0].write(a, b"x").expect("it lives");
        world.wait(1, Duration::from_secs(1), readable(b));
        let mut got = Vec::new();
        world.stacks[1].read(b, &mut got, 10).expect("it lives");
        world.stacks[1].write(b, &got).expect("it lives");
        world.wait(0, Duration::from_secs(1), readable(a));
        world.stacks[0].read(a, &mut got, 10).expect("it lives");
        world.run_for(Duration::from_millis(10));
    }
    let after = sum(&world);
    assert_eq!(world.stacks[1].usage().streams, count);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_round_trip_costs_the_same_beside_ten_thousand() {
    let (polled, sent) = cost(10);
    assert_eq!(cost(10_000), (polled, sent));
    assert!(polled <= 10 * 16, "{polled} looks for ten round trips");
}

#[test]
fn ten_thousand_fit_the_memory_that_is_promised() {
    let (mut world, ..) = connected(10_000);
    let usage = world.stacks[1].usage();
    assert_eq!(usage.buffer_bytes, 10_000 * 2 * limit::SMALL_BYTES);
    assert!(usage.buffer_bytes < 96 << 20, "{} bytes", usage.buffer_bytes);
    // Idle, they are probed and live on.
    world.run_for(Duration::from_secs(100));
    assert_eq!(world.stacks[1].usage().streams, 10_000);
}
