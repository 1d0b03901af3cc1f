//! Messages within one shard.

use super::*;
use craton_abi::limit::MESSAGE_BYTES_MAX;

#[test]
fn a_message_is_moved_and_taken_in_order() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    for tag in 1..=3 {
        assert_eq!(rig.send(a, b, tag, 10), Some(HostReply::Done));
    }
    let first = rig.receive(b);
    let payload = Payload(vec![0; 10]);
    let expected = Received::Message { from: a, tag: 1, payload };
    assert_eq!(first, Some(HostReply::Received(expected)));
    assert_eq!(rig.call(b, receive(Some(3))).and_then(|reply| tag_of(&reply)), Some(3));
    assert_eq!(rig.receive_tag(b), Some(2));
    assert!(rig.effects.is_empty(), "{:?}", rig.effects);
}

#[test]
fn a_receiver_is_woken_by_what_it_waits_for() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    assert_eq!(rig.call(b, receive(Some(7))), None);
    assert_eq!(rig.state(b), "receiving tag 7");
    rig.send(a, b, 6, 0);
    assert_eq!(rig.answer(b), None);
    rig.send(a, b, 7, 0);
    assert_eq!(rig.answer(b).and_then(|reply| tag_of(&reply)), Some(7));
    assert_eq!(rig.receive_tag(b), Some(6));
    assert_eq!(rig.receive(b), None);
    assert_eq!(rig.state(b), "receiving");
}

/// An item of a channel holds credit that others need while it lies here.
#[test]
fn a_receive_by_tag_takes_items_of_channels() {
    const CHANNEL: u64 = 1 << 62 | 5;
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    assert_eq!(rig.call(b, receive(Some(7))), None);
    rig.send(a, b, CHANNEL, 0);
    assert_eq!(rig.answer(b).and_then(|reply| tag_of(&reply)), Some(CHANNEL));
    for tag in [6, CHANNEL, 7] {
        rig.send(a, b, tag, 0);
    }
    let take =
        |rig: &mut Rig, tag| rig.call(b, receive(Some(tag))).and_then(|reply| tag_of(&reply));
    // Those of the system's protocols may not know what it is.
    rig.send(a, b, 1 << 63, 0);
    assert_eq!(take(&mut rig, 1 << 63), Some(1 << 63));
    assert_eq!(take(&mut rig, 7), Some(CHANNEL));
    assert_eq!(take(&mut rig, 7), Some(7));
    assert_eq!(rig.receive_tag(b), Some(6));
}

#[test]
fn a_receive_times_out_at_its_time() {
    let mut rig = Rig::new();
    let a = rig.process();
    let poll = |timeout| HostCall::Receive { tag: None, timeout: Some(timeout), capacity: 9 };
    assert_eq!(rig.call(a, poll(Duration::ZERO)), failed(ErrorCode::TimedOut));
    assert_eq!(rig.call(a, poll(Duration::from_millis(3))), None);
    assert_eq!(rig.shard.deadline(), Some(rig.now + Duration::from_millis(3)));
    rig.advance(Duration::from_millis(2));
    assert_eq!(rig.answer(a), None);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.answer(a), failed(ErrorCode::TimedOut));
    assert_eq!(rig.shard.deadline(), None);
}

#[test]
fn what_is_longer_than_the_callers_room_stays() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let small = || HostCall::Receive { tag: None, timeout: None, capacity: 9 };
    rig.send(a, b, 1, 10);
    assert_eq!(rig.call(b, small()), Some(HostReply::Longer { bytes: 10 }));
    assert_eq!(rig.receive_tag(b), Some(1));
    assert_eq!(rig.call(b, small()), None);
    rig.send(a, b, 2, 11);
    assert_eq!(rig.answer(b), Some(HostReply::Longer { bytes: 11 }));
    assert_eq!(rig.receive_tag(b), Some(2));
}

#[test]
fn a_full_mailbox_makes_senders_wait_in_order() {
    let mut rig = Rig::new();
    let b = rig.process_with_mailbox(2, 100);
    let senders: Vec<Pid> = (0..3).map(|_| rig.process()).collect();
    rig.send(senders[0], b, 1, 0);
    rig.send(senders[0], b, 2, 0);
    for (index, &sender) in senders.iter().enumerate() {
        assert_eq!(rig.send(sender, b, 3 + index as u64, 0), None);
    }
    assert_eq!(rig.state(senders[1]), alloc::format!("sending to {b}"));
    assert_eq!((rig.waits_for(senders[1]), rig.waits_for(b)), (Some(b), None));
    let tags: Vec<u64> = (0..5).filter_map(|_| rig.receive_tag(b)).collect();
    assert_eq!(tags, [1, 2, 3, 4, 5]);
    for sender in senders {
        assert_eq!(rig.answer(sender), Some(HostReply::Done));
    }
}

#[test]
fn a_small_message_does_not_overtake_a_large_one() {
    let mut rig = Rig::new();
    let b = rig.process_with_mailbox(10, 100);
    let (large, small) = (rig.process(), rig.process());
    rig.send(large, b, 1, 60);
    assert_eq!(rig.send(large, b, 2, 60), None);
    assert_eq!(rig.send(small, b, 3, 1), None, "there is room, but another waits");
    let tags: Vec<u64> = (0..3).filter_map(|_| rig.receive_tag(b)).collect();
    assert_eq!(tags, [1, 2, 3]);
}

