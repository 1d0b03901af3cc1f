//! Messages between shards and nodes, and the credit that bounds them.

use super::*;
use craton_abi::limit::{MESSAGE_BYTES_MAX, NODE_ROOM_BYTES, WINDOW_BYTES, WINDOW_MESSAGES};

fn signals(rig: &mut Rig) -> usize {
    rig.effects().iter().filter(|effect| matches!(effect, Effect::Signal(_))).count()
}

#[test]
fn a_window_of_messages_leaves_and_the_next_waits() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let far = away(2, 1);
    for tag in 0..u64::from(WINDOW_MESSAGES) {
        assert_eq!(rig.send(a, far, tag, 1), Some(HostReply::Done));
    }
    let expected =
        Effect::Signal(Signal { trace: TraceId::new(3), ..signal(a, far, message(0, 1)) });
    assert_eq!(rig.effects[0], expected);
    assert_eq!(signals(&mut rig), WINDOW_MESSAGES as usize);
    assert_eq!(rig.send(a, far, 98, 1), None);
    assert_eq!(rig.send(b, far, 99, 1), None);
    assert_eq!(signals(&mut rig), 0);
    rig.step(Input::Credit { mailbox: away(2, 2), messages: 9, bytes: 9 });
    assert_eq!(rig.answer(a), None, "credit of another mailbox");
    rig.step(Input::Credit { mailbox: far, messages: 1, bytes: 1 });
    assert_eq!(rig.answer(a), Some(HostReply::Done));
    assert_eq!(rig.answer(b), None);
    assert_eq!(signals(&mut rig), 1);
    rig.step(Input::Credit { mailbox: far, messages: 1, bytes: 1 });
    assert_eq!(rig.answer(b), Some(HostReply::Done));
}

#[test]
fn without_credit_a_sender_waits_only_as_long_as_it_said() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = away(2, 1);
    rig.send(a, far, 0, WINDOW_BYTES as usize);
    assert_eq!(rig.call(a, send(far, 1, 1, Duration::ZERO)), failed(ErrorCode::Full));
    assert_eq!(rig.call(a, send(far, 1, 1, Duration::from_millis(5))), None);
    rig.advance(Duration::from_millis(5));
    assert_eq!(rig.answer(a), failed(ErrorCode::Full));
    rig.step(Input::Credit { mailbox: far, messages: 1, bytes: WINDOW_BYTES });
    assert!(rig.shard.windows.is_empty());
}

#[test]
fn a_sender_waits_for_one_that_has_its_own_slot_on_another_node() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = Pid { slot: a.slot, ..away(2, 1) };
    rig.send(a, far, 0, WINDOW_BYTES as usize);
    assert_eq!(rig.call(a, send(far, 1, 1, Duration::from_millis(5))), None, "it is not itself");
    rig.step(Input::Credit { mailbox: far, messages: 1, bytes: WINDOW_BYTES });
    assert_eq!(rig.answer(a), Some(HostReply::Done));
}

#[test]
fn a_waiter_for_credit_that_leaves_lets_the_next_go() {
    let mut rig = Rig::new();
    let (large, small) = (rig.process(), rig.process());
    let far = away(2, 1);
    rig.send(large, far, 0, 3 * WINDOW_BYTES as usize / 4);
    assert_eq!(rig.call(large, send(far, 1, 1 << 20, Duration::from_secs(1))), None);
    assert_eq!(rig.call(small, send(far, 2, 1, Duration::from_secs(2))), None);
    rig.effects();
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.answer(large), failed(ErrorCode::Full));
    assert_eq!(rig.answer(small), Some(HostReply::Done));
    assert_eq!(signals(&mut rig), 1);
}

#[test]
fn a_process_that_is_not_there_fails_its_waiting_senders() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = away(2, 1);
    rig.send(a, far, 0, WINDOW_BYTES as usize);
    assert_eq!(rig.send(a, far, 1, 1), None);
    rig.step(Input::Gone { pid: far });
    assert_eq!(rig.answer(a), failed(ErrorCode::NoProcess));
    assert!(rig.shard.windows.is_empty());
}

#[test]
fn a_lost_node_fails_its_waiting_senders_and_no_other() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    for (pid, node) in [(a, 2), (b, 3)] {
        rig.send(pid, away(node, 1), 0, WINDOW_BYTES as usize);
        assert_eq!(rig.send(pid, away(node, 1), 1, 1), None);
    }
    rig.step(Input::NodeLost { node: NodeId::new(2), incarnation: Incarnation::new(20) });
    assert_eq!(rig.answer(a), failed(ErrorCode::NoConnection));
    assert_eq!(rig.answer(b), None);
}

