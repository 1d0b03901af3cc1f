//! One process after another does what must not be done, and ends with the reason for just that.
//!
//! Owns the check; the deeds are in `hostile`.

use crate::hostile::{self, Deed};
use crate::{GLUTTON, NOTHING, Result, VICTIM, VILLAIN, failed};
use alloc::string::String;
use alloc::{format, vec};
use craton::{Child, Duration, Event, ExitReason, Mailbox, SpawnOptions, exit, kill};

/// Bound of the glutton's memory.
const MEMORY_MAX: u64 = 4 << 20;
/// Bytes of a page of WebAssembly's memory.
const PAGE_BYTES: u64 = 64 << 10;
/// Memory that the glutton keeps for its last words.
const LAST_WORDS_BYTES: usize = 1 << 10;
/// How long a deed may take to end its process.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the process that never yields is let run.
const RUNAWAY: Duration = Duration::from_millis(100);

/// The entry `villain`.
pub fn villain(deed: Deed) {
    hostile::perform(deed);
}

/// The entry `glutton`: takes all pages that it is given, and exits with their number.
pub fn glutton((): ()) {
    // What the last words need, while there is memory to be had.
    let room = core::hint::black_box(vec![0_u8; LAST_WORDS_BYTES]);
    let pages = pages_max();
    drop(room);
    exit(&ExitReason::Error(pages.to_le_bytes().to_vec()));
}

#[cfg(target_arch = "wasm32")]
fn pages_max() -> u64 {
    while core::arch::wasm32::memory_grow::<0>(1) != usize::MAX {}
    core::arch::wasm32::memory_size::<0>() as u64
}

#[cfg(not(target_arch = "wasm32"))]
fn pages_max() -> u64 {
    0
}

/// Tries every deed.
pub fn run() -> Result<String> {
    let mut mailbox = Mailbox::new();
    let mut count = 0;
    for deed in Deed::all() {
        let options = SpawnOptions::here().monitored();
        let child = VILLAIN.spawn(&deed, options).map_err(|error| failed(&error))?;
        let reason = end_of(&mut mailbox, child)?;
        if !deed.explains(&reason) {
            return Err(format!("{deed:?} ended with: {reason}"));
        }
        count += 1;
    }
    memory_is_bounded(&mut mailbox)?;
    runaway_is_killed(&mut mailbox)?;
    // After all that, an ordinary process still lives and ends as ever.
    let options = SpawnOptions::here().monitored();
    let child = NOTHING.spawn(&(), options).map_err(|error| failed(&error))?;
    match end_of(&mut mailbox, child)? {
        ExitReason::Normal => Ok(format!("isolated {} deeds", count + 2)),
        reason => Err(format!("doing nothing ended with: {reason}")),
    }
}

fn memory_is_bounded(mailbox: &mut Mailbox) -> Result {
    let options = SpawnOptions::here().monitored().memory_max(MEMORY_MAX);
    let child = GLUTTON.spawn(&(), options).map_err(|error| failed(&error))?;
    let expected = ExitReason::Error((MEMORY_MAX / PAGE_BYTES).to_le_bytes().to_vec());
    match end_of(mailbox, child)? {
        reason if reason == expected => Ok(()),
        reason => Err(format!("growing to the limit ended with: {reason}, not {expected}")),
    }
}

fn runaway_is_killed(mailbox: &mut Mailbox) -> Result {
    let argument = crate::storm::VictimArgument::computing();
    let options = SpawnOptions::here().monitored();
    let child = VICTIM.spawn(&argument, options).map_err(|error| failed(&error))?;
    let Ok(Event::Message(_)) = mailbox.next_event_within(PATIENCE) else {
        return Err(String::from("the runaway did not say that it begins"));
    };
    if let Ok(Event::Down(down)) = mailbox.next_event_within(RUNAWAY) {
        return Err(format!("the runaway ended by itself: {}", down.reason));
    }
    kill(&child.pid).map_err(|error| failed(&error))?;
    match end_of(mailbox, child)? {
        ExitReason::Killed => Ok(()),
        reason => Err(format!("the runaway was killed, but: {reason}")),
    }
}

/// How a child that is about to end does.
fn end_of(mailbox: &mut Mailbox, child: Child) -> Result<ExitReason> {
    match mailbox.next_event_within(PATIENCE).map_err(|error| failed(&error))? {
        Event::Down(down) if Some(down.monitor) == child.monitor => Ok(down.reason),
        Event::Down(down) => Err(format!("{} ended, who is no child", down.pid)),
        other => Err(format!("unexpected: {other:?}")),
    }
}
