//! The node towards strangers and liars, and in the gaps between what its parts know.

#[allow(dead_code)] // Each of the tests uses its part of the world.
mod world;

use craton_abi::run::{RunArgument, TAG_OUT};
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, RequestId, ShardId, Slot, SpawnOrder, TraceId,
};
use craton_session::Role;
use craton_shard::port::{HostCall, HostReply, LogLevel, Outcome, Received, Resume, SpawnCall};
use craton_wire::{Answer, Body, Question, RunEvent};
use world::{Script, World, guest_secret};

const REQUEST: RequestId = RequestId::new(77);
const ROGUE_LIFE: Incarnation = Incarnation::new(9);

fn receive_for(timeout: Duration) -> Outcome {
    Outcome::Call(HostCall::Receive { tag: None, timeout: Some(timeout), capacity: 1 << 20 })
}

fn spawn(place: Place, program: Option<ProgramId>, entry: &str) -> Outcome {
    Outcome::Call(HostCall::Spawn(Box::new(SpawnCall {
        place,
        program,
        entry: entry.into(),
        argument: Payload::default(),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    })))
}

fn told(text: String) -> Outcome {
    Outcome::Exited(ExitReason::Error(text.into_bytes()))
}

fn rogue_node() -> NodeId {
    guest_secret().public().node()
}

fn rogue_pid(index: u32) -> Pid {
    let slot = Slot::new(ShardId::new(0), index, 1).expect("in range");
    Pid { node: rogue_node(), incarnation: ROGUE_LIFE, slot }
}

/// Starts a run of a sample bundle on node 0.
fn start(world: &mut World, guest: usize) {
    let bytes: Vec<u8> = (0..1_000u32).map(|i| (i * 7 % 253) as u8).collect();
    let program = craton_bundle::program_id(&bytes);
    let question = Question::Run { program, arguments: vec![], place: Place::Here };
    world.say(guest, Body::Ask { request: REQUEST, question });
    world.hand_over(guest, program, &bytes);
}

/// How the run ended, if it has.
fn ended(world: &mut World, guest: usize) -> Option<ExitReason> {
    world.heard(guest).into_iter().find_map(|body| match body {
        Body::Run { event: RunEvent::Ended { reason }, .. } => Some(reason),
        _ => None,
    })
}

/// Spawns a child near a process of the guest's node, and ends with what it is told of it.
fn parent_of_a_stranger(_: Pid, _: &str, _: &[u8]) -> Script {
    Box::new(|resume| match resume {
        Resume::Reply(HostReply::Spawned { .. }) => receive_for(Duration::from_secs(60)),
        Resume::Reply(HostReply::Received(Received::Down { reason, .. })) => {
            told(reason.to_string())
        }
        // The guest is not there yet.
        Resume::Reply(HostReply::Failed(ErrorCode::NoConnection)) => {
            receive_for(Duration::from_millis(10))
        }
        _ => spawn(Place::Near(rogue_pid(1)), None, "child"),
    })
}

#[test]
fn a_child_on_a_node_that_membership_does_not_know_is_watched() {
    let mut world = World::new(1, parent_of_a_stranger);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator);
    let other = world.guest(Role::Node, ROGUE_LIFE.get());
    world.run(Duration::from_millis(100));
    let order = world.heard(other).into_iter().find_map(|body| match body {
        Body::Spawn(order) => Some(order),
        _ => None,
    });
    let SpawnOrder { request, parent, .. } = order.expect("the order came");
    world.say(other, Body::SpawnReply { request, parent, result: Ok(rogue_pid(2)) });
    assert_eq!(ended(&mut world, operator), None);
    world.silence(other);
    world.run(Duration::from_secs(15));
    let reason = ExitReason::Error(b"no-connection".to_vec());
    assert_eq!(ended(&mut world, operator), Some(reason));
}

/// `main` spawns a child on every other node; each of those wants an unknown program on node 0,
/// and sends `main` what came of it.
fn seeker(_: Pid, entry: &str, argument: &[u8]) -> Script {
    if entry == "child" {
        return seeking_child(argument);
    }
    let (mut nodes, mut spawned, mut failures) = (Vec::new(), 1, Vec::new());
    Box::new(move |resume| {
        match resume {
            Resume::Start => return Outcome::Call(HostCall::Nodes),
            Resume::Reply(HostReply::Nodes(all)) => {
                nodes = all.into_iter().map(|alive| alive.node).collect();
            }
            Resume::Reply(HostReply::Spawned { .. }) => spawned += 1,
            Resume::Reply(HostReply::Received(Received::Down { reason, .. })) => {
                failures.push(reason.to_string());
            }
            _ => {}
        }
        match nodes.get(spawned) {
            Some(node) => Outcome::Call(HostCall::Spawn(Box::new(SpawnCall {
                place: Place::Node(*node),
                program: None,
                entry: "child".into(),
                argument: Payload(nodes[0].get().to_le_bytes().to_vec()),
                monitor: true,
                link: false,
                limits: ProcessLimits::default(),
            }))),
            None if failures.len() + 1 == nodes.len() => told(failures.join(", ")),
            None => receive_for(Duration::from_secs(60)),
        }
    })
}

