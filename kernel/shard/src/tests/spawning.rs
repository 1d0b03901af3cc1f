//! Spawning, from both ends.

use super::*;
use craton_abi::Place;
use craton_abi::limit::{ARGUMENT_BYTES_MAX, ENTRY_BYTES_MAX};

fn ask(entry: &str, argument: usize, monitor: bool) -> HostCall {
    HostCall::Spawn(Box::new(SpawnCall {
        place: Place::Anywhere,
        program: None,
        entry: entry.into(),
        argument: Payload(vec![0; argument]),
        monitor,
        link: false,
        limits: ProcessLimits::default(),
    }))
}

/// A parent that waits for its child: what it ordered.
fn order_of(rig: &mut Rig, parent: Pid, monitor: bool) -> SpawnOrder {
    assert_eq!(rig.call(parent, ask("child", 3, monitor)), None);
    assert_eq!(rig.state(parent), "spawning");
    match rig.effects().pop() {
        Some(Effect::Place { place: Place::Anywhere, order }) => *order,
        other => panic!("no order but {other:?}"),
    }
}

fn reply(order: &SpawnOrder, result: Result<Pid, ErrorCode>) -> Input {
    Input::SpawnReply { request: order.request, parent: order.parent, result }
}

#[test]
fn parent_and_child_on_one_shard() {
    let mut rig = Rig::new();
    let parent = rig.process();
    let order = order_of(&mut rig, parent, true);
    assert_eq!((order.parent, order.app, order.trace), (parent, APP, TraceId::new(3)));
    assert_eq!(order.program, ProgramId([7; 32]), "the parent's own");
    let child = rig.starting(order.clone());
    rig.effects();
    rig.step(Input::Started { slot: child.slot, result: Ok(()) });
    let (request, monitor) = (order.request, order.monitor);
    assert_eq!(rig.effects(), [Effect::SpawnReply { request, parent, result: Ok(child) }]);
    let unheard = |rig: &Rig| {
        rig.shard.live(child.slot).is_some_and(|process| process.waits_to_be_heard(parent))
    };
    assert!(unheard(&rig));
    rig.step(reply(&order, Ok(child)));
    assert_eq!(rig.answer(parent), Some(HostReply::Spawned { pid: child, monitor }));
    assert_eq!(rig.effects(), [Effect::SpawnHeard { child }]);
    rig.step(Input::SpawnHeard { child });
    assert!(!unheard(&rig));
    rig.ran(child, Outcome::Exited(ExitReason::Normal));
    let id = monitor.expect("asked for");
    assert_eq!(rig.receive(parent), down(child, id, ExitReason::Normal));
}

/// A parent that runs on with the answer to its spawn, and its child.
fn spawn_at_once(
    rig: &mut Rig,
    parent: Pid,
    monitor: bool,
    link: bool,
) -> (Pid, Option<MonitorId>) {
    let HostCall::Spawn(call) = ask("child", 3, monitor) else { panic!("no spawn") };
    let mut call = SpawnCall { link, ..*call };
    match rig.shard.spawn_at_once(parent.slot, &mut call, usize::MAX) {
        Some(HostReply::Spawned { pid, monitor }) => (pid, monitor),
        other => panic!("no child but {other:?}"),
    }
}

#[test]
fn a_child_of_a_parent_that_runs_is_born_when_it_runs() {
    let mut rig = Rig::new();
    let parent = rig.process();
    let (child, monitor) = spawn_at_once(&mut rig, parent, true, false);
    assert_eq!(rig.effects(), [], "nobody need know");
    let unheard = |process: &Process| process.waits_to_be_heard(parent);
    assert!(!rig.shard.live(child.slot).is_some_and(unheard));
    rig.send(parent, child, 7, 2);
    match rig.running.get(&child.slot) {
        Some(Resume::Birth(start)) => {
            assert_eq!((start.pid, start.program), (child, ProgramId([7; 32])), "the parent's own");
            assert_eq!((&*start.entry, start.argument.0.len()), ("child", 3));
        }
        other => panic!("no birth but {other:?}"),
    }
    assert_eq!(rig.receive_tag(child), Some(7));
    rig.effects();
    rig.ran(child, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.effects(), [reclaim_of(child)]);
    let id = monitor.expect("asked for");
    assert_eq!(rig.receive(parent), down(child, id, ExitReason::Normal));
}

