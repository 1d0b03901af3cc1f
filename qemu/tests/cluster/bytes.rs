//! Hostile bytes on the session port: whatever comes, the node goes on and forgets it.

use crate::bed::{Bed, ask_nodes, run_well};
use crate::peer::{Peer, Tamper};
use crate::random::Random;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Connections that bring noise.
const NOISES: u64 = 300;
/// Those after which memory is looked at for the first time.
const WARM_UP: u64 = 100;
/// Connections that close as soon as they are open.
const CONNECTS: usize = 1_000;
/// Handshakes with one bit flipped, and broken off somewhere.
const HANDSHAKES: u64 = 100;
/// More connections at once than a node has room for.
const CROWD: usize = 200;
/// Long enough for a node to answer a handshake or to close it, which it does after 3 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node's answer to noise is to close; what it says before does not matter.
fn drain(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut block = [0; 4096];
    while let Ok(1..) = stream.read(&mut block) {}
}

#[track_caller]
fn expect_sound(bed: &Bed) {
    let mut client = bed.client(0);
    assert_eq!(ask_nodes(&mut client).unwrap().len(), bed.nodes.len());
    run_well(&mut client, &bed.guest("nothing"), &[]);
}

/// A node that has been used: every table has its size. It logs little, since the log that it keeps
/// is bounded but takes long to fill.
fn used_bed() -> Bed {
    let bed = Bed::boot_with(1, 1, "log=error");
    expect_sound(&bed);
    let crowd: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(bed.nodes[0].session)).collect();
    drop(crowd);
    expect_sound(&bed);
    bed
}

#[test]
fn noise_on_the_session_port_is_forgotten() {
    let bed = used_bed();
    make_noise(&bed, 0..WARM_UP);
    let before = bed.settled(0);
    make_noise(&bed, WARM_UP..NOISES);
    expect_sound(&bed);
    bed.expect_memory_back(0, &before);
}

fn make_noise(bed: &Bed, seeds: Range<u64>) {
    let mut open = Vec::new();
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut stream = TcpStream::connect(bed.nodes[0].session).unwrap();
        let length = [1, 2, 16, 100, 600, 5_000, 70_000][random.below(7)];
        let mut noise = random.bytes(length);
        if random.below(2) == 0 && noise.len() > 2 {
            // A plausible length, so that the rest is read as a record.
            let claimed = (random.below(noise.len()) as u16).to_be_bytes();
            noise[..2].copy_from_slice(&claimed);
        }
        // The node may have closed already, with good reason.
        let _ = stream.write_all(&noise);
        match random.below(3) {
            0 => drop(stream),
            1 => drop(stream.shutdown(Shutdown::Write)),
            _ => open.push(stream),
        }
    }
    open.into_iter().for_each(drain);
}

#[test]
fn a_crowd_of_connections_is_forgotten() {
    let bed = used_bed();
    // The first crowd fills the tables that have a bound; a second one must find nothing more.
    crowd(&bed);
    let before = bed.settled(0);
    crowd(&bed);
    bed.expect_memory_back(0, &before);
}

fn crowd(bed: &Bed) {
    for _ in 0..CONNECTS {
        drop(TcpStream::connect(bed.nodes[0].session));
    }
    expect_sound(bed);
    // Connections that say nothing, or half of something, and stay.
    let crowd: Vec<_> = (0..CROWD)
        .filter_map(|at| {
            let mut stream = TcpStream::connect(bed.nodes[0].session).ok()?;
            stream.write_all(&vec![0; at % 3]).ok()?;
            Some(stream)
        })
        .collect();
    expect_sound(bed);
    drop(crowd);
    expect_sound(bed);
}

/// Flips one bit of what is sent.
fn flip(at: usize, bit: usize) -> Tamper {
    let mut passed = 0;
    Box::new(move |block| {
        if (passed..passed + block.len()).contains(&at) {
            block[at - passed] ^= 1 << bit;
        }
        passed += block.len();
        true
    })
}

/// Sends so much and no more.
fn cut(at: usize) -> Tamper {
    let mut left = at;
    Box::new(move |block| {
        block.truncate(left);
        left -= block.len();
        left > 0
    })
}

#[test]
fn a_changed_or_broken_handshake_opens_nothing() {
    let bed = used_bed();
    let session = bed.nodes[0].session;
    let before = bed.settled(0);
    // What an honest peer sends until its session is up.
    let sent = Rc::new(Cell::new(0));
    let counter = sent.clone();
    let count: Tamper = Box::new(move |block| {
        counter.set(counter.get() + block.len());
        true
    });
    let mut honest = Peer::begin(session, &bed.keys, count);
    assert!(honest.try_up(PATIENCE));
    let handshake_bytes = sent.get();
    assert!(honest.is_answered(PATIENCE));
    for seed in 0..HANDSHAKES {
        let mut random = Random::new(seed);
        let at = random.below(handshake_bytes);
        let tamper = if seed % 2 == 0 { flip(at, random.below(8)) } else { cut(at) };
        let mut peer = Peer::begin(session, &bed.keys, tamper);
        assert!(!peer.is_answered(PATIENCE), "seed {seed}: byte {at} of {handshake_bytes}");
    }
    expect_sound(&bed);
    bed.expect_memory_back(0, &before);
}