/// A receiver with 60 of 100 bytes in its mailbox, a sender that waits a second to send 60 more,
/// and behind it one that waits two seconds to send 40, which would fit.
fn small_behind_large(rig: &mut Rig) -> [Pid; 3] {
    let b = rig.process_with_mailbox(10, 100);
    let (large, small) = (rig.process(), rig.process());
    rig.send(large, b, 1, 60);
    assert_eq!(rig.call(large, send(b, 2, 60, Duration::from_secs(1))), None);
    assert_eq!(rig.call(small, send(b, 3, 40, Duration::from_secs(2))), None);
    [b, large, small]
}

#[test]
fn a_waiting_sender_that_leaves_lets_the_next_in() {
    let mut rig = Rig::new();
    let [_, large, small] = small_behind_large(&mut rig);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.answer(large), failed(ErrorCode::Full));
    assert_eq!(rig.answer(small), Some(HostReply::Done));
}

#[test]
fn a_receiver_by_tag_is_woken_by_a_sender_that_comes_in_late() {
    let mut rig = Rig::new();
    let [b, ..] = small_behind_large(&mut rig);
    assert_eq!(rig.call(b, receive(Some(3))), None);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.answer(b).and_then(|reply| tag_of(&reply)), Some(3));
}

#[test]
fn full_comes_at_once_where_nobody_waits_for_it() {
    let mut rig = Rig::new();
    let b = rig.process_with_mailbox(1, 100);
    let a = rig.process();
    assert_eq!(rig.send(b, b, 1, 0), Some(HostReply::Done));
    assert_eq!(rig.send(b, b, 2, 0), failed(ErrorCode::Full), "to itself");
    assert_eq!(rig.call(a, send(b, 3, 0, Duration::ZERO)), failed(ErrorCode::Full));
    assert_eq!(rig.send(a, b, 4, 101), failed(ErrorCode::Full), "it will never fit");
    assert_eq!(rig.send(a, b, 5, MESSAGE_BYTES_MAX + 1), failed(ErrorCode::TooLong));
    assert_eq!(rig.receive_tag(b), Some(1));
}

#[test]
fn a_dead_process_cannot_be_sent_to() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    rig.ran(b, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.send(a, b, 1, 0), failed(ErrorCode::NoProcess));
    let successor = rig.process();
    assert_eq!(successor.slot.index(), b.slot.index());
    assert_eq!(rig.send(a, b, 1, 0), failed(ErrorCode::NoProcess), "the slot was used again");
    let before = Pid { incarnation: Incarnation::new(10), ..successor };
    assert_eq!(rig.send(a, before, 1, 0), failed(ErrorCode::NoProcess), "another life");
    assert_eq!(rig.receive(successor), None);
}

#[test]
fn waiting_senders_hear_of_the_receivers_end() {
    let mut rig = Rig::new();
    let b = rig.process_with_mailbox(0, 0);
    let a = rig.process();
    assert_eq!(rig.send(a, b, 1, 0), failed(ErrorCode::Full));
    let b = rig.process_with_mailbox(1, 0);
    rig.send(a, b, 1, 0);
    assert_eq!(rig.send(a, b, 2, 0), None);
    rig.ran(b, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.answer(a), failed(ErrorCode::NoProcess));
}

#[test]
fn other_apps_are_out_of_reach() {
    let mut rig = Rig::new();
    let a = rig.process();
    let mut order = rig.order();
    order.app = AppId::new(6);
    let b = rig.process_of(order);
    assert_eq!(rig.send(a, b, 1, 0), failed(ErrorCode::Denied));
    assert_eq!(rig.call(a, HostCall::Monitor { target: b }), failed(ErrorCode::Denied));
    assert_eq!(rig.call(a, HostCall::Kill { target: b }), failed(ErrorCode::Denied));
    rig.signal(away(2, 1), b, SignalBody::Kill);
    assert!(rig.running.contains_key(&b.slot));
    rig.signal(away(2, 1), b, message(1, 3));
    let credit = |effect: &Effect| matches!(effect, Effect::Credit { messages: 1, bytes: 3, .. });
    assert!(rig.effects().iter().any(credit), "its credit comes back");
    rig.signal(away(2, 1), b, SignalBody::Monitor { id: MonitorId::new(8) });
    let effects = rig.effects();
    let body = SignalBody::Down { id: MonitorId::new(8), reason: ExitReason::NoProcess };
    assert_eq!(effects, [Effect::Signal(signal(b, away(2, 1), body))]);
    assert_eq!(rig.receive(b), None);
}

#[test]
fn the_system_may_do_all() {
    let mut rig = Rig::new();
    let a = rig.process();
    let mut order = rig.order();
    order.app = AppId::new(0);
    let system = rig.process_of(order);
    assert_eq!(rig.send(system, a, 1, 0), Some(HostReply::Done));
    assert_eq!(rig.call(system, HostCall::Kill { target: a }), Some(HostReply::Done));
    assert_eq!(rig.send(system, a, 1, 0), failed(ErrorCode::NoProcess));
}
