//! Names and groups of one node of several CPUs, whose mail comes in any order that is allowed.

#[allow(dead_code)] // Each of the tests uses its part of the world.
mod world;

use craton_abi::{Duration, ErrorCode, ExitReason, Pid, Place};
use craton_session::Role;
use craton_shard::port::{HostCall, HostReply, NameCall, Outcome, Received, Resume};
use world::scripts::{call, end_of_run, receive, send, spawn, start, told};
use world::{Script, World};

const SHARDS: u8 = 4;
const SEEDS: u64 = 60;

const TAG_BYE: u64 = 3;

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

/// Whether there was an end, or what to do until then.
enum Rite {
    Do(Outcome),
    Over,
}

/// Spawns an heir and does what `rite` says until that is over: eight times.
fn testator(
    (me, entry, argument): (Pid, &str, &[u8]),
    mut rite: impl FnMut(Resume, Pid) -> Rite + 'static,
) -> Script {
    if entry == "heir" {
        return heir(me, Pid::from_bytes(argument.try_into().expect("a pid")));
    }
    let (mut child, mut ends) = (me, 0);
    Box::new(move |resume| match resume {
        Resume::Start => spawn(Place::Here, "heir", &me.to_bytes()),
        Resume::Reply(HostReply::Spawned { pid, .. }) => {
            child = pid;
            receive(None)
        }
        other => match rite(other, child) {
            Rite::Do(outcome) => outcome,
            Rite::Over => {
                ends += 1;
                if ends == 8 {
                    return told(String::from("eight heirs"));
                }
                spawn(Place::Here, "heir", &me.to_bytes())
            }
        },
    })
}

/// Kills its heirs, and takes the throne itself when it hears of the end of one.
fn successors(me: Pid, entry: &str, argument: &[u8]) -> Script {
    let mut reigns = false;
    testator((me, entry, argument), move |resume, child| {
        Rite::Do(match resume {
            Resume::Reply(HostReply::Received(Received::Message { .. })) => {
                names(NameCall::Find, "throne")
            }
            Resume::Reply(HostReply::Pids(owner)) if owner == [child] => {
                call(HostCall::Kill { target: child })
            }
            end if is_end(&end) => {
                reigns = true;
                names(NameCall::Register, "throne")
            }
            Resume::Reply(HostReply::Done) if core::mem::take(&mut reigns) => {
                names(NameCall::Unregister, "throne")
            }
            Resume::Reply(HostReply::Done) => receive(None),
            Resume::Reply(HostReply::Flag(true)) => return Rite::Over,
            other => told(format!("main: {other:?}")),
        })
    })
}

/// A run of this program says this at its end, and leaves so many processes.
fn says_for_all_seeds(program: world::Program, said: &str, left: usize) {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), program);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(500));
        assert_eq!(end_of_run(&mut world, operator).as_deref(), Some(said), "seed {seed}");
        assert_eq!(world.processes(), left, "seed {seed}");
    }
}

#[test]
fn who_hears_of_an_owners_end_finds_the_name_free() {
    says_for_all_seeds(successors, "eight heirs", 0);
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
    says_for_all_seeds(rivals, "1 of 12", 12);
}

/// Kills its heirs, and finds nobody when it hears of the end of one.
fn mourners(me: Pid, entry: &str, argument: &[u8]) -> Script {
    let mut mourned = None;
    testator((me, entry, argument), move |resume, child| {
        Rite::Do(match resume {
            Resume::Reply(HostReply::Received(Received::Message { .. })) => {
                call(HostCall::Kill { target: child })
            }
            Resume::Reply(HostReply::Done) => receive(None),
            end if is_end(&end) => names(NameCall::Find, "throne"),
            Resume::Reply(HostReply::Pids(found)) if !found.is_empty() => {
                told(format!("{found:?}"))
            }
            Resume::Reply(HostReply::Pids(_)) if mourned.replace(child) != Some(child) => {
                names(NameCall::Members, "heirs")
            }
            Resume::Reply(HostReply::Pids(_)) => return Rite::Over,
            other => told(format!("main: {other:?}")),
        })
    })
}

#[test]
fn who_hears_of_an_end_finds_nobody_in_name_or_group() {
    says_for_all_seeds(mourners, "eight heirs", 0);
}
