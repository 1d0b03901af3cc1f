//! Bodies round and about: each kind once, and everything that is none.

use super::*;
use crate::body::{Answer, NodeInfo, OutputStream, ProcessInfo, Question, RunEvent};
use alloc::string::String;
use alloc::vec;
use craton_abi::{
    AppId, ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, RequestId, ShardId, Signal, SignalBody, SpawnOrder, TraceId,
    TrapKind,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

fn signal(body: SignalBody) -> Body {
    let (from, to) = (Pid::default(), Pid::default());
    Body::Signal(Signal { from, to, app: AppId::new(1), trace: TraceId::new(2), body })
}

fn signals() -> Vec<Body> {
    vec![
        signal(SignalBody::Message { tag: 7, payload: Payload(vec![1; 300]) }),
        signal(SignalBody::Kill),
        signal(SignalBody::Monitor { id: MonitorId::new(1) }),
        signal(SignalBody::Demonitor { id: MonitorId::new(1) }),
        signal(SignalBody::Down {
            id: MonitorId::new(1),
            reason: ExitReason::Trap(TrapKind::Other, String::from("at é")),
        }),
        signal(SignalBody::Link),
        signal(SignalBody::Unlink { id: RequestId::new(1) }),
        signal(SignalBody::Unlinked { id: RequestId::new(1) }),
        signal(SignalBody::Exit { reason: ExitReason::Normal }),
        signal(SignalBody::Request { id: MonitorId::new(1), tag: 7, payload: Payload(vec![1; 9]) }),
        signal(SignalBody::Answer { id: MonitorId::new(1), payload: Payload(vec![1; 9]) }),
        Body::Credit { shard: ShardId::new(3), mailbox: Pid::default(), messages: 1, bytes: 2 },
        Body::Gone { shard: ShardId::new(3), pid: Pid::default() },
    ]
}

fn spawns() -> Vec<Body> {
    let program = ProgramId([9; 32]);
    vec![
        Body::Spawn(SpawnOrder {
            request: RequestId::new(1),
            parent: Pid::default(),
            monitor: Some(MonitorId::new(2)),
            link: false,
            app: AppId::new(3),
            trace: TraceId::new(4),
            program,
            entry: String::from("main"),
            argument: Payload(vec![1, 2, 3]),
            limits: ProcessLimits::default(),
            shard: None,
        }),
        Body::SpawnReply {
            request: RequestId::new(1),
            parent: Pid::default(),
            result: Err(ErrorCode::NoEntry),
        },
        Body::SpawnHeard { child: Pid::default() },
        Body::ProgramWanted { program },
        Body::ProgramPart { program, offset: 1, total: 2, part: Payload(vec![0; 2]) },
        Body::ProgramMissing { program },
        Body::Load { processes: 1, memory_free: 2 },
    ]
}

fn conversations() -> Vec<Body> {
    let request = RequestId::new(5);
    let ask = |question| Body::Ask { request, question };
    let answer = |answer| Body::Answer { request, answer };
    let run = |event| Body::Run { request, event };
    let node = NodeInfo {
        id: NodeId::new(1),
        incarnation: Incarnation::new(2),
        name: String::from("one"),
        address: String::from("10.0.0.1:7700"),
        shards: 1,
        processes: Some(3),
        memory_free: None,
        uptime_nanos: Some(4),
    };
    let process = ProcessInfo {
        pid: Pid::default(),
        program: ProgramId([1; 32]),
        entry: String::from("main"),
        state: String::from("waits"),
        waits_for: Some(Pid::default()),
        mailbox_messages: 1,
        mailbox_bytes: 2,
        memory_bytes: 3,
        cpu_nanos: 4,
    };
    let program = ProgramId([1; 32]);
    vec![
        ask(Question::Nodes),
        ask(Question::Logs { from: 7 }),
        ask(Question::Kill { pid: Pid::default() }),
        ask(Question::Run { program, arguments: vec![String::from("a")], place: Place::Anywhere }),
        answer(Answer::Nodes(vec![node; 3])),
        answer(Answer::Processes(vec![process; 3])),
        answer(Answer::Logs { first: 1, lines: vec![String::from("x"); 2] }),
        answer(Answer::Failed { error: ErrorCode::Denied, text: String::from("no") }),
        run(RunEvent::Output { stream: OutputStream::Err, bytes: Payload(vec![1]) }),
        run(RunEvent::OutputTaken),
        run(RunEvent::InputWanted { bytes_max: 1 }),
        run(RunEvent::Input { bytes: Payload(vec![]) }),
        run(RunEvent::Ended { reason: ExitReason::Normal }),
    ]
}

fn bodies() -> Vec<Body> {
    [signals(), spawns(), conversations()].concat()
}

fn encoded(body: &Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.encode(&mut bytes).expect("short enough");
    bytes
}

#[test]
fn every_body_survives() {
    for body in bodies() {
        assert_eq!(Body::decode(&encoded(&body)), Ok(body));
    }
}

#[test]
fn every_truncation_and_every_trailing_byte_is_refused() {
    for body in bodies() {
        let mut bytes = encoded(&body);
        for length in 0..bytes.len() {
            assert_eq!(Body::decode(&bytes[..length]), Err(BodyError::Malformed), "{body:?}");
        }
        bytes.push(0);
        assert_eq!(Body::decode(&bytes), Err(BodyError::Trailing), "{body:?}");
    }
}

#[test]
fn mutations_decode_to_something_that_encodes_or_to_nothing() {
    let sound: Vec<Vec<u8>> = bodies().iter().map(encoded).collect();
    let mut decoded = 0;
    for seed in 0..100_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = sound[rng.next_u32() as usize % sound.len()].clone();
        for _ in 0..1 + rng.next_u32() % 5 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 4 {
                0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
                1 => bytes[at] = rng.next_u32() as u8,
                2 => bytes.insert(at, 0xff),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(body) = Body::decode(&bytes) {
            decoded += 1;
            assert_eq!(Body::decode(&encoded(&body)), Ok(body), "seed {seed}");
        }
    }
    assert!(decoded > 10_000, "the test must reach bodies that hold: {decoded}");
}

#[test]
fn garbage_is_no_body() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100_000 {
        let mut bytes = vec![0; rng.next_u32() as usize % 64];
        rng.fill_bytes(&mut bytes);
        let _ = Body::decode(&bytes);
    }
}

#[test]
fn lengths_and_counts_are_bounded() {
    let part = |length| Body::ProgramPart {
        program: ProgramId([0; 32]),
        offset: 0,
        total: 0,
        part: Payload(vec![0; length]),
    };
    let longest = part(limit::MESSAGE_BYTES_MAX);
    assert_eq!(Body::decode(&encoded(&longest)), Ok(longest));
    let mut out = vec![1, 2, 3];
    assert_eq!(part(BODY_BYTES_MAX).encode(&mut out), Err(BodyError::TooLong));
    assert_eq!(out, [1, 2, 3]);
    assert_eq!(Body::decode(&vec![0; BODY_BYTES_MAX + 1]), Err(BodyError::TooLong));
    let lines = |count| Body::Answer {
        request: RequestId::new(1),
        answer: Answer::Logs { first: 0, lines: vec![String::new(); count] },
    };
    assert!(Body::decode(&encoded(&lines(LIST_MAX))).is_ok());
    assert_eq!(Body::decode(&encoded(&lines(LIST_MAX + 1))), Err(BodyError::Malformed));
}
