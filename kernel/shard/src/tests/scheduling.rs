//! Who runs, and when.

use super::random::{Random, Replay, seeds};
use super::*;
use crate::port::{MessageView, ReceiveAtOnce};
use craton_abi::limit::{CPU_SHARE, CPU_SHARE_MAX, WINDOW_MESSAGES};
use craton_abi::run;

/// Runs whoever is next for `used`, and lets it come back with `outcome`.
fn run_next(shard: &mut Shard, used: Duration, outcome: Outcome) -> Option<Slot> {
    let mut out = Vec::new();
    shard.step(Input::Tick, Instant::ZERO, &mut out);
    let runs: Vec<Slot> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Host(HostEffect::Run { slot, .. }) => Some(*slot),
            _ => None,
        })
        .collect();
    assert!(runs.len() <= 1, "a tick runs one process");
    let &slot = runs.first()?;
    shard.step(Input::Ran { slot, outcome, used }, Instant::ZERO, &mut out);
    check(shard);
    Some(slot)
}

/// A shard with `count` runnable processes.
fn shard_with(count: usize) -> (Shard, Vec<Slot>) {
    shard_with_shares(&vec![CPU_SHARE; count])
}

/// A shard with a runnable process of each share.
fn shard_with_shares(shares: &[u32]) -> (Shard, Vec<Slot>) {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    let slots: Vec<Slot> = shares
        .iter()
        .map(|&share| {
            let mut order = rig.order();
            order.limits.cpu_share = share;
            rig.starting(order).slot
        })
        .collect();
    for &slot in &slots {
        rig.shard.step(Input::Started { slot, result: Ok(()) }, rig.now, &mut out);
    }
    (rig.shard, slots)
}

#[test]
fn cpu_time_is_shared_and_not_turns() {
    let (mut shard, slots) = shard_with(2);
    let mut time = [Duration::ZERO; 2];
    for _ in 0..10_000 {
        let mut out = Vec::new();
        shard.step(Input::Tick, Instant::ZERO, &mut out);
        let Some(Effect::Host(HostEffect::Run { slot, .. })) = out.pop() else {
            panic!("nobody runs")
        };
        let which = usize::from(slot == slots[1]);
        // The second computes a whole slice each time, the first a hundredth.
        let used = Duration::from_micros([10, 1_000][which]);
        time[which] = time[which] + used;
        let outcome = Outcome::Preempted;
        shard.step(Input::Ran { slot, outcome, used }, Instant::ZERO, &mut out);
    }
    let [first, second] = time.map(Duration::as_micros);
    assert!(first.abs_diff(second) <= 50 * 1_000, "{first} and {second} µs");
}

/// An operator's console is served at once, however many wait for the CPU and whatever it used.
#[test]
fn what_belongs_to_the_node_runs_before_all_others() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    let mut starting: Vec<Slot> = (0..50)
        .map(|_| {
            let order = rig.order();
            rig.starting(order).slot
        })
        .collect();
    let order = SpawnOrder { program: run::CONSOLE, ..rig.order() };
    let console = rig.starting(order).slot;
    starting.push(console);
    for slot in starting {
        rig.shard.step(Input::Started { slot, result: Ok(()) }, rig.now, &mut out);
    }
    let mut shard = rig.shard;
    for _ in 0..3 {
        assert_eq!(run_next(&mut shard, Duration::from_secs(1), Outcome::Preempted), Some(console));
    }
    let waits = Outcome::Call(HostCall::Receive { tag: None, timeout: None, capacity: 9 });
    assert_eq!(run_next(&mut shard, Duration::ZERO, waits), Some(console));
    assert_ne!(run_next(&mut shard, Duration::ZERO, Outcome::Preempted), Some(console));
}

