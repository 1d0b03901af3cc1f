//! Peers that lie: before they are believed, and after.
//!
//! A [`Liar`] holds a key and whatever certificate it likes, does the handshake by itself and says
//! any bytes it wants.

use super::*;
use crate::cert::{Certificate, CertificateError, Request};
use crate::key::{AuthoritySecret, NoiseSecret};
use crate::limit::{
    HALF_OPEN_MAX, HANDSHAKE_TIME, REPLAY_TIME, TOOLS_PER_CERTIFICATE_MAX, WINDOW_BYTES,
};
use crate::noise::{Handshake, Side, Transport};
use alloc::format;
use alloc::vec;
use craton_abi::{ErrorCode, Payload, Pid, ProgramId, RequestId};
use craton_wire::{Flags, FrameHeader, Kind, Question};
use rand_chacha::ChaCha8Rng;

const CONN: ConnId = ConnId(1);

fn authority() -> AuthoritySecret {
    AuthoritySecret::from_bytes(&[42; 32])
}

fn request(index: u8, role: Role) -> Request {
    Request {
        role,
        name: format!("peer-{index}"),
        noise: NoiseSecret::from_bytes(&[index; 32]).public(),
        not_before_secs: 1_000,
        not_after_secs: 2_000,
        serial: 0,
    }
}

fn issue(request: Request) -> Certificate {
    Certificate::issue(request, &authority()).expect("a sound request")
}

fn sessions_as(role: Role) -> Sessions {
    let certificate = issue(request(1, role));
    let secret = NoiseSecret::from_bytes(&[1; 32]);
    Sessions::new(Config {
        identity: Identity::new(certificate, secret).expect("its own key"),
        authorities: vec![authority().public()],
        incarnation: Incarnation::new(11),
        seed: [1; 32],
        wall_clock_secs: Some(1_500),
    })
}

fn events(sessions: &mut Sessions) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = sessions.poll() {
        if !matches!(event, Event::Ready { .. }) {
            all.push(event);
        }
    }
    all
}

fn take(sessions: &mut Sessions) -> Vec<u8> {
    let mut out = Vec::new();
    sessions.transmit(CONN, usize::MAX / 2, &mut out, Instant::ZERO);
    out
}

struct Liar {
    secret: NoiseSecret,
    hello: Vec<u8>,
    transport: Option<Transport>,
    header: FrameHeader,
}

impl Liar {
    fn new(index: u8, certificate: &Certificate) -> Self {
        let mut hello = 22u64.to_le_bytes().to_vec();
        hello.extend_from_slice(&certificate.to_bytes());
        let header = FrameHeader {
            kind: Kind::Data,
            flags: Flags::FIRST.with(Flags::LAST),
            lane: Lane::CONTROL,
            link: 0,
            length: 0,
            epoch: 1,
            sequence: 1,
            acknowledgement: 0,
            sender: Incarnation::new(22),
            receiver: Incarnation::new(11),
            app: AppId::new(0),
            trace: TraceId::new(0),
            credit: 1 << 20,
        };
        Liar { secret: NoiseSecret::from_bytes(&[index; 32]), hello, transport: None, header }
    }

    /// Dials the sessions and does the handshake as far as it gets.
    fn dial(&mut self, sessions: &mut Sessions) {
        let mut handshake =
            Handshake::new(Side::Dialler, &self.secret, [7; 32]).expect("a known pattern");
        sessions.accepted(CONN, Instant::ZERO);
        let first = take(sessions);
        assert_eq!(handshake.read(&first[2..]).expect("version"), [1]);
        let mut record = Vec::new();
        assert!(handshake.write(&self.hello, &mut record));
        sessions.received(CONN, &record, Instant::ZERO);
        let third = take(sessions);
        if third.is_empty() {
            return;
        }
        let length = usize::from(u16::from_le_bytes([third[0], third[1]]));
        handshake.read(&third[2..2 + length]).expect("its hello");
        let mut transport = handshake.finish().expect("done");
        let mut plain = Vec::new();
        if third.len() > 2 + length {
            assert!(transport.open(&third[4 + length..], &mut plain), "its Open");
        }
        self.transport = Some(transport);
    }

