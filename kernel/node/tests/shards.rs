//! One node of several CPUs, whose mail comes in any order that is allowed.

#[allow(dead_code)] // Each of the tests uses its part of the world.
mod world;

use craton_abi::{
    Duration, ExitReason, Incarnation, MonitorId, Pid, Place, RequestId, Resource, ShardId, Slot,
    SocketCall, SocketEvent, SocketId, SocketNote, SocketOrder, SocketReply,
};
use craton_node::NodeInput;
use craton_session::Role;
use craton_shard::port::{HostCall, HostReply, Outcome, Received, Resume, SpawnCall};
use craton_wire::{Answer, Body, ProcessInfo, Question};
use std::collections::BTreeMap;
use world::scripts::{call, end_of_run, receive, send, spawn, start, told};
use world::{Script, World, guest_secret};

const SHARDS: u8 = 4;
const SEEDS: u64 = 60;

const PEERS: usize = 6;
const TAG_PEERS: u64 = 1;
const TAG_NUMBER: u64 = 2;
const TAG_BYE: u64 = 3;
/// Messages of each peer to each other.
const NUMBERS: u8 = 8;

fn spawn_linked(entry: &str) -> Outcome {
    match spawn(Place::Here, entry, &[]) {
        Outcome::Call(HostCall::Spawn(asked)) => {
            let asked = SpawnCall { monitor: false, link: true, ..*asked };
            call(HostCall::Spawn(Box::new(asked)))
        }
        other => other,
    }
}

fn listing(world: &mut World, guest: usize) -> Vec<ProcessInfo> {
    world.say(guest, Body::Ask { request: RequestId::new(78), question: Question::Processes });
    let list = world.guests[guest].heard.iter().rev().find_map(|body| match body {
        Body::Answer { answer: Answer::Processes(list), .. } => Some(list.clone()),
        _ => None,
    });
    list.expect("the operator was answered")
}

// --- order, monitors, ends ---

/// Tells its peers of one another, and looks that each says goodbye before it is gone.
fn talkers(me: Pid, entry: &str, argument: &[u8]) -> Script {
    if entry == "peer" {
        return talking_peer(me, argument);
    }
    let (mut peers, mut introduced, mut left) = (Vec::new(), 0, BTreeMap::new());
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Spawned { pid, .. }) => peers.push(pid),
            Resume::Reply(HostReply::Received(Received::Message {
                from, tag: TAG_BYE, ..
            })) => {
                left.insert(from, "said goodbye");
            }
            Resume::Reply(HostReply::Received(Received::Down { from, reason, .. })) => {
                if reason != ExitReason::Normal {
                    return told(format!("{from} ended: {reason}"));
                }
                if left.insert(from, "is gone") != Some("said goodbye") {
                    return told(format!("{from} was gone before its goodbye"));
                }
            }
            Resume::Reply(HostReply::Failed(error)) => return told(format!("main: {error}")),
            _ => {}
        }
        if peers.len() < PEERS {
            return spawn(Place::Here, "peer", &me.to_bytes());
        }
        if let Some(peer) = peers.get(introduced) {
            introduced += 1;
            let all: Vec<u8> = peers.iter().flat_map(|pid| pid.to_bytes()).collect();
            return send(*peer, TAG_PEERS, &all);
        }
        match left.values().filter(|state| **state == "is gone").count() {
            PEERS => told(String::from("all is well")),
            _ => receive(Some(Duration::from_secs(20))),
        }
    })
}

