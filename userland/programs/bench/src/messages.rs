//! Benchmarks of messages between a few processes.
//!
//! Owns the loops and the entries of the processes that they need.

use crate::{BOUNCE, COUNTER, Cpus, Figure, HOARDER, RING, Result, WORKER, expect, failed};
use alloc::format;
use alloc::vec::Vec;
use craton::{Child, Duration, Error, Event, Mailbox, Pid, kill, limit, me, now, send_bytes};

const TAG: u64 = 1;
const TAG_DONE: u64 = 2;
const RING_MEMBERS: u64 = 100;
const WORKERS: u64 = 60;

type Ended = core::result::Result<(), Error>;

fn send(to: &Pid, tag: u64, payload: &[u8]) -> Ended {
    send_bytes(to, tag, payload, Some(Duration::MAX))
}

/// The next message's tag and number.
fn next(mailbox: &mut Mailbox) -> core::result::Result<(u64, u64), Error> {
    let message = mailbox.next_message()?;
    let number = message.payload.try_into().map(u64::from_le_bytes);
    Ok((message.tag, number.map_err(|_| Error::Malformed)?))
}

/// The entry `bounce`.
pub fn bounce((): ()) -> Ended {
    let mut mailbox = Mailbox::new();
    loop {
        let message = mailbox.next_message()?;
        send(&message.from, TAG, message.payload)?;
    }
}

pub fn pingpong(count: u64, cpus: Cpus) -> Result<Figure> {
    let child = cpus.partner(BOUNCE, &())?;
    let mut mailbox = Mailbox::new();
    let before = now();
    for round in 0..count {
        send(&child.pid, TAG, &round.to_le_bytes()).map_err(|error| failed(&error))?;
        let (_, back) = next(&mut mailbox).map_err(|error| failed(&error))?;
        expect("what came back", back, round)?;
    }
    let used = now() - before;
    kill(&child.pid).map_err(|error| failed(&error))?;
    Ok(Figure { count, used })
}

/// Savina's Counting: one process tells another to count, and asks for the sum at last.
pub fn counting(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let child = cpus.partner(COUNTER, &())?;
    let before = now();
    for _ in 0..count {
        send(&child.pid, TAG, &1_u64.to_le_bytes()).map_err(|error| failed(&error))?;
    }
    send(&child.pid, TAG_DONE, &[]).map_err(|error| failed(&error))?;
    let (_, sum) = next(&mut mailbox).map_err(|error| failed(&error))?;
    let used = now() - before;
    expect("the count", sum, count)?;
    Ok(Figure { count, used })
}

/// The entry `counter`.
pub fn counter((): ()) -> Ended {
    let (mut mailbox, mut sum) = (Mailbox::new(), 0_u64);
    loop {
        let message = mailbox.next_message()?;
        if message.tag == TAG_DONE {
            let parent = message.from;
            return send(&parent, TAG_DONE, &sum.to_le_bytes());
        }
        let number: [u8; 8] = message.payload.try_into().map_err(|_| Error::Malformed)?;
        sum += u64::from_le_bytes(number);
    }
}

/// Savina's ThreadRing: a token goes round until it has made so many hops.
pub fn threadring(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    // The last one is told last whom to pass the token to, which closes the ring.
    let mut first = me();
    let mut members = Vec::new();
    for number in 0..RING_MEMBERS {
        let argument = (me(), first, number);
        let child = RING.spawn(&argument, cpus.options()).map_err(|error| failed(&error))?;
        first = child.pid;
        members.push(child.pid);
    }
    send(&members[0], TAG_DONE, &first.to_bytes()).map_err(|error| failed(&error))?;
    let before = now();
    send(&first, TAG, &count.to_le_bytes()).map_err(|error| failed(&error))?;
    let (_, ended_at) = next(&mut mailbox).map_err(|error| failed(&error))?;
    let used = now() - before;
    let due = RING_MEMBERS - 1 - count % RING_MEMBERS;
    expect("where the token stopped", ended_at, due)?;
    members.iter().try_for_each(kill).map_err(|error| failed(&error))?;
    Ok(Figure { count, used })
}

