//! The mailbox's rules, one test each.

use super::*;
use alloc::string::String;
use alloc::vec;
use craton_abi::limit::{MONITORS_PER_PROCESS_MAX, WINDOW_MESSAGES};
use craton_abi::{Payload, Resource, ShardId, Slot, TrapKind};

fn pid(node: u64, index: u32) -> Pid {
    let slot = Slot::new(ShardId::new(1), index, 7).expect("in range");
    Pid { node: NodeId::new(node), incarnation: Incarnation::new(9), slot }
}

fn message(from: Pid, tag: u64, len: usize) -> Message {
    Message { from, tag, payload: Payload(vec![tag as u8; len]), request: None }
}

fn notice(from: Pid, id: u64) -> Notice {
    Notice { from, id: MonitorId::new(id), reason: ExitReason::Normal }
}

fn mailbox(messages: u32, bytes: u32) -> Mailbox {
    let limits = ProcessLimits {
        mailbox_messages: messages,
        mailbox_bytes: bytes,
        ..ProcessLimits::default()
    };
    Mailbox::new(&limits)
}

/// Tag of the next message, or number of the next notice with a minus; ends of links stand below.
fn take(mailbox: &mut Mailbox, tag: Option<u64>) -> Option<i64> {
    let found = mailbox.find(tag)?;
    Some(match mailbox.take(found)? {
        Taken::Local(message) | Taken::Credited(message, _) => message.tag as i64,
        Taken::Notice(notice) => -(notice.id.get() as i64),
        Taken::Exit(from, _) => -1_000 - from.slot.index() as i64,
        Taken::Answer(_) | Taken::Timeout(_) => i64::MIN,
    })
}

#[test]
fn both_bounds_hold_for_the_own_shard() {
    let mut mailbox = mailbox(2, 100);
    assert_eq!(mailbox.admits(Amount::of_message(101)), Err(Refused::TooLarge));
    mailbox.push_local(message(pid(1, 1), 1, 60));
    assert_eq!(mailbox.admits(Amount::of_message(41)), Err(Refused::Full));
    assert_eq!(mailbox.admits(Amount::of_message(40)), Ok(()));
    mailbox.push_local(message(pid(1, 1), 2, 0));
    assert_eq!(mailbox.admits(Amount::of_message(0)), Err(Refused::Full));
    assert_eq!(take(&mut mailbox, None), Some(1));
    assert_eq!(mailbox.admits(Amount::of_message(100)), Ok(()));
    assert_eq!(mailbox.amount(), Amount { messages: 1, bytes: 0 });
}

#[test]
fn messages_from_elsewhere_come_on_top_within_their_window() {
    let mut mailbox = mailbox(1, 10);
    mailbox.push_local(message(pid(1, 1), 1, 10));
    for _ in 0..WINDOW_MESSAGES {
        assert_eq!(mailbox.push_credited(message(pid(2, 1), 2, 5)), Ok(()));
    }
    assert_eq!(mailbox.push_credited(message(pid(2, 2), 2, 5)), Err(Overdrawn), "same shard");
    assert_eq!(mailbox.push_credited(message(pid(3, 1), 3, 5)), Ok(()));
    assert_eq!(mailbox.amount().messages, 1 + WINDOW_MESSAGES + 1);
    assert_eq!(take(&mut mailbox, None), Some(1));
    assert_eq!(mailbox.admits(Amount::of_message(10)), Ok(()), "they take no local room");
}

#[test]
fn arrival_decides_between_messages_and_notices() {
    let mut mailbox = mailbox(9, 99);
    let target = pid(2, 1);
    for id in 1..=2 {
        mailbox.monitor(MonitorId::new(id), Some(target)).expect("room");
    }
    mailbox.push_local(message(pid(1, 1), 10, 0));
    mailbox.push_local(message(pid(1, 1), 11, 0));
    assert!(mailbox.notify(notice(target, 1)));
    mailbox.push_local(message(pid(1, 1), 12, 0));
    assert!(mailbox.notify(notice(target, 2)));
    assert_eq!(take(&mut mailbox, Some(11)), Some(11), "before the notice");
    assert_eq!(take(&mut mailbox, Some(12)), Some(-1), "a notice comes in any case");
    assert_eq!(take(&mut mailbox, Some(12)), Some(12));
    assert_eq!(take(&mut mailbox, None), Some(10));
    assert_eq!(take(&mut mailbox, Some(99)), Some(-2));
    assert_eq!(take(&mut mailbox, None), None);
    assert_eq!(mailbox.monitors(), 0);
}

#[test]
fn a_monitor_fires_once_and_for_its_target_only() {
    let mut mailbox = mailbox(9, 99);
    mailbox.monitor(MonitorId::new(1), Some(pid(2, 1))).expect("room");
    assert!(!mailbox.notify(notice(pid(2, 2), 1)), "another process");
    assert!(!mailbox.notify(notice(pid(2, 1), 2)), "another monitor");
    assert!(mailbox.notify(notice(pid(2, 1), 1)));
    assert!(!mailbox.notify(notice(pid(2, 1), 1)), "twice");
    assert_eq!(take(&mut mailbox, None), Some(-1));
    assert!(!mailbox.notify(notice(pid(2, 1), 1)), "after it was received");
    assert_eq!(take(&mut mailbox, None), None);
}

