//! The figures that `make bench` asks for.
//!
//! Owns two loops. The result is a line `NAME PLACE COUNT NANOS`, the last in nanoseconds for one.

use crate::{BOUNCE, NOTHING, Result, failed, other_node};
use alloc::format;
use alloc::string::String;
use craton::{Duration, Error, Event, Mailbox, SpawnOptions, kill, now, send_bytes};

/// Tag of the ball.
const TAG: u64 = 1;

/// The entry `bounce`: sends everything back.
pub fn bounce((): ()) -> core::result::Result<(), Error> {
    let mut mailbox = Mailbox::new();
    loop {
        let Event::Message(message) = mailbox.next_event()? else { continue };
        send_bytes(&message.from, TAG, message.payload, None)?;
    }
}

/// The entry `nothing`.
pub fn nothing((): ()) {}

/// Round trips of eight bytes.
pub fn pingpong(count: u64, place: &str) -> Result<String> {
    let mut mailbox = Mailbox::new();
    let options = place_of(place)?.monitored();
    let child = BOUNCE.spawn(&(), options).map_err(|error| failed(&error))?;
    let before = now();
    for round in 0..count {
        let ball = round.to_le_bytes();
        send_bytes(&child.pid, TAG, &ball, None).map_err(|error| failed(&error))?;
        match mailbox.next_event().map_err(|error| failed(&error))? {
            Event::Message(message) if message.payload == ball => {}
            Event::Message(_) => return Err(format!("round {round} came back changed")),
            Event::Down(down) => return Err(format!("the other side ended: {}", down.reason)),
            other => return Err(format!("unexpected: {other:?}")),
        }
    }
    let used = now() - before;
    kill(&child.pid).map_err(|error| failed(&error))?;
    Ok(line("pingpong", place, count, used))
}

/// Spawns that are watched until they end.
pub fn spawnexit(count: u64, place: &str) -> Result<String> {
    let mut mailbox = Mailbox::new();
    let options = place_of(place)?.monitored();
    let before = now();
    for _ in 0..count {
        let child = NOTHING.spawn(&(), options).map_err(|error| failed(&error))?;
        match mailbox.next_event().map_err(|error| failed(&error))? {
            Event::Down(down) if down.pid == child.pid && down.reason.is_orderly() => {}
            Event::Down(down) => return Err(format!("a child ended: {}", down.reason)),
            other => return Err(format!("unexpected: {other:?}")),
        }
    }
    Ok(line("spawnexit", place, count, now() - before))
}

fn place_of(place: &str) -> Result<SpawnOptions> {
    Ok(if place == "remote" { SpawnOptions::on(other_node()?) } else { SpawnOptions::here() })
}

fn line(name: &str, place: &str, count: u64, used: Duration) -> String {
    format!("{name} {place} {count} {}", used.as_nanos() / count)
}
