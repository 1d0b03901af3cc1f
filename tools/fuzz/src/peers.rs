//! What other nodes and strangers say: session bytes, frames, bodies, certificates, datagrams.
//!
//! Owns their targets.

use crate::Target;
use crate::texts::outcome;
use craton_abi::{AppId, Incarnation, Instant, NodeId, Pid, ShardId, Slot, TraceId};
use craton_session::cert::Request;
use craton_session::seal::{DiscoveryKey, Envelope, Sealer};
use craton_session::{
    AuthoritySecret, Certificate, Config, ConnId, Event, Identity, NoiseSecret, PeerKey, Role,
    Sessions,
};
use craton_wire::{Body, Flags, Frame, FrameHeader, Kind, Lane, Question};
use std::sync::OnceLock;

/// What the dialler and the one who is dialled call the connection.
const CONNS: [ConnId; 2] = [ConnId(1 << 63), ConnId(1)];
/// Messages of a handshake and what follows at once, at most.
const HONEST_MESSAGES_MAX: u8 = 6;
const DISCOVERY: DiscoveryKey = DiscoveryKey([9; 32]);

pub(crate) const FRAME: Target = Target {
    name: "frame",
    about: "frames of a session, opened",
    fuzz: |bytes| {
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            let (frame, after) = match Frame::prove(rest) {
                Ok(proven) => proven,
                Err(error) => return outcome(&error) ^ count,
            };
            let again = [&frame.header.to_bytes()[..], frame.fragment].concat();
            assert_eq!(again, rest[..rest.len() - after.len()], "a frame means its bytes");
            count += 1;
            rest = after;
        }
        count.min(8)
    },
    seeds: || {
        let frame = |kind, fragment: &[u8]| {
            let data = kind == Kind::Data;
            let header = FrameHeader {
                kind,
                flags: if data { Flags::FIRST.with(Flags::LAST) } else { Flags::NONE },
                lane: Lane::CONTROL,
                link: 0,
                length: fragment.len() as u32,
                epoch: 1,
                sequence: u64::from(data),
                acknowledgement: 0,
                sender: Incarnation::new(22),
                receiver: Incarnation::new(11),
                app: AppId::new(0),
                trace: TraceId::new(0),
                credit: 1 << 20,
            };
            [&header.to_bytes()[..], fragment].concat()
        };
        let each = [frame(Kind::Open, &[0; 4]), frame(Kind::Data, b"abc"), frame(Kind::Ack, b"")];
        each.iter().cloned().chain([each.concat()]).collect()
    },
    words: &[&[1, 2, 3], &[0xff, 0xff, 0xff, 0xff], &[0, 0, 1, 0]],
    cost: 1,
};

pub(crate) const BODY: Target = Target {
    name: "body",
    about: "what frames carry, put together",
    fuzz: |bytes| match Body::decode(bytes) {
        Ok(body) => {
            let mut written = Vec::new();
            body.encode(&mut written).expect("what was read is not too long");
            // Numbers may be written in more bytes than they need, but mean the same.
            assert_eq!(Body::decode(&written).as_ref(), Ok(&body));
            1 + outcome(&body) % 4096
        }
        Err(error) => outcome(&error),
    },
    seeds: || {
        let encode = |body: Body| {
            let mut bytes = Vec::new();
            body.encode(&mut bytes).expect("it is short");
            bytes
        };
        let slot = Slot::new(ShardId::new(0), 1, 1).expect("in range");
        let pid = Pid { node: NodeId::new(7), incarnation: Incarnation::new(9), slot };
        let ask = |question| Body::Ask { request: craton_abi::RequestId::new(3), question };
        let mut seeds = vec![
            encode(ask(Question::Nodes)),
            encode(ask(Question::Processes)),
            encode(ask(Question::Kill { pid })),
        ];
        // And the first byte of every other kind, with room behind it.
        seeds.extend((0..32).map(|kind| [&[kind][..], &[1; 64]].concat()));
        seeds
    },
    words: &[&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80, 0x80, 0x80, 0x80, 0x01], &[0]],
    cost: 1,
};

pub(crate) const SESSION: Target = Target {
    name: "session",
    about: "a connection to the session port, from its first byte",
    fuzz: |bytes| {
        // The first byte says after how many honest messages the bytes come, and of which side.
        let [choice, bytes @ ..] = bytes else { return 0 };
        let (mut sides, honest) = ([sessions(1), sessions(2)], choice % HONEST_MESSAGES_MAX);
        dial(&mut sides);
        for message in 0..honest {
            pass_on(&mut sides, message);
        }
        let victim = usize::from(choice / HONEST_MESSAGES_MAX % 2);
        for part in bytes.chunks(1 + usize::from(*choice) * 8) {
            sides[victim].received(CONNS[victim], part, Instant::ZERO);
        }
        let mut result = u64::from(honest);
        while let Some(event) = sides[victim].poll() {
            if let Event::Body { .. } = event {
                panic!("a stranger's bytes came to a body");
            }
            result = result << 4 ^ outcome(&event) >> 8;
        }
        result << 8 | take(&mut sides[victim], CONNS[victim]).len() as u64 & 0xff
    },
    seeds: || {
        let mut sides = [sessions(1), sessions(2)];
        dial(&mut sides);
        let mut seeds = Vec::new();
        for message in 0..HONEST_MESSAGES_MAX {
            let (said, victim) = pass_on(&mut sides, message);
            seeds.push([&[message + HONEST_MESSAGES_MAX * victim][..], &said].concat());
        }
        seeds
    },
    words: &[&[1, 0], &[0xff, 0xff], &[0, 0]],
    cost: 20,
};

