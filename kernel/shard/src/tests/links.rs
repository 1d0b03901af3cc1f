//! Links, near and far: what Erlang/OTP's own tests ask of them.

use super::*;
use crate::link::EXITS_PER_STEP_MAX;
use craton_abi::limit::LINKS_PER_PROCESS_MAX;

fn link(rig: &mut Rig, a: Pid, b: Pid) {
    assert_eq!(rig.call(a, HostCall::Link { target: b }), Some(HostReply::Done));
}

fn unlink(rig: &mut Rig, a: Pid, b: Pid) {
    assert_eq!(rig.call(a, HostCall::Unlink { target: b }), Some(HostReply::Done));
}

fn trap(rig: &mut Rig, pid: Pid) {
    let call = HostCall::TrapExits { trap: true };
    assert_eq!(rig.call(pid, call), Some(HostReply::Flag(false)));
}

/// A process that traps exits.
fn trapper(rig: &mut Rig) -> Pid {
    let pid = rig.process();
    trap(rig, pid);
    pid
}

fn exit(rig: &mut Rig, pid: Pid, reason: ExitReason) {
    rig.ran(pid, Outcome::Exited(reason));
}

fn ended(from: Pid, reason: ExitReason) -> Option<HostReply> {
    Some(HostReply::Received(Received::Exit { from, reason }))
}

/// How a process ended, as the log is told.
fn end_of(rig: &mut Rig, pid: Pid) -> Option<ExitReason> {
    rig.effects().into_iter().find_map(|effect| match effect {
        Effect::Exited { pid: of, reason } if of == pid => Some(reason),
        _ => None,
    })
}

fn signals_to(rig: &mut Rig, to: Pid) -> Vec<SignalBody> {
    let effects = rig.effects().into_iter();
    let signals = effects.filter_map(|effect| match effect {
        Effect::Signal(signal) if signal.to == to => Some(signal.body),
        _ => None,
    });
    signals.collect()
}

fn fault() -> ExitReason {
    ExitReason::Error(vec![1, 2])
}

#[test]
fn who_is_linked_ends_with_the_same_reason_unless_it_is_normal() {
    for (reason, ends) in
        [(fault(), true), (ExitReason::Shutdown, true), (ExitReason::Normal, false)]
    {
        for both_ways in [false, true] {
            let mut rig = Rig::new();
            let (a, b) = (rig.process(), rig.process());
            let (by, with) = if both_ways { (a, b) } else { (b, a) };
            link(&mut rig, by, with);
            exit(&mut rig, a, reason.clone());
            let expected = ends.then(|| reason.clone());
            assert_eq!(end_of(&mut rig, b), expected, "{reason}");
        }
    }
}

#[test]
fn who_traps_exits_is_told_once_of_each_end() {
    let mut rig = Rig::new();
    let a = trapper(&mut rig);
    for reason in [ExitReason::Normal, fault(), ExitReason::Killed] {
        let b = rig.process();
        link(&mut rig, a, b);
        link(&mut rig, b, a);
        link(&mut rig, a, b);
        if reason == ExitReason::Killed {
            rig.call(a, HostCall::Kill { target: b });
        } else {
            exit(&mut rig, b, reason.clone());
        }
        assert_eq!(rig.receive(a), ended(b, reason));
        assert_eq!(rig.call(a, receive_now()), failed(ErrorCode::TimedOut), "one link a pair");
    }
    let call = HostCall::TrapExits { trap: false };
    assert_eq!(rig.call(a, call), Some(HostReply::Flag(true)));
    let b = rig.process();
    link(&mut rig, a, b);
    exit(&mut rig, b, fault());
    assert_eq!(rig.state(a), "ending", "it traps no more");
}

fn receive_now() -> HostCall {
    HostCall::Receive { tag: None, timeout: Some(Duration::ZERO), capacity: usize::MAX }
}

#[test]
fn kill_becomes_killed_along_a_chain_of_any_length() {
    let mut rig = Rig::with_room(3_000);
    let pids: Vec<Pid> = (0..2_000).map(|_| rig.process()).collect();
    for pair in pids.windows(2) {
        link(&mut rig, pair[0], pair[1]);
    }
    let last = trapper(&mut rig);
    link(&mut rig, last, pids[1_999]);
    rig.step(Input::Signal(signal(away(2, 1), pids[0], SignalBody::Kill)));
    assert_eq!(rig.receive(last), ended(pids[1_999], ExitReason::Killed));
    assert!(pids.iter().all(|pid| matches!(&*rig.state(*pid), "ending" | "gone")));
}