    fn say(&mut self, sessions: &mut Sessions, plain: &[u8]) {
        let mut record = Vec::new();
        assert!(self.transport.as_mut().expect("believed").seal(plain, &mut record));
        sessions.received(CONN, &record, Instant::ZERO);
    }

    fn open_frame(&self) -> Vec<u8> {
        let header = FrameHeader {
            kind: Kind::Open,
            flags: Flags::NONE,
            length: 4,
            sequence: 0,
            ..self.header
        };
        let mut frame = header.to_bytes().to_vec();
        frame.extend_from_slice(&0u32.to_le_bytes());
        frame
    }

    fn data_frame(&self, body: &Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.encode(&mut bytes).expect("short");
        let mut frame =
            FrameHeader { length: bytes.len() as u32, ..self.header }.to_bytes().to_vec();
        frame.extend_from_slice(&bytes);
        frame
    }
}

fn node_body() -> Body {
    Body::SpawnHeard { child: Pid::default() }
}

/// A liar that was believed as a node (or tool) and with whom an epoch is agreed.
fn believed(role: Role) -> (Sessions, Liar) {
    let mut sessions = sessions_as(Role::Node);
    let mut liar = Liar::new(5, &issue(request(5, role)));
    liar.dial(&mut sessions);
    let open = liar.open_frame();
    liar.say(&mut sessions, &open);
    let seen = events(&mut sessions);
    assert!(matches!(&seen[..], [Event::Up { .. }]), "{seen:?}");
    (sessions, liar)
}

#[test]
fn who_is_not_believed_learns_nothing() {
    let node = |index| request(index, Role::Node);
    let stranger = AuthoritySecret::from_bytes(&[43; 32]);
    let cases = [
        (
            Certificate::issue(node(5), &stranger).expect("sound"),
            Refusal::Certificate(CertificateError::UnknownAuthority),
        ),
        (
            issue(Request { not_before_secs: 0, not_after_secs: 1_499, ..node(5) }),
            Refusal::Certificate(CertificateError::Expired),
        ),
        (
            issue(Request { not_before_secs: 1_501, ..node(5) }),
            Refusal::Certificate(CertificateError::NotYetValid),
        ),
        (issue(node(6)), Refusal::KeyMismatch),
    ];
    for (certificate, why) in cases {
        let mut sessions = sessions_as(Role::Node);
        let mut liar = Liar::new(5, &certificate);
        liar.dial(&mut sessions);
        assert!(liar.transport.is_none(), "our certificate was shown: {why:?}");
        let expected = [Event::Close { conn: CONN }, Event::Refused { conn: CONN, why }];
        assert_eq!(events(&mut sessions), expected);
        assert!(sessions.conns.is_empty() && sessions.links.is_empty());
    }
}

#[test]
fn roles_and_mirrors_are_refused() {
    for (ours, index, theirs, why) in [
        (Role::Operator, 5, Role::Operator, Refusal::Role),
        (Role::ReadOnly, 5, Role::Operator, Refusal::Role),
        (Role::Node, 1, Role::Node, Refusal::Ourselves),
    ] {
        let mut sessions = sessions_as(ours);
        let mut liar = Liar::new(index, &issue(request(index, theirs)));
        liar.dial(&mut sessions);
        let expected = [Event::Close { conn: CONN }, Event::Refused { conn: CONN, why }];
        assert_eq!(events(&mut sessions), expected);
    }
}

#[test]
fn a_dialled_stranger_of_another_version_role_or_name_is_refused() {
    let to = "10.0.0.9:7700".parse().expect("an address");
    for (first, role, wanted, why) in [
        (vec![2], Role::Node, None, Refusal::Version),
        (vec![], Role::Node, None, Refusal::Version),
        (vec![1], Role::Operator, None, Refusal::Role),
        (vec![1], Role::Node, Some(NodeId::new(99)), Refusal::WrongNode),
    ] {
        let mut sessions = sessions_as(Role::Node);
        if let Some(node) = wanted {
            sessions.dial_at(node, to);
            let lane = Lane::CONTROL;
            let (app, trace) = (AppId::new(0), TraceId::new(0));
            sessions.send(node, lane, app, trace, node_body(), Instant::ZERO).expect("queued");
        } else {
            sessions.dial_any(to, Instant::ZERO);
        }
        let seen = events(&mut sessions);
        let [Event::Dial { conn, .. }] = seen[..] else { panic!("{seen:?}") };
        sessions.connected(conn, Instant::ZERO);
        let liar = Liar::new(5, &issue(request(5, role)));
        let mut acceptor = Handshake::new(Side::Acceptor, &liar.secret, [7; 32]).expect("known");
        let mut record = Vec::new();
        assert!(acceptor.write(&first, &mut record));
        sessions.received(conn, &record, Instant::ZERO);
        let mut out = Vec::new();
        sessions.transmit(conn, 10_000, &mut out, Instant::ZERO);
        if first == [1] {
            assert!(acceptor.read(&out[2..]).is_some());
            record.clear();
            assert!(acceptor.write(&liar.hello, &mut record));
            sessions.received(conn, &record, Instant::ZERO);
        }
        let seen = events(&mut sessions);
        assert_eq!(seen[..2], [Event::Close { conn }, Event::Refused { conn, why }], "{why:?}");
    }
}