#[test]
fn an_unborn_child_ends_as_any_other() {
    let mut rig = Rig::new();
    let (parent, killer) = (rig.process(), rig.process());
    let (child, monitor) = spawn_at_once(&mut rig, parent, true, true);
    rig.call(parent, HostCall::TrapExits { trap: true });
    rig.running.remove(&child.slot).expect("it runs first");
    let (second, _) = spawn_at_once(&mut rig, parent, false, true);
    let mut out = Vec::new();
    let kill = Outcome::Call(HostCall::Kill { target: second });
    rig.running.remove(&killer.slot).expect("it runs");
    rig.shard.step(
        Input::Ran { slot: killer.slot, outcome: kill, used: Duration::ZERO },
        rig.now,
        &mut out,
    );
    rig.note(out);
    assert_eq!(rig.shard.unborn, 0);
    assert_eq!(rig.state(second), "gone");
    assert!(rig.effects().contains(&reclaim_of(second)));
    let linked = |from, reason| Some(HostReply::Received(Received::Exit { from, reason }));
    assert_eq!(rig.receive(parent), linked(second, ExitReason::Killed));
    // Its host found no memory for it.
    rig.running.insert(child.slot, Resume::Start);
    let limit = ExitReason::Limit(craton_abi::Resource::Memory);
    rig.ran(child, Outcome::Exited(limit.clone()));
    assert_eq!(rig.receive(parent), down(child, monitor.expect("asked for"), limit.clone()));
    assert_eq!(rig.receive(parent), linked(child, limit));
}

#[test]
fn a_spawn_at_once_is_bounded_as_any_other() {
    let mut rig = Rig::with_room(3);
    let parent = rig.process();
    let order = |entry, argument| match ask(entry, argument, true) {
        HostCall::Spawn(call) => *call,
        other => panic!("{other:?}"),
    };
    let slot = parent.slot;
    let mut spawn = |mut call, room| rig.shard.spawn_at_once(slot, &mut call, room);
    assert_eq!(spawn(order("", 0), 1), failed(ErrorCode::Invalid));
    assert_eq!(spawn(order("e", ARGUMENT_BYTES_MAX + 1), 1), failed(ErrorCode::TooLong));
    assert_eq!(spawn(order("e", 0), 0), None, "no room for one that is not born");
    assert!(spawn(order("e", 0), 1).is_some());
    assert_eq!(spawn(order("e", 0), 1), None, "one waits to be born");
    assert!(spawn(order("e", 0), 2).is_some());
    assert_eq!(spawn(order("e", 0), 9), None, "the table is full");
    let monitors = rig.shard.live(slot).expect("it lives").mailbox.monitors();
    assert_eq!(monitors, 2, "who has no child watches none");
}

#[test]
fn a_far_child_is_watched_from_its_first_instant() {
    let mut rig = Rig::new();
    let child = away(2, 1);
    for end_first in [true, false] {
        let parent = rig.process();
        let order = order_of(&mut rig, parent, true);
        let id = order.monitor.expect("asked for");
        let told = SignalBody::Down { id, reason: ExitReason::Normal };
        if end_first {
            rig.signal(child, parent, told);
            rig.step(reply(&order, Ok(child)));
            assert_eq!(rig.receive(parent), down(child, id, ExitReason::Normal));
        } else {
            rig.step(reply(&order, Ok(child)));
            assert_eq!(rig.receive(parent), None);
            rig.step(Input::NodeLost { node: child.node, incarnation: child.incarnation });
            assert_eq!(rig.answer(parent), down(child, id, ExitReason::NoConnection));
        }
        assert!(rig.shard.watches.is_empty());
    }
}

#[test]
fn a_spawn_that_fails_leaves_no_monitor() {
    let mut rig = Rig::new();
    let parent = rig.process();
    let order = order_of(&mut rig, parent, true);
    rig.step(reply(&order, Err(ErrorCode::NoConnection)));
    assert_eq!(rig.answer(parent), failed(ErrorCode::NoConnection));
    assert_eq!(rig.shard.live(parent.slot).expect("it lives").mailbox.monitors(), 0);
}

#[test]
fn a_child_that_cannot_start_is_no_child() {
    let mut rig = Rig::new();
    let mut order = rig.order();
    order.monitor = Some(MonitorId::new(6));
    let (request, parent) = (order.request, order.parent);
    let child = rig.starting(order);
    rig.effects();
    rig.signal(away(3, 3), child, SignalBody::Monitor { id: MonitorId::new(7) });
    let result = Err(ErrorCode::NoEntry);
    rig.step(Input::Started { slot: child.slot, result: Err(ErrorCode::NoEntry) });
    let body = SignalBody::Down { id: MonitorId::new(7), reason: ExitReason::NoProcess };
    let told = Signal { trace: TraceId::new(3), ..signal(child, away(3, 3), body) };
    let reply = Effect::SpawnReply { request, parent, result };
    assert_eq!(rig.effects(), [reply, Effect::Signal(told)]);
    assert!(rig.shard.is_empty());
}