fn seeking_child(argument: &[u8]) -> Script {
    let node = NodeId::new(u64::from_le_bytes(argument.try_into().expect("a node")));
    let mut waited = false;
    Box::new(move |resume| match resume {
        // Both are to ask in the same moment.
        Resume::Start => receive_for(Duration::from_millis(300)),
        Resume::Reply(HostReply::Failed(error)) if waited => told(error.to_string()),
        _ => {
            waited = true;
            spawn(Place::Node(node), Some(ProgramId([9; 32])), "nothing")
        }
    })
}

#[test]
fn a_program_that_nobody_has_fails_all_who_want_it() {
    let mut world = World::new(3, seeker);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator);
    world.run(Duration::from_secs(2));
    let reason = b"error: no-program, error: no-program".to_vec();
    assert_eq!(ended(&mut world, operator), Some(ExitReason::Error(reason)));
}

#[test]
fn an_operator_who_sends_nothing_holds_up_no_other() {
    let mut world = World::new(1, parent_of_a_stranger);
    let [slow, quick] = [1, 2].map(|life| world.guest(Role::Operator, life));
    let bytes = vec![7; 1_000];
    let program = craton_bundle::program_id(&bytes);
    let question = Question::Run { program, arguments: vec![], place: Place::Here };
    for operator in [slow, quick] {
        world.say(operator, Body::Ask { request: REQUEST, question: question.clone() });
    }
    assert_eq!(world.heard(quick), []);
    world.run(Duration::from_secs(12));
    let is_failure = |body: &Body| {
        matches!(
            body,
            Body::Answer { answer: Answer::Failed { error: ErrorCode::NoProgram, .. }, .. }
        )
    };
    assert!(world.heard(slow).iter().any(is_failure));
    let wanted = Body::Answer { request: REQUEST, answer: Answer::ProgramWanted };
    assert_eq!(world.heard(quick), [wanted]);
    world.hand_over(quick, program, &bytes);
    assert_eq!(world.loads, [1]);
}

#[test]
fn a_node_cannot_order_a_process_of_the_system() {
    let mut world = World::new(1, parent_of_a_stranger);
    let rogue = world.guest(Role::Node, ROGUE_LIFE.get());
    let order = SpawnOrder {
        request: REQUEST,
        parent: rogue_pid(1),
        monitor: Some(MonitorId::new(1)),
        link: false,
        app: AppId::new(0),
        trace: TraceId::new(0),
        program: ProgramId([9; 32]),
        entry: "child".into(),
        argument: Payload::default(),
        limits: ProcessLimits::default(),
        shard: None,
    };
    world.say(rogue, Body::Spawn(order.clone()));
    assert_eq!(world.heard(rogue), [], "not even asked for the program");
    world.say(rogue, Body::Spawn(SpawnOrder { app: AppId::new(5), ..order }));
    let wanted = Body::ProgramWanted { program: ProgramId([9; 32]) };
    assert_eq!(world.heard(rogue), [wanted]);
}

#[test]
fn strangers_fill_no_log() {
    let mut world = World::new(1, parent_of_a_stranger);
    let before = world.logs.len();
    for _ in 0..500 {
        world.knock();
    }
    world.run(Duration::from_secs(2));
    world.knock();
    let said = &world.logs[before..];
    assert!(said.len() <= 3, "{} lines", said.len());
    assert!(said.iter().any(|line| line.ends_with("and 499 more before")), "{said:?}");
}

/// Tries to forge a line of the node's log, in three ways.
fn forger(_: Pid, _: &str, argument: &[u8]) -> Script {
    const FORGED: &str = "x\n0.1 warn cluster: n1 is down\x1b[2J";
    let console = RunArgument::from_bytes(argument).map(|argument| argument.console);
    let mut steps = 0;
    Box::new(move |_| {
        steps += 1;
        let text = String::from(FORGED);
        match (steps, console) {
            (1, _) => Outcome::Call(HostCall::Log { level: LogLevel::Warn, text }),
            (2, Ok(to)) => Outcome::Call(HostCall::Send {
                to,
                tag: TAG_OUT,
                payload: Payload::default(),
                timeout: Duration::ZERO,
            }),
            (3, _) => spawn(Place::Here, None, FORGED),
            (4, _) => receive_for(Duration::from_millis(200)),
            _ => told(text),
        }
    })
}

#[test]
fn a_guest_forges_no_line_of_the_log_and_commands_no_terminal() {
    let mut world = World::new(1, forger);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator);
    let question = Question::Processes;
    world.say(operator, Body::Ask { request: RequestId::new(78), question });
    world.run(Duration::from_millis(500));
    let ends = world.logs.iter().filter(|line| line.contains("ended: error: x")).count();
    assert!(ends >= 1, "{:?}", world.logs);
    let listed = world.heard(operator).into_iter().find_map(|body| match body {
        Body::Answer { answer: Answer::Processes(list), .. } => Some(list),
        _ => None,
    });
    let entries = listed.expect("it was asked").into_iter().map(|process| process.entry);
    for text in entries.chain(world.logs) {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