/// Sends numbers to its peers, and counts those that come.
fn talking_peer(me: Pid, argument: &[u8]) -> Script {
    let parent = Pid::from_bytes(argument.try_into().expect("the parent's pid"));
    let mut to_send: Vec<(Pid, u8)> = Vec::new();
    let mut heard: BTreeMap<Pid, u8> = BTreeMap::new();
    let (mut introduced, mut draining, mut bye) = (false, false, false);
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Received(Received::Message { from, tag, payload })) => {
                if tag == TAG_PEERS {
                    introduced = true;
                    let (all, _) = payload.0.as_chunks::<{ Pid::BYTES }>();
                    let others = all.iter().map(Pid::from_bytes).filter(|pid| *pid != me);
                    let others: Vec<Pid> = others.collect();
                    let of = |number| others.iter().map(move |pid| (*pid, number));
                    to_send = (0..NUMBERS).rev().flat_map(of).collect();
                } else {
                    let next = heard.entry(from).or_default();
                    if payload.0 != [*next] {
                        return told(format!("{from}: {:?} came for {next}", payload.0));
                    }
                    *next += 1;
                }
            }
            Resume::Reply(HostReply::Failed(error)) if !draining => {
                return told(format!("peer: {error}"));
            }
            _ => {}
        }
        draining = !draining;
        if draining && introduced {
            return receive(Some(Duration::ZERO));
        }
        if let Some((to, number)) = to_send.pop() {
            return send(to, TAG_NUMBER, &[number]);
        }
        let all_heard = heard.values().filter(|count| **count == NUMBERS).count() == PEERS - 1;
        if bye {
            return Outcome::Exited(ExitReason::Normal);
        }
        draining = true;
        if introduced && all_heard {
            bye = true;
            return send(parent, TAG_BYE, &[]);
        }
        receive(Some(Duration::from_millis(5)))
    })
}

#[test]
fn order_holds_between_any_two_processes_wherever_they_are() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), talkers);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_secs(1));
        let end = end_of_run(&mut world, operator);
        assert_eq!(end.as_deref(), Some("all is well"), "seed {seed}");
        assert_eq!((world.processes(), world.scripts()), (0, 0), "seed {seed}");
    }
}

/// Watches each of four children four times, takes one monitor back, and kills them all.
fn watcher(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        return Box::new(|_| receive(None));
    }
    let (mut children, mut watched, mut killed) = (Vec::new(), 0, 0);
    let mut taken_back: Option<MonitorId> = None;
    let mut told_of: BTreeMap<Pid, usize> = BTreeMap::new();
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Spawned { pid, .. }) => children.push(pid),
            Resume::Reply(HostReply::Monitoring(id)) => taken_back = Some(id),
            Resume::Reply(HostReply::Received(Received::Down { from, id, reason })) => {
                if reason != ExitReason::Killed || Some(id) == taken_back {
                    return told(format!("{from}: {id} {reason}"));
                }
                *told_of.entry(from).or_default() += 1;
            }
            Resume::Reply(HostReply::Failed(_)) if killed == 4 => {
                let mut counts: Vec<usize> = told_of.values().copied().collect();
                counts.sort();
                return told(format!("{counts:?}"));
            }
            Resume::Reply(HostReply::Failed(error)) => return told(error.to_string()),
            _ => {}
        }
        if children.len() < 4 {
            return spawn(Place::Here, "child", &[]);
        }
        if watched < 12 {
            watched += 1;
            return call(HostCall::Monitor { target: children[(watched - 1) / 3] });
        }
        if watched == 12 {
            watched += 1;
            return call(HostCall::Demonitor { id: taken_back.expect("twelve were made") });
        }
        if killed < 4 {
            killed += 1;
            return call(HostCall::Kill { target: children[killed - 1] });
        }
        receive(Some(Duration::from_millis(20)))
    })
}

#[test]
fn monitors_and_kills_reach_every_shard() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), watcher);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(500));
        let end = end_of_run(&mut world, operator);
        assert_eq!(end.as_deref(), Some("[3, 4, 4, 4]"), "seed {seed}: one was taken back");
        assert_eq!(world.processes(), 0, "seed {seed}");
    }
}

