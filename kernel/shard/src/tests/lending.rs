//! Processes that another shard runs: what each of the two says and does.

use super::*;
use crate::port::Lending;
use craton_abi::limit::CPU_SHARE;

/// Two shards of a node, whose words to one another arrive at once unless they are held.
struct Pair {
    rigs: [Rig; 2],
}

const OTHER: ShardId = ShardId::new(3);

impl Pair {
    fn new() -> Self {
        let mut lodge = Rig::new();
        let config = ShardConfig { shard: OTHER, ..lodge.shard.config() };
        lodge.shard = Shard::new(config);
        Pair { rigs: [Rig::new(), lodge] }
    }

    fn home(&mut self) -> &mut Rig {
        &mut self.rigs[0]
    }

    fn other(&mut self) -> &mut Rig {
        &mut self.rigs[1]
    }

    /// Two processes on the first shard that compute: one runs, one is lent.
    fn lent(&mut self) -> (Pid, Pid) {
        let (stays, goes) = (self.home().process(), self.home().process());
        let home = self.home();
        // Both come back in one go, so that both wait for the CPU.
        home.running.clear();
        let mut out = Vec::new();
        for pid in [goes, stays] {
            let (outcome, used) = (Outcome::Preempted, Duration::from_micros(1));
            home.shard.step(Input::Ran { slot: pid.slot, outcome, used }, home.now, &mut out);
        }
        home.shard.lend(OTHER, &mut out);
        home.note(out);
        home.step(Input::Tick);
        let gives = Effect::Host(HostEffect::Give { slot: goes.slot });
        let effects = home.effects();
        assert_eq!(effects[0], gives, "the instance goes first");
        self.rigs[0].effects = effects;
        self.talk();
        assert!(self.home().running.contains_key(&stays.slot));
        assert_eq!(self.other().running.get(&goes.slot), Some(&Resume::Continue));
        (stays, goes)
    }

    /// Lets what they said to one another arrive, until they say nothing more.
    fn talk(&mut self) {
        loop {
            let mut said = Vec::new();
            for from in 0..2 {
                for effect in self.rigs[from].effects() {
                    match effect {
                        Effect::Lending { to, slot, word } => {
                            assert_eq!(to, self.rigs[1 - from].shard.config().shard);
                            said.push((1 - from, Input::Lending { slot, word }));
                        }
                        other => self.rigs[from].effects.push(other),
                    }
                }
            }
            if said.is_empty() {
                return;
            }
            said.into_iter().for_each(|(to, input)| self.rigs[to].step(input));
        }
    }

    fn ran(&mut self, pid: Pid, outcome: Outcome) {
        self.other().ran(pid, outcome);
        self.talk();
    }
}

#[test]
fn what_a_lent_process_asks_is_done_by_its_home() {
    let mut pair = Pair::new();
    let (stays, goes) = pair.lent();
    assert_eq!(pair.home().state(goes), "running on CPU 3");
    assert_eq!(pair.other().shard.processes().count(), 0, "it is no process of that shard");
    // The other waits for the CPU, so the answer goes where the process is.
    let home = pair.home();
    home.running.remove(&stays.slot);
    let (slot, used) = (stays.slot, Duration::ZERO);
    home.shard.step(
        Input::Ran { slot, outcome: Outcome::Preempted, used },
        home.now,
        &mut Vec::new(),
    );
    pair.ran(goes, Outcome::Preempted);
    pair.other().running.remove(&goes.slot);
    let (slot, used) = (goes.slot, Duration::from_micros(7));
    let outcome = Outcome::Call(send(stays, 5, 10, Duration::ZERO));
    pair.other().step(Input::Ran { slot, outcome, used });
    let said = pair.other().effects();
    let Some(Effect::Lending { word: Lending::Ran(outcome, used), .. }) = said.last() else {
        panic!("{said:?}");
    };
    assert_eq!(*used, Duration::from_micros(8), "with what it used before");
    let word = Lending::Ran(outcome.clone(), *used);
    let mut out = Vec::new();
    let home = pair.home();
    home.shard.step(Input::Lending { slot, word }, home.now, &mut out);
    let run = Lending::Run(Resume::Reply(HostReply::Done), CPU_SHARE);
    assert_eq!(out, [Effect::Lending { to: OTHER, slot, word: run }]);
    let view = home.shard.processes().find(|view| view.pid == goes).expect("it lives");
    assert_eq!(view.cpu, Duration::from_micros(9));
    home.note(out);
    home.step(Input::Tick);
    pair.talk();
    assert_eq!(pair.other().answer(goes), Some(HostReply::Done));
    assert_eq!(pair.home().receive_tag(stays), Some(5));
}