#[test]
fn every_broken_rule_ends_the_epoch_once() {
    type Lie = fn(&Liar) -> Vec<u8>;
    let lies: [(&str, Lie); 14] = [
        ("a gap", |liar| with(liar, |header| header.sequence = 2)),
        ("another life's frame", |liar| with(liar, |header| header.sender = Incarnation::new(1))),
        ("for a dead life", |liar| with(liar, |header| header.receiver = Incarnation::new(1))),
        ("another epoch", |liar| with(liar, |header| header.epoch = 9)),
        ("acknowledges the unsent", |liar| with(liar, |header| header.acknowledgement = 1)),
        ("no beginning", |liar| with(liar, |header| header.flags = Flags::LAST)),
        ("opens twice", Liar::open_frame),
        ("no frame", |_| vec![0; 100]),
        ("half a frame", |liar| liar.data_frame(&node_body())[..75].to_vec()),
        ("no body", |liar| {
            let mut frame = FrameHeader { length: 2, ..liar.header }.to_bytes().to_vec();
            frame.extend_from_slice(&[0xff, 0xff]);
            frame
        }),
        ("an operator's word", |liar| {
            let question = craton_wire::Question::Nodes;
            liar.data_frame(&Body::Ask { request: RequestId::new(1), question })
        }),
        ("a body after its end", |liar| {
            let mut frame = liar.data_frame(&node_body());
            frame.push(0);
            frame[8] += 1;
            frame
        }),
        ("one more than sound", |liar| {
            let mut frames = liar.data_frame(&node_body());
            frames.extend_from_slice(&liar.data_frame(&node_body()));
            frames
        }),
        ("a lane that is not", |liar| {
            let mut frame = liar.data_frame(&node_body());
            frame[3] = 200;
            frame
        }),
    ];
    for (name, lie) in lies {
        let (mut sessions, mut liar) = believed(Role::Node);
        let plain = lie(&liar);
        liar.say(&mut sessions, &plain);
        let seen = events(&mut sessions);
        let losts = seen
            .iter()
            .filter(|event| matches!(event, Event::Lost { why: LostWhy::Violation, .. }))
            .count();
        assert_eq!(losts, 1, "{name}: {seen:?}");
        assert!(seen.contains(&Event::Close { conn: CONN }), "{name}");
        assert!(sessions.conns.is_empty() && sessions.links.is_empty(), "{name}");
        assert_eq!(sessions.deadline(), None, "{name}");
    }
}

fn with(liar: &Liar, change: fn(&mut FrameHeader)) -> Vec<u8> {
    let mut header = liar.header;
    change(&mut header);
    let liar = Liar { header, transport: None, ..Liar::new(5, &issue(request(5, Role::Node))) };
    liar.data_frame(&node_body())
}

#[test]
fn a_tool_says_only_what_its_role_allows() {
    let reply = Body::SpawnReply {
        request: RequestId::new(1),
        parent: Pid::default(),
        result: Err(ErrorCode::Denied),
    };
    let kill = Body::Ask {
        request: RequestId::new(1),
        question: craton_wire::Question::Kill { pid: Pid::default() },
    };
    for (role, body, allowed) in [
        (Role::Operator, reply.clone(), false),
        (Role::Operator, kill.clone(), true),
        (Role::ReadOnly, kill, false),
        (Role::Node, reply, true),
    ] {
        let (mut sessions, mut liar) = believed(role.clone());
        let frame = liar.data_frame(&body);
        liar.say(&mut sessions, &frame);
        let seen = events(&mut sessions);
        let heard = seen.iter().any(|event| matches!(event, Event::Body { .. }));
        assert_eq!(heard, allowed, "{role:?}: {seen:?}");
    }
}

