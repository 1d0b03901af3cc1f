//! Letters between shards of a node, and the credit that is kept back for them.

use super::*;
use crate::port::Letter;
use craton_abi::limit::WINDOW_MESSAGES;

/// A process of another shard of the node.
fn neighbour(rig: &Rig) -> Pid {
    let config = rig.shard.config();
    let shard = ShardId::new(config.shard.index() as u8 + 1);
    let slot = Slot::new(shard, 5, 1).expect("in range");
    Pid { node: config.node, incarnation: config.incarnation, slot }
}

fn letter(rig: &Rig, to: Pid, app: AppId, tag: u64, message: &[u8]) -> Input {
    let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
    let slots = (neighbour(rig).slot, to.slot);
    Input::Letter(Letter::new(slots, app, tag, message, &mut make))
}

fn told(rig: &mut Rig) -> Vec<Effect> {
    let mut out = rig.effects();
    rig.shard.tell_owed(&mut out);
    out
}

fn credit(rig: &Rig, mailbox: Pid, messages: u32, bytes: u32) -> Effect {
    Effect::Credit { to: Source::of(neighbour(rig)), mailbox, messages, bytes }
}

#[test]
fn who_waits_has_a_letter_at_once_and_who_does_not_in_its_mailbox() {
    let mut rig = Rig::new();
    let (waits, runs) = (rig.process(), rig.process());
    let from = neighbour(&rig);
    assert_eq!(rig.receive(waits), None);
    let long = [7; 100];
    for (to, tag, message) in [(waits, 1, &b"12"[..]), (runs, 2, &long), (runs, 3, b"12345678")] {
        let letter = letter(&rig, to, APP, tag, message);
        rig.step(letter);
    }
    let message = |tag, bytes: &[u8]| {
        let payload = Payload(bytes.to_vec());
        Some(HostReply::Received(Received::Message { from, tag, payload }))
    };
    if rig.shard.runnable() {
        rig.step(Input::Tick);
    }
    assert_eq!(rig.answer(waits), message(1, b"12"));
    assert_eq!(rig.receive(runs), message(2, &long));
    assert_eq!(rig.receive(runs), message(3, b"12345678"));
    let (of_waits, of_runs) = (credit(&rig, waits, 1, 2), credit(&rig, runs, 2, 108));
    let told = told(&mut rig);
    assert!(told.contains(&of_waits) && told.contains(&of_runs) && told.len() == 2, "{told:?}");
}

#[test]
fn credit_of_many_letters_is_told_in_few() {
    let mut rig = Rig::new();
    let to = rig.process();
    for _ in 0..WINDOW_MESSAGES {
        assert_eq!(rig.receive(to), None);
        let letter = letter(&rig, to, APP, 1, b"12345678");
        rig.step(letter);
        rig.step(Input::Tick);
    }
    let batch = WINDOW_MESSAGES / 4;
    let due = vec![credit(&rig, to, batch, 8 * batch); 4];
    assert_eq!(rig.effects(), due);
    assert_eq!(told(&mut rig), [], "all is told");
}

#[test]
fn nobody_is_told_of_a_letter_for_nobody_but_its_sender() {
    let mut rig = Rig::new();
    let to = rig.process();
    let stale = Pid { slot: Slot::new(to.slot.shard(), 900, 1).expect("in range"), ..to };
    let astray = letter(&rig, stale, APP, 1, b"1");
    rig.step(astray);
    let gone = Effect::Gone { to: Source::of(neighbour(&rig)), pid: stale };
    assert_eq!(rig.effects(), [gone]);
}

#[test]
fn a_letter_of_another_app_or_without_credit_is_refused() {
    let mut rig = Rig::new();
    let to = rig.process();
    let foreign = letter(&rig, to, AppId::new(99), 1, b"1");
    rig.step(foreign);
    assert!(matches!(&rig.effects()[..], [Effect::Log { .. }]));
    assert_eq!(told(&mut rig), [credit(&rig, to, 1, 1)], "it was not taken, nor is it lost");
    for _ in 0..=WINDOW_MESSAGES {
        let letter = letter(&rig, to, APP, 1, b"1");
        rig.step(letter);
    }
    assert!(matches!(&told(&mut rig)[..], [Effect::Log { .. }]));
    let view = rig.shard.processes().next().expect("it lives");
    assert_eq!(view.mailbox_messages, WINDOW_MESSAGES);
}
