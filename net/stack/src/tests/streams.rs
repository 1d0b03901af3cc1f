//! Streams: bulk under faults, opening and closing, backlog, half close, reset, a vanished peer.

use super::link::{Faults, World, at};
use crate::{Closed, Event, ListenError, NoStream, StreamId, Usage, limit};
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::Duration;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(super) const PORT: u16 = 7700;
pub(super) const SOON: Duration = Duration::from_secs(3);

pub(super) fn accepted(event: &Event) -> Option<StreamId> {
    match event {
        Event::Accepted { stream, .. } => Some(*stream),
        _ => None,
    }
}

pub(super) fn closed(id: StreamId) -> impl Fn(&Event) -> Option<Closed> {
    move |event| match event {
        Event::Closed { stream, why } if *stream == id => Some(*why),
        _ => None,
    }
}

pub(super) fn readable(id: StreamId) -> impl Fn(&Event) -> Option<()> {
    move |event| (*event == Event::Readable { stream: id }).then_some(())
}

pub(super) fn finished(id: StreamId) -> impl Fn(&Event) -> Option<()> {
    move |event| (*event == Event::Finished { stream: id }).then_some(())
}

/// A stream from stack 0 to stack 1.
pub(super) fn pair(world: &mut World) -> (StreamId, StreamId) {
    if !matches!(world.stacks[1].listen(PORT), Ok(()) | Err(ListenError::InUse)) {
        panic!("cannot listen");
    }
    let dialled = world.stacks[0].dial(at(1, PORT), world.now).expect("it can be dialled");
    let connected = |event: &Event| (*event == Event::Connected { stream: dialled }).then_some(());
    world.wait(0, Duration::from_secs(5), connected);
    (dialled, world.wait(1, Duration::from_secs(5), accepted))
}

pub(super) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Sends `data` both ways at once and compares what arrives.
pub(super) fn exchange(
    world: &mut World,
    ends: [StreamId; 2],
    data: &[Vec<u8>; 2],
    span: Duration,
) {
    let mut sent = [0; 2];
    let mut got: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    world.run_until(span, |world| {
        for end in 0..2 {
            let rest = &data[end][sent[end]..];
            sent[end] += world.stacks[end].write(ends[end], rest).expect("it lives");
            let amount = 1 + world.random.next_u32() as usize % 100_000;
            world.stacks[end].read(ends[end], &mut got[end], amount).expect("it lives");
        }
        got[0].len() >= data[1].len() && got[1].len() >= data[0].len()
    });
    assert!(got[0] == data[1] && got[1] == data[0], "seed {}: bytes differ", world.seed);
}

#[test]
fn bulk_arrives_intact_both_ways() {
    let mut world = World::new(2, 1);
    let (a, b) = pair(&mut world);
    let data = [bytes(1, 4 << 20), bytes(2, 4 << 20)];
    exchange(&mut world, [a, b], &data, Duration::from_secs(20));
    // One of the two devices cuts segments itself, the other completes no checksum and so cannot.
    assert_eq!(world.plugs[0].outbox.cut, 0);
    assert!(world.plugs[1].outbox.cut > 1000, "{} segments", world.plugs[1].outbox.cut);
    let repeated = |index: usize| world.stacks[index].counters().segments_repeated;
    assert_eq!((repeated(0), repeated(1)), (0, 0), "nothing is lost on a good link");
}

#[test]
fn bulk_arrives_intact_over_a_bad_link() {
    for seed in 0..12 {
        let mut world = World::new(2, seed);
        world.faults = Faults { lost: 20, doubled: 20, delayed: 50, flipped: 20 };
        let (a, b) = pair(&mut world);
        let data = [bytes(seed, 300_000), bytes(seed + 100, 300_000)];
        exchange(&mut world, [a, b], &data, Duration::from_secs(300));
        let wrong = |index: usize| world.stacks[index].counters().checksums_wrong;
        assert!(wrong(0) > 0 && wrong(1) > 0, "seed {seed}: flipped bits were seen");
        assert!(world.stacks[0].counters().segments_repeated > 0, "seed {seed}");
    }
}

/// Both ends sent, both heard all of it, and both acknowledgements were lost: when they send again,
/// what each says must still be heard.
#[test]
fn ends_that_both_send_again_hear_each_other() {
    let mut world = World::new(2, 16);
    let (a, b) = pair(&mut world);
    for (index, stream) in [(0, a), (1, b)] {
        world.stacks[index].write(stream, &[7; 5_000]).expect("it lives");
    }
    world.step();
    // All data is under way and arrives; from here on nothing else does for a while.
    world.faults.lost = 1000;
    world.run_for(Duration::from_millis(2_500));
    world.faults.lost = 0;
    world.run_for(Duration::from_secs(6));
    for (index, stream) in [(0, a), (1, b)] {
        let mut got = Vec::new();
        assert_eq!(world.stacks[index].read(stream, &mut got, 9_000), Ok(5_000));
        assert_eq!(world.stacks[index].room(stream), Ok(limit::BULK_BYTES), "all acknowledged");
    }
}

