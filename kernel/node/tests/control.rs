//! The node towards its operators and its peers: runs, bundles, roles, and who may speak for whom.

#[allow(dead_code)] // Each of the tests uses its part of the world.
mod world;

use craton_abi::run::{RunArgument, TAG_INPUT, TAG_OUT, TAG_READ};
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, RequestId, Resource, Signal, SignalBody, SpawnOrder, TraceId,
};
use craton_node::{NodeError, NodeInput};
use craton_session::Role;
use craton_shard::port::{HostCall, HostReply, Outcome, Received, Resume, SpawnCall};
use craton_wire::{Answer, Body, OutputStream, Question, RunEvent};
use world::{Script, World, config};

const REQUEST: RequestId = RequestId::new(77);

fn bundle() -> (ProgramId, Vec<u8>) {
    let bytes: Vec<u8> = (0..150_000u32).map(|i| (i * 7 % 253) as u8).collect();
    (craton_bundle::program_id(&bytes), bytes)
}

fn send(to: Pid, tag: u64, bytes: &[u8]) -> Outcome {
    let (payload, timeout) = (Payload(bytes.to_vec()), Duration::from_secs(5));
    Outcome::Call(HostCall::Send { to, tag, payload, timeout })
}

fn receive() -> Outcome {
    Outcome::Call(HostCall::Receive { tag: None, timeout: None, capacity: 1 << 20 })
}

fn spawn(place: Place, entry: &str) -> Outcome {
    Outcome::Call(HostCall::Spawn(Box::new(SpawnCall {
        place,
        program: None,
        entry: entry.into(),
        argument: Payload::default(),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    })))
}

fn ask(question: Question) -> Body {
    Body::Ask { request: REQUEST, question }
}

/// A run of the sample bundle, started to the point where `main` lives.
fn start(world: &mut World, guest: usize, arguments: &[&str]) -> Pid {
    let (program, bytes) = bundle();
    let arguments = arguments.iter().map(ToString::to_string).collect();
    world.say(guest, ask(Question::Run { program, arguments, place: Place::Here }));
    let wanted = Body::Answer { request: REQUEST, answer: Answer::ProgramWanted };
    if world.heard(guest) == [wanted] {
        world.hand_over(guest, program, &bytes);
    }
    world.run(Duration::from_millis(50));
    let all = &world.guests[guest].heard;
    let started = all.iter().find_map(|body| match body {
        Body::Answer { answer: Answer::Started(pid), .. } => Some(*pid),
        _ => None,
    });
    started.unwrap_or_else(|| panic!("not started: {all:?} {:?}", world.logs))
}

fn run_events(bodies: Vec<Body>) -> Vec<RunEvent> {
    let events = bodies.into_iter().filter_map(|body| match body {
        Body::Run { request: REQUEST, event } => Some(event),
        _ => None,
    });
    events.collect()
}

/// Prints its arguments, one message each, and ends.
fn printer(_: Pid, _: &str, argument: &[u8]) -> Script {
    let argument = RunArgument::from_bytes(argument).expect("main has a run argument");
    let mut lines = argument.arguments.into_iter();
    Box::new(move |_| match lines.next() {
        Some(line) => send(argument.console, TAG_OUT, line.as_bytes()),
        None => Outcome::Exited(ExitReason::Error(b"done".to_vec())),
    })
}

#[test]
fn output_waits_until_it_is_taken_and_the_end_comes_last() {
    let mut world = World::new(1, printer);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &["one", "two", "three"]);
    for line in ["one", "two", "three"] {
        let (stream, bytes) = (OutputStream::Out, Payload(line.as_bytes().to_vec()));
        let heard = world.heard(operator);
        assert_eq!(run_events(heard), [RunEvent::Output { stream, bytes }]);
        world.run(Duration::from_secs(1));
        assert_eq!(world.heard(operator), [], "more came before it was taken");
        world.say(operator, Body::Run { request: REQUEST, event: RunEvent::OutputTaken });
    }
    let reason = ExitReason::Error(b"done".to_vec());
    let heard = world.heard(operator);
    assert_eq!(run_events(heard), [RunEvent::Ended { reason }]);
    world.run(Duration::from_millis(50));
    assert_eq!(world.processes(), 0, "console and input end with the run");
}