/// Time per share is the same for all, to within what one run can be off.
#[test]
fn cpu_time_is_divided_as_the_shares_are() {
    const USED_MAX_NANOS: u64 = 2_000_000;
    for seed in seeds(40) {
        let _replay = Replay { test: "cpu_time_is_divided_as_the_shares_are", seed };
        let mut random = Random::new(seed);
        let shares: Vec<u32> = (0..2 + random.below(4))
            .map(|_| *random.pick(&[1, 7, 50, CPU_SHARE, 300, CPU_SHARE_MAX]))
            .collect();
        let (mut shard, slots) = shard_with_shares(&shares);
        let mut time: BTreeMap<Slot, (u32, u64)> =
            slots.into_iter().zip(shares.into_iter().map(|share| (share, 0))).collect();
        for _ in 0..5_000 {
            let used = Duration::from_nanos(500_000 + random.next() % (USED_MAX_NANOS - 500_000));
            let slot = run_next(&mut shard, used, Outcome::Preempted).expect("all compute");
            if let Some((_, nanos)) = time.get_mut(&slot) {
                *nanos += used.as_nanos();
            }
        }
        // As a process of the largest share would have had in the same time.
        let even = |(share, nanos): (u32, u64)| nanos / u64::from(share);
        let least = time.values().map(|it| even(*it)).min().expect("there are some");
        for (share, nanos) in time.values() {
            let ahead = even((*share, *nanos)) - least;
            let run = USED_MAX_NANOS / u64::from(*share);
            // Beside that the cost of each run itself is divided, which nobody is told of.
            assert!(ahead <= 2 * run + least / 100, "{time:?}");
        }
    }
}

#[test]
fn a_share_that_nobody_can_have_is_bounded() {
    let (mut shard, slots) = shard_with_shares(&[0, u32::MAX]);
    let slice = Duration::from_millis(1);
    let turns = (0..4_000).filter_map(|_| run_next(&mut shard, slice, Outcome::Preempted));
    let few = turns.filter(|slot| *slot == slots[0]).count();
    assert!((1..=8).contains(&few), "the one with no share ran {few} times of 4,000");
}

#[test]
fn equals_take_turns_even_if_they_report_no_time() {
    let (mut shard, slots) = shard_with(3);
    let turns: Vec<Slot> = (0..6)
        .filter_map(|_| run_next(&mut shard, Duration::ZERO, Outcome::Call(HostCall::Yield)))
        .collect();
    assert_eq!(turns, [&slots[..], &slots[..]].concat());
}

#[test]
fn a_process_hands_over_to_the_next_unless_something_else_is_to_do() {
    let (mut shard, slots) = shard_with(2);
    let (mut out, used) = (Vec::new(), Duration::ZERO);
    shard.step(Input::Tick, Instant::ZERO, &mut out);
    out.clear();
    let waits =
        HostCall::Receive { tag: None, timeout: Some(Duration::from_millis(1)), capacity: 10 };
    let (mut waits, mut resume) = (Outcome::Call(waits), Resume::Continue);
    let now = Instant::ZERO;
    let over = shard.hand_over(slots[0], &mut waits, used, now, &mut resume, &mut out);
    assert_eq!((over.next, &resume), (Some(slots[1]), &Resume::Start));
    assert!(out.is_empty(), "{out:?}");
    // The first one's time is up: that comes before anybody runs.
    let late = Instant::from_nanos(2_000_000);
    let mut yields = Outcome::Call(HostCall::Yield);
    let over = shard.hand_over(slots[1], &mut yields, used, late, &mut resume, &mut out);
    assert_eq!((over.next, shard.runnable()), (None, true));
    // An end that is news is to be told: nobody runs before that.
    for (reason, is_news) in [(ExitReason::Killed, true), (ExitReason::Normal, false)] {
        let (mut shard, slots) = shard_with(2);
        shard.step(Input::Tick, Instant::ZERO, &mut out);
        out.clear();
        let mut end = Outcome::Exited(reason);
        let over = shard.hand_over(slots[0], &mut end, used, now, &mut resume, &mut out);
        let next = (!is_news).then_some(slots[1]);
        assert_eq!(over, HandedOver { next, reclaim: true });
        assert_eq!((out.len(), shard.len()), (usize::from(is_news), 1), "{out:?}");
        out.clear();
    }
}