/// The last acknowledgements are lost, and the next time-out is far: what an idle peer's probe
/// acknowledges is heard.
#[test]
fn a_probe_tells_what_arrived() {
    let mut world = World::new(2, 17);
    let (a, b) = pair(&mut world);
    world.stacks[0].write(a, &[7; 1_000]).expect("it lives");
    world.step();
    world.faults.lost = 1000;
    // Time-outs at one, three and seven seconds are in vain; the probe is at five, then at ten.
    world.run_for(Duration::from_millis(7_500));
    world.faults.lost = 0;
    let mut got = Vec::new();
    assert_eq!(world.stacks[1].read(b, &mut got, 9_000), Ok(1_000));
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.stacks[0].room(a), Ok(limit::BULK_BYTES), "all acknowledged");
}

/// What a time-out of a second at least costs: 300 kB one way, 50 ms there and back, at a loss of
/// 0, 1 and 5 of a hundred.
#[test]
fn loss_costs_what_the_documents_say() {
    let mut medians = Vec::new();
    for lost in [0, 10, 50] {
        let mut took: Vec<u64> = (0..21)
            .map(|seed| {
                let mut world = World::new(2, 1_000 + seed);
                let (a, b) = pair(&mut world);
                world.delay = Duration::from_millis(25);
                world.faults.lost = lost;
                let (text, start) = (bytes(seed, 300_000), world.now);
                let (mut sent, mut got) = (0, Vec::new());
                world.run_until(Duration::from_secs(600), |world| {
                    sent += world.stacks[0].write(a, &text[sent..]).expect("it lives");
                    world.stacks[1].read(b, &mut got, 1 << 20).expect("it lives");
                    got.len() == text.len()
                });
                assert!(got == text, "seed {seed}: bytes differ");
                (world.now - start).as_millis()
            })
            .collect();
        took.sort_unstable();
        medians.push(took[took.len() / 2]);
    }
    for (took, promised) in medians.iter().zip([1_000, 3_000, 30_000]) {
        assert!(*took <= promised, "{medians:?} ms");
    }
}

#[test]
fn a_short_message_takes_no_timer() {
    let mut world = World::new(2, 3);
    let (a, b) = pair(&mut world);
    let start = world.now;
    world.stacks[0].write(a, b"ping").expect("it lives");
    world.wait(1, SOON, readable(b));
    let mut got = Vec::new();
    assert_eq!(world.stacks[1].read(b, &mut got, 100), Ok(4));
    world.stacks[1].write(b, &got).expect("it lives");
    world.wait(0, SOON, readable(a));
    assert!(world.now - start < Duration::from_millis(1), "took {}", world.now - start);
}

#[test]
fn many_streams_come_and_go_and_leave_nothing() {
    let mut world = World::new(2, 4);
    world.stacks[1].listen(PORT).expect("it is free");
    for round in 0..300 {
        let (a, b) = pair(&mut world);
        let data = [bytes(round, 2_000), bytes(round + 1, 2_000)];
        exchange(&mut world, [a, b], &data, SOON);
        match round % 3 {
            0 => world.stacks[0].close(a, world.now),
            1 => world.stacks[0].abort(a, world.now),
            _ => world.stacks[1].close(b, world.now),
        }
        if round % 3 == 2 {
            world.wait(0, SOON, finished(a));
            world.stacks[0].close(a, world.now);
        } else if round % 3 == 0 {
            world.wait(1, SOON, finished(b));
            world.stacks[1].close(b, world.now);
        } else {
            assert_eq!(world.wait(1, SOON, closed(b)), Closed::Reset);
        }
        assert_eq!(world.stacks[0].room(a), Err(NoStream));
        for index in 0..2 {
            let Usage { streams, sockets, .. } = world.stacks[index].usage();
            assert!(streams <= 2 && sockets <= 2, "{streams} streams, {sockets} sockets");
        }
    }
    assert!(world.stacks[0].usage().time_waits > 0, "closed connections rest without a socket");
    world.run_for(limit::TIME_WAIT);
    for stack in &mut world.stacks {
        assert_eq!(stack.usage(), Usage::default());
    }
}

#[test]
fn a_burst_of_dials_is_served() {
    let mut world = World::new(4, 5);
    world.stacks[3].listen(PORT).expect("it is free");
    for index in 0..3 {
        for _ in 0..10 {
            world.stacks[index].dial(at(3, PORT), world.now).expect("there is room");
        }
    }
    let mut open = 0;
    world.run_until(Duration::from_secs(5), |world| {
        while world.pick(3, accepted).is_some() {
            open += 1;
        }
        open == 30
    });
}

#[test]
fn a_port_without_a_listener_refuses() {
    let mut world = World::new(2, 8);
    let stream = world.stacks[0].dial(at(1, 9), world.now).expect("it can be dialled");
    assert_eq!(world.wait(0, SOON, closed(stream)), Closed::Refused);
    assert!(world.now.as_millis() < 100, "at once, not after a time-out");
}

