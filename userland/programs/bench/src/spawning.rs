//! Benchmarks of beginnings and ends: spawns, a tree of processes, notices of one end.
//!
//! Owns the loops and the entries of the processes that they need.

use crate::{Cpus, Figure, IDLE, NOTHING, Result, SKYNET, WATCHER, expect, failed};
use alloc::format;
use alloc::vec::Vec;
use craton::{Child, Error, Event, Mailbox, Pid, SpawnOptions, kill, limit, me, now, send_bytes};
use craton::{Duration, ErrorCode, ExitReason, Monitor};

const TAG: u64 = 1;
/// Children of a node of skynet.
const TENS: u64 = 10;
/// Monitors of each process that watches.
const MONITORS_EACH: u64 = limit::MONITORS_PER_PROCESS_MAX as u64 - 8;

/// The entry `nothing`.
pub fn nothing((): ()) {}

/// The entry `idle`.
pub fn idle((): ()) -> core::result::Result<(), Error> {
    let mut mailbox = Mailbox::new();
    loop {
        mailbox.next_event()?;
    }
}

/// Spawns, one after another, each watched until it ends.
pub fn spawn(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let before = now();
    for _ in 0..count {
        let child =
            NOTHING.spawn(&(), cpus.options().monitored()).map_err(|error| failed(&error))?;
        expect("a child's end", end(&mut mailbox, child.pid)?, ExitReason::Normal)?;
    }
    Ok(Figure { count, used: now() - before })
}

/// The reason of the next end, which must be this process's.
fn end(mailbox: &mut Mailbox, pid: Pid) -> Result<ExitReason> {
    match mailbox.next_event().map_err(|error| failed(&error))? {
        Event::Down(down) if down.pid == pid => Ok(down.reason),
        other => Err(format!("{other:?} came where the end of {pid} was due")),
    }
}

/// Processes that are all alive and idle at once, on all CPUs; then all are killed.
pub fn idlers(count: u64, _: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let before = now();
    let mut alive: Vec<Pid> = Vec::new();
    for number in 0..count {
        match IDLE.spawn(&(), SpawnOptions::here()) {
            Ok(child) => alive.push(child.pid),
            Err(error) => {
                alive.iter().try_for_each(kill).map_err(|error| failed(&error))?;
                return Err(format!("{number} of {count} were spawned: {error}"));
            }
        }
    }
    if let Some(last) = alive.last() {
        let monitor = Monitor::new(last).map_err(|error| failed(&error))?;
        expect("whether the last one has ended", monitor.cancel(), false)?;
    }
    // Processes are born when they first run, in turn: whoever comes behind them runs after all.
    let behind = NOTHING.spawn(&(), SpawnOptions::here().monitored());
    let behind = behind.map_err(|error| failed(&error))?;
    expect("the end of one behind them", end(&mut mailbox, behind.pid)?, ExitReason::Normal)?;
    let used = now() - before;
    for pid in &alive {
        kill(pid).map_err(|error| failed(&error))?;
    }
    // They have ended when the last of each CPU has; the watcher of a dead one is told so.
    for pid in alive.iter().rev().take(64) {
        Monitor::new(pid).map_err(|error| failed(&error))?;
        let reason = end(&mut mailbox, *pid)?;
        let gone = matches!(reason, ExitReason::Killed | ExitReason::NoProcess);
        expect("whether an idle process was killed", gone, true)?;
    }
    Ok(Figure { count, used })
}

/// A tree of tens: every leaf sends its number to its parent, each parent the sum of its children.
/// The count is that of the leaves, raised to a power of ten.
pub fn skynet(count: u64, cpus: Cpus) -> Result<Figure> {
    let leaves = (1..12).map(|power| 10_u64.pow(power)).find(|leaves| *leaves >= count);
    let leaves = leaves.ok_or("there are no such trees")?;
    let mut mailbox = Mailbox::new();
    let before = now();
    SKYNET.spawn(&(me(), 0, leaves), cpus.options()).map_err(|error| failed(&error))?;
    let sum = number(&mut mailbox).map_err(|error| failed(&error))?;
    let used = now() - before;
    expect("the sum of all leaves", sum, leaves * (leaves - 1) / 2)?;
    Ok(Figure { count: leaves, used })
}