#[test]
fn a_message_for_another_shard_leaves_at_once_while_there_is_credit() {
    let (mut shard, slots) = shard_with(1);
    let mut out = Vec::new();
    shard.step(Input::Tick, Instant::ZERO, &mut out);
    out.clear();
    let from = shard.pid(slots[0]);
    let slot = Slot::new(ShardId::new(from.slot.shard().index() as u8 + 1), 5, 1);
    let to = Pid { slot: slot.expect("in range"), ..from };
    let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
    let mut send = |to: &Pid| shard.send_across(slots[0], to, 1, (b"12", &mut make));
    for _ in 0..WINDOW_MESSAGES {
        let letter = send(&to).expect("there is credit");
        assert_eq!((letter.from, letter.to), (slots[0], to.slot));
    }
    // Who has none goes the long way; who is of another node, or of this shard, always does.
    assert_eq!(send(&to), None);
    assert_eq!(send(&away(2, 1)), None);
    assert_eq!(send(&from), None);
}

#[test]
fn a_receiver_that_waits_has_a_message_at_once() {
    let (mut shard, slots) = shard_with(2);
    let (mut out, used, now) = (Vec::new(), Duration::ZERO, Instant::ZERO);
    let mut resume = Resume::Continue;
    shard.step(Input::Tick, now, &mut out);
    out.clear();
    let mut seen = Vec::new();
    let mut sink = |message: MessageView<'_>| {
        seen.push((message.tag, message.bytes.len()));
        // For another of eleven bytes, after the first.
        (seen.len() == 1).then_some(11)
    };
    let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
    let waits = shard.receive_at_once(slots[0], (Some(7), None), 10, &mut sink, &mut out);
    assert_eq!(waits, ReceiveAtOnce::Waits);
    let over = shard.hand_over(slots[0], &mut Outcome::Waiting, used, now, &mut resume, &mut out);
    assert_eq!((over.next, &resume), (Some(slots[1]), &Resume::Start));
    let to = shard.pid(slots[0]);
    // What it does not wait for, and what it has no room for, lies in the mailbox.
    for (tag, len) in [(6, 1), (7, 11), (7, 1)] {
        let message: (&[u8], _) = (&vec![1; len], &mut make as _);
        assert!(shard.send_at_once(slots[1], &to, tag, message, &mut out));
    }
    let waits = shard.receive_at_once(slots[1], (None, None), 10, &mut sink, &mut out);
    assert_eq!(waits, ReceiveAtOnce::Waits);
    let over = shard.hand_over(slots[1], &mut Outcome::Waiting, used, now, &mut resume, &mut out);
    let longer = Resume::Reply(HostReply::Longer { bytes: 11 });
    assert_eq!((over.next, &resume), (Some(slots[0]), &longer));
    for _ in 0..2 {
        let taken = shard.receive_at_once(slots[0], (None, None), 20, &mut sink, &mut out);
        assert_eq!(taken, ReceiveAtOnce::Taken);
    }
    assert_eq!(seen, [(6, 1), (7, 11), (7, 1)]);
    // The other one waits, and has at once what comes.
    let (to, payload) = (shard.pid(slots[1]), Payload(vec![5; 10]));
    assert!(shard.send_at_once(slots[0], &to, 1, (&payload.0, &mut make), &mut out));
    let mut end = Outcome::Call(HostCall::Receive { tag: None, timeout: None, capacity: 10 });
    let over = shard.hand_over(slots[0], &mut end, used, now, &mut resume, &mut out);
    let from = shard.pid(slots[0]);
    let message = HostReply::Received(Received::Message { from, tag: 1, payload });
    assert_eq!((over.next, &resume), (Some(slots[1]), &Resume::Reply(message)));
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn a_new_process_starts_level_with_the_others() {
    let (mut shard, slots) = shard_with(1);
    let slice = Duration::from_millis(1);
    for _ in 0..1_000 {
        run_next(&mut shard, slice, Outcome::Preempted);
    }
    let mut rig = Rig::new();
    let mut out = Vec::new();
    shard.step(Input::Spawn(Box::new(rig.order())), Instant::ZERO, &mut out);
    let Some(Effect::Host(HostEffect::Start(start))) = out.pop() else { panic!("no start") };
    let pid = start.pid;
    shard.step(Input::Started { slot: pid.slot, result: Ok(()) }, Instant::ZERO, &mut out);
    let turns: Vec<Slot> =
        (0..10).filter_map(|_| run_next(&mut shard, slice, Outcome::Preempted)).collect();
    let old = turns.iter().filter(|&&slot| slot == slots[0]).count();
    assert!((4..=6).contains(&old), "the old one ran {old} of 10 times");
}

