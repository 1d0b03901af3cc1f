//! The benchmarks of messages and spawning as native programs.
//!
//! Owns [`ENTRIES`]. Each does what the benchmark of its name does in `userland/programs/bench` and
//! in `beam/craton_bench.erl`, and checks its own result.

use crate::host::world::{Entry, Failure, Process};
use craton_abi::{ExitReason, Pid};
use craton_shard::port::Received;
use std::time::Instant;

/// The programs, those that are benchmarks first.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("spawn", |me, argument| Box::pin(async move { spawn(me, number(&argument, 0)).await })),
    ("pingpong", |me, argument| Box::pin(async move { pingpong(me, number(&argument, 0)).await })),
    ("counting", |me, argument| Box::pin(async move { counting(me, number(&argument, 0)).await })),
    ("threadring", |me, argument| Box::pin(async move { ring(me, number(&argument, 0)).await })),
    ("big", |me, argument| Box::pin(async move { big(me, number(&argument, 0)).await })),
    ("skynet", |me, argument| Box::pin(async move { skynet(me, number(&argument, 0)).await })),
    ("nothing", |_, _| Box::pin(async { Ok(()) })),
    ("bounce", |me, _| Box::pin(bounce(me))),
    ("counter", |me, _| Box::pin(counter(me))),
    ("ring_member", |me, argument| Box::pin(ring_member(me, argument))),
    ("big_member", |me, argument| Box::pin(big_member(me, argument))),
    ("skynet_node", |me, argument| Box::pin(skynet_node(me, argument))),
];

const RING_MEMBERS: u64 = 100;
const BIG_MEMBERS: u64 = 32;
const SKYNET_CHILDREN: u64 = 10;

const TAG_PING: u64 = 1;
const TAG_PONG: u64 = 2;
const TAG_DONE: u64 = 3;