/// Writes what it reads from standard input, which ends at once, then three lines in two messages.
fn carried(_: Pid, _: &str, argument: &[u8]) -> Script {
    let argument = RunArgument::from_bytes(argument).expect("main has a run argument");
    let mut steps = 0;
    Box::new(move |resume| {
        steps += 1;
        match (steps, resume) {
            (1, _) => send(argument.stdin, TAG_READ, &5u32.to_le_bytes()),
            (2, _) => receive(),
            (3, Resume::Reply(HostReply::Received(Received::Message { tag, payload, .. }))) => {
                assert_eq!((tag, &payload.0[..]), (TAG_INPUT, &b""[..]), "the end of input");
                send(argument.console, TAG_OUT, b"one\ntwo\n")
            }
            (4, _) => send(argument.console, TAG_OUT, b"three"),
            _ => Outcome::Exited(ExitReason::Error(b"done".to_vec())),
        }
    })
}

/// What the log of node 0 says of the program that it carries, without the pid.
fn program_lines(world: &World) -> Vec<&str> {
    let lines = world.logs.iter().filter_map(|line| line.strip_prefix("0 program: "));
    lines.map(|line| if line.starts_with("started as <") { "started" } else { line }).collect()
}

#[test]
fn a_carried_program_runs_with_the_log_for_a_console_and_in_each_life() {
    let mut world = World::new(1, carried);
    world.step(0, NodeInput::Carried { bundle: bundle().1 });
    world.run(Duration::from_millis(50));
    let once = ["started", "one", "two", "three", "ended: error: done"];
    assert_eq!(program_lines(&world), once, "{:?}", world.logs);
    assert_eq!(world.processes(), 0, "console and input end with the run");
    world.readdress(0);
    world.run(Duration::from_millis(50));
    assert_eq!(program_lines(&world), [once, once].concat(), "a new life runs it again");
}

#[test]
fn a_carried_program_that_is_too_large_is_refused_and_said() {
    let mut world = World::new(1, carried);
    let bundle = vec![0; craton_abi::limit::BUNDLE_BYTES_MAX + 1];
    world.step(0, NodeInput::Carried { bundle });
    world.run(Duration::from_millis(50));
    assert!(world.logs.iter().any(|line| line.contains("the program of the image is refused")));
    assert_eq!(world.processes(), 0);
}

/// Sends far more than a mailbox holds and counts how many sends were answered.
fn flooder(_: Pid, _: &str, argument: &[u8]) -> Script {
    let argument = RunArgument::from_bytes(argument).expect("main has a run argument");
    let mut sent = 0u32;
    Box::new(move |resume| {
        if let Resume::Reply(HostReply::Failed(error)) = resume {
            let reason = format!("{sent} {error}").into_bytes();
            return Outcome::Exited(ExitReason::Error(reason));
        }
        sent += 1;
        send(argument.console, TAG_OUT, &[0; 16 << 10])
    })
}

#[test]
fn an_operator_who_takes_nothing_makes_the_program_wait() {
    let mut world = World::new(1, flooder);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    world.run(Duration::from_secs(7));
    // Console and program share a shard or not; either way the mailbox and one window bound it.
    let listing = ask(Question::Processes);
    world.say(operator, listing);
    assert!(world.processes() == 3 || world.processes() == 2);
    let outputs = run_events(world.heard(operator))
        .into_iter()
        .filter(|event| matches!(event, RunEvent::Output { .. }))
        .count();
    assert_eq!(outputs, 1);
    for _ in 0..400 {
        world.say(operator, Body::Run { request: REQUEST, event: RunEvent::OutputTaken });
    }
    let ended = run_events(world.heard(operator)).into_iter().find_map(|event| match event {
        RunEvent::Ended { reason: ExitReason::Error(text) } => String::from_utf8(text).ok(),
        _ => None,
    });
    let ended = ended.expect("the flood ended when a send timed out");
    let sent: u32 = ended.split(' ').next().and_then(|n| n.parse().ok()).expect("a count");
    assert!((2..300).contains(&sent) && ended.ends_with("full"), "{ended}");
}