#[test]
fn demonitor_says_whether_a_notice_was_queued() {
    let mut mailbox = mailbox(9, 99);
    let target = pid(2, 1);
    for id in 1..=3 {
        mailbox.monitor(MonitorId::new(id), Some(target)).expect("room");
    }
    mailbox.monitor(MonitorId::new(4), None).expect("room");
    assert!(mailbox.notify(notice(target, 2)));
    assert!(mailbox.notify(notice(target, 3)));
    assert_eq!(mailbox.demonitor(MonitorId::new(1)), Released::Watching(target));
    assert_eq!(mailbox.demonitor(MonitorId::new(2)), Released::Notice);
    assert_eq!(mailbox.demonitor(MonitorId::new(2)), Released::Unknown);
    assert_eq!(mailbox.demonitor(MonitorId::new(4)), Released::Unbound);
    assert_eq!(take(&mut mailbox, None), Some(-3));
    assert_eq!(mailbox.demonitor(MonitorId::new(3)), Released::Unknown, "received");
    assert_eq!(take(&mut mailbox, None), None);
}

#[test]
fn a_spawned_monitor_is_bound_or_fires_before() {
    let mut mailbox = mailbox(9, 99);
    mailbox.monitor(MonitorId::new(1), None).expect("room");
    mailbox.monitor(MonitorId::new(2), None).expect("room");
    assert!(mailbox.bind(MonitorId::new(1), pid(2, 1)));
    assert!(!mailbox.notify(notice(pid(2, 2), 1)));
    assert!(mailbox.notify(notice(pid(2, 3), 2)), "the end came before the answer");
    assert!(!mailbox.bind(MonitorId::new(2), pid(2, 3)));
    assert!(!mailbox.bind(MonitorId::new(3), pid(2, 3)));
    let Closed { watched, .. } = mailbox.close();
    assert_eq!(watched, [(MonitorId::new(1), pid(2, 1))]);
}

#[test]
fn a_queued_notice_still_counts_as_a_monitor() {
    let mut mailbox = mailbox(9, 99);
    for id in 0..MONITORS_PER_PROCESS_MAX as u64 {
        mailbox.monitor(MonitorId::new(id), Some(pid(2, 1))).expect("room");
    }
    assert!(mailbox.notify(notice(pid(2, 1), 0)));
    let another = MonitorId::new(u64::MAX);
    assert_eq!(mailbox.monitor(another, None), Err(TooManyMonitors));
    assert_eq!(take(&mut mailbox, None), Some(0));
    assert_eq!(mailbox.monitor(another, None), Ok(()));
}

#[test]
fn a_closed_mailbox_names_who_counts_on_credit() {
    let mut mailbox = mailbox(9, 99);
    for node in 2..=4 {
        mailbox.push_credited(message(pid(node, 1), node, 5)).expect("credit");
    }
    assert_eq!(take(&mut mailbox, Some(3)), Some(3));
    mailbox.forget_node(NodeId::new(4), Incarnation::new(9));
    let Closed { sources, .. } = mailbox.close();
    assert_eq!(sources, [Source::of(pid(2, 1))]);
}

#[test]
fn a_reasons_length_is_that_of_its_bytes() {
    for reason in [
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::Killed,
        ExitReason::Trap(TrapKind::Other, String::from("été")),
        ExitReason::Limit(Resource::Memory),
        ExitReason::Error(vec![1, 2, 3]),
        ExitReason::NoProcess,
        ExitReason::NoConnection,
    ] {
        assert_eq!(reason_bytes(&reason), reason.to_bytes().len(), "{reason:?}");
    }
}

#[test]
fn ends_of_links_stand_in_order_among_messages_and_notices() {
    let mut mailbox = mailbox(10, 1_000);
    mailbox.monitor(MonitorId::new(5), Some(pid(1, 1))).expect("room");
    mailbox.exited(pid(1, 7), ExitReason::Normal);
    mailbox.push_local(message(pid(1, 1), 1, 0));
    assert!(mailbox.notify(notice(pid(1, 1), 5)));
    mailbox.exited(pid(1, 8), ExitReason::Killed);
    assert_eq!(mailbox.exits(), 2);
    assert_eq!(take(&mut mailbox, Some(9)), Some(-1_007), "they come whatever the tag");
    assert_eq!(take(&mut mailbox, Some(9)), Some(-5));
    assert_eq!(take(&mut mailbox, None), Some(1));
    assert_eq!(take(&mut mailbox, None), Some(-1_008));
    assert_eq!((take(&mut mailbox, None), mailbox.exits()), (None, 0));
}