/// The number in an argument, behind this many bytes.
fn number(argument: &[u8], at: usize) -> u64 {
    let bytes = argument.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The pid in an argument, behind this many bytes.
fn pid(argument: &[u8], at: usize) -> Result<Pid, Failure> {
    let bytes = argument.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(Pid::from_bytes).ok_or_else(|| "an argument without a pid".into())
}

fn bytes(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn expect<T: PartialEq + core::fmt::Debug>(what: &str, found: T, due: T) -> Result<(), Failure> {
    if found == due { Ok(()) } else { Err(format!("{what} is {found:?} and not {due:?}")) }
}

/// One after another, each watched until it ends.
async fn spawn(me: Process, count: u64) -> Result<(), Failure> {
    let before = Instant::now();
    for _ in 0..count {
        let (child, monitor) = me.spawn("nothing", Vec::new(), true).await?;
        match me.receive(None).await? {
            Received::Down { from, id, reason: ExitReason::Normal } => {
                expect("who ended", (from, Some(id)), (child, monitor))?;
            }
            other => return Err(format!("not an end but {other:?}")),
        }
    }
    me.tell(count, before.elapsed());
    Ok(())
}

async fn pingpong(me: Process, count: u64) -> Result<(), Failure> {
    let (other, _) = me.spawn("bounce", Vec::new(), false).await?;
    let before = Instant::now();
    for round in 0..count {
        me.send(other, 0, bytes(round)).await?;
        let (_, _, echo) = me.message().await?;
        expect("the echo", echo, round)?;
    }
    me.tell(count, before.elapsed());
    me.kill(other).await
}

async fn bounce(me: Process) -> Result<(), Failure> {
    loop {
        match me.receive(None).await? {
            Received::Message { from, tag, payload } => me.send(from, tag, payload.0).await?,
            other => return Err(format!("not a ball but {other:?}")),
        }
    }
}

async fn counting(me: Process, count: u64) -> Result<(), Failure> {
    let (counter, _) = me.spawn("counter", Vec::new(), false).await?;
    let before = Instant::now();
    for _ in 0..count {
        me.send(counter, TAG_PING, bytes(1)).await?;
    }
    me.send(counter, TAG_DONE, Vec::new()).await?;
    let (_, _, sum) = me.message().await?;
    me.tell(count, before.elapsed());
    expect("the sum", sum, count)
}

async fn counter(me: Process) -> Result<(), Failure> {
    let mut sum = 0;
    loop {
        match me.message().await? {
            (from, TAG_DONE, _) => return me.send(from, TAG_DONE, bytes(sum)).await,
            (_, _, number) => sum += number,
        }
    }
}

async fn ring(me: Process, count: u64) -> Result<(), Failure> {
    let mut members: Vec<Pid> = Vec::new();
    for place in 0..RING_MEMBERS {
        let mut argument = me.pid().to_bytes().to_vec();
        argument.extend(bytes(place));
        members.push(me.spawn("ring_member", argument, false).await?.0);
    }
    for (place, member) in members.iter().enumerate() {
        let next = members[(place + 1) % members.len()];
        me.send(*member, TAG_PING, next.to_bytes().to_vec()).await?;
    }
    let before = Instant::now();
    me.send(members[0], TAG_PONG, bytes(count)).await?;
    let (_, _, stopped) = me.message().await?;
    me.tell(count, before.elapsed());
    expect("where the token stopped", stopped, count % RING_MEMBERS)?;
    for member in members {
        me.kill(member).await?;
    }
    Ok(())
}

async fn ring_member(me: Process, argument: Vec<u8>) -> Result<(), Failure> {
    let (parent, place) = (pid(&argument, 0)?, number(&argument, Pid::BYTES));
    let next = match me.receive(None).await? {
        Received::Message { payload, .. } => pid(&payload.0, 0)?,
        other => return Err(format!("not the next but {other:?}")),
    };
    loop {
        match me.message().await? {
            (_, _, 0) => me.send(parent, TAG_DONE, bytes(place)).await?,
            (_, _, hops) => me.send(next, TAG_PONG, bytes(hops - 1)).await?,
        }
    }
}

/// Everybody sends pings to the others in turn, each when the last was answered.
async fn big(me: Process, count: u64) -> Result<(), Failure> {
    let each = count.div_ceil(BIG_MEMBERS);
    let mut argument = me.pid().to_bytes().to_vec();
    argument.extend(bytes(each));
    let mut members = Vec::new();
    for _ in 0..BIG_MEMBERS {
        members.push(me.spawn("big_member", argument.clone(), false).await?.0);
    }
    let all: Vec<u8> = members.iter().flat_map(|pid| pid.to_bytes()).collect();
    let before = Instant::now();
    for member in &members {
        me.send(*member, TAG_DONE, all.clone()).await?;
    }
    let mut pongs = 0;
    for _ in &members {
        pongs += me.message().await?.2;
    }
    me.tell(pongs, before.elapsed());
    expect("the number of answers", pongs, each * BIG_MEMBERS)?;
    for member in members {
        me.kill(member).await?;
    }
    Ok(())
}

async fn big_member(me: Process, argument: Vec<u8>) -> Result<(), Failure> {
    let (parent, count) = (pid(&argument, 0)?, number(&argument, Pid::BYTES));
    let (mut members, mut at, mut sent) = (Vec::new(), 0, 0);
    loop {
        let Received::Message { from, tag, payload } = me.receive(None).await? else {
            return Err("not a message".into());
        };
        match tag {
            TAG_PING => {
                me.send(from, TAG_PONG, Vec::new()).await?;
                continue;
            }
            TAG_DONE => {
                let (pids, _) = payload.0.as_chunks::<{ Pid::BYTES }>();
                members = pids.iter().map(Pid::from_bytes).collect();
                at = members.iter().position(|pid| *pid == me.pid()).unwrap_or(0);
            }
            _ => {}
        }
        if sent == count {
            me.send(parent, TAG_DONE, bytes(sent)).await?;
            continue;
        }
        sent += 1;
        at = (at + 1) % members.len();
        if members[at] == me.pid() {
            at = (at + 1) % members.len();
        }
        me.send(members[at], TAG_PING, Vec::new()).await?;
    }
}

async fn skynet(me: Process, leaves: u64) -> Result<(), Failure> {
    let before = Instant::now();
    me.spawn("skynet_node", skynet_argument(&me, 0, leaves), false).await?;
    let (_, _, sum) = me.message().await?;
    me.tell(leaves, before.elapsed());
    expect("the sum", sum, leaves * (leaves - 1) / 2)
}

fn skynet_argument(parent: &Process, first: u64, leaves: u64) -> Vec<u8> {
    let mut argument = parent.pid().to_bytes().to_vec();
    argument.extend(bytes(first));
    argument.extend(bytes(leaves));
    argument
}

/// A leaf says its number, a node the sum of its ten, which are all there before any is heard.
async fn skynet_node(me: Process, argument: Vec<u8>) -> Result<(), Failure> {
    let parent = pid(&argument, 0)?;
    let (first, leaves) = (number(&argument, Pid::BYTES), number(&argument, Pid::BYTES + 8));
    if leaves == 1 {
        return me.send(parent, 0, bytes(first)).await;
    }
    let each = leaves / SKYNET_CHILDREN;
    for child in 0..SKYNET_CHILDREN {
        let argument = skynet_argument(&me, first + child * each, each);
        me.spawn("skynet_node", argument, false).await?;
    }
    let mut sum = 0;
    for _ in 0..SKYNET_CHILDREN {
        sum += me.message().await?.2;
    }
    me.send(parent, 0, bytes(sum)).await
}