#[test]
fn a_full_table_and_bad_orders_are_refused() {
    let mut rig = Rig::with_room(1);
    let parent = rig.process();
    let mut refused = |change: fn(&mut SpawnOrder), error| {
        let mut order = rig.order();
        change(&mut order);
        let (request, parent) = (order.request, order.parent);
        rig.step(Input::Spawn(Box::new(order)));
        let result = Err(error);
        assert_eq!(rig.effects(), [Effect::SpawnReply { request, parent, result }]);
    };
    refused(|_| (), ErrorCode::LimitProcesses);
    refused(|order| order.entry.clear(), ErrorCode::Invalid);
    refused(|order| order.entry = "e".repeat(ENTRY_BYTES_MAX + 1), ErrorCode::Invalid);
    refused(|order| order.argument.0.resize(ARGUMENT_BYTES_MAX + 1, 0), ErrorCode::TooLong);
    assert_eq!(rig.call(parent, ask("", 0, false)), failed(ErrorCode::Invalid));
    let long = ask("main", ARGUMENT_BYTES_MAX + 1, true);
    assert_eq!(rig.call(parent, long), failed(ErrorCode::TooLong));
    rig.ran(parent, Outcome::Exited(ExitReason::Normal));
    rig.process();
}

#[test]
fn a_child_whose_parent_died_first_is_killed() {
    let mut rig = Rig::new();
    for far in [true, false] {
        let parent = rig.process();
        let order = order_of(&mut rig, parent, false);
        let child = if far { away(2, 1) } else { rig.starting(order.clone()) };
        rig.signal(away(3, 1), parent, SignalBody::Kill);
        rig.effects();
        rig.step(reply(&order, Ok(child)));
        if far {
            let [Effect::Signal(kill)] = &rig.effects()[..] else { panic!("nobody is killed") };
            assert_eq!((kill.to, &kill.body), (child, &SignalBody::Kill));
            assert_eq!(kill.app, AppId::new(0));
        } else {
            assert_eq!(rig.state(child), "ending");
        }
    }
}

#[test]
fn a_child_is_killed_whose_parent_dies_before_it_runs_with_the_answer() {
    let mut rig = Rig::new();
    for far in [true, false] {
        let parent = rig.process();
        let order = order_of(&mut rig, parent, false);
        let child = if far { away(2, 1) } else { rig.starting(order.clone()) };
        let mut out = Vec::new();
        rig.shard.step(reply(&order, Ok(child)), rig.now, &mut out);
        assert_eq!(out, [], "it has not heard yet");
        rig.signal(away(3, 1), parent, SignalBody::Kill);
        let kills = |effect: &Effect| matches!(effect, Effect::Signal(s) if s.to == child);
        assert_eq!(rig.effects().iter().any(kills), far);
        assert!(far || rig.state(child) == "ending");
    }
}

#[test]
fn a_child_whose_parents_node_is_lost_before_it_heard_is_killed() {
    let mut rig = Rig::new();
    let (heard, unheard) = (rig.process(), rig.process());
    let order = rig.order();
    let starting = rig.starting(order);
    rig.step(Input::SpawnHeard { child: heard });
    rig.step(Input::NodeLost { node: NodeId::new(9), incarnation: Incarnation::new(89) });
    assert_eq!(rig.state(unheard), "running", "another life of the node");
    rig.step(Input::NodeLost { node: NodeId::new(9), incarnation: Incarnation::new(90) });
    assert_eq!(rig.state(heard), "running");
    assert_eq!(rig.state(unheard), "ending");
    assert_eq!(rig.state(starting), "ending");
}

#[test]
fn an_answer_that_comes_twice_harms_nobody() {
    let mut rig = Rig::new();
    let parent = rig.process();
    let order = order_of(&mut rig, parent, false);
    let child = rig.process();
    rig.step(reply(&order, Ok(child)));
    rig.step(Input::SpawnHeard { child });
    rig.step(reply(&order, Ok(child)));
    rig.ran(parent, Outcome::Exited(ExitReason::Normal));
    rig.step(reply(&order, Ok(child)));
    assert_eq!(rig.state(child), "running");
}

/// Whose time is up waits for none of the many that another spawned in its slice.
#[test]
fn children_of_one_slice_have_their_turns_one_by_one() {
    let mut rig = Rig::with_room(200);
    let (parent, sleeper) = (rig.process(), rig.process());
    let timeout = Some(Duration::from_millis(1));
    rig.call(sleeper, HostCall::Receive { tag: None, timeout, capacity: 1 << 20 });
    for _ in 0..100 {
        spawn_at_once(&mut rig, parent, false, false);
    }
    let next = |rig: &mut Rig| {
        let mut out = Vec::new();
        rig.shard.step(Input::Tick, rig.now, &mut out);
        match out.pop() {
            Some(Effect::Host(HostEffect::Run { slot, .. })) => slot,
            other => panic!("nobody runs: {other:?}"),
        }
    };
    for _ in 0..10 {
        let slot = next(&mut rig);
        assert_ne!(slot, sleeper.slot, "its time is not up");
        let (outcome, used) = (Outcome::Exited(ExitReason::Normal), Duration::from_micros(60));
        rig.shard.step(Input::Ran { slot, outcome, used }, rig.now, &mut Vec::new());
    }
    rig.now += Duration::from_millis(1);
    assert_eq!(next(&mut rig), sleeper.slot);
}
