//! Benchmarks of messages among many processes: Savina's Big and Chameneos.
//!
//! Owns the loops and the entries of the processes that they need.

use crate::{BIG, CHAMENEO, Cpus, Figure, MALL, Result, expect, failed};
use alloc::vec::Vec;
use craton::{Duration, Error, Mailbox, Pid, kill, me, now, send_bytes};

const BIG_MEMBERS: u64 = 32;
const CHAMENEOS: u64 = 100;
const COLOURS: u8 = 3;

/// Tags: the list of all, a ping, its answer, a word that somebody is done.
const TAG_ALL: u64 = 1;
const TAG_PING: u64 = 2;
const TAG_PONG: u64 = 3;
const TAG_DONE: u64 = 4;

type Ended = core::result::Result<(), Error>;

fn send(to: &Pid, tag: u64, payload: &[u8]) -> Ended {
    send_bytes(to, tag, payload, Some(Duration::MAX))
}

/// The number in the next message, which must have this tag.
fn number(mailbox: &mut Mailbox, tag: u64) -> core::result::Result<u64, Error> {
    let message = mailbox.next_message()?;
    if message.tag != tag {
        return Err(Error::Malformed);
    }
    message.payload.try_into().map(u64::from_le_bytes).map_err(|_| Error::Malformed)
}

/// Everybody sends pings to the others in turn, each when the last was answered.
pub fn big(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let each = count.div_ceil(BIG_MEMBERS);
    let mut members = Vec::new();
    for _ in 0..BIG_MEMBERS {
        let child = BIG.spawn(&(me(), each), cpus.options());
        members.push(child.map_err(|error| failed(&error))?.pid);
    }
    let all: Vec<u8> = members.iter().flat_map(|pid| pid.to_bytes()).collect();
    let before = now();
    for member in &members {
        send(member, TAG_ALL, &all).map_err(|error| failed(&error))?;
    }
    let mut pongs = 0;
    for _ in &members {
        pongs += number(&mut mailbox, TAG_DONE).map_err(|error| failed(&error))?;
    }
    let used = now() - before;
    expect("the number of answers", pongs, each * BIG_MEMBERS)?;
    members.iter().try_for_each(kill).map_err(|error| failed(&error))?;
    Ok(Figure { count: pongs, used })
}

/// The entry `big`.
pub fn big_member((parent, count): (Pid, u64)) -> Ended {
    let (mut mailbox, mut members, own) = (Mailbox::new(), Vec::new(), me());
    let (mut sent, mut at) = (0_u64, 0_usize);
    loop {
        let message = mailbox.next_message()?;
        match message.tag {
            TAG_PING => {
                send(&message.from, TAG_PONG, &[])?;
                continue;
            }
            TAG_ALL => {
                let pids = message.payload.chunks_exact(Pid::BYTES);
                members = pids.filter_map(|pid| pid.try_into().ok()).map(Pid::from_bytes).collect();
                at = members.iter().position(|pid| *pid == own).unwrap_or(0);
            }
            _ => {}
        }
        if sent == count {
            send(&parent, TAG_DONE, &sent.to_le_bytes())?;
            continue;
        }
        sent += 1;
        at = (at + 1) % members.len();
        if members[at] == own {
            at = (at + 1) % members.len();
        }
        send(&members[at], TAG_PING, &[])?;
    }
}

/// A hundred creatures of three colours meet in pairs in a mall.
pub fn chameneos(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let before = now();
    let mall = MALL.spawn(&(me(), count), cpus.options()).map_err(|error| failed(&error))?;
    for creature in 0..CHAMENEOS {
        let colour = (creature % u64::from(COLOURS)) as u8;
        CHAMENEO.spawn(&(mall.pid, colour), cpus.options()).map_err(|error| failed(&error))?;
    }
    let met = number(&mut mailbox, TAG_DONE).map_err(|error| failed(&error))?;
    let used = now() - before;
    expect("the sum of all creatures' meetings", met, 2 * count)?;
    Ok(Figure { count, used })
}

/// The entry `mall`: pairs who comes; after so many meetings it tells everybody to go home, and
/// adds up how often each has met somebody.
pub fn mall((parent, count): (Pid, u64)) -> Ended {
    let mut mailbox = Mailbox::new();
    let mut waiting: Option<(Pid, u8)> = None;
    let (mut meetings, mut home, mut met) = (0, 0, 0);
    while home < CHAMENEOS {
        let message = mailbox.next_message()?;
        let from = message.from;
        if message.tag == TAG_DONE {
            let number = message.payload.try_into().map(u64::from_le_bytes);
            met += number.map_err(|_| Error::Malformed)?;
            home += 1;
            continue;
        }
        let colour = *message.payload.first().ok_or(Error::Malformed)?;
        if meetings == count {
            send(&from, TAG_DONE, &[])?;
            continue;
        }
        let Some((other, other_colour)) = waiting.take() else {
            waiting = Some((from, colour));
            continue;
        };
        meetings += 1;
        send(&from, TAG_PONG, &[other_colour])?;
        send(&other, TAG_PONG, &[colour])?;
    }
    send(&parent, TAG_DONE, &met.to_le_bytes())
}

/// The entry `chameneo`.
pub fn chameneo((mall, mut colour): (Pid, u8)) -> Ended {
    let (mut mailbox, mut met) = (Mailbox::new(), 0_u64);
    loop {
        send(&mall, TAG_PING, &[colour])?;
        let message = mailbox.next_message()?;
        match message.payload.first() {
            Some(other) => colour = complement(colour, *other),
            None => return send(&mall, TAG_DONE, &met.to_le_bytes()),
        }
        met += 1;
    }
}

/// The colour of who meets another: its own if they are equal, else the third.
fn complement(own: u8, other: u8) -> u8 {
    if own == other { own } else { COLOURS - own - other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_meet_as_they_must() {
        assert_eq!([0, 1, 2].map(|other| complement(0, other)), [0, 2, 1]);
        assert_eq!([0, 1, 2].map(|other| complement(2, other)), [1, 0, 2]);
    }
}