#[test]
fn others_run_while_a_thousand_end_together() {
    let mut rig = Rig::with_room(2_000);
    let first = rig.process();
    let pids: Vec<Pid> = (0..1_000).map(|_| rig.process()).collect();
    pids.iter().for_each(|pid| link(&mut rig, first, *pid));
    let other = rig.process();
    let preempted = || {
        let (outcome, used) = (Outcome::Preempted, Duration::from_micros(1));
        Input::Ran { slot: other.slot, outcome, used }
    };
    rig.shard.step(preempted(), rig.now, &mut Vec::new());
    rig.effects();
    let mut input = Input::Signal(signal(away(2, 1), first, SignalBody::Kill));
    let (mut ended, mut others_turns) = (0, 0);
    while ended < 1_001 {
        let mut out = Vec::new();
        rig.shard.step(input, rig.now, &mut out);
        let runs = |effect: &Effect| match effect {
            Effect::Host(HostEffect::Run { slot, .. }) => *slot == other.slot,
            _ => false,
        };
        let exits = out.iter().filter(|effect| matches!(effect, Effect::Exited { .. })).count();
        // The first itself, and those who hear of it.
        assert!(exits <= EXITS_PER_STEP_MAX + 1, "{exits} in one step");
        ended += exits;
        let goes_on = ended == 1_001 || rig.shard.runnable();
        assert!(goes_on, "{ended} ended, and nobody asks for another step");
        let other_runs = out.iter().any(runs);
        others_turns += usize::from(other_runs);
        input = if other_runs { preempted() } else { Input::Tick };
    }
    assert!(others_turns > 50, "{others_turns} turns of another meanwhile");
    assert!(rig.shard.exits.capacity() <= 64, "room is kept for a thousand");
}

#[test]
fn an_unlink_is_the_end_of_ends_that_were_about_to_be_heard() {
    let mut rig = Rig::with_room(100);
    let first = rig.process();
    let pids: Vec<Pid> = (0..2 * EXITS_PER_STEP_MAX).map(|_| rig.process()).collect();
    pids.iter().for_each(|pid| link(&mut rig, first, *pid));
    let kill = Input::Signal(signal(away(2, 1), first, SignalBody::Kill));
    rig.shard.step(kill, rig.now, &mut Vec::new());
    let last = rig.shard.exits.back().expect("more ends than are heard in a step").0;
    let last = *pids.iter().find(|pid| pid.slot == last).expect("one of them");
    // It has the CPU meanwhile.
    rig.ran(last, Outcome::Call(HostCall::Unlink { target: first }));
    assert_eq!(rig.answer(last), Some(HostReply::Done));
    let ended = pids.iter().filter(|pid| matches!(&*rig.state(**pid), "ending" | "gone"));
    assert_eq!(ended.count(), pids.len() - 1, "all but who had unlinked");
}

#[test]
fn a_link_to_nobody_tells_no_process() {
    let mut rig = Rig::new();
    let (a, b, gone) = (trapper(&mut rig), rig.process(), rig.process());
    exit(&mut rig, gone, ExitReason::Normal);
    link(&mut rig, a, gone);
    assert_eq!(rig.receive(a), ended(gone, ExitReason::NoProcess));
    rig.ran(b, Outcome::Call(HostCall::Link { target: gone }));
    assert_eq!(end_of(&mut rig, b), Some(ExitReason::NoProcess), "it does not trap exits");
    // The same for one who asks from afar.
    rig.signal(away(2, 1), gone, SignalBody::Link);
    let refusal = SignalBody::Exit { reason: ExitReason::NoProcess };
    assert_eq!(signals_to(&mut rig, away(2, 1)), [refusal]);
    link(&mut rig, a, a);
    assert_eq!(
        rig.call(a, receive_now()),
        failed(ErrorCode::TimedOut),
        "a link to oneself is none"
    );
}