/// Is linked to six children, who link themselves to one another in a ring, and kills one of them.
fn chained(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry == "child" {
        let mut next = None;
        return Box::new(move |resume| match (resume, next.take()) {
            (Resume::Reply(HostReply::Received(Received::Message { from, payload, .. })), _) => {
                next = Some(from);
                let target = Pid::from_bytes(payload.0[..].try_into().expect("a pid"));
                call(HostCall::Link { target })
            }
            (_, Some(parent)) => send(parent, TAG_BYE, &[]),
            _ => receive(None),
        });
    }
    let (mut children, mut told_next, mut ready, mut over): (Vec<Pid>, _, _, _) =
        (Vec::new(), 0, 0, 0);
    let (mut traps, mut killed) = (false, false);
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Spawned { pid, .. }) => children.push(pid),
            Resume::Reply(HostReply::Received(Received::Message { .. })) => ready += 1,
            Resume::Reply(HostReply::Received(Received::Exit { from, reason })) => {
                if reason != ExitReason::Killed || !children.contains(&from) {
                    return told(format!("{from} ended: {reason}"));
                }
                over += 1;
            }
            Resume::Reply(HostReply::Failed(error)) => return told(error.to_string()),
            _ => {}
        }
        if !core::mem::replace(&mut traps, true) {
            return call(HostCall::TrapExits { trap: true });
        }
        if children.len() < 6 {
            return spawn_linked("child");
        }
        if told_next < 6 {
            told_next += 1;
            let next = children[told_next % 6].to_bytes();
            return send(children[told_next - 1], TAG_PEERS, &next);
        }
        if ready == 6 && !core::mem::replace(&mut killed, true) {
            return call(HostCall::Kill { target: children[3] });
        }
        if over == 6 { told(String::from("all are killed")) } else { receive(None) }
    })
}

#[test]
fn one_kill_ends_all_who_are_linked_on_whatever_shard_they_are() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), chained);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(300));
        let end = end_of_run(&mut world, operator);
        assert_eq!(end.as_deref(), Some("all are killed"), "seed {seed}");
        assert_eq!((world.processes(), world.scripts()), (0, 0), "seed {seed}");
    }
}

// --- placement ---

/// Spawns eight children, then one near each of them.
fn settler(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        return Box::new(|_| receive(None));
    }
    let mut pids: Vec<Pid> = Vec::new();
    Box::new(move |resume| {
        if let Resume::Reply(HostReply::Spawned { pid, .. }) = resume {
            pids.push(pid);
        }
        match pids.len() {
            0..8 => spawn(Place::Here, "child", &[]),
            near @ 8..16 => spawn(Place::Near(pids[near - 8]), "near", &[]),
            _ => receive(None),
        }
    })
}

#[test]
fn processes_spread_over_the_shards_and_stay_near_whom_they_are_to() {
    let mut world = World::with_shards(1, SHARDS, Some(1), settler);
    let operator = world.guest(Role::Operator, 1);
    start(&mut world, operator);
    world.run(Duration::from_millis(100));
    let list = listing(&mut world, operator);
    let shards = |entry: &str| {
        let mut counts = [0; SHARDS as usize];
        for info in list.iter().filter(|info| info.entry == entry) {
            counts[info.pid.slot.shard().index()] += 1;
        }
        counts
    };
    // Shard 0 has the two parts of the run, and another has `main`.
    assert_eq!(shards("console")[0] + shards("stdin")[0], 2);
    let children = shards("child");
    assert!(children.iter().all(|count| (1..=3).contains(count)), "{children:?}");
    assert_eq!(shards("near"), children);
    assert_eq!(list.len(), 19);
    assert_eq!(world.processes(), 19);
    let on_workers = list.iter().filter(|info| info.pid.slot.shard().index() > 0);
    assert!(on_workers.clone().all(|info| info.memory_bytes == 1), "{list:?}");
}

/// `main` gives one of its children, each on a shard of its own, more to hold than the others.
fn hoarder(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        let (tag, timeout, capacity) = (Some(99), None, 0);
        return Box::new(move |_| call(HostCall::Receive { tag, timeout, capacity }));
    }
    let mut pids: Vec<Pid> = Vec::new();
    Box::new(move |resume| match resume {
        Resume::Reply(HostReply::Received(Received::Down { from, reason, .. })) => {
            told(format!("{} {reason}", pids.iter().position(|pid| *pid == from).unwrap_or(9)))
        }
        Resume::Reply(HostReply::Done) => receive(None),
        resume => {
            if let Resume::Reply(HostReply::Spawned { pid, .. }) = resume {
                pids.push(pid);
            }
            match pids.len() {
                0..4 => spawn(Place::Here, "child", &[]),
                _ => send(pids[2], 1, &[0; 5_000]),
            }
        }
    })
}

