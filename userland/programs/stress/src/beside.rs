//! What others notice of a process that does its worst: `stress beside FOE...`.
//!
//! Owns the foes and the clock beside them: timers that are due at fixed times, whether or not the
//! last was answered late, so that no delay hides another. A line for each foe says how late 99 of
//! a hundred were at most, `NAME NANOS REASON`, or all of them, where the foe ends once in a
//! thousand; the first is of none, `idle`.

use crate::{FOE, KEEPER, NOTHING, Result, SINK, failed, hostile};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::net::UdpSocket;
use craton::{
    Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Monitor, Output, Pid, Resource,
    SpawnOptions, Timer, TrapKind, kill, me, now, send_bytes, trap_exits, yield_now,
};
use serde::{Deserialize, Serialize};

/// When the clock is asked, and how often at least.
const PERIOD: Duration = Duration::from_millis(1);
const SAMPLES: usize = 100;
/// As many of a hundred are looked at, unless a foe's end is so rare that it is no hundredth.
const PERCENT: usize = 99;
/// And at most, beside one that takes longer to end.
const SAMPLES_MAX: usize = 5_000;
/// How long the last of a foe may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Memory of a foe that fills 1 GiB of it.
const FILLED_MAX: u64 = (1 << 30) + (1 << 20);
/// What is held by those that are killed with it.
const HELD: usize = 64 << 20;
const HELD_MOST: usize = 1 << 30;
/// Sockets that one that hoards them gets.
const HOARDED_MIN: usize = 10_000;
const TAG: u64 = 1;
/// The keeper's word that there is a foe, with its pid.
const TAG_RUNS: u64 = 2;

/// Somebody who does his worst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Foe {
    /// Computes without end.
    Spin,
    /// Fills a GiB over and over.
    Fill,
    /// Takes all memory that it is given, and more; again and again.
    Exhaust,
    /// Overflows its stack, again and again.
    Recurse,
    /// Divides by zero, again and again.
    Divide,
    /// Sends to a mailbox that is full.
    Flood,
    /// Sets all timers that it may, then more.
    Timers,
    /// Opens sockets until it gets no more.
    Hoard,
    /// Spawns until it gets no more; the children end with it.
    Breed,
    /// Fills 64 MiB and is killed, again and again.
    Hold,
    /// Fills a GiB and is killed, again and again.
    HoldMost,
}

const FOES: [(&str, Foe); 11] = [
    ("spin", Foe::Spin),
    ("fill", Foe::Fill),
    ("exhaust", Foe::Exhaust),
    ("recurse", Foe::Recurse),
    ("divide", Foe::Divide),
    ("flood", Foe::Flood),
    ("timers", Foe::Timers),
    ("hoard", Foe::Hoard),
    ("breed", Foe::Breed),
    ("hold", Foe::Hold),
    ("hold-most", Foe::HoldMost),
];

impl Foe {
    /// Whether it goes on until it is killed.
    fn is_endless(self) -> bool {
        matches!(self, Foe::Spin | Foe::Fill | Foe::Flood)
    }

    /// Whether it may end so while nobody kills it.
    fn explains(self, reason: &ExitReason) -> bool {
        let refused = |code: ErrorCode| ExitReason::Error(format!("{code}").into_bytes());
        match self {
            Foe::Spin | Foe::Fill | Foe::Flood => false,
            Foe::Exhaust => *reason == ExitReason::Limit(Resource::Memory),
            Foe::Recurse => matches!(reason, ExitReason::Trap(TrapKind::StackOverflow, _)),
            Foe::Divide => matches!(reason, ExitReason::Trap(TrapKind::Arithmetic, _)),
            Foe::Timers => *reason == refused(ErrorCode::LimitTimers),
            Foe::Hoard => *reason == refused(ErrorCode::LimitSockets),
            Foe::Breed => *reason == refused(ErrorCode::LimitMemory),
            Foe::Hold | Foe::HoldMost => *reason == ExitReason::Killed,
        }
    }

    fn options(self) -> SpawnOptions {
        let options = SpawnOptions::here().linked();
        match self {
            Foe::Fill | Foe::HoldMost => options.memory_max(FILLED_MAX),
            Foe::Hold => options.memory_max(HELD as u64 + (1 << 20)),
            _ => options,
        }
    }
}