#[test]
fn another_app_is_not_linked_to() {
    let mut rig = Rig::new();
    let (a, mut order) = (trapper(&mut rig), rig.order());
    order.app = AppId::new(6);
    let stranger = rig.process_of(order);
    assert_eq!(rig.call(a, HostCall::Link { target: stranger }), failed(ErrorCode::Denied));
    let far = away(2, 1);
    rig.effects();
    rig.signal(far, stranger, SignalBody::Link);
    assert_eq!(signals_to(&mut rig, far), [SignalBody::Exit { reason: ExitReason::NoProcess }]);
    exit(&mut rig, a, fault());
    assert_eq!(rig.state(stranger), "running");
}

#[test]
fn after_unlink_returned_the_link_has_no_effect() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    link(&mut rig, a, b);
    unlink(&mut rig, b, a);
    exit(&mut rig, a, fault());
    assert_eq!(rig.state(b), "running");
    unlink(&mut rig, b, a);
}

#[test]
fn a_far_link_is_told_once_and_breaks_once() {
    let mut rig = Rig::new();
    let (a, far) = (trapper(&mut rig), away(2, 1));
    link(&mut rig, a, far);
    link(&mut rig, a, far);
    assert_eq!(signals_to(&mut rig, far), [SignalBody::Link]);
    for _ in 0..2 {
        rig.signal(far, a, SignalBody::Exit { reason: fault() });
    }
    assert_eq!(rig.receive(a), ended(far, fault()));
    assert_eq!(rig.call(a, receive_now()), failed(ErrorCode::TimedOut));
    rig.signal(far, a, SignalBody::Link);
    exit(&mut rig, a, ExitReason::Normal);
    assert_eq!(signals_to(&mut rig, far), [SignalBody::Exit { reason: ExitReason::Normal }]);
}

#[test]
fn an_end_that_crosses_an_unlink_is_not_heard() {
    let mut rig = Rig::new();
    let (a, far) = (rig.process(), away(2, 1));
    link(&mut rig, a, far);
    rig.effects();
    unlink(&mut rig, a, far);
    let [SignalBody::Unlink { id }] = signals_to(&mut rig, far)[..] else { panic!("no unlink") };
    // A link that the other side made before it heard, and then its end.
    rig.signal(far, a, SignalBody::Link);
    rig.signal(far, a, SignalBody::Exit { reason: fault() });
    assert_eq!(rig.state(a), "running");
    // It lives, and is linked to again before it has acknowledged.
    link(&mut rig, a, far);
    unlink(&mut rig, a, far);
    link(&mut rig, a, far);
    rig.signal(far, a, SignalBody::Unlinked { id });
    rig.signal(far, a, SignalBody::Exit { reason: fault() });
    assert_eq!(end_of(&mut rig, a), Some(fault()), "the last link holds");
}

#[test]
fn an_unlink_from_afar_is_acknowledged() {
    let mut rig = Rig::new();
    let (a, far, id) = (rig.process(), away(2, 1), RequestId::new(7));
    rig.signal(far, a, SignalBody::Link);
    rig.effects();
    rig.signal(far, a, SignalBody::Unlink { id });
    assert_eq!(signals_to(&mut rig, far), [SignalBody::Unlinked { id }]);
    exit(&mut rig, a, fault());
    assert_eq!(signals_to(&mut rig, far), [], "there is no link any more");
}

#[test]
fn a_lost_node_ends_its_links_with_no_connection() {
    let mut rig = Rig::new();
    let (a, b, far) = (trapper(&mut rig), rig.process(), away(2, 1));
    link(&mut rig, a, far);
    rig.signal(far, b, SignalBody::Link);
    let (node, incarnation) = (far.node, far.incarnation);
    rig.effects();
    rig.step(Input::NodeLost { node, incarnation });
    assert_eq!(end_of(&mut rig, b), Some(ExitReason::NoConnection));
    assert_eq!(rig.receive(a), ended(far, ExitReason::NoConnection));
    rig.signal(far, a, SignalBody::Exit { reason: fault() });
    assert_eq!(rig.call(a, receive_now()), failed(ErrorCode::TimedOut), "it was told already");
}