#[test]
fn who_sends_beyond_its_credit_is_thrown_out() {
    let (mut sessions, mut liar) = believed(Role::Node);
    let part = Payload(vec![0; 60_000]);
    let body = Body::ProgramPart { program: ProgramId([0; 32]), offset: 0, total: 0, part };
    let mut sent = 0;
    // Nothing is polled, so no more credit is given.
    while sessions.conns.contains_key(&CONN) {
        let frame = liar.data_frame(&body);
        sent += frame.len() as u64;
        assert!(sent < WINDOW_BYTES + 100_000, "the window has no end");
        liar.say(&mut sessions, &frame);
        liar.header.sequence += 1;
    }
    assert!(sent > WINDOW_BYTES, "thrown out before its credit was used up");
    let seen = events(&mut sessions);
    assert!(matches!(seen.last(), Some(Event::Lost { why: LostWhy::Violation, .. })));
}

#[test]
fn mutated_truth_never_panics() {
    for seed in 0..2_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut sessions, mut liar) = believed(Role::Node);
        for sequence in 1..4 {
            liar.header.sequence = sequence;
            let mut frame = liar.data_frame(&node_body());
            if rng.next_u32().is_multiple_of(2) {
                let at = rng.next_u32() as usize % frame.len();
                frame[at] ^= 1 << (rng.next_u32() % 8);
            }
            if sessions.conns.contains_key(&CONN) {
                liar.say(&mut sessions, &frame);
            }
        }
        let seen = events(&mut sessions);
        let losts = seen.iter().filter(|event| matches!(event, Event::Lost { .. })).count();
        assert_eq!(losts == 1, sessions.links.is_empty(), "seed {seed}");
    }
}