#[test]
fn where_nobody_waits_a_process_comes_home_with_its_next_call() {
    let mut pair = Pair::new();
    let (stays, goes) = pair.lent();
    assert_eq!(pair.home().call(stays, receive(None)), None);
    pair.ran(goes, Outcome::Call(HostCall::Yield));
    assert_eq!(pair.other().shard.lodgers(), 0);
    let take = Effect::Host(HostEffect::Take { slot: goes.slot });
    assert!(pair.home().effects().contains(&take));
    assert_eq!(pair.home().answer(goes), Some(HostReply::Done));
    assert_eq!(pair.home().send(goes, stays, 6, 10), Some(HostReply::Done));
}

#[test]
fn a_lent_process_is_killed_wherever_it_is() {
    for step in 0..4 {
        let mut pair = Pair::new();
        let (stays, goes) = pair.lent();
        let watch = pair.home().monitor(stays, goes);
        match step {
            0 => {}
            // It waits for the CPU there.
            1 => {
                let other = pair.other();
                other.running.remove(&goes.slot);
                let (slot, used) = (goes.slot, Duration::ZERO);
                let outcome = Outcome::Preempted;
                other.shard.step(Input::Ran { slot, outcome, used }, other.now, &mut Vec::new());
            }
            2 => pair.ran(goes, Outcome::Call(receive(None))),
            // What it asks and the word of its end pass one another.
            _ => pair.other().ran(goes, Outcome::Call(receive(None))),
        }
        assert_eq!(pair.home().call(stays, HostCall::Kill { target: goes }), Some(HostReply::Done));
        assert_eq!(pair.home().state(goes), "ending");
        pair.talk();
        if step == 0 {
            assert_eq!(pair.home().state(goes), "ending", "it runs");
            pair.ran(goes, Outcome::Preempted);
        }
        assert_eq!(pair.home().state(goes), "gone", "step {step}");
        assert_eq!(pair.other().shard.lodgers(), 0);
        assert!(!pair.other().shard.runnable());
        assert!(pair.home().effects().contains(&reclaim_of(goes)));
        let killed = down(goes, watch, ExitReason::Killed);
        assert_eq!(pair.home().receive(stays), killed, "step {step}");
    }
}

#[test]
fn a_lent_process_ends_by_itself() {
    let mut pair = Pair::new();
    let (stays, goes) = pair.lent();
    let watch = pair.home().monitor(stays, goes);
    pair.ran(goes, Outcome::Exited(ExitReason::Normal));
    assert_eq!(pair.home().state(goes), "gone");
    let gives = Effect::Host(HostEffect::Give { slot: goes.slot });
    assert_eq!(pair.other().effects().last(), Some(&gives), "its home drops it");
    assert!(pair.home().effects().contains(&reclaim_of(goes)));
    assert_eq!(pair.home().receive(stays), down(goes, watch, ExitReason::Normal));
}

