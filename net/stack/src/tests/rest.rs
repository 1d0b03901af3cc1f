//! After the last word: TIME-WAIT without a socket.

use super::link::{World, at, frame};
use super::streams::{PORT, SOON, accepted, finished, pair};
use crate::emit::Bare;
use crate::sight::{self, Kind, Segment};
use crate::tuple::Tuple;
use crate::{Usage, limit};
use alloc::vec::Vec;
use craton_abi::Duration;
use smoltcp::wire::TcpControl;

/// A stream that stack 0 closed first, and the last segment that it heard: the FIN of stack 1.
fn closed(world: &mut World) -> Segment {
    let (a, b) = pair(world);
    world.stacks[0].close(a, world.now);
    world.wait(1, SOON, finished(b));
    world.stacks[1].close(b, world.now);
    let mut fin = None;
    world.run_until(SOON, |world| {
        for frame in world.plugs[0].inbox.frames() {
            if let Kind::Tcp(segment, _) = sight::look(frame).kind
                && segment.fin
            {
                fin = Some(segment);
            }
        }
        world.stacks[0].usage().time_waits == 1
    });
    world.run_for(Duration::from_millis(20));
    fin.expect("stack 1 said FIN")
}

/// Puts a segment on the wire to stack 0; what it says to that.
fn say(world: &mut World, segment: &Bare) -> Vec<Segment> {
    let (to, from) = (world.stacks[0].link().mac, world.stacks[1].link().mac);
    let frame = frame(to, from, &segment.packet());
    world.plugs[0].deliver(world.now, frame);
    world.plugs[0].step(world.now);
    let _ = world.stacks[0].poll(&mut world.plugs[0], world.now);
    let frames = core::mem::take(&mut world.plugs[0].outbox.frames);
    let seen = frames.iter().filter_map(|frame| match sight::look(frame).kind {
        Kind::Tcp(segment, _) => Some(segment),
        _ => None,
    });
    seen.collect()
}

fn bare(fin: &Segment, control: TcpControl) -> Bare {
    Bare {
        tuple: Tuple { local: fin.tuple.remote, remote: fin.tuple.local },
        control,
        sequence: fin.sequence,
        acknowledges: fin.acknowledges,
        window: 1_000,
        segment_bytes_max: None,
        window_scale: None,
        selective: false,
    }
}

#[test]
fn a_repeated_fin_is_acknowledged_without_a_socket() {
    let mut world = World::new(2, 1);
    let fin = closed(&mut world);
    let usage = world.stacks[0].usage();
    assert_eq!(usage, Usage { time_waits: 1, ..Usage::default() });
    let answers = say(&mut world, &bare(&fin, TcpControl::Fin));
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].acknowledges, Some(fin.sequence.wrapping_add(1)));
    assert_eq!(Some(answers[0].sequence), fin.acknowledges);
    assert!(!answers[0].reset && !answers[0].fin);
    // A bare acknowledgement of all is answered by nothing, or two such would answer each other.
    let last = Bare { sequence: fin.sequence.wrapping_add(1), ..bare(&fin, TcpControl::None) };
    assert_eq!(say(&mut world, &last), []);
    // A reset does not end the rest, unless it is exact.
    let reset = |sequence| Bare { sequence, ..bare(&fin, TcpControl::Rst) };
    assert_eq!(say(&mut world, &reset(fin.sequence)), []);
    assert_eq!(world.stacks[0].usage().time_waits, 1);
    assert_eq!(say(&mut world, &reset(fin.sequence.wrapping_add(1))), []);
    assert_eq!(world.stacks[0].usage().time_waits, 0);
    closed(&mut world);
    assert_eq!(world.stacks[0].usage().time_waits, 1);
    world.run_for(limit::TIME_WAIT);
    assert_eq!(world.stacks[0].usage(), Usage::default());
}

#[test]
fn old_duplicates_are_refused_and_a_new_life_begins() {
    let mut world = World::new(2, 2);
    let fin = closed(&mut world);
    let port = fin.tuple.local.port();
    let syn = |ahead: u32| Bare {
        sequence: fin.sequence.wrapping_add(ahead),
        acknowledges: None,
        ..bare(&fin, TcpControl::Syn)
    };
    world.stacks[0].listen(port).expect("it is free");
    // An old SYN is answered by what the connection was at.
    let answers = say(&mut world, &syn(0));
    assert!(!answers[0].syn && answers[0].acknowledges == Some(fin.sequence.wrapping_add(1)));
    // A newer one opens a connection.
    let answers = say(&mut world, &syn(1_000));
    assert!(answers[0].syn && answers[0].acknowledges == Some(fin.sequence.wrapping_add(1_001)));
    assert_eq!(world.stacks[0].usage().time_waits, 0);
    let last = Bare {
        sequence: fin.sequence.wrapping_add(1_001),
        acknowledges: Some(answers[0].sequence.wrapping_add(1)),
        ..bare(&fin, TcpControl::None)
    };
    say(&mut world, &last);
    world.step();
    assert!(world.pick(0, accepted).is_some());
}

#[test]
fn thousands_rest_and_cost_no_socket() {
    let mut world = World::new(2, 3);
    for _ in 0..500 {
        let (a, b) = pair(&mut world);
        world.stacks[1].close(b, world.now);
        world.wait(0, SOON, finished(a));
        world.stacks[0].close(a, world.now);
        world.run_for(Duration::from_millis(2));
    }
    let usage = world.stacks[1].usage();
    assert_eq!((usage.streams, usage.sockets, usage.buffer_bytes), (0, 0, 0));
    assert!(usage.time_waits > 490, "{} rest", usage.time_waits);
    let (a, _) = pair(&mut world);
    assert_eq!(world.stacks[0].write(a, b"x"), Ok(1));
    assert_eq!(at(1, PORT).port(), PORT);
}
