//! CPUs that share a card: whose a frame is, rings that are full, a CPU that stops, fairness.

extern crate std;

use super::link::{Plug, at, frame};
use super::streams::PORT;
use crate::emit::Bare;
use crate::lanes::{LANE_BYTES_MAX, LANE_FRAMES, PASSED_MAX, SENT_FOR_OTHERS_MAX};
use crate::tuple::Tuple;
use crate::{Lanes, Offload, Share, Steer, Target};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use smoltcp::wire::TcpControl;
use std::sync::atomic::{AtomicBool, Ordering};

const CPUS: usize = 4;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where a frame of TCP has what tells it from others: its source port and its sequence number.
const PORT_AT: usize = 34;
const SEQUENCE_AT: usize = 38;

fn steer() -> Steer {
    Steer::new([9; 16], CPUS as u16)
}

/// Each CPU's share; the first has the card.
fn shares() -> Vec<Share> {
    let lanes = Lanes::new(CPUS);
    (0..CPUS).map(|own| Share::new(own, steer(), lanes.clone())).collect()
}

/// A segment of the connection from this port.
fn segment(port: u16, sequence: u32) -> Vec<u8> {
    let bare = Bare {
        tuple: Tuple { local: at(0, port), remote: at(1, PORT) },
        control: TcpControl::None,
        sequence,
        acknowledges: Some(1),
        window: 1_000,
        segment_bytes_max: None,
        window_scale: None,
        selective: false,
    };
    frame(MAC, PEER_MAC, &bare.packet())
}

fn mark(frame: &[u8]) -> (u16, u32) {
    let port = [frame[PORT_AT], frame[PORT_AT + 1]];
    let sequence = frame[SEQUENCE_AT..SEQUENCE_AT + 4].try_into().expect("four bytes");
    (u16::from_be_bytes(port), u32::from_be_bytes(sequence))
}

fn owner(port: u16) -> usize {
    match steer().frame(&segment(port, 0)) {
        Target::Shard(shard) => usize::from(shard),
        Target::Every => panic!("a segment is one CPU's"),
    }
}

/// A port whose connections are this CPU's.
fn port_of(cpu: usize) -> u16 {
    (1_000..).find(|port| owner(*port) == cpu).expect("each CPU has some")
}

/// What a CPU finds until there is nothing.
fn take_all(share: &mut Share, card: &mut Plug) -> Vec<(u16, u32)> {
    let mut taken = Vec::new();
    loop {
        let card = (share.own() == 0).then_some(&mut card.inbox);
        match share.receive(card, |frame, _| mark(frame)) {
            Some(mark) => taken.push(mark),
            None => return taken,
        }
    }
}

#[test]
fn each_frame_comes_to_the_cpu_whose_it_is_and_in_its_order() {
    let (mut shares, mut card) = (shares(), Plug::default());
    let ports = 1_000..1_050;
    let mut taken: [Vec<(u16, u32)>; CPUS] = Default::default();
    for sequence in 0..20 {
        ports.clone().for_each(|port| card.inject(segment(port, sequence)));
        for (share, taken) in shares.iter_mut().zip(&mut taken) {
            taken.extend(take_all(share, &mut card));
        }
        let woken: Vec<usize> = shares[0].take_woken().collect();
        assert_eq!(woken, [1, 2, 3]);
        assert_eq!(shares[0].take_woken().count(), 0, "each is woken once");
    }
    for port in ports {
        for (cpu, taken) in taken.iter().enumerate() {
            let sequences: Vec<u32> =
                taken.iter().filter(|mark| mark.0 == port).map(|mark| mark.1).collect();
            let wanted = if owner(port) == cpu { (0..20).collect() } else { Vec::new() };
            assert_eq!(sequences, wanted, "of port {port} at CPU {cpu}");
        }
    }
    assert!(taken.iter().all(|taken| taken.len() > 100), "all of them have some");
}

#[test]
fn where_a_neighbour_is_all_cpus_hear() {
    let (mut shares, mut card) = (shares(), Plug::default());
    let head = [&[0xff; 6][..], &PEER_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &PEER_MAC].concat();
    card.inject([&head[..], &[10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 2]].concat());
    for share in &mut shares {
        let card = (share.own() == 0).then_some(&mut card.inbox);
        assert_eq!(share.receive(card, |frame, _| frame.len()), Some(42), "{}", share.own());
        let card: Option<&mut super::link::Inbox> = None;
        assert_eq!(share.receive(card, |frame, _| frame.len()), None, "once");
    }
}