#[test]
fn garbage_and_mutated_handshakes_are_refused() {
    for seed in 0..2_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sessions = sessions_as(Role::Node);
        sessions.accepted(CONN, Instant::ZERO);
        take(&mut sessions);
        let mut bytes = vec![0; 1 + rng.next_u32() as usize % 2_000];
        rng.fill_bytes(&mut bytes);
        if rng.next_u32().is_multiple_of(2) {
            bytes.iter_mut().take(2).for_each(|byte| *byte = 0);
            bytes[0] = rng.next_u32() as u8;
        }
        sessions.received(CONN, &bytes, Instant::ZERO);
        // Whatever is not refused at once is an unfinished record, and time ends it.
        sessions.tick(Instant::ZERO + HANDSHAKE_TIME);
        let seen = events(&mut sessions);
        assert!(
            matches!(seen[..], [Event::Close { .. }, Event::Refused { .. }]),
            "seed {seed}: {seen:?}"
        );
        assert!(sessions.conns.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_flood_of_half_open_connections_is_bounded_and_ends() {
    let mut sessions = sessions_as(Role::Node);
    for id in 0..10_000 {
        sessions.accepted(ConnId(id), Instant::ZERO);
        assert!(sessions.conns.len() <= HALF_OPEN_MAX);
    }
    events(&mut sessions);
    // A node still gets in.
    let mut liar = Liar::new(5, &issue(request(5, Role::Node)));
    sessions.closed(CONN, Instant::ZERO);
    liar.dial(&mut sessions);
    assert!(liar.transport.is_some());
    sessions.tick(Instant::ZERO + HANDSHAKE_TIME);
    events(&mut sessions);
    assert!(sessions.conns.is_empty(), "a believed peer must open in time, too");
    sessions.tick(Instant::ZERO + HANDSHAKE_TIME + REPLAY_TIME);
    assert!(sessions.links.is_empty());
    assert_eq!(sessions.deadline(), None);
}

#[test]
fn who_was_declared_dead_between_handshake_and_open_stays_dead() {
    // Some of these ids are lower than ours and some higher: either side may choose.
    for index in 5..12 {
        let mut sessions = sessions_as(Role::Node);
        let certificate = issue(request(index, Role::Node));
        let node = certificate.node();
        let mut liar = Liar::new(index, &certificate);
        liar.dial(&mut sessions);
        sessions.lose(node, Incarnation::new(22), Instant::ZERO);
        let open = liar.open_frame();
        liar.say(&mut sessions, &open);
        let seen = events(&mut sessions);
        assert!(seen.contains(&Event::Close { conn: CONN }), "{index}: {seen:?}");
        assert!(!seen.iter().any(|event| matches!(event, Event::Up { .. })), "{index}: {seen:?}");
        assert!(sessions.conns.is_empty() && sessions.links.is_empty(), "{index}");
        let mut again = Liar::new(index, &certificate);
        again.dial(&mut sessions);
        let refused = Event::Refused { conn: CONN, why: Refusal::Dead };
        assert_eq!(events(&mut sessions), [Event::Close { conn: CONN }, refused], "{index}");
    }
}

#[test]
fn what_is_said_on_unknown_connections_is_dropped() {
    let mut sessions = sessions_as(Role::Node);
    sessions.received(ConnId(77), b"hello", Instant::ZERO);
    sessions.connected(ConnId(ConnId::DIALLED | 5), Instant::ZERO);
    sessions.closed(ConnId(77), Instant::ZERO);
    let mut out = Vec::new();
    sessions.transmit(ConnId(77), 100, &mut out, Instant::ZERO);
    assert!(out.is_empty() && sessions.poll().is_none() && sessions.deadline().is_none());
}

#[test]
fn the_death_of_a_former_life_does_not_touch_one_that_is_just_coming() {
    // Some of these ids are lower than ours and some higher: either side may choose.
    for index in 5..12 {
        let mut sessions = sessions_as(Role::Node);
        let certificate = issue(request(index, Role::Node));
        let mut returned = Liar::new(index, &certificate);
        returned.dial(&mut sessions);
        sessions.lose(certificate.node(), Incarnation::new(21), Instant::ZERO);
        let open = returned.open_frame();
        returned.say(&mut sessions, &open);
        let seen = events(&mut sessions);
        assert!(matches!(seen[..], [Event::Up { .. }]), "{index}: {seen:?}");
    }
}

#[test]
fn a_tool_speaks_on_the_control_lane_only() {
    for (lane, heard) in [(0, true), (1, false), (15, false)] {
        let mut sessions = sessions_as(Role::Node);
        let mut liar = Liar::new(5, &issue(request(5, Role::ReadOnly)));
        liar.dial(&mut sessions);
        let open = liar.open_frame();
        liar.say(&mut sessions, &open);
        liar.header.lane = Lane::new(lane).expect("a lane");
        let ask = Body::Ask { request: RequestId::new(1), question: Question::Nodes };
        let frame = liar.data_frame(&ask);
        liar.say(&mut sessions, &frame);
        let seen = events(&mut sessions);
        let taken = seen.iter().any(|event| matches!(event, Event::Body { .. }));
        assert_eq!(taken, heard, "lane {lane}: {seen:?}");
    }
}

#[test]
fn one_certificate_does_not_take_the_place_of_all_tools() {
    let mut sessions = sessions_as(Role::Node);
    let mut open_for = |index: u8, life: u64| {
        let mut liar = Liar::new(index, &issue(request(index, Role::ReadOnly)));
        liar.hello[..8].copy_from_slice(&life.to_le_bytes());
        liar.header.sender = Incarnation::new(life);
        liar.dial(&mut sessions);
        if liar.transport.is_some() {
            let open = liar.open_frame();
            liar.say(&mut sessions, &open);
        }
        let up = events(&mut sessions).iter().any(|event| matches!(event, Event::Up { .. }));
        // The connection breaks, the session waits for it.
        sessions.closed(CONN, Instant::ZERO);
        events(&mut sessions);
        (up, sessions.links.len())
    };
    for life in 0..100 {
        // A tool that is gone makes room for the next of its certificate.
        let expected = TOOLS_PER_CERTIFICATE_MAX.min(life as usize + 1);
        assert_eq!(open_for(5, 100 + life), (true, expected));
    }
    let another = open_for(6, 22);
    assert_eq!(another, (true, TOOLS_PER_CERTIFICATE_MAX + 1), "it finds a place");
}