#[test]
fn credit_returns_as_messages_are_taken() {
    let mut rig = Rig::new();
    let b = rig.process();
    let far = away(2, 1);
    // It returns once a quarter of the window is owed, and at the end.
    let batch = WINDOW_MESSAGES / 4;
    let count = batch + 2;
    for tag in 0..count {
        rig.signal(far, b, message(tag.into(), 10));
    }
    assert!(rig.effects().is_empty());
    for _ in 0..count {
        assert!(rig.receive_tag(b).is_some());
    }
    let credit = |messages| Effect::Credit {
        to: Source::of(far),
        mailbox: b,
        messages,
        bytes: 10 * messages,
    };
    assert_eq!(rig.effects(), [credit(batch), credit(2)]);
}

#[test]
fn a_sender_without_credit_is_cut_off_at_its_window() {
    let mut rig = Rig::new();
    let b = rig.process();
    for tag in 0..1_000 {
        rig.signal(away(2, 1), b, message(tag, 10));
    }
    let view = rig.shard.processes().next().expect("it lives");
    assert_eq!(view.mailbox_messages, WINDOW_MESSAGES);
    let logs = rig.effects();
    assert!(logs.iter().all(|effect| matches!(effect, Effect::Log { .. })));
    assert_eq!(logs.len(), 10, "the rest is refused, told at each doubling");
    rig.signal(away(3, 1), b, message(1, craton_abi::limit::MESSAGE_BYTES_MAX + 1));
    let view = rig.shard.processes().next().expect("it lives");
    assert_eq!(view.mailbox_messages, WINDOW_MESSAGES, "no message is longer than the longest");
}

#[test]
fn a_dead_mailbox_says_so() {
    let mut rig = Rig::new();
    let b = rig.process();
    let far = away(2, 1);
    rig.signal(far, b, message(1, 10));
    let gone = |pid| Effect::Gone { to: Source::of(far), pid };
    rig.ran(b, Outcome::Exited(ExitReason::Normal));
    assert!(rig.effects().contains(&gone(b)), "who counted on its credit is told");
    rig.signal(far, b, message(2, 10));
    assert_eq!(rig.effects(), [gone(b)]);
    let before = Pid { incarnation: Incarnation::new(10), ..b };
    rig.signal(far, before, message(2, 10));
    assert_eq!(rig.effects(), [gone(before)], "a process of another life");
}

#[test]
fn messages_from_before_a_loss_give_no_credit_after_it() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = away(2, 1);
    for tag in 0..4 {
        rig.signal(far, a, message(tag, 1));
    }
    // The session is lost and another begins; both nodes live on, and both count anew.
    rig.step(Input::NodeLost { node: far.node, incarnation: far.incarnation });
    for tag in 4..u64::from(WINDOW_MESSAGES) + 4 {
        rig.signal(far, a, message(tag, 1));
    }
    rig.effects();
    for tag in 0..4 {
        assert_eq!(rig.receive_tag(a), Some(tag));
    }
    let credit = rig.effects().iter().any(|effect| matches!(effect, Effect::Credit { .. }));
    assert!(!credit, "the sender would send more than the mailbox takes from it");
}

/// Uses up the room for node 2 by messages to mailboxes 1, 2, … of it.
fn use_up_room(rig: &mut Rig, sender: Pid) -> u32 {
    let count = (NODE_ROOM_BYTES / MESSAGE_BYTES_MAX) as u32;
    for index in 1..=count {
        assert_eq!(rig.send(sender, away(2, index), 0, MESSAGE_BYTES_MAX), Some(HostReply::Done));
    }
    let asked = |effect: &&Effect| **effect == Effect::WantRoom { node: away(2, 0).node };
    assert_eq!(rig.effects().iter().filter(asked).count(), 1);
    count
}

#[test]
fn who_sends_to_many_mailboxes_of_a_node_waits_for_room_there() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let count = use_up_room(&mut rig, a);
    assert_eq!(rig.send(a, away(2, count + 1), 7, 1), None);
    assert_eq!(rig.send(b, away(3, 1), 8, 1), Some(HostReply::Done), "another node is free");
    assert_eq!(rig.call(b, send(away(2, 99), 9, 1, Duration::ZERO)), failed(ErrorCode::Full));
    rig.effects();
    rig.step(Input::Room { node: away(2, 0).node });
    assert_eq!(rig.answer(a), Some(HostReply::Done));
    assert_eq!(signals(&mut rig), 1);
    assert_eq!(rig.send(b, away(2, 99), 9, 1), Some(HostReply::Done));
}

#[test]
fn waiting_for_room_ends_with_its_time_or_with_the_node() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let far = away(2, use_up_room(&mut rig, a) + 1);
    assert_eq!(rig.call(a, send(far, 1, 1, Duration::from_millis(5))), None);
    assert_eq!(rig.call(b, send(far, 1, 1, Duration::from_secs(5))), None);
    rig.advance(Duration::from_millis(5));
    assert_eq!(rig.answer(a), failed(ErrorCode::Full));
    assert_eq!(rig.answer(b), None);
    rig.step(Input::NodeLost { node: far.node, incarnation: far.incarnation });
    assert_eq!(rig.answer(b), failed(ErrorCode::NoConnection));
    assert_eq!(rig.shard.windows.waiting(), 0);
}