/// Reads its input in pieces of five bytes and prints each.
fn echo(_: Pid, _: &str, argument: &[u8]) -> Script {
    let argument = RunArgument::from_bytes(argument).expect("main has a run argument");
    let mut reading = false;
    Box::new(move |resume| match resume {
        Resume::Reply(HostReply::Received(Received::Message {
            tag: TAG_INPUT, payload, ..
        })) => {
            reading = false;
            match &payload.0[..] {
                [] => Outcome::Exited(ExitReason::Normal),
                bytes => send(argument.console, TAG_OUT, bytes),
            }
        }
        _ if reading => receive(),
        _ => {
            reading = true;
            send(argument.stdin, TAG_READ, &5u32.to_le_bytes())
        }
    })
}

#[test]
fn input_comes_as_wanted_and_ends() {
    let mut world = World::new(1, echo);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    for piece in ["hello", "abc"] {
        let heard = world.heard(operator);
        assert_eq!(run_events(heard), [RunEvent::InputWanted { bytes_max: 5 }]);
        let bytes = Payload(piece.as_bytes().to_vec());
        let event = RunEvent::Input { bytes: bytes.clone() };
        world.say(operator, Body::Run { request: REQUEST, event });
        let output = RunEvent::Output { stream: OutputStream::Out, bytes };
        let events = run_events(core::mem::take(&mut world.guests[operator].heard));
        assert!(events.contains(&output), "{events:?}");
        world.say(operator, Body::Run { request: REQUEST, event: RunEvent::OutputTaken });
        if !events.contains(&RunEvent::InputWanted { bytes_max: 5 }) {
            continue;
        }
        // It asked for the next piece before its output was taken.
        let request = REQUEST;
        let wanted = Body::Run { request, event: RunEvent::InputWanted { bytes_max: 5 } };
        world.guests[operator].heard.push(wanted);
    }
    let end = RunEvent::Input { bytes: Payload::default() };
    world.say(operator, Body::Run { request: REQUEST, event: end });
    let events = run_events(world.heard(operator));
    assert_eq!(events.last(), Some(&RunEvent::Ended { reason: ExitReason::Normal }));
}

/// Lives until it is killed.
fn sleeper(_: Pid, _: &str, _: &[u8]) -> Script {
    Box::new(|_| receive())
}

/// `main` starts a child and sends it a message; the child takes none.
fn hoarder(_: Pid, entry: &str, _: &[u8]) -> Script {
    let is_main = entry == "main";
    Box::new(move |resume| match resume {
        Resume::Start if is_main => spawn(Place::Here, "child"),
        Resume::Reply(HostReply::Spawned { pid, .. }) => send(pid, 1, &[0; 1000]),
        _ if is_main => receive(),
        _ => {
            let (tag, timeout, capacity) = (Some(99), None, 0);
            Outcome::Call(HostCall::Receive { tag, timeout, capacity })
        }
    })
}

#[test]
fn a_node_short_of_memory_ends_its_largest_process() {
    let mut world = World::new(1, hoarder);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    assert_eq!(world.processes(), 4, "console, input, main and child");
    world.heard(operator);
    world.step(0, NodeInput::MemoryShort);
    world.run(Duration::from_millis(50));
    assert_eq!(world.processes(), 3, "the child, which holds most, has ended");
    assert_eq!(run_events(world.heard(operator)), []);
    world.step(0, NodeInput::MemoryShort);
    world.run(Duration::from_millis(50));
    let reason = ExitReason::Limit(Resource::Memory);
    assert_eq!(run_events(world.heard(operator)), [RunEvent::Ended { reason }]);
    world.step(0, NodeInput::MemoryShort);
    world.run(Duration::from_millis(50));
    assert_eq!(world.processes(), 0, "the parts of a run end with it");
}