#[test]
fn an_end_is_heard_between_the_messages_that_it_came_between() {
    let mut rig = Rig::new();
    let a = trapper(&mut rig);
    for round in 0..1_000 {
        let far = away(2, round);
        rig.signal(far, a, SignalBody::Link);
        rig.signal(far, a, message(1, 0));
        rig.signal(far, a, SignalBody::Exit { reason: fault() });
        rig.signal(away(3, round), a, message(2, 0));
        assert_eq!(rig.receive_tag(a), Some(1));
        assert_eq!(rig.receive(a), ended(far, fault()));
        assert_eq!(rig.receive_tag(a), Some(2));
    }
}

fn spawn_link() -> HostCall {
    HostCall::Spawn(Box::new(SpawnCall {
        place: craton_abi::Place::Here,
        program: None,
        entry: "child".into(),
        argument: Payload::default(),
        monitor: false,
        link: true,
        limits: ProcessLimits::default(),
    }))
}

/// A parent that waits for a child that it is to be linked to.
fn linking_parent(rig: &mut Rig, traps: bool) -> (Pid, SpawnOrder) {
    let parent = if traps { trapper(rig) } else { rig.process() };
    assert_eq!(rig.call(parent, spawn_link()), None);
    match rig.effects().pop() {
        Some(Effect::Place { order, .. }) if order.link => (parent, *order),
        other => panic!("no order but {other:?}"),
    }
}

#[test]
fn a_child_is_linked_from_its_first_instant() {
    for (traps, near) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = Rig::new();
        let (parent, order) = linking_parent(&mut rig, traps);
        let request = order.request;
        // The child ends before the parent has its answer; near, on the parent's own shard.
        let child = if near { rig.process_of(order) } else { away(2, 1) };
        if near {
            exit(&mut rig, child, fault());
        } else {
            rig.signal(child, parent, SignalBody::Exit { reason: fault() });
        }
        assert_eq!(rig.state(parent), "spawning");
        rig.effects();
        rig.step(Input::SpawnReply { request, parent, result: Ok(child) });
        if traps {
            let spawned = HostReply::Spawned { pid: child, monitor: None };
            assert_eq!(rig.answer(parent), Some(spawned));
            assert_eq!(rig.receive(parent), ended(child, fault()));
        } else {
            assert_eq!(end_of(&mut rig, parent), Some(fault()));
        }
    }
}

#[test]
fn a_child_ends_with_its_parent_and_a_failed_spawn_ends_nobody() {
    let mut rig = Rig::new();
    let (parent, order) = linking_parent(&mut rig, false);
    let request = order.request;
    let child = rig.process_of(order);
    rig.step(Input::SpawnReply { request, parent, result: Ok(child) });
    assert!(rig.answer(parent).is_some());
    exit(&mut rig, parent, fault());
    assert_eq!(end_of(&mut rig, child), Some(fault()));
    let (parent, order) = linking_parent(&mut rig, false);
    let request = order.request;
    let child = rig.starting(order);
    let error = ErrorCode::LimitMemory;
    rig.step(Input::Started { slot: child.slot, result: Err(error) });
    rig.step(Input::SpawnReply { request, parent, result: Err(error) });
    assert_eq!(rig.answer(parent), failed(error));
    assert_eq!(rig.state(parent), "running");
}

#[test]
fn links_and_the_notices_of_their_ends_are_bounded() {
    let mut rig = Rig::new();
    let (a, gone) = (trapper(&mut rig), rig.process());
    exit(&mut rig, gone, ExitReason::Normal);
    for index in 0..LINKS_PER_PROCESS_MAX as u32 / 2 {
        link(&mut rig, a, away(2, index));
        link(&mut rig, a, gone);
    }
    let one_more = HostCall::Link { target: away(3, 1) };
    assert_eq!(rig.call(a, one_more.clone()), failed(ErrorCode::LimitLinks));
    assert_eq!(rig.call(a, spawn_link()), failed(ErrorCode::LimitLinks));
    rig.effects();
    rig.signal(away(4, 1), a, SignalBody::Link);
    assert_eq!(signals_to(&mut rig, away(4, 1)), [], "others may link to it");
    for _ in 0..2 {
        assert_eq!(rig.receive(a), ended(gone, ExitReason::NoProcess));
    }
    assert_eq!(rig.call(a, one_more), Some(HostReply::Done));
}