#[test]
fn a_cpu_that_stops_loses_what_is_its_own_and_nobody_elses() {
    let (mut shares, mut card) = (shares(), Plug::default());
    let ports: Vec<u16> = (0..CPUS).map(port_of).collect();
    let rounds = 3 * LANE_FRAMES as u32;
    let mut taken = [0; CPUS];
    for sequence in 0..rounds {
        ports.iter().for_each(|port| card.inject(segment(*port, sequence)));
        for cpu in [0, 1, 3] {
            taken[cpu] += take_all(&mut shares[cpu], &mut card).len() as u32;
        }
    }
    assert_eq!(taken, [rounds, rounds, 0, rounds]);
    let lanes = shares[0].lanes().clone();
    assert_eq!(lanes.dropped(2), u64::from(rounds) - LANE_FRAMES as u64);
    assert!([0, 1, 3].iter().all(|cpu| lanes.dropped(*cpu) == 0));
    // It goes on with the oldest, and then as if it had never stopped.
    let kept = take_all(&mut shares[2], &mut card);
    assert!(kept.iter().map(|mark| mark.1).eq(0..LANE_FRAMES as u32), "{} kept", kept.len());
    card.inject(segment(ports[2], 7));
    assert_eq!(take_all(&mut shares[0], &mut card), []);
    assert_eq!(take_all(&mut shares[2], &mut card), [(ports[2], 7)]);
}

#[test]
fn long_frames_are_bounded_in_bytes_and_leave_room_for_short_ones() {
    let lanes = Lanes::new(2);
    let long = vec![1; 60_000];
    let fit = LANE_BYTES_MAX / long.len();
    for _ in 0..fit + 5 {
        lanes.pass(1, &long, false);
    }
    assert_eq!(lanes.dropped(1), 5);
    lanes.pass(1, &[2; 64], true);
    assert_eq!(lanes.dropped(1), 5, "a short one fits");
    // Room that is made is room for as many.
    for _ in 0..2 {
        lanes.give_back(lanes.take(1).expect("it is full"));
    }
    (0..3).for_each(|_| lanes.pass(1, &long, false));
    assert_eq!(lanes.dropped(1), 6);
    let mut lengths = Vec::new();
    while let Some(parcel) = lanes.take(1) {
        lengths.push((parcel.frame().len(), parcel.note));
        lanes.give_back(parcel);
    }
    assert_eq!(lengths.iter().filter(|one| **one == (60_000, false)).count(), fit);
    assert_eq!(lengths.iter().filter(|one| **one == (64, true)).count(), 1);
    assert!(!lanes.has_received(1));
    // Who is not there gets nothing and harms nobody.
    lanes.pass(2, &long, false);
}

#[test]
fn neither_card_nor_lane_keeps_the_other_waiting() {
    let (mut shares, mut card) = (shares(), Plug::default());
    let (own, foreign) = (port_of(0), port_of(1));
    // A card full of our own frames: what others pass on comes in turn with them.
    for sequence in 0..10 {
        card.inject(segment(own, sequence));
        shares[0].lanes().pass(0, &segment(own, 100 + sequence), true);
    }
    let all: Vec<u32> = take_all(&mut shares[0], &mut card).iter().map(|mark| mark.1).collect();
    let ahead = |at: usize| all[..at].iter().filter(|sequence| **sequence < 100).count();
    assert!((0..=all.len()).all(|at| ahead(at).abs_diff(at.div_ceil(2)) <= 1), "{all:?}");
    // A card full of what is another's: so much of it is passed on at most, then it is our turn.
    (0..10 * PASSED_MAX as u32).for_each(|sequence| card.inject(segment(foreign, sequence)));
    shares[0].lanes().pass(0, &segment(own, 1), true);
    let first = shares[0].receive(Some(&mut card.inbox), |frame, _| mark(frame));
    assert_eq!(first, Some((own, 1)));
    let looked_at = 10 * PASSED_MAX - card.inbox.frames().count();
    assert!(looked_at <= PASSED_MAX, "{looked_at} frames of another were passed on before");
    // And where there is nothing of ours it is not looked for without end.
    assert_eq!(shares[0].receive(Some(&mut card.inbox), |frame, _| mark(frame)), None);
    assert!(card.inbox.frames().count() >= 8 * PASSED_MAX);
}

