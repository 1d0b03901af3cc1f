//! Requests and answers, near and far: message, monitor and reply slot in one.

use super::*;
use craton_abi::limit::{MESSAGE_BYTES_MAX, NODE_ROOM_BYTES, REQUESTS_PER_PROCESS_MAX};

fn request(to: Pid, tag: u64) -> HostCall {
    let timeout = Duration::from_secs(5);
    HostCall::Request { to, tag, payload: Payload(vec![tag as u8]), timeout }
}

fn ask(rig: &mut Rig, asker: Pid, to: Pid, tag: u64) -> MonitorId {
    match rig.call(asker, request(to, tag)) {
        Some(HostReply::Monitoring(id)) => id,
        other => panic!("no request but {other:?}"),
    }
}

fn answer(to: Pid, id: MonitorId, len: usize) -> HostCall {
    HostCall::Answer { to, id, payload: Payload(vec![7; len]) }
}

fn answered(from: Pid, id: MonitorId, len: usize) -> Option<HostReply> {
    let payload = Payload(vec![7; len]);
    Some(HostReply::Received(Received::Answer { from, id, payload }))
}

fn asked(from: Pid, id: MonitorId, tag: u64) -> Option<HostReply> {
    let payload = Payload(vec![tag as u8]);
    Some(HostReply::Received(Received::Request { from, tag, payload, id }))
}

fn await_news(id: MonitorId) -> HostCall {
    HostCall::Await { id: id.get(), timeout: None, capacity: usize::MAX }
}

fn receive_now(rig: &mut Rig, pid: Pid) -> Option<HostReply> {
    let timeout = Some(Duration::ZERO);
    rig.call(pid, HostCall::Receive { tag: None, timeout, capacity: usize::MAX })
}

fn signals(rig: &mut Rig) -> Vec<(Pid, SignalBody)> {
    let effects = rig.effects().into_iter();
    let signals = effects.filter_map(|effect| match effect {
        Effect::Signal(signal) => Some((signal.to, signal.body)),
        _ => None,
    });
    signals.collect()
}

#[test]
fn an_answer_is_awaited_alone_and_all_else_stays() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let id = ask(&mut rig, a, b, 3);
    rig.send(b, a, 9, 1);
    assert_eq!(rig.call(a, await_news(id)), None, "the message is not what it waits for");
    assert_eq!(rig.state(a), alloc::format!("awaiting {b}"));
    assert_eq!(rig.waits_for(a), Some(b));
    assert_eq!(rig.receive(b), asked(a, id, 3));
    assert_eq!(rig.call(b, answer(a, id, 5)), Some(HostReply::Done));
    assert_eq!(rig.answer(a), answered(b, id, 5));
    assert_eq!(rig.receive_tag(a), Some(9));
    // Nobody waits for a second answer, nor is told of the end of who was asked.
    assert_eq!(rig.call(b, answer(a, id, 5)), Some(HostReply::Done));
    rig.ran(b, Outcome::Exited(ExitReason::Normal));
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut));
    assert_eq!(rig.call(a, await_news(id)), failed(ErrorCode::Invalid), "it would wait for ever");
}

#[test]
fn the_end_of_the_asked_answers_for_it() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let (first, second) = (ask(&mut rig, a, b, 1), ask(&mut rig, a, b, 2));
    assert_eq!(rig.receive(b), asked(a, first, 1));
    assert_eq!(rig.call(b, answer(a, first, 0)), Some(HostReply::Done));
    rig.ran(b, Outcome::Exited(ExitReason::Shutdown));
    assert_eq!(rig.call(a, await_news(second)), down(b, second, ExitReason::Shutdown));
    assert_eq!(rig.receive(a), answered(b, first, 0));
    assert_eq!(rig.call(a, request(b, 3)), failed(ErrorCode::NoProcess));
    assert_eq!(rig.shard.live(a.slot).map(|process| process.mailbox.monitors()), Some(0));
}