/// The entry `foe`. What it is refused at last is what it ends with.
pub fn foe((foe, sink): (Foe, Pid)) -> core::result::Result<(), ErrorCode> {
    match foe {
        Foe::Spin => hostile::spin(),
        Foe::Fill => hostile::fill(),
        Foe::Exhaust => hostile::perform(hostile::Deed::Exhaust),
        Foe::Recurse => hostile::perform(hostile::Deed::Recurse),
        Foe::Divide => hostile::perform(hostile::Deed::Divide),
        Foe::Flood => loop {
            let _ = send_bytes(&sink, TAG, &[0; 64], Some(Duration::ZERO));
        },
        Foe::Timers => loop {
            Timer::after(PATIENCE, TAG).map_err(code)?;
        },
        Foe::Hoard => hoard()?,
        Foe::Breed => loop {
            SINK.spawn(&(), SpawnOptions::here().linked()).map_err(code)?;
        },
        Foe::Hold => hold(HELD)?,
        Foe::HoldMost => hold(HELD_MOST)?,
    }
    Ok(())
}

/// Fills memory and is killed.
fn hold(bytes: usize) -> core::result::Result<(), ErrorCode> {
    let held = core::hint::black_box(alloc::vec![1_u8; bytes]);
    kill(&me()).map_err(code)?;
    drop(held);
    Ok(())
}

/// Opens sockets until it gets no more; `invalid` if those were too few.
fn hoard() -> core::result::Result<(), ErrorCode> {
    let mut sockets = Vec::new();
    loop {
        match UdpSocket::bind(0) {
            Ok(socket) => sockets.push(socket),
            Err(error) if sockets.len() >= HOARDED_MIN => return Err(error),
            Err(_) => return Err(ErrorCode::Invalid),
        }
    }
}

fn code(error: Error) -> ErrorCode {
    match error {
        Error::Refused(code) => code,
        _ => ErrorCode::Invalid,
    }
}

/// Measures without anybody, then beside each foe.
pub fn run(out: &mut Output, names: &[&str]) -> Result<String> {
    let mut clock = Clock { mailbox: Mailbox::new(), ended: Vec::new() };
    let (idle, _) = clock.watch(false, PERCENT)?;
    out.line(&format!("idle {} -", idle.as_nanos())).map_err(|error| failed(&error))?;
    for name in names {
        let found = FOES.iter().find(|(known, _)| known == name);
        let (name, foe) = found.ok_or_else(|| format!("there is no foe '{name}'"))?;
        let (late, reason) = beside(&mut clock, *foe)?;
        let line = format!("{name} {} {reason}", late.as_nanos());
        out.line(&line).map_err(|error| failed(&error))?;
    }
    // After all that, an ordinary process still lives and ends as ever.
    let child = NOTHING.spawn(&(), SpawnOptions::here().monitored());
    let child = child.map_err(|error| format!("an ordinary process: {error}"))?;
    match clock.end_of(child.pid)? {
        ExitReason::Normal => Ok(format!("lived beside {} foes", names.len())),
        reason => Err(format!("doing nothing ended with: {reason}")),
    }
}

/// The entry `keeper`: sees to it that there is a foe all the time, and tells its parent which the
/// first is and how that ended. It ends with an error if one ends as it must not, or if there is
/// none to be had; the foe ends with it.
pub fn keeper((foe, sink, parent): (Foe, Pid, Pid)) -> Result {
    trap_exits(true);
    let (mut mailbox, mut spawned, mut told) = (Mailbox::new(), false, false);
    loop {
        let child = spawn_patiently(foe, sink)?;
        if !spawned {
            let told = send_bytes(&parent, TAG_RUNS, &child.to_bytes(), None);
            told.map_err(|error| failed(&error))?;
            spawned = true;
        }
        let reason = match mailbox.next_event().map_err(|error| failed(&error))? {
            Event::Exit(exit) if exit.pid == child => exit.reason,
            other => return Err(format!("{other:?} came")),
        };
        if !foe.explains(&reason) {
            return Err(format!("{foe:?} ended with: {reason}"));
        }
        if !told {
            send_bytes(&parent, TAG, &reason.to_bytes(), None).map_err(|error| failed(&error))?;
            told = true;
        }
    }
}