#[test]
fn more_input_than_was_wanted_ends_the_run() {
    let mut world = World::new(1, echo);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    let event = RunEvent::Input { bytes: Payload(vec![0; 6]) };
    world.say(operator, Body::Run { request: REQUEST, event });
    let heard = world.heard(operator);
    let failed = heard.iter().any(|body| {
        matches!(
            body,
            Body::Answer { answer: Answer::Failed { error: ErrorCode::TooLong, .. }, .. }
        )
    });
    assert!(failed, "{heard:?}");
    assert_eq!(world.processes(), 0);
}

#[test]
fn a_run_ends_with_its_operator() {
    let mut world = World::new(1, sleeper);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    assert_eq!(world.processes(), 3);
    world.silence(operator);
    world.run(Duration::from_secs(12));
    assert_eq!(world.processes(), 0);
}

#[test]
fn a_run_ends_with_the_node_of_its_console() {
    let mut world = World::new(2, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let (program, bytes) = bundle();
    let place = Place::Node(world.nodes[1].id());
    world.say(operator, ask(Question::Run { program, arguments: Vec::new(), place }));
    world.hand_over(operator, program, &bytes);
    world.run(Duration::from_secs(1));
    assert_eq!(world.nodes[1].processes(), 1, "main is there: {:?}", world.logs);
    // Its former life, in which the console was, is over.
    world.readdress(0);
    world.run(Duration::from_secs(15));
    assert_eq!(world.nodes[1].processes(), 0, "{:?}", world.logs);
}

#[test]
fn two_tools_of_one_operator_do_not_meet() {
    let mut world = World::new(1, sleeper);
    let first = world.guest(Role::Operator, 1);
    start(&mut world, first, &[]);
    let second = world.guest(Role::Operator, 2);
    world.say(second, ask(Question::Nodes));
    assert_eq!(world.heard(second).len(), 1);
    assert_eq!(world.processes(), 3, "the first tool's run goes on");
    assert!(!world.guests[first].lost);
}

#[test]
fn a_bundle_that_is_missing_or_damaged_fails_the_run() {
    let mut world = World::new(1, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let (program, mut bytes) = bundle();
    let run = Question::Run { program, arguments: vec![], place: Place::Here };
    world.say(operator, ask(run.clone()));
    world.say(operator, Body::ProgramMissing { program });
    bytes[100_000] ^= 1;
    world.say(operator, Body::Ask { request: RequestId::new(78), question: run });
    world.hand_over(operator, program, &bytes);
    let failed = world.heard(operator).into_iter().filter(|body| {
        let error = ErrorCode::NoProgram;
        matches!(body, Body::Answer { answer: Answer::Failed { error: e, .. }, .. } if *e == error)
    });
    assert_eq!(failed.count(), 2);
    assert_eq!((world.loads[0], world.processes()), (0, 0));
}

/// `main` spawns eight children on every node, one after the other; they live on.
fn spreader(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        return Box::new(|_| receive());
    }
    let (mut nodes, mut spawned) = (Vec::new(), 0);
    Box::new(move |resume| {
        match resume {
            Resume::Start => return Outcome::Call(HostCall::Nodes),
            Resume::Reply(HostReply::Nodes(all)) => {
                nodes = all.into_iter().map(|alive| alive.node).collect();
            }
            Resume::Reply(HostReply::Spawned { .. }) => spawned += 1,
            Resume::Reply(other) => {
                return Outcome::Exited(ExitReason::Error(format!("{other:?}").into_bytes()));
            }
            Resume::Continue | Resume::Birth(_) => {}
        }
        match nodes.get(spawned / 8) {
            Some(node) => spawn(Place::Node(*node), "child"),
            None => receive(),
        }
    })
}

#[test]
fn a_bundle_is_sent_once_to_each_node_that_needs_it() {
    let mut world = World::new(3, spreader);
    let operator = world.guest(Role::Operator, 1);
    let before = world.bytes_between;
    start(&mut world, operator, &[]);
    world.run(Duration::from_millis(500));
    let alive: Vec<usize> = world.nodes.iter().map(|node| node.processes()).collect();
    assert_eq!(alive, [11, 8, 8], "{:?}", world.logs);
    assert_eq!(world.loads, [1, 1, 1]);
    let (sent, once) = (world.bytes_between - before, bundle().1.len());
    assert!(sent > 2 * once && sent < 2 * once + once / 2, "{sent} bytes for two times {once}");
}

#[test]
fn questions_are_answered() {
    let mut world = World::new(3, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let main = start(&mut world, operator, &[]);
    let _ = world.heard(operator);
    world.say(operator, ask(Question::Nodes));
    world.say(operator, ask(Question::Processes));
    world.say(operator, ask(Question::Logs { from: 0 }));
    world.say(operator, ask(Question::Kill { pid: main }));
    let heard = world.heard(operator);
    let answers: Vec<&Answer> = heard
        .iter()
        .filter_map(|body| match body {
            Body::Answer { answer, .. } => Some(answer),
            _ => None,
        })
        .collect();
    let [Answer::Nodes(nodes), Answer::Processes(processes), logs, rest @ ..] = &answers[..] else {
        panic!("{answers:?}");
    };
    let Answer::Logs { lines, .. } = logs else { panic!("{logs:?}") };
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes[0].id, world.nodes[0].id());
    assert!(nodes[1..].iter().all(|node| node.uptime_nanos.is_none()));
    assert!(processes.iter().any(|process| process.pid == main && process.entry == "main"));
    assert!(lines.iter().any(|line| line.contains("is up at")), "{lines:?}");
    assert_eq!(rest, [&Answer::Killed]);
    assert_eq!(run_events(heard), [RunEvent::Ended { reason: ExitReason::Killed }]);
}

#[test]
fn who_only_looks_starts_and_kills_nothing() {
    let mut world = World::new(1, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let main = start(&mut world, operator, &[]);
    let looker = world.guest(Role::ReadOnly, 2);
    let (program, _) = bundle();
    world.say(looker, ask(Question::Kill { pid: main }));
    world.say(looker, ask(Question::Run { program, arguments: vec![], place: Place::Here }));
    assert_eq!(world.heard(looker), []);
    assert_eq!(world.processes(), 3);
    world.say(looker, ask(Question::Nodes));
    assert_eq!(world.heard(looker).len(), 1);
}

#[test]
fn an_operator_cannot_speak_as_a_node() {
    let mut world = World::new(1, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let main = start(&mut world, operator, &[]);
    let other = world.guest(Role::Operator, 2);
    let me = world.guests[other].me;
    let from = Pid { node: me.node, incarnation: me.incarnation, ..Pid::default() };
    world.say(other, kill(from, main));
    assert_eq!(world.processes(), 3);
}

fn kill(from: Pid, to: Pid) -> Body {
    let (app, trace) = (AppId::new(0), TraceId::new(0));
    Body::Signal(Signal { from, to, app, trace, body: SignalBody::Kill })
}

fn order(parent: Pid, program: ProgramId) -> Body {
    Body::Spawn(SpawnOrder {
        request: REQUEST,
        parent,
        monitor: Some(MonitorId::new(1)),
        link: false,
        app: AppId::new(5),
        trace: TraceId::new(0),
        program,
        entry: "child".into(),
        argument: Payload::default(),
        limits: ProcessLimits::default(),
        shard: None,
    })
}

#[test]
fn a_node_speaks_only_in_its_own_name() {
    let mut world = World::new(2, sleeper);
    let operator = world.guest(Role::Operator, 1);
    let main = start(&mut world, operator, &[]);
    let (program, _) = bundle();
    let rogue = world.guest(Role::Node, 9);
    let me = world.guests[rogue].me;
    let own = Pid { node: me.node, incarnation: me.incarnation, ..Pid::default() };
    let other_node = Pid { node: world.nodes[1].id(), ..main };
    let other_life = Pid { incarnation: Incarnation::new(1), ..own };
    for stranger in [other_node, other_life, main, Pid::default()] {
        world.say(rogue, kill(stranger, main));
        world.say(rogue, order(stranger, program));
        world.say(rogue, Body::Gone { shard: main.slot.shard(), pid: main });
    }
    assert_eq!(world.processes(), 3);
    assert_eq!(world.heard(rogue), []);
    let refused = world.logs.iter().filter(|line| line.contains("in another's name")).count();
    assert_eq!(refused, 12);
    // The same in its own name is heard, so it was the name that was refused.
    world.say(rogue, order(own, program));
    assert_eq!(world.processes(), 4);
    let heard = world.heard(rogue);
    assert!(matches!(heard[..], [Body::SpawnReply { result: Ok(_), .. }]), "{heard:?}");
    world.say(rogue, kill(own, main));
    let heard = run_events(world.heard(operator));
    assert_eq!(heard, [RunEvent::Ended { reason: ExitReason::Killed }]);
}

#[test]
fn a_peer_cannot_order_the_reserved_programs() {
    let mut world = World::new(1, sleeper);
    let rogue = world.guest(Role::Node, 9);
    let me = world.guests[rogue].me;
    let own = Pid { node: me.node, incarnation: me.incarnation, ..Pid::default() };
    for program in [craton_abi::run::CONSOLE, craton_abi::run::STDIN] {
        world.say(rogue, order(own, program));
    }
    let error = Err(ErrorCode::NoProgram);
    let refused = Body::SpawnReply { request: REQUEST, parent: own, result: error };
    assert_eq!(world.heard(rogue), [refused.clone(), refused]);
}

#[test]
fn a_monitor_of_a_former_life_or_an_unknown_node_is_answered() {
    fn watcher(_: Pid, _: &str, argument: &[u8]) -> Script {
        let argument = RunArgument::from_bytes(argument).expect("main has a run argument");
        let unknown = Pid { node: NodeId::new(1), ..argument.console };
        let former = Pid { incarnation: Incarnation::new(1), ..argument.console };
        let mut targets = [unknown, former].into_iter();
        let mut told = Vec::new();
        Box::new(move |resume| {
            if let Resume::Reply(HostReply::Received(Received::Down { reason, .. })) = resume {
                told.push(reason.to_string());
                if told.len() == 2 {
                    let text = told.join(" ").into_bytes();
                    return Outcome::Exited(ExitReason::Error(text));
                }
            }
            match targets.next() {
                Some(target) => Outcome::Call(HostCall::Monitor { target }),
                None => receive(),
            }
        })
    }
    let mut world = World::new(1, watcher);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator, &[]);
    let reason = ExitReason::Error(b"no-connection no-process".to_vec());
    let heard = run_events(world.heard(operator));
    let swapped = ExitReason::Error(b"no-process no-connection".to_vec());
    let ended = |reason| [RunEvent::Ended { reason }];
    assert!(heard == ended(reason) || heard == ended(swapped), "{heard:?}");
}

#[test]
fn a_configuration_that_does_not_fit_together_is_refused() {
    let node = |config| {
        craton_node::Node::new(config, Incarnation::new(1), 1, [0; 32], Default::default()).err()
    };
    assert_eq!(node(config(0)), None);
    let mut foreign = config(0);
    foreign.noise_key = config(1).noise_key;
    assert_eq!(node(foreign), Some(NodeError::KeyMismatch));
    let mut cut = config(0);
    cut.certificate.pop();
    assert!(matches!(node(cut), Some(NodeError::Certificate(_))));
    let mut other = config(0);
    let stranger = craton_session::AuthoritySecret::from_bytes(&[99; 32]).public();
    other.authorities = vec![stranger.to_bytes()];
    assert!(matches!(node(other), Some(NodeError::Certificate(_))));
    let mut none = config(0);
    none.discovery = None;
    assert!(matches!(node(none), Some(NodeError::Config(_))));
}
