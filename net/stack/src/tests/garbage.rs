//! Frames that nobody in his right mind sends.

use super::link::{World, at, ip};
use crate::{Event, Stack, Usage, limit};
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const PORT: u16 = 7700;
const FRAMES: usize = 100_000;

/// Frames seen on the link between two stacks that do everything once.
fn corpus(seed: u64) -> Vec<Vec<u8>> {
    let mut world = World::new(2, seed);
    world.stacks[1].listen(PORT).expect("it is free");
    let sockets: Vec<_> =
        world.stacks.iter_mut().map(|stack| stack.bind(PORT).expect("it is free")).collect();
    let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("it can be dialled");
    world.stacks[0].send_to(sockets[0], at(1, PORT), &[1; 200], world.now).expect("it fits");
    let mut frames = Vec::new();
    for round in 0..60 {
        let index = round % 2;
        world.plugs[index].step(world.now);
        let _ = world.stacks[index].poll(&mut world.plugs[index], world.now);
        let _ = world.stacks[0].write(stream, &[9; 300]);
        if round == 40 {
            world.stacks[0].close(stream, world.now);
        }
        for frame in core::mem::take(&mut world.plugs[index].outbox.frames) {
            world.deliver(1 - index, &frame);
            frames.push(frame);
        }
        world.now += Duration::from_millis(1);
    }
    assert!(frames.len() > 20, "the stacks spoke");
    frames
}

/// A frame for stack 1: noise, or a real one with some bytes changed, cut or lengthened.
fn garbage(random: &mut ChaCha8Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut draw = |below: usize| random.next_u32() as usize % below;
    let mut frame = corpus[draw(corpus.len())].clone();
    match draw(8) {
        0 => frame = (0..draw(1600)).map(|_| draw(256) as u8).collect(),
        1 => frame.truncate(draw(frame.len() + 1)),
        2 => frame.extend((0..draw(100)).map(|_| draw(256) as u8)),
        _ => {
            for _ in 0..=draw(4) {
                // Headers are where it hurts.
                let end = if draw(2) == 0 { frame.len() } else { frame.len().min(60) };
                let index = draw(end);
                frame[index] =
                    if draw(2) == 0 { draw(256) as u8 } else { frame[index] ^ (1 << draw(8)) };
            }
        }
    }
    // Most of it is addressed so that it is looked at.
    if draw(10) > 0 && frame.len() >= 14 {
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    }
    frame
}

#[test]
fn garbage_neither_panics_nor_stays() {
    for seed in 0..2 {
        let corpus = corpus(seed);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Checksums are not checked, as if the device vouched for all: the garbage goes deeper.
        let mut world = World::new(2, seed);
        world.stacks[1].listen(PORT).expect("it is free");
        let socket = world.stacks[1].bind(PORT).expect("it is free");
        let mut scratch = Vec::new();
        for _ in 0..FRAMES / 20 {
            for _ in 0..20 {
                let frame = garbage(&mut random, &corpus);
                world.plugs[1].inject(frame);
            }
            world.now += Duration::from_millis(1);
            let now = world.now;
            let _ = world.stacks[1].poll(&mut world.plugs[1], now);
            world.plugs[1].outbox.frames.clear();
            while world.stacks[1].receive_from(socket, &mut scratch).is_some() {}
            while let Some(event) = world.stacks[1].poll_event() {
                if let Event::Readable { stream } = event {
                    let _ = world.stacks[1].read(stream, &mut scratch, 1 << 20);
                }
            }
            scratch.clear();
        }
        // It still serves, and nothing of the garbage stays.
        world.run_for(Duration::from_secs(60));
        let usage = world.stacks[1].usage();
        let bytes = limit::UDP_SOCKET_BYTES;
        let idle = Usage { sockets: 1, buffer_bytes: bytes, ..Usage::default() };
        assert_eq!(usage, idle, "seed {seed}");
        let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("it can be dialled");
        let connected = |event: &Event| (*event == Event::Connected { stream }).then_some(());
        world.wait(0, Duration::from_secs(3), connected);
    }
}

/// Two stacks exchange bytes while mutations of their own frames arrive, vouched for, so that they
/// get as deep as they can. The bytes may be wrong then; the stacks must stand.
#[test]
fn garbage_in_the_middle_of_a_conversation_does_not_panic() {
    for seed in 0..20 {
        let mut world = World::new(2, seed);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        world.stacks[1].listen(PORT).expect("it is free");
        let mut corpus = corpus(seed);
        let mut scratch = Vec::new();
        for _ in 0..1500 {
            if world.stacks[0].usage().streams < 3 {
                let _ = world.stacks[0].dial(at(1, PORT), world.now);
            }
            for index in 0..2 {
                world.plugs[index].step(world.now);
                let now = world.now;
                let _ = world.stacks[index].poll(&mut world.plugs[index], now);
                while let Some(event) = world.stacks[index].poll_event() {
                    use_stream(&mut world.stacks[index], &event, &mut scratch, now);
                }
                for frame in core::mem::take(&mut world.plugs[index].outbox.frames) {
                    world.plugs[1 - index].inject(frame.clone());
                    let place = random.next_u32() as usize % corpus.len();
                    corpus[place] = frame;
                }
                let mut frame = garbage(&mut random, &corpus);
                if frame.len() >= 14 && random.next_u32().is_multiple_of(2) {
                    frame[5] = index as u8 + 1;
                }
                world.plugs[index].inject(frame);
            }
            world.now += Duration::from_micros(u64::from(random.next_u32() % 20_000));
        }
    }
}

fn use_stream(stack: &mut Stack, event: &Event, scratch: &mut Vec<u8>, now: Instant) {
    match event {
        Event::Connected { stream } | Event::Accepted { stream, .. } => {
            let _ = stack.write(*stream, &[7; 50_000]);
        }
        Event::Readable { stream } => {
            scratch.clear();
            let _ = stack.read(*stream, scratch, 20_000);
            let _ = stack.write(*stream, scratch);
        }
        Event::Finished { stream } => stack.close(*stream, now),
        Event::Writable { stream } if now.as_nanos().is_multiple_of(3) => {
            let _ = stack.finish(*stream);
        }
        _ => {}
    }
}

/// An echo request from stack 0 is answered with the same bytes.
#[test]
fn ping_is_answered() {
    let mut world = World::new(2, 1);
    let mut ping = vec![0; 14 + 20 + 8 + 32];
    ping[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    ping[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    ping[12..14].copy_from_slice(&[8, 0]);
    ping[14..24].copy_from_slice(&[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 1]);
    ping[26..30].copy_from_slice(&ip(0).octets());
    ping[30..34].copy_from_slice(&ip(1).octets());
    let header = sum(&ping[14..34]);
    ping[24..26].copy_from_slice(&header);
    ping[34] = 8;
    ping[42..].fill(0x5a);
    let body = sum(&ping[34..]);
    ping[36..38].copy_from_slice(&body);
    // The neighbour must be known, as after the ARP request that precedes a ping.
    let socket = world.stacks[0].bind(9).expect("it is free");
    world.stacks[0].send_to(socket, at(1, 9), b"x", world.now).expect("it waits");
    world.run_for(Duration::from_millis(5));
    world.plugs[1].inject(ping.clone());
    let now = world.now + Duration::from_millis(1);
    let _ = world.stacks[1].poll(&mut world.plugs[1], now);
    let answer = world.plugs[1].outbox.frames.pop().expect("an answer");
    assert_eq!((answer[34], &answer[42..]), (0, &ping[42..]));
}

fn sum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}