#[test]
fn what_is_taken_back_is_not_answered() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let (early, late) = (ask(&mut rig, a, b, 1), ask(&mut rig, a, b, 2));
    assert_eq!(rig.call(a, HostCall::Demonitor { id: early }), Some(HostReply::Flag(false)));
    rig.call(b, answer(a, early, 1));
    rig.call(b, answer(a, late, 1));
    assert_eq!(rig.call(a, HostCall::Demonitor { id: late }), Some(HostReply::Flag(true)));
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut));
    let amount = rig.shard.live(a.slot).map(|process| process.mailbox.amount().bytes);
    assert_eq!(amount, Some(0));
    assert!(rig.shard.live(b.slot).is_some_and(|process| process.watchers.is_empty()));
}

#[test]
fn a_plain_monitor_is_not_answered() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let id = rig.monitor(a, b);
    rig.call(b, answer(a, id, 1));
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut));
}

#[test]
fn a_request_that_is_handed_on_is_answered_by_another() {
    let mut rig = Rig::new();
    let (a, b, c) = (rig.process(), rig.process(), rig.process());
    let id = ask(&mut rig, a, b, 1);
    assert_eq!(rig.call(c, answer(a, id, 2)), Some(HostReply::Done));
    assert_eq!(rig.receive(a), answered(c, id, 2));
    assert!(rig.shard.live(b.slot).is_some_and(|process| process.watchers.is_empty()));
    // The same where the asked is elsewhere: it is told that nobody watches.
    let far = away(2, 1);
    let id = ask(&mut rig, a, far, 1);
    rig.effects();
    rig.call(c, answer(a, id, 2));
    assert_eq!(signals(&mut rig), [(far, SignalBody::Demonitor { id })]);
    assert!(rig.shard.watches.is_empty());
}

#[test]
fn requests_are_bounded_and_free_again_when_answered() {
    let mut rig = Rig::new();
    let mut order = rig.order();
    order.limits.mailbox_messages = 2 * REQUESTS_PER_PROCESS_MAX as u32;
    let (a, b) = (rig.process(), rig.process_of(order));
    let ids: Vec<_> = (0..REQUESTS_PER_PROCESS_MAX).map(|_| ask(&mut rig, a, b, 1)).collect();
    assert_eq!(rig.call(a, request(b, 1)), failed(ErrorCode::LimitRequests));
    rig.monitor(a, b);
    rig.call(b, answer(a, ids[5], 1));
    assert_eq!(rig.call(a, request(b, 1)), failed(ErrorCode::LimitRequests), "not received yet");
    assert_eq!(rig.receive(a), answered(b, ids[5], 1));
    ask(&mut rig, a, b, 1);
}

#[test]
fn a_request_that_finds_no_room_is_none() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process_with_mailbox(1, 100));
    rig.send(a, b, 1, 1);
    assert_eq!(rig.call(a, request(b, 2)), None);
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.answer(a), failed(ErrorCode::Full));
    let held = |rig: &Rig| rig.shard.live(a.slot).map(|process| process.mailbox.monitors());
    assert_eq!(held(&rig), Some(0));
    assert_eq!(rig.call(a, request(b, 2)), None);
    rig.step(Input::End { slot: b.slot, reason: ExitReason::Killed });
    assert_eq!(rig.answer(a), failed(ErrorCode::NoProcess));
    assert_eq!(held(&rig), Some(0));
}

#[test]
fn a_request_that_waited_for_room_is_one() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process_with_mailbox(1, 100));
    rig.send(a, b, 1, 1);
    assert_eq!(rig.call(a, request(b, 2)), None);
    assert_eq!(rig.receive_tag(b), Some(1));
    let Some(HostReply::Monitoring(id)) = rig.answer(a) else { panic!("it was sent") };
    rig.ran(b, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.call(a, await_news(id)), down(b, id, ExitReason::Normal));
}