#[test]
fn the_largest_process_is_found_on_whatever_shard_it_is() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), hoarder);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(50));
        world.step(0, NodeInput::MemoryShort);
        world.run(Duration::from_millis(50));
        let end = end_of_run(&mut world, operator);
        let right = format!("2 {}", ExitReason::Limit(Resource::Memory));
        assert_eq!(end, Some(right), "seed {seed}");
    }
}

/// Ten children compute once all of them are there, each for forty slices.
fn computing(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        let mut left = 41;
        return Box::new(move |_| {
            left -= 1;
            match left {
                40 => receive(None),
                0 => Outcome::Exited(ExitReason::Normal),
                _ => Outcome::Preempted,
            }
        });
    }
    let (mut waiting, mut children, mut over) = (Vec::new(), 0, 0);
    Box::new(move |resume| {
        match resume {
            Resume::Reply(HostReply::Spawned { pid, .. }) => {
                waiting.push(pid);
                children += 1;
            }
            Resume::Reply(HostReply::Received(Received::Down { reason, .. })) => {
                if reason != ExitReason::Normal {
                    return told(reason.to_string());
                }
                over += 1;
            }
            Resume::Reply(HostReply::Failed(error)) => return told(error.to_string()),
            _ => {}
        }
        if children < 10 {
            return spawn(Place::Here, "child", &[]);
        }
        match waiting.pop() {
            Some(child) => send(child, TAG_PEERS, &[]),
            None if over == 10 => told(String::from("all are over")),
            None => receive(None),
        }
    })
}

#[test]
fn processes_that_another_cpu_runs_end_once_and_nothing_of_them_is_left() {
    let mut taken = 0;
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), computing);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_secs(1));
        let end = end_of_run(&mut world, operator);
        assert_eq!(end.as_deref(), Some("all are over"), "seed {seed}");
        assert_eq!((world.processes(), world.scripts()), (0, 0), "seed {seed}");
        taken += world.taken;
    }
    assert!(taken > 100, "{taken}");
}

// --- a new life ---

#[test]
fn a_new_life_keeps_nothing_of_the_old_on_any_shard() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), talkers);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        // In the midst of it, with mail of all kinds under way.
        world.run_held(Duration::from_millis(1 + seed % 7), seed as usize % 40);
        let life = world.nodes[0].incarnation();
        world.readdress(0);
        assert_ne!(world.nodes[0].incarnation(), life);
        world.run(Duration::from_millis(20));
        assert_eq!((world.processes(), world.scripts()), (0, 0), "seed {seed}");
        assert!(!world.logs.iter().any(|line| line.contains("refused")), "seed {seed}");
        let again = world.guest(Role::Operator, 2);
        start(&mut world, again);
        world.run(Duration::from_secs(1));
        let end = end_of_run(&mut world, again);
        assert_eq!(end.as_deref(), Some("all is well"), "seed {seed}");
        assert_eq!((world.processes(), world.scripts()), (0, 0), "seed {seed}");
    }
}

// --- the networks of the CPUs ---

/// Asks the network for a port, and says what it was told.
fn asker(_: Pid, _: &str, _: &[u8]) -> Script {
    Box::new(move |resume| match resume {
        Resume::Reply(HostReply::Socket(reply)) => told(format!("{reply:?}")),
        _ => call(HostCall::Socket(Box::new(SocketCall::Listen { port: 80, bulk: false }))),
    })
}

#[test]
fn any_cpus_network_answers_a_process_and_orders_go_to_its_own() {
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), asker);
        let operator = world.guest(Role::Operator, 1);
        start(&mut world, operator);
        world.run(Duration::from_millis(20));
        let (shard, order) = world.orders.pop().expect("it asked").1;
        let SocketOrder::Call { from, .. } = order else { panic!("{order:?}") };
        assert_eq!(shard, from.slot.shard(), "of the network of its own CPU");
        let done = SocketEvent::Done { to: from, reply: SocketReply::Count(7) };
        world.network_says(0, ShardId::new(seed as u8 % SHARDS), done);
        world.run(Duration::from_millis(20));
        assert_eq!(end_of_run(&mut world, operator).as_deref(), Some("Count(7)"), "seed {seed}");
    }
}