pub(crate) const CERTIFICATE: Target = Target {
    name: "certificate",
    about: "certificates, in bytes and in digits",
    fuzz: |bytes| {
        if let Ok(text) = str::from_utf8(bytes)
            && let Ok(certificate) = Certificate::from_hex(text)
        {
            assert_eq!(Certificate::from_hex(&certificate.to_hex()).as_ref(), Ok(&certificate));
        }
        match Certificate::from_bytes(bytes) {
            Ok(certificate) => {
                assert_eq!(certificate.to_bytes(), bytes, "a certificate means its bytes");
                match certificate.verify(&[authority().public()], Some(1_500)) {
                    Ok(()) => 1,
                    Err(error) => outcome(&error),
                }
            }
            Err(error) => outcome(&error),
        }
    },
    seeds: || {
        let roles =
            [Role::Node, Role::Operator, Role::ReadOnly, Role::Deploy { prefix: "shop".into() }];
        let mut seeds: Vec<Vec<u8>> =
            roles.into_iter().map(|role| certificate(1, role).to_bytes()).collect();
        seeds.push(certificate(2, Role::Node).to_hex().into_bytes());
        seeds
    },
    words: &[b"shop", &[0], &[2], &[0xff; 8]],
    cost: 1,
};

pub(crate) const DATAGRAM: Target = Target {
    name: "datagram",
    about: "sealed datagrams to the membership port",
    fuzz: |bytes| {
        let mut plain = Vec::new();
        let envelope = u64::from(Envelope::read(bytes).is_some());
        match DISCOVERY.open(bytes, &mut plain) {
            Ok(_) => 2,
            Err(error) => {
                assert!(plain.is_empty(), "what is refused leaves nothing");
                outcome(&error) ^ envelope
            }
        }
    },
    seeds: || {
        let me = PeerKey { node: NodeId::new(3), incarnation: Incarnation::new(5) };
        let mut sealed = Vec::new();
        Sealer::discovery(&DISCOVERY, me).seal(b"here I am", &mut sealed);
        vec![sealed]
    },
    words: &[&[0; 8], &[0xff; 8]],
    cost: 1,
};

fn authority() -> AuthoritySecret {
    AuthoritySecret::from_bytes(&[42; 32])
}

/// The certificate of a node, signed once.
fn node_certificate(index: u8) -> Certificate {
    static ISSUED: OnceLock<[Certificate; 2]> = OnceLock::new();
    let issued = ISSUED.get_or_init(|| [1, 2].map(|index| certificate(index, Role::Node)));
    issued[usize::from(index) - 1].clone()
}

fn certificate(index: u8, role: Role) -> Certificate {
    let request = Request {
        role,
        name: format!("peer-{index}"),
        noise: NoiseSecret::from_bytes(&[index; 32]).public(),
        not_before_secs: 1_000,
        not_after_secs: 2_000,
        serial: 0,
    };
    Certificate::issue(request, &authority()).expect("a sound request")
}

fn sessions(index: u8) -> Sessions {
    let secret = NoiseSecret::from_bytes(&[index; 32]);
    Sessions::new(Config {
        identity: Identity::new(node_certificate(index), secret).expect("its own key"),
        authorities: vec![authority().public()],
        incarnation: Incarnation::new(u64::from(index) + 10),
        seed: [index; 32],
        wall_clock_secs: Some(1_500),
    })
}

/// The first dials the second.
fn dial(sides: &mut [Sessions; 2]) {
    let conn = sides[0].dial_any(([10, 0, 0, 2], 7700).into(), Instant::ZERO);
    assert_eq!(conn, CONNS[0]);
    sides[0].connected(conn, Instant::ZERO);
    sides[1].accepted(CONNS[1], Instant::ZERO);
}

/// Carries what one side has to say to the other, whose number it gives; he who is dialled begins.
fn pass_on(sides: &mut [Sessions; 2], message: u8) -> (Vec<u8>, u8) {
    let from = usize::from(1 - message % 2);
    let said = take(&mut sides[from], CONNS[from]);
    sides[1 - from].received(CONNS[1 - from], &said, Instant::ZERO);
    (said, 1 - from as u8)
}

fn take(sessions: &mut Sessions, conn: ConnId) -> Vec<u8> {
    let mut out = Vec::new();
    sessions.transmit(conn, 1 << 20, &mut out, Instant::ZERO);
    out
}