#[test]
fn between_shards_it_is_one_signal_each_way() {
    let mut rig = Rig::new();
    let (a, far) = (rig.process(), away(2, 1));
    let id = ask(&mut rig, a, far, 4);
    let payload = Payload(vec![4]);
    assert_eq!(signals(&mut rig), [(far, SignalBody::Request { id, tag: 4, payload })]);
    rig.signal(far, a, SignalBody::Answer { id, payload: Payload(vec![7; 3]) });
    assert_eq!(rig.receive(a), answered(far, id, 3));
    assert!(rig.shard.watches.is_empty());
    // And the other way round.
    let id = MonitorId::new(99);
    rig.signal(far, a, SignalBody::Request { id, tag: 5, payload: Payload(vec![5]) });
    assert_eq!(rig.receive(a), asked(far, id, 5));
    rig.effects();
    assert_eq!(rig.call(a, answer(far, id, 1)), Some(HostReply::Done));
    let payload = Payload(vec![7]);
    assert_eq!(signals(&mut rig), [(far, SignalBody::Answer { id, payload })]);
    rig.ran(a, Outcome::Exited(ExitReason::Normal));
    assert_eq!(signals(&mut rig), [], "who was answered is not told of the end");
}

#[test]
fn a_lost_node_and_an_absent_process_are_told_to_who_asked_there() {
    let mut rig = Rig::new();
    let (a, far) = (rig.process(), away(2, 1));
    let id = ask(&mut rig, a, far, 1);
    let Pid { node, incarnation, .. } = far;
    rig.step(Input::NodeLost { node, incarnation });
    assert_eq!(rig.receive(a), down(far, id, ExitReason::NoConnection));
    rig.effects();
    // Who asks here for nobody hears of both: its credit, and the end of its request.
    let nobody = Pid { slot: Slot::new(ShardId::new(2), 77, 1).expect("in range"), ..a };
    rig.signal(far, nobody, SignalBody::Request { id, tag: 1, payload: Payload(vec![]) });
    let down = SignalBody::Down { id, reason: ExitReason::NoProcess };
    assert_eq!(
        rig.effects(),
        [
            Effect::Gone { to: Source::of(far), pid: nobody },
            Effect::Signal(Signal {
                from: nobody,
                trace: TraceId::default(),
                ..signal(a, far, down)
            })
        ]
    );
}

#[test]
fn another_app_is_neither_asked_nor_answered() {
    let mut rig = Rig::new();
    let mut order = rig.order();
    order.app = AppId::new(6);
    let (a, stranger, far) = (rig.process(), rig.process_of(order), away(2, 1));
    assert_eq!(rig.call(a, request(stranger, 1)), failed(ErrorCode::Denied));
    let id = ask(&mut rig, a, far, 1);
    assert_eq!(rig.call(stranger, answer(a, id, 1)), failed(ErrorCode::Denied));
    let body = SignalBody::Answer { id, payload: Payload(vec![]) };
    rig.step(Input::Signal(Signal { app: AppId::new(6), ..signal(far, a, body) }));
    let long = SignalBody::Answer { id, payload: Payload(vec![0; MESSAGE_BYTES_MAX + 1]) };
    rig.signal(far, a, long);
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut));
}

#[test]
fn answers_for_another_node_wait_while_too_much_is_under_way() {
    let mut rig = Rig::new();
    let (a, b, far) = (rig.process(), rig.process(), away(2, 1));
    let id = MonitorId::new(5);
    let full = NODE_ROOM_BYTES / MESSAGE_BYTES_MAX;
    for _ in 0..full {
        assert_eq!(rig.call(a, answer(far, id, MESSAGE_BYTES_MAX)), Some(HostReply::Done));
    }
    assert!(rig.effects().contains(&Effect::WantRoom { node: far.node }));
    assert_eq!(rig.call(a, answer(far, id, 1)), None);
    assert_eq!(rig.call(b, answer(far, id, 2)), None);
    assert!(rig.state(a).starts_with("answering "));
    rig.step(Input::End { slot: a.slot, reason: ExitReason::Killed });
    rig.effects();
    rig.step(Input::Room { node: far.node });
    assert_eq!(rig.answer(b), Some(HostReply::Done));
    let payload = Payload(vec![7; 2]);
    assert_eq!(signals(&mut rig), [(far, SignalBody::Answer { id, payload })]);
}

#[test]
fn who_asks_itself_may_answer_itself() {
    let mut rig = Rig::new();
    let a = rig.process();
    let id = ask(&mut rig, a, a, 1);
    assert_eq!(rig.receive(a), asked(a, id, 1));
    assert_eq!(rig.call(a, answer(a, id, 1)), Some(HostReply::Done));
    assert_eq!(rig.receive(a), answered(a, id, 1));
}
