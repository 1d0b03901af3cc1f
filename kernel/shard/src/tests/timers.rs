//! Timers that processes set: notices at a time.

use super::*;
use craton_abi::limit::TIMERS_PER_PROCESS_MAX;

fn set(rig: &mut Rig, pid: Pid, micros: u64, tag: u64) -> TimerId {
    let after = Duration::from_micros(micros);
    match rig.call(pid, HostCall::SetTimer { after, tag }) {
        Some(HostReply::Timer(id)) => id,
        other => panic!("no timer but {other:?}"),
    }
}

fn cancel(rig: &mut Rig, pid: Pid, id: TimerId) -> Option<HostReply> {
    rig.call(pid, HostCall::CancelTimer { id })
}

fn due(id: TimerId, tag: u64) -> Option<HostReply> {
    Some(HostReply::Received(Received::Timer { id, tag }))
}

fn receive_now(rig: &mut Rig, pid: Pid) -> Option<HostReply> {
    let timeout = Some(Duration::ZERO);
    rig.call(pid, HostCall::Receive { tag: None, timeout, capacity: usize::MAX })
}

#[test]
fn timers_come_in_the_order_in_which_they_are_due_and_among_messages() {
    let mut rig = Rig::new();
    let a = rig.process();
    let (late, early) = (set(&mut rig, a, 500, 1), set(&mut rig, a, 300, 2));
    assert_eq!(rig.shard.deadline(), Some(rig.now + Duration::from_micros(300)));
    rig.send(a, a, 9, 1);
    rig.advance(Duration::from_micros(299));
    assert_eq!(rig.receive_tag(a), Some(9));
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut), "not due");
    assert_eq!(rig.receive(a), None);
    rig.advance(Duration::from_micros(1));
    assert_eq!(rig.answer(a), due(early, 2));
    rig.advance(Duration::from_micros(200));
    rig.send(a, a, 8, 1);
    assert_eq!(rig.call(a, receive(Some(8))), due(late, 1), "as a notice, in any case");
    assert_eq!(rig.shard.deadline(), None);
}

#[test]
fn cancel_says_whether_it_was_due_and_takes_the_notice_back() {
    let mut rig = Rig::new();
    let a = rig.process();
    let (first, second) = (set(&mut rig, a, 10, 1), set(&mut rig, a, 20, 2));
    rig.advance(Duration::from_micros(15));
    assert_eq!(cancel(&mut rig, a, first), Some(HostReply::Flag(false)), "it was due");
    assert_eq!(cancel(&mut rig, a, second), Some(HostReply::Flag(true)));
    assert_eq!(cancel(&mut rig, a, second), Some(HostReply::Flag(false)), "there is none");
    rig.advance(Duration::from_micros(15));
    assert_eq!(receive_now(&mut rig, a), failed(ErrorCode::TimedOut));
}

#[test]
fn one_timer_is_awaited_alone() {
    let mut rig = Rig::new();
    let a = rig.process();
    let (first, second) = (set(&mut rig, a, 10, 1), set(&mut rig, a, 20, 2));
    let call = HostCall::Await { id: second.get(), timeout: None, capacity: 0 };
    assert_eq!(rig.call(a, call), None);
    rig.advance(Duration::from_micros(10));
    assert_eq!(rig.answer(a), None, "the other is not what it waits for");
    rig.advance(Duration::from_micros(10));
    assert_eq!(rig.answer(a), due(second, 2));
    assert_eq!(rig.receive(a), due(first, 1));
}

#[test]
fn timers_are_bounded_and_end_with_their_owner() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let ids: Vec<_> = (0..TIMERS_PER_PROCESS_MAX).map(|n| set(&mut rig, a, n as u64, 1)).collect();
    let another = HostCall::SetTimer { after: Duration::ZERO, tag: 1 };
    assert_eq!(rig.call(a, another.clone()), failed(ErrorCode::LimitTimers));
    assert_eq!(cancel(&mut rig, b, ids[9]), Some(HostReply::Flag(false)), "another's");
    set(&mut rig, b, 70_000, 3);
    assert_eq!(cancel(&mut rig, a, ids[9]), Some(HostReply::Flag(true)));
    let soon = set(&mut rig, a, 0, 4);
    rig.advance(Duration::ZERO);
    assert_eq!(rig.receive(a), due(ids[0], 1));
    assert_eq!(rig.receive(a), due(soon, 4));
    rig.ran(a, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.shard.deadline(), Some(rig.now + Duration::from_micros(70_000)));
    rig.step(Input::End { slot: b.slot, reason: ExitReason::Killed });
    assert_eq!(rig.shard.deadline(), None);
}