#[test]
fn a_lodger_goes_home_when_that_is_idle() {
    let mut pair = Pair::new();
    let (stays, goes) = pair.lent();
    let own = pair.other().process();
    let other = pair.other();
    other.running.clear();
    for pid in [goes, own] {
        let (slot, outcome, used) = (pid.slot, Outcome::Preempted, Duration::from_micros(1));
        other.shard.step(Input::Ran { slot, outcome, used }, other.now, &mut Vec::new());
    }
    let (home, mut out) = (goes.slot.shard(), Vec::new());
    other.shard.lend(home, &mut out);
    other.note(out);
    other.step(Input::Tick);
    pair.talk();
    assert_eq!(pair.other().shard.lodgers(), 0);
    assert!(pair.other().running.contains_key(&own.slot));
    assert_eq!(pair.home().running.get(&goes.slot), Some(&Resume::Continue));
    assert_eq!(pair.home().state(goes), "running");
    let _ = stays;
}

#[test]
fn only_who_waits_long_and_may_be_anywhere_is_lent() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    let mut start = |rig: &mut Rig, shard: Option<ShardId>| {
        let order = SpawnOrder { shard, ..rig.order() };
        rig.shard.step(Input::Spawn(Box::new(order)), rig.now, &mut out);
        let Some(Effect::Host(HostEffect::Start(start))) = out.pop() else { panic!("no start") };
        let slot = start.pid.slot;
        rig.shard.step(Input::Started { slot, result: Ok(()) }, rig.now, &mut out);
        slot
    };
    let pinned = [start(&mut rig, Some(OTHER)), start(&mut rig, Some(ShardId::new(2)))];
    let late = rig.now + Duration::from_millis(1);
    assert!(!rig.shard.has_spare(late), "they are to be here");
    let free = start(&mut rig, None);
    assert!(!rig.shard.has_spare(rig.now), "its turn may come");
    assert!(rig.shard.has_spare(late));
    let mut out = Vec::new();
    rig.shard.lend(ShardId::new(2), &mut out);
    assert_eq!(out, [], "to itself");
    rig.shard.lend(OTHER, &mut out);
    let (slot, word) = (free, Lending::Run(Resume::Start, CPU_SHARE));
    let lent = Effect::Lending { to: OTHER, slot, word };
    assert_eq!(out, [Effect::Host(HostEffect::Give { slot }), lent]);
    assert!(!rig.shard.has_spare(late));
    check(&rig.shard);
    assert!(pinned.iter().all(|slot| rig.shard.live(*slot).is_some_and(|p| !p.is_lent())));
}

#[test]
fn a_child_of_which_its_lent_parent_may_not_have_heard_dies_with_it() {
    let mut pair = Pair::new();
    let (stays, goes) = pair.lent();
    let child = away(7, 1);
    let spawn = HostCall::Spawn(Box::new(SpawnCall {
        place: craton_abi::Place::Anywhere,
        program: None,
        entry: "child".into(),
        argument: Payload::default(),
        monitor: false,
        link: false,
        limits: ProcessLimits::default(),
    }));
    pair.ran(goes, Outcome::Call(spawn));
    let Some(Effect::Place { order, .. }) = pair.home().effects().pop() else { panic!("no order") };
    // Somebody waits for the CPU, so the parent is told where it is.
    let home = pair.home();
    home.running.remove(&stays.slot);
    let (slot, outcome, used) = (stays.slot, Outcome::Preempted, Duration::ZERO);
    home.shard.step(Input::Ran { slot, outcome, used }, home.now, &mut Vec::new());
    let (request, parent) = (order.request, order.parent);
    home.shard.step(
        Input::SpawnReply { request, parent, result: Ok(child) },
        home.now,
        &mut Vec::new(),
    );
    let mut out = Vec::new();
    let (slot, reason) = (goes.slot, ExitReason::Killed);
    home.shard.step(Input::End { slot, reason }, home.now, &mut out);
    let kills = |effect: &Effect| match effect {
        Effect::Signal(signal) => signal.to == child && signal.body == SignalBody::Kill,
        _ => false,
    };
    assert!(out.iter().any(kills), "{out:?}");
}