#[test]
fn an_absent_peer_is_unreachable() {
    let mut world = World::new(2, 9);
    let stream = world.stacks[0].dial(at(9, PORT), world.now).expect("it can be dialled");
    assert_eq!(world.wait(0, limit::DIAL_TIMEOUT, closed(stream)), Closed::Unreachable);
    assert_eq!(world.stacks[0].usage(), Usage::default());
}

#[test]
fn half_close_lets_the_other_half_live() {
    let mut world = World::new(2, 10);
    let (a, b) = pair(&mut world);
    world.stacks[0].write(a, b"question").expect("it lives");
    world.stacks[0].finish(a).expect("it lives");
    world.wait(1, SOON, readable(b));
    let mut got = Vec::new();
    world.stacks[1].read(b, &mut got, 100).expect("it lives");
    world.wait(1, SOON, finished(b));
    // Long after, the answer still comes.
    world.run_for(Duration::from_secs(40));
    let answer = bytes(10, 100_000);
    let mut sent = 0;
    let mut heard = Vec::new();
    world.run_until(SOON, |world| {
        sent += world.stacks[1].write(b, &answer[sent..]).expect("it lives");
        world.stacks[0].read(a, &mut heard, usize::MAX >> 1).expect("it lives");
        heard.len() == answer.len()
    });
    assert!(heard == answer && got == b"question");
    world.stacks[1].close(b, world.now);
    world.wait(0, SOON, finished(a));
    world.stacks[0].close(a, world.now);
}

#[test]
fn what_was_written_before_a_close_arrives() {
    let mut world = World::new(2, 11);
    let (a, b) = pair(&mut world);
    let data = bytes(11, limit::BULK_BYTES);
    assert_eq!(world.stacks[0].write(a, &data), Ok(data.len()));
    world.stacks[0].close(a, world.now);
    assert_eq!(world.stacks[0].write(a, b"late"), Err(NoStream));
    let mut got = Vec::new();
    world.run_until(SOON, |world| {
        world.stacks[1].read(b, &mut got, 10_000).expect("it lives");
        world.pick(1, finished(b)).is_some()
    });
    assert!(got == data);
}

#[test]
fn a_full_buffer_pushes_back_and_says_when_there_is_room() {
    let mut world = World::new(2, 12);
    let (a, b) = pair(&mut world);
    let data = bytes(12, 1 << 20);
    let mut sent = 0;
    world.run_for(Duration::from_millis(1));
    for _ in 0..50 {
        sent += world.stacks[0].write(a, &data[sent..]).expect("it lives");
        world.run_for(Duration::from_millis(20));
    }
    assert_eq!(sent, 2 * limit::BULK_BYTES);
    let writable = |event: &Event| (*event == Event::Writable { stream: a }).then_some(());
    while world.pick(0, writable).is_some() {}
    let mut got = Vec::new();
    world.stacks[1].read(b, &mut got, usize::MAX >> 1).expect("it lives");
    world.wait(0, SOON, writable);
    assert!(world.stacks[0].room(a).expect("it lives") > 0);
}

#[test]
fn a_write_that_just_fits_is_followed_by_writable() {
    let mut world = World::new(2, 15);
    let (a, b) = pair(&mut world);
    let room = world.stacks[0].room(a).expect("it lives");
    assert_eq!(world.stacks[0].write(a, &vec![1; room]), Ok(room));
    let mut got = Vec::new();
    world.run_until(SOON, |world| {
        world.stacks[1].read(b, &mut got, usize::MAX >> 1).expect("it lives");
        world.pick(0, |event| (*event == Event::Writable { stream: a }).then_some(())).is_some()
    });
}

#[test]
fn a_vanished_peer_is_noticed_even_when_nothing_is_sent() {
    let mut world = World::new(2, 13);
    let (a, _) = pair(&mut world);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.stacks[0].room(a), Ok(limit::BULK_BYTES), "idle streams live");
    world.dead[1] = true;
    let span = limit::SILENCE_TIMEOUT + limit::KEEP_ALIVE;
    assert_eq!(world.wait(0, span, closed(a)), Closed::TimedOut);
    assert_eq!(world.stacks[0].usage(), Usage::default());
}

#[test]
fn an_old_id_never_reaches_a_new_stream() {
    let mut world = World::new(2, 14);
    let (old, _) = pair(&mut world);
    world.stacks[0].abort(old, world.now);
    world.run_for(Duration::from_millis(10));
    let (new, _) = pair(&mut world);
    assert_ne!(old, new);
    assert_eq!(StreamId::from_bits(new.to_bits()), new);
    assert_eq!(world.stacks[0].write(old, b"x"), Err(NoStream));
    world.stacks[0].abort(old, world.now);
    assert_eq!(world.stacks[0].write(new, b"x"), Ok(1));
}
