//! Names and groups of one node of several CPUs, whose mail comes in any order that is allowed.

#[allow(dead_code)] // Each of the tests uses its part of the world.
mod world;

use craton_abi::{Duration, ErrorCode, ExitReason, Payload, Pid, Place, ProcessLimits, RequestId};
use craton_session::Role;
use craton_shard::port::{HostCall, HostReply, NameCall, Outcome, Received, Resume, SpawnCall};
use craton_wire::{Answer, Body, Question, RunEvent};
use world::{Script, World};

const REQUEST: RequestId = RequestId::new(77);
const SHARDS: u8 = 4;
const SEEDS: u64 = 60;

const TAG_BYE: u64 = 3;

fn call(call: HostCall) -> Outcome {
    Outcome::Call(call)
}

fn send(to: Pid, tag: u64, bytes: &[u8]) -> Outcome {
    let (payload, timeout) = (Payload(bytes.to_vec()), Duration::from_secs(5));
    call(HostCall::Send { to, tag, payload, timeout })
}

fn receive(timeout: Option<Duration>) -> Outcome {
    call(HostCall::Receive { tag: None, timeout, capacity: 1 << 20 })
}

fn spawn(place: Place, entry: &str, argument: &[u8]) -> Outcome {
    call(HostCall::Spawn(Box::new(SpawnCall {
        place,
        program: None,
        entry: entry.into(),
        argument: Payload(argument.to_vec()),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    })))
}

fn told(text: String) -> Outcome {
    Outcome::Exited(ExitReason::Error(text.into_bytes()))
}

/// Starts a run of a sample bundle.
fn start(world: &mut World, guest: usize) {
    let bytes = vec![7; 1_000];
    let program = craton_bundle::program_id(&bytes);
    let question = Question::Run { program, arguments: vec![], place: Place::Here };
    world.say(guest, Body::Ask { request: REQUEST, question });
    let wanted = Body::Answer { request: REQUEST, answer: Answer::ProgramWanted };
    if world.heard(guest).contains(&wanted) {
        world.hand_over(guest, program, &bytes);
    }
}

/// What the first process of the run ended with.
fn end_of_run(world: &mut World, guest: usize) -> Option<String> {
    world.heard(guest).into_iter().find_map(|body| match body {
        Body::Run { event: RunEvent::Ended { reason: ExitReason::Error(text) }, .. } => {
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        Body::Run { event: RunEvent::Ended { reason }, .. } => Some(reason.to_string()),
        _ => None,
    })
}

// --- names ---

fn names(of: NameCall, name: &str) -> Outcome {
    call(HostCall::Names { call: of, name: name.into() })
}

fn is_end(resume: &Resume) -> bool {
    matches!(
        resume,
        Resume::Reply(HostReply::Received(Received::Down { reason: ExitReason::Killed, .. }))
    )
}

/// Takes a name, joins a group, finds itself alone in it, and waits.
fn heir(me: Pid, parent: Pid) -> Script {
    let mut step = 0;
    Box::new(move |resume| {
        step += 1;
        match (step, resume) {
            (_, Resume::Reply(HostReply::Failed(error))) => told(error.to_string()),
            (1, _) => names(NameCall::Register, "throne"),
            (2, _) => names(NameCall::Join, "heirs"),
            (3, _) => names(NameCall::Members, "heirs"),
            (4, Resume::Reply(HostReply::Pids(heirs))) if heirs == [me] => {
                send(parent, TAG_BYE, &[])
            }
            (4, other) => told(format!("{other:?}")),
            _ => receive(None),
        }
    })
}

/// Spawns an heir, kills it, and takes the throne itself when it hears of the end: eight times.
fn successors(me: Pid, entry: &str, argument: &[u8]) -> Script {
    if entry == "heir" {
        return heir(me, Pid::from_bytes(argument.try_into().expect("a pid")));
    }
    let (mut child, mut ends, mut reigns) = (None, 0, false);
    Box::new(move |resume| match resume {
        Resume::Start => spawn(Place::Here, "heir", &me.to_bytes()),
        Resume::Reply(HostReply::Spawned { pid, .. }) => {
            child = Some(pid);
            receive(None)
        }
        Resume::Reply(HostReply::Received(Received::Message { .. })) => {
            names(NameCall::Find, "throne")
        }
        Resume::Reply(HostReply::Pids(owner)) if owner.first().copied() == child => {
            call(HostCall::Kill { target: owner[0] })
        }
        end if is_end(&end) => {
            reigns = true;
            names(NameCall::Register, "throne")
        }
        Resume::Reply(HostReply::Done) if core::mem::take(&mut reigns) => {
            names(NameCall::Unregister, "throne")
        }
        Resume::Reply(HostReply::Done) => receive(None),
        Resume::Reply(HostReply::Flag(true)) => {
            ends += 1;
            if ends == 8 {
                return told(String::from("eight heirs"));
            }
            spawn(Place::Here, "heir", &me.to_bytes())
        }
        other => told(format!("main: {other:?}")),
    })
}

#[test]
fn who_hears_of_an_owners_end_finds_the_name_free() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), successors);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(500));
        assert_eq!(end_of_run(&mut world, operator).as_deref(), Some("eight heirs"), "seed {seed}");
        assert_eq!(world.processes(), 0, "seed {seed}");
    }
}

/// Twelve children on all shards want one name at once, and tell who got it.
fn rivals(me: Pid, entry: &str, argument: &[u8]) -> Script {
    if entry == "rival" {
        let parent = Pid::from_bytes(argument.try_into().expect("a pid"));
        let mut answered = false;
        return Box::new(move |resume| match resume {
            Resume::Start => names(NameCall::Register, "crown"),
            Resume::Reply(HostReply::Done) if !core::mem::replace(&mut answered, true) => {
                send(parent, TAG_BYE, &me.to_bytes())
            }
            Resume::Reply(HostReply::Failed(ErrorCode::Taken)) => {
                answered = true;
                send(parent, TAG_BYE, &[])
            }
            _ => receive(None),
        });
    }
    let (mut born, mut answers, mut owners) = (0, 0, 0);
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Spawned { .. }) => born += 1,
            Resume::Reply(HostReply::Received(Received::Message { payload, .. })) => {
                answers += 1;
                owners += usize::from(!payload.0.is_empty());
            }
            Resume::Reply(HostReply::Received(Received::Down { reason, .. })) => {
                return told(reason.to_string());
            }
            _ => {}
        }
        match (born, answers) {
            (12, 12) => told(format!("{owners} of 12")),
            (12, _) => receive(None),
            _ => spawn(Place::Here, "rival", &me.to_bytes()),
        }
    })
}

#[test]
fn of_many_who_want_a_name_at_once_one_gets_it() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), rivals);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(500));
        assert_eq!(end_of_run(&mut world, operator).as_deref(), Some("1 of 12"), "seed {seed}");
    }
}