/// Spawns a foe; what the last one held may not be back yet.
fn spawn_patiently(foe: Foe, sink: Pid) -> Result<Pid> {
    let deadline = now() + PATIENCE;
    loop {
        match FOE.spawn(&(foe, sink), foe.options()) {
            Ok(child) => return Ok(child.pid),
            Err(error) if now() >= deadline => return Err(format!("no {foe:?}: {error}")),
            Err(_) => yield_now(),
        }
    }
}

/// How late the clock was beside a foe, and how that ended.
fn beside(clock: &mut Clock, foe: Foe) -> Result<(Duration, ExitReason)> {
    let sink = SINK.spawn(&(), SpawnOptions::here()).map_err(|error| failed(&error))?.pid;
    let keeper = KEEPER.spawn(&(foe, sink, me()), SpawnOptions::here().monitored());
    let keeper = keeper.map_err(|error| failed(&error))?.pid;
    let first = clock.first_of(keeper)?;
    // One that ends by itself may have done so; its keeper tells how.
    let ends_with_keeper = foe.is_endless();
    if ends_with_keeper {
        Monitor::new(&first).map_err(|error| failed(&error))?;
    }
    let percent = if foe == Foe::HoldMost { 100 } else { PERCENT };
    let (late, told) = clock.watch(!ends_with_keeper, percent)?;
    kill(&keeper).map_err(|error| failed(&error))?;
    match clock.end_of(keeper)? {
        ExitReason::Killed => {}
        reason => return Err(format!("the keeper of {foe:?} ended with: {reason}")),
    }
    let reason = match told {
        Some(reason) => reason,
        None => clock.end_of(first)?,
    };
    kill(&sink).map_err(|error| failed(&error))?;
    Ok((late, reason))
}

struct Clock {
    mailbox: Mailbox,
    /// Ends that were heard of before anybody asked: a foe's may come before its keeper's.
    ended: Vec<(Pid, ExitReason)>,
}

impl Clock {
    /// Waits until the keeper has a foe, and says who it is.
    fn first_of(&mut self, keeper: Pid) -> Result<Pid> {
        match self.mailbox.next_event().map_err(|error| failed(&error))? {
            Event::Message(told) if told.tag == TAG_RUNS && told.from == keeper => {
                let pid = told.payload.try_into().map_err(|_| "no pid was told")?;
                Ok(Pid::from_bytes(pid))
            }
            Event::Down(down) if down.pid == keeper => {
                Err(format!("the keeper ended with: {}", down.reason))
            }
            other => Err(format!("unexpected: {other:?}")),
        }
    }

    /// How late so many of a hundred timers are at most, until there are enough; and how a foe has
    /// ended, if it `is_told`.
    fn watch(&mut self, is_told: bool, percent: usize) -> Result<(Duration, Option<ExitReason>)> {
        let mut told = None;
        let mut late = Vec::with_capacity(SAMPLES_MAX);
        let mut due = now();
        while late.len() < SAMPLES || (is_told && told.is_none() && late.len() < SAMPLES_MAX) {
            due += PERIOD;
            Timer::after(due - now(), TAG).map_err(|error| failed(&error))?;
            loop {
                match self.mailbox.next_event().map_err(|error| failed(&error))? {
                    Event::Timer(_) => break,
                    Event::Message(end) => told = ExitReason::from_bytes(end.payload).ok(),
                    other => return Err(format!("unexpected: {other:?}")),
                }
            }
            late.push(now() - due);
        }
        late.sort_unstable();
        if is_told && told.is_none() {
            return Err("nobody was told of an end".into());
        }
        Ok((late[late.len() * percent / 100 - 1], told))
    }

    /// How a process ends.
    fn end_of(&mut self, pid: Pid) -> Result<ExitReason> {
        loop {
            if let Some(at) = self.ended.iter().position(|(of, _)| *of == pid) {
                return Ok(self.ended.swap_remove(at).1);
            }
            match self.mailbox.next_event_within(PATIENCE).map_err(|error| failed(&error))? {
                Event::Down(down) => self.ended.push((down.pid, down.reason)),
                other => return Err(format!("unexpected: {other:?}")),
            }
        }
    }
}