/// A parent that computes and the child that it spawned, which is lent before it is born.
fn lent_unborn(pair: &mut Pair) -> (Pid, Pid, MonitorId) {
    let parent = pair.home().process();
    let mut call = SpawnCall {
        place: craton_abi::Place::Here,
        program: None,
        entry: "child".into(),
        argument: Payload(vec![5]),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    };
    let home = pair.home();
    let spawned = home.shard.spawn_at_once(parent.slot, &mut call, 1);
    let Some(HostReply::Spawned { pid: child, monitor: Some(watch) }) = spawned else {
        panic!("no child but {spawned:?}");
    };
    home.running.clear();
    let (mut out, used) = (Vec::new(), Duration::from_micros(1));
    let (slot, outcome) = (parent.slot, Outcome::Preempted);
    home.shard.step(Input::Ran { slot, outcome, used }, home.now, &mut out);
    home.shard.lend(OTHER, &mut out);
    home.note(out);
    home.step(Input::Tick);
    assert_eq!(home.shard.unborn, 0, "another answers for its room");
    (parent, child, watch)
}

#[test]
fn who_is_unborn_is_born_where_it_is_lent() {
    let mut pair = Pair::new();
    let (parent, child, watch) = lent_unborn(&mut pair);
    pair.talk();
    assert_eq!(pair.other().effects(), [], "there is nothing to take");
    match pair.other().running.get(&child.slot) {
        Some(Resume::Birth(start)) => {
            assert_eq!((start.pid, &*start.entry, &*start.argument.0), (child, "child", &[5][..]));
        }
        other => panic!("no birth but {other:?}"),
    }
    assert_eq!(pair.home().state(child), "running on CPU 3");
    pair.home().effects();
    pair.ran(child, Outcome::Exited(ExitReason::Normal));
    let gives = Effect::Host(HostEffect::Give { slot: child.slot });
    assert_eq!(pair.other().effects(), [gives], "its home drops it");
    let ended = Effect::Exited { pid: child, reason: ExitReason::Normal };
    assert_eq!(pair.home().effects(), [reclaim_of(child), ended]);
    assert_eq!(pair.home().receive(parent), down(child, watch, ExitReason::Normal));
}

#[test]
fn who_is_unborn_comes_back_or_is_killed_as_any_other() {
    for is_killed in [false, true] {
        let mut pair = Pair::new();
        let (parent, child, watch) = lent_unborn(&mut pair);
        // Somebody else has that CPU, so it waits there.
        let own = pair.other().process();
        let words = pair.home().effects();
        let word = words.iter().find_map(|effect| match effect {
            Effect::Lending { word, .. } => Some(word.clone()),
            _ => None,
        });
        let (other, mut out) = (pair.other(), Vec::new());
        let lending = Input::Lending { slot: child.slot, word: word.expect("it is lent") };
        other.shard.step(lending, other.now, &mut out);
        let (slot, outcome, used) = (own.slot, Outcome::Preempted, Duration::ZERO);
        other.running.clear();
        other.shard.step(Input::Ran { slot, outcome, used }, other.now, &mut out);
        assert_eq!((other.shard.lodgers(), other.shard.unborn), (1, 1));
        if is_killed {
            let kill = HostCall::Kill { target: child };
            assert_eq!(pair.home().call(parent, kill), Some(HostReply::Done));
        } else {
            other.shard.lend(child.slot.shard(), &mut out);
        }
        other_said(&mut pair, out);
        assert_eq!((pair.other().shard.lodgers(), pair.other().shard.unborn), (0, 0));
        let takes = Effect::Host(HostEffect::Take { slot: child.slot });
        assert!(!pair.home().effects().contains(&takes), "there is nothing to take");
        if is_killed {
            assert_eq!(pair.home().state(child), "gone");
            let killed = down(child, watch, ExitReason::Killed);
            assert_eq!(pair.home().receive(parent), killed);
        } else {
            assert!(matches!(pair.home().running.get(&child.slot), Some(Resume::Birth(_))));
            assert_eq!(pair.home().state(child), "running");
        }
    }
}

/// What the second shard said arrives.
fn other_said(pair: &mut Pair, out: Vec<Effect>) {
    pair.other().note(out);
    pair.talk();
    pair.other().step(Input::Tick);
}