/// The entry `skynet`: all children are spawned before any is heard.
pub fn skynet_node((parent, first, leaves): (Pid, u64, u64)) -> core::result::Result<(), Error> {
    match sum_of_leaves(first, leaves) {
        Ok(sum) => send_bytes(&parent, TAG, &sum.to_le_bytes(), Some(Duration::MAX)),
        // Nobody watches anybody: without an answer the parent would wait for ever.
        Err(Error::Refused(code)) => {
            send_bytes(&parent, TAG, &code.code().to_le_bytes(), Some(Duration::MAX))
        }
        Err(error) => Err(error),
    }
}

fn sum_of_leaves(first: u64, leaves: u64) -> core::result::Result<u64, Error> {
    if leaves == 1 {
        return Ok(first);
    }
    let each = leaves / TENS;
    for child in 0..TENS {
        SKYNET.spawn(&(me(), first + child * each, each), SpawnOptions::here())?;
    }
    let mut mailbox = Mailbox::new();
    let mut sum = 0;
    for _ in 0..TENS {
        sum += number(&mut mailbox)?;
    }
    Ok(sum)
}

/// The number in the next message, or why there is none.
fn number(mailbox: &mut Mailbox) -> core::result::Result<u64, Error> {
    loop {
        if let Event::Message(message) = mailbox.next_event()? {
            let refused = |code: [u8; 4]| ErrorCode::from_code(i32::from_le_bytes(code));
            let why = message.payload.try_into().ok().and_then(refused);
            let number = message.payload.try_into().map(u64::from_le_bytes);
            return number.map_err(|_| why.map_or(Error::Malformed, Error::Refused));
        }
    }
}

/// Notices of one end, to as many monitors: they are held by as few processes as can hold them.
fn notices(watched: Child, watchers: &[u64], cpus: Cpus) -> Result<Duration> {
    let mut mailbox = Mailbox::new();
    for count in watchers {
        WATCHER
            .spawn(&(me(), watched.pid, *count), cpus.options())
            .map_err(|error| failed(&error))?;
    }
    for _ in watchers {
        number(&mut mailbox).map_err(|error| failed(&error))?;
    }
    let before = now();
    kill(&watched.pid).map_err(|error| failed(&error))?;
    let mut heard = 0;
    for _ in watchers {
        heard += number(&mut mailbox).map_err(|error| failed(&error))?;
    }
    let used = now() - before;
    expect("the sum of all notices", heard, watchers.iter().sum())?;
    Ok(used)
}

pub fn down(count: u64, cpus: Cpus) -> Result<Figure> {
    let watched = IDLE.spawn(&(), cpus.options()).map_err(|error| failed(&error))?;
    let mut watchers = Vec::new();
    let mut rest = count;
    while rest > 0 {
        watchers.push(rest.min(MONITORS_EACH));
        rest -= rest.min(MONITORS_EACH);
    }
    let used = notices(watched, &watchers, cpus)?;
    Ok(Figure { count, used })
}

/// The entry `watcher`: says when it watches, and how many notices came.
pub fn watcher((parent, watched, count): (Pid, Pid, u64)) -> core::result::Result<(), Error> {
    for _ in 0..count {
        Monitor::new(&watched)?;
    }
    send_bytes(&parent, TAG, &count.to_le_bytes(), Some(Duration::MAX))?;
    let mut mailbox = Mailbox::new();
    let mut heard = 0_u64;
    while heard < count {
        if let Event::Down(down) = mailbox.next_event()?
            && down.pid == watched
            && down.reason == ExitReason::Killed
        {
            heard += 1;
        }
    }
    send_bytes(&parent, TAG, &heard.to_le_bytes(), Some(Duration::MAX))
}
