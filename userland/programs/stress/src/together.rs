//! Processes spawned together on two nodes, with a channel each way between them.
//!
//! Owns the command `together` and what its processes do: numbers that go there and back, and a set
//! of which one cannot be spawned, so that nothing is left of it.

use crate::{ASKER, RAISER, Result, failed, other_node};
use alloc::format;
use alloc::string::String;
use craton::{
    Error, Event, ExitReason, Mailbox, Member, Monitor, ReceiverEnd, SenderEnd, SpawnOptions,
    SpawnSet, limit,
};

/// Numbers that go there and back.
const NUMBERS: u64 = 1_000;

/// A channel each way.
pub type Ends = (SenderEnd<u64>, ReceiverEnd<u64>);

/// The entry `asker`: each number must come back raised.
pub fn asker(member: Member<Ends>) -> core::result::Result<(), Error> {
    let mut mailbox = Mailbox::new();
    let (there, back) = member.begin(&mut mailbox)?;
    let (mut there, mut back) = (there.open(), back.open());
    for number in 0..NUMBERS {
        there.send(&number)?;
        if back.receive(&mut mailbox)? != Some(number + 1) {
            return Err(Error::Malformed);
        }
    }
    Ok(())
}

/// The entry `raiser`.
pub fn raiser(member: Member<Ends>) -> core::result::Result<(), Error> {
    let mut mailbox = Mailbox::new();
    let (there, back) = member.begin(&mut mailbox)?;
    let (mut there, mut back) = (there.open(), back.open());
    while let Some(number) = back.receive(&mut mailbox)? {
        there.send(&(number + 1))?;
    }
    Ok(())
}

/// Both of them.
pub fn run() -> Result<String> {
    exchange().map_err(|error| failed(&error))?;
    all_or_none()?;
    Ok(format!("{NUMBERS} numbers came back"))
}

fn exchange() -> core::result::Result<(), Error> {
    let (mut mailbox, mut set) = (Mailbox::new(), SpawnSet::new());
    let elsewhere = other_node().map_or(SpawnOptions::here(), SpawnOptions::on);
    let asker = set.join(&ASKER, SpawnOptions::here().monitored())?;
    let raiser = set.join(&RAISER, elsewhere.monitored())?;
    let (there, back) = (ReceiverEnd::new(), ReceiverEnd::new());
    set.give(&asker, &(there.sender(&raiser.pid()), back.clone()))?;
    set.give(&raiser, &(back.sender(&asker.pid()), there))?;
    for _ in set.start()? {
        match mailbox.next_event()? {
            Event::Down(down) if down.reason == ExitReason::Normal => {}
            Event::Down(down) => return Err(Error::Down { pid: down.pid, reason: down.reason }),
            _ => return Err(Error::Malformed),
        }
    }
    Ok(())
}

fn all_or_none() -> Result {
    let elsewhere = other_node().map_or(SpawnOptions::here(), SpawnOptions::on);
    let mut set = SpawnSet::new();
    let first = set.join(&ASKER, elsewhere.linked().monitored());
    let first = first.map_err(|error| failed(&error))?.pid();
    let impossible = SpawnOptions::here().cpu_share(limit::CPU_SHARE_MAX + 1);
    if let Ok(second) = set.join(&RAISER, impossible) {
        return Err(format!("{} has a share that nobody can have", second.pid()));
    }
    let monitor = Monitor::new(&first).map_err(|error| failed(&error))?;
    match Mailbox::new().next_event() {
        Ok(Event::Down(down))
            if down.monitor == monitor && down.reason == ExitReason::NoProcess =>
        {
            Ok(())
        }
        other => Err(format!("the first of a set that cannot be: {other:?}")),
    }
}