#[test]
fn what_networks_tell_one_another_arrives_in_order_and_is_of_one_life() {
    let owner = rogue_pid();
    let note = |number| SocketNote::Freed { owner, socket: SocketId::new(number) };
    for seed in 1..SEEDS {
        let mut world = World::with_shards(1, SHARDS, Some(seed), asker);
        let pairs = (0..SHARDS).flat_map(|from| (0..SHARDS).map(move |to| (from, to)));
        let pairs: Vec<_> = pairs.filter(|(from, to)| from != to).collect();
        let tell_all = |world: &mut World, numbers: core::ops::Range<u32>| {
            for (number, &(from, to)) in numbers.flat_map(|n| pairs.iter().map(move |p| (n, p))) {
                world.network_notes(ShardId::new(from), ShardId::new(to), note(number));
            }
        };
        world.run(Duration::from_millis(1));
        tell_all(&mut world, 0..5);
        // None of it has arrived when the control begins a new life, which some hear of later.
        world.readdress(0);
        let before = world.notes.len();
        assert!(before < 5 * pairs.len(), "seed {seed}: {before}");
        tell_all(&mut world, 5..10);
        world.run(Duration::from_millis(1));
        let new = world.notes.split_off(before);
        assert_eq!(new.len(), 5 * pairs.len(), "seed {seed}: all of it, and nothing of the old");
        for &(from, to) in &pairs {
            let (from, to) = (ShardId::new(from), ShardId::new(to));
            let told = new.iter().filter(|note| (note.1, note.2) == (from, to));
            let told: Vec<&SocketNote> = told.map(|note| &note.3).collect();
            assert_eq!(told, (5..10).map(note).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        }
    }
}

// --- a lost node ---

const ROGUE_LIFE: Incarnation = Incarnation::new(9);

fn rogue_pid() -> Pid {
    let slot = Slot::new(ShardId::new(0), 1, 1).expect("in range");
    Pid { node: guest_secret().public().node(), incarnation: ROGUE_LIFE, slot }
}

/// Watches a process of the guest's node, and sends it numbers; once it hears that it is lost it
/// begins again at 100.
fn sender(_: Pid, entry: &str, _: &[u8]) -> Script {
    if entry != "main" {
        return Box::new(|_| receive(None));
    }
    let (mut watching, mut number, mut waits) = (false, 0, true);
    Box::new(move |resume| {
        if let Resume::Reply(HostReply::Received(Received::Down { reason, .. })) = resume {
            assert_eq!(reason, ExitReason::NoConnection);
            (watching, number) = (true, 100);
        }
        if !core::mem::replace(&mut watching, true) {
            return call(HostCall::Monitor { target: rogue_pid() });
        }
        waits = !waits;
        if waits {
            return receive(Some(Duration::from_secs(2)));
        }
        number += 1;
        send(rogue_pid(), 1, &[number])
    })
}

#[test]
fn what_was_said_before_a_loss_was_heard_of_is_lost_with_it() {
    let mut world = World::with_shards(1, 2, None, sender);
    let operator = world.guest(Role::Operator, 1);
    let other = world.guest(Role::Node, ROGUE_LIFE.get());
    start(&mut world, operator);
    world.run(Duration::from_millis(500));
    let numbers = |world: &mut World, guest: usize| -> Vec<u8> {
        let signals = world.heard(guest).into_iter().filter_map(|body| match body {
            Body::Signal(signal) => match signal.body {
                craton_abi::SignalBody::Message { payload, .. } => payload.0.first().copied(),
                _ => None,
            },
            _ => None,
        });
        signals.collect()
    };
    assert!(numbers(&mut world, other).contains(&1), "{:?}", world.logs);
    world.silence(other);
    world.run(Duration::from_secs(4));
    // What the worker says from here on arrives after the loss, in the time of the next session.
    world.hold(true);
    world.run(Duration::from_secs(10));
    let again = world.guest(Role::Node, ROGUE_LIFE.get());
    world.run(Duration::from_millis(500));
    assert_eq!(numbers(&mut world, again), [], "the worker has heard of nothing yet");
    world.hold(false);
    world.run(Duration::from_secs(8));
    let heard = numbers(&mut world, again);
    assert_eq!(heard.first(), Some(&101), "{heard:?}");
    assert!(heard.is_sorted() && heard.len() > 2, "{heard:?}");
}