#[test]
fn what_cpus_without_a_queue_send_goes_in_turn_and_none_is_lost() {
    let (shares, mut card) = (shares(), Plug::default());
    let lanes = shares[0].lanes();
    let send = |cpu: usize, sequence: u32| {
        let frame = segment(port_of(cpu), sequence);
        lanes.send(cpu, frame.len(), |room| (room.copy_from_slice(&frame), Offload::None));
    };
    let fill = |cpu: usize| {
        let mut count = 0;
        while lanes.can_send(cpu) {
            send(cpu, count);
            count += 1;
        }
        count
    };
    let sent: Vec<u32> = (1..CPUS).map(fill).collect();
    assert!(sent.iter().all(|count| *count > 200), "rings hold {sent:?} frames");
    let mut heard: [Vec<u32>; CPUS] = Default::default();
    let mut left = true;
    while left {
        left = shares[0].send_for_others(&mut card.outbox);
        let batch = core::mem::take(&mut card.outbox.frames);
        let counts: Vec<usize> = (1..CPUS)
            .map(|cpu| batch.iter().filter(|frame| mark(frame).0 == port_of(cpu)).count())
            .collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*most <= SENT_FOR_OTHERS_MAX && most - least <= 1, "{counts:?} of each");
        for frame in &batch {
            let (port, sequence) = mark(frame);
            heard[owner(port)].push(sequence);
        }
    }
    for (cpu, sent) in (1..).zip(sent) {
        assert!(heard[cpu].iter().copied().eq(0..sent), "of CPU {cpu}");
        assert!(lanes.can_send(cpu));
    }
}

#[test]
fn a_card_that_is_full_leaves_the_rest_for_later() {
    let (shares, mut card) = (shares(), Plug::default());
    let frame = segment(port_of(1), 0);
    card.outbox.frames = vec![frame.clone(); 250];
    for _ in 0..20 {
        let fill = |room: &mut [u8]| (room.copy_from_slice(&frame), Offload::None);
        shares[0].lanes().send(1, frame.len(), fill);
    }
    assert!(shares[0].waits() && !shares[1].waits());
    assert!(shares[0].send_for_others(&mut card.outbox), "some are left");
    assert_eq!(card.outbox.frames.len(), 256);
    card.outbox.frames.clear();
    assert!(!shares[0].send_for_others(&mut card.outbox));
    assert_eq!(card.outbox.frames.len(), 14);
    assert!(!shares[0].waits());
}

/// CPUs at once: what is passed on is taken or counted as dropped, and the ring holds afterwards
/// what it held before.
#[test]
fn rings_count_right_whoever_writes_at_once() {
    const FRAMES: usize = 20_000;
    let lanes = Lanes::new(3);
    let done = Arc::new(AtomicBool::new(false));
    let taken = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u8)
            .map(|writer| {
                let lanes = &lanes;
                scope.spawn(move || {
                    for number in 0..FRAMES {
                        lanes.pass(2, &vec![writer; 60 + number % 1_400], false);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut taken = 0;
            loop {
                // Asked before the ring: what was written until then is found.
                let last = done.load(Ordering::Acquire);
                while let Some(parcel) = lanes.take(2) {
                    let frame = parcel.frame();
                    assert!(frame.iter().all(|byte| *byte == frame[0]), "frames are mixed");
                    taken += 1;
                    lanes.give_back(parcel);
                }
                if last {
                    return taken;
                }
                std::thread::yield_now();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
        done.store(true, Ordering::Release);
        reader.join().expect("it ends")
    });
    assert_eq!(taken + lanes.dropped(2), 2 * FRAMES as u64);
    let dropped = lanes.dropped(2);
    (0..LANE_FRAMES).for_each(|_| lanes.pass(2, &[0; 1_500], false));
    assert_eq!(lanes.dropped(2), dropped, "there is room for as many as ever");
    lanes.pass(2, &[0; 1_500], false);
    assert_eq!(lanes.dropped(2), dropped + 1);
}