/// The entry `ring`.
pub fn ring_member((parent, mut next_one, number): (Pid, Pid, u64)) -> Ended {
    let mut mailbox = Mailbox::new();
    loop {
        let message = mailbox.next_message()?;
        if message.tag == TAG_DONE {
            let bytes = message.payload.try_into().map_err(|_| Error::Malformed)?;
            next_one = Pid::from_bytes(bytes);
            continue;
        }
        let hops = message.payload.try_into().map(u64::from_le_bytes);
        match hops.map_err(|_| Error::Malformed)? {
            0 => send(&parent, TAG, &number.to_le_bytes())?,
            hops => send(&next_one, TAG, &(hops - 1).to_le_bytes())?,
        }
    }
}

/// Savina's fork-join of throughput: the same number of messages to each of sixty processes.
pub fn fjthroughput(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let each = count.div_ceil(WORKERS);
    let before = now();
    let workers = (0..WORKERS).map(|_| WORKER.spawn(&(me(), each), cpus.options()));
    let workers: core::result::Result<Vec<Child>, Error> = workers.collect();
    let workers = workers.map_err(|error| failed(&error))?;
    for number in 0..each {
        for worker in &workers {
            send(&worker.pid, TAG, &number.to_le_bytes()).map_err(|error| failed(&error))?;
        }
    }
    let mut done = 0;
    for _ in &workers {
        done += next(&mut mailbox).map_err(|error| failed(&error))?.1;
    }
    let used = now() - before;
    expect("messages taken", done, each * WORKERS)?;
    Ok(Figure { count: done, used })
}

/// The entry `worker`.
pub fn worker((parent, count): (Pid, u64)) -> Ended {
    let mut mailbox = Mailbox::new();
    let mut angle = 37.2_f64;
    for _ in 0..count {
        let (_, number) = next(&mut mailbox)?;
        // What Savina computes with each message, without the library of mathematics.
        angle = core::hint::black_box(angle * angle) % (1.0 + number as f64);
    }
    send(&parent, TAG, &count.to_le_bytes())
}

/// Messages that lie in one mailbox, taken by their tags from the last to the first.
pub fn tagged(count: u64, cpus: Cpus) -> Result<Figure> {
    let mut mailbox = Mailbox::new();
    let messages = u32::try_from(count).map_err(|_| "no mailbox holds so many")?;
    let bytes = messages.saturating_mul(8).max(limit::MAILBOX_BYTES);
    let options = cpus.options().monitored().mailbox_max(messages, bytes);
    HOARDER.spawn(&(me(), count), options).map_err(|error| failed(&error))?;
    let nanos = match mailbox.next_event().map_err(|error| failed(&error))? {
        Event::Message(message) => message.payload.try_into().map(u64::from_le_bytes),
        other => return Err(format!("the hoarder says {other:?}")),
    };
    let nanos = nanos.map_err(|error| format!("{error}"))?;
    Ok(Figure { count, used: Duration::from_nanos(nanos) })
}

/// The entry `hoarder`: queues messages to itself, takes them, and says how long the taking took.
pub fn hoarder((parent, count): (Pid, u64)) -> Result {
    let mut mailbox = Mailbox::new();
    for tag in 0..count {
        let sent = send_bytes(&me(), TAG_DONE + tag, &tag.to_le_bytes(), Some(Duration::ZERO));
        sent.map_err(|error| format!("{tag} messages are queued: {error}"))?;
    }
    let before = now();
    for tag in (0..count).rev() {
        let message = mailbox.tagged(TAG_DONE + tag).map_err(|error| failed(&error))?;
        expect("what lay there", message.payload, &tag.to_le_bytes()[..])?;
    }
    let used = (now() - before).as_nanos();
    send(&parent, TAG, &used.to_le_bytes()).map_err(|error| failed(&error))
}