#[test]
fn a_sleeper_is_served_first_but_saves_nothing_up() {
    let (mut shard, slots) = shard_with(2);
    let wait = Outcome::Call(receive(None));
    let slice = Duration::from_millis(1);
    assert_eq!(run_next(&mut shard, Duration::ZERO, wait), Some(slots[0]));
    for _ in 0..1_000 {
        assert_eq!(run_next(&mut shard, slice, Outcome::Preempted), Some(slots[1]));
    }
    let pid = shard.pid(slots[0]);
    let mut out = Vec::new();
    shard.step(Input::Signal(signal(away(2, 1), pid, message(1, 0))), Instant::ZERO, &mut out);
    assert_eq!(run_next(&mut shard, slice, Outcome::Preempted), Some(slots[0]));
    let turns: Vec<Slot> =
        (0..10).filter_map(|_| run_next(&mut shard, slice, Outcome::Preempted)).collect();
    let slept = turns.iter().filter(|&&slot| slot == slots[0]).count();
    assert!((4..=6).contains(&slept), "it ran {slept} of 10 times");
}

#[test]
fn a_preempted_process_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let pid = rig.process();
    rig.ran(pid, Outcome::Preempted);
    assert_eq!(rig.running.get(&pid.slot), Some(&Resume::Continue));
    let view = rig.shard.processes().next().expect("it lives");
    assert_eq!(view.cpu, Duration::from_micros(1));
    assert_eq!((view.entry, view.program), ("main", ProgramId([7; 32])));
}

#[test]
fn answers_to_no_question_are_ignored() {
    let mut rig = Rig::new();
    let pid = rig.process();
    let stale = Slot::new(ShardId::new(2), 0, 77).expect("in range");
    let foreign = Slot::new(ShardId::new(3), 0, 1).expect("in range");
    rig.call(pid, receive(None));
    for slot in [pid.slot, stale, foreign] {
        rig.step(Input::Ran { slot, outcome: Outcome::Preempted, used: Duration::ZERO });
        rig.step(Input::Started { slot, result: Ok(()) });
    }
    assert_eq!(rig.state(pid), "receiving");
    assert!(rig.effects().iter().all(|effect| matches!(effect, Effect::Log { .. })));
}

#[test]
fn time_does_not_go_back() {
    let mut rig = Rig::new();
    let pid = rig.process();
    rig.advance(Duration::from_secs(10));
    let mut out = Vec::new();
    rig.shard.step(Input::Tick, Instant::ZERO, &mut out);
    let wait = HostCall::Receive {
        tag: None,
        timeout: Some(Duration::from_secs(1)),
        capacity: usize::MAX,
    };
    rig.call(pid, wait);
    assert_eq!(rig.shard.deadline(), Some(rig.now + Duration::from_secs(1)));
}

#[test]
fn processes_killed_before_they_ran_do_not_fill_the_queue() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    for _ in 0..50 {
        let pids: Vec<Pid> = (0..20)
            .map(|_| {
                let order = rig.order();
                rig.starting(order)
            })
            .collect();
        for &Pid { slot, .. } in &pids {
            rig.shard.step(Input::Started { slot, result: Ok(()) }, rig.now, &mut out);
        }
        for pid in pids {
            let kill = signal(away(2, 1), pid, SignalBody::Kill);
            rig.shard.step(Input::Signal(kill), rig.now, &mut out);
            check(&rig.shard);
        }
    }
}
