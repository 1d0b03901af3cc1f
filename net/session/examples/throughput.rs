//! What a session costs: bytes per second through a pair, on one thread.
//!
//! `cargo run --release -p craton-session --example throughput`. Both ends and everything between
//! send and poll are in the figure; there is no network.

use craton_abi::{AppId, Incarnation, Instant, Payload, ProgramId, TraceId};
use craton_session::cert::Request;
use craton_session::{
    AuthoritySecret, Certificate, Config, ConnId, Event, Identity, NoiseSecret, Role, Sessions,
};
use craton_wire::{Body, Lane};

struct Pair {
    sides: [Sessions; 2],
    conns: [Option<ConnId>; 2],
    bodies: usize,
}

const ACCEPTED: ConnId = ConnId(1);
const NOW: Instant = Instant::ZERO;

fn sessions(index: u8) -> Sessions {
    let authority = AuthoritySecret::from_bytes(&[42; 32]);
    let secret = NoiseSecret::from_bytes(&[index + 1; 32]);
    let request = Request {
        role: Role::Node,
        name: format!("node-{index}"),
        noise: secret.public(),
        not_before_secs: 0,
        not_after_secs: u64::MAX,
        serial: 0,
    };
    let certificate = Certificate::issue(request, &authority).expect("a sound request");
    Sessions::new(Config {
        identity: Identity::new(certificate, secret).expect("its own key"),
        authorities: vec![authority.public()],
        incarnation: Incarnation::new(1),
        seed: [index; 32],
        wall_clock_secs: None,
    })
}

impl Pair {
    fn poll(&mut self, side: usize) {
        while let Some(event) = self.sides[side].poll() {
            match event {
                Event::Dial { conn, .. } => {
                    self.conns = [Some(conn), Some(ACCEPTED)];
                    self.sides[0].connected(conn, NOW);
                    self.sides[1].accepted(ACCEPTED, NOW);
                }
                Event::Body { .. } => self.bodies += 1,
                Event::Ready { .. } | Event::Up { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Carries bytes both ways, in pieces of `piece`, until nothing is left to carry.
    fn carry(&mut self, piece: usize, buffer: &mut Vec<u8>) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                self.poll(side);
                let [Some(from), Some(to)] = [self.conns[side], self.conns[1 - side]] else {
                    continue;
                };
                buffer.clear();
                self.sides[side].transmit(from, piece, buffer, NOW);
                moved |= !buffer.is_empty();
                self.sides[1 - side].received(to, buffer, NOW);
            }
            if !moved {
                return;
            }
        }
    }
}

fn measure(pair: &mut Pair, length: usize, total: usize, piece: usize) {
    let node = pair.sides[1].identity().node();
    let mut buffer = Vec::new();
    let count = (total / length.max(64)).max(1);
    let batch = (1 << 20) / (length + 200) + 1;
    let bodies: Vec<Body> = (0..count)
        .map(|_| Body::ProgramPart {
            program: ProgramId([1; 32]),
            offset: 0,
            total: 0,
            part: Payload(vec![7; length]),
        })
        .collect();
    let (before, start) = (pair.bodies, std::time::Instant::now());
    for (index, body) in bodies.into_iter().enumerate() {
        let lane = Lane::new(1 + index % 8).expect("a lane");
        let (app, trace) = (AppId::new(0), TraceId::new(0));
        pair.sides[0].send(node, lane, app, trace, body, NOW).expect("room");
        if index % batch == batch - 1 {
            pair.carry(piece, &mut buffer);
        }
    }
    pair.carry(piece, &mut buffer);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(pair.bodies - before, count);
    println!(
        "{length:>8} B: {:>8.1} MB/s {:>10.0} bodies/s (TCP in pieces of {piece})",
        (count * length) as f64 / seconds / 1e6,
        count as f64 / seconds,
    );
}

fn main() {
    let mut pair = Pair { sides: [sessions(0), sessions(1)], conns: [None; 2], bodies: 0 };
    let node = pair.sides[1].identity().node();
    pair.sides[0].dial_at(node, "10.0.0.2:7700".parse().expect("an address"));
    measure(&mut pair, 64, 64, 65_536);
    for (length, total) in [
        (16, 8 << 20),
        (64, 16 << 20),
        (1024, 128 << 20),
        (16 << 10, 512 << 20),
        (64 << 10, 512 << 20),
        (1 << 20, 512 << 20),
    ] {
        measure(&mut pair, length, total, 65_536);
    }
    measure(&mut pair, 64 << 10, 256 << 20, 16_384);
    measure(&mut pair, 64 << 10, 256 << 20, 1_460);
}
