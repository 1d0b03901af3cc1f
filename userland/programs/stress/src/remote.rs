//! Messages to and from every other node: their order, their bytes; monitors and kills.
//!
//! Owns [`Ball`] and the exchange. Few balls are in the air at once, so that the two sides never
//! wait for room in each other's mailbox.

use crate::{ECHO, Result, failed};
use alloc::string::String;
use alloc::{format, vec};
use craton::{
    Child, Duration, Event, ExitReason, Mailbox, Monitor, NodeId, Payload, Pid, SpawnOptions, kill,
    me, nodes, send_within,
};
use serde::{Deserialize, Serialize};

/// Messages each way, for each node.
const BALLS: u64 = 1_000;
/// Messages under way.
const BALLS_IN_AIR_MAX: u64 = 4;
/// Payload of every hundredth message.
const LONG_BYTES: usize = 64 << 10;
/// Payload of every four hundredth: with its number and length, the longest message.
const LONGEST_BYTES: usize = (1 << 20) - 16;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A numbered message.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ball {
    number: u64,
    bytes: Payload,
}

craton::message!(Ball = "stress.ball");

/// The entry `echo`: sends every ball back, and ends with its parent.
pub fn echo(parent: Pid) -> core::result::Result<(), craton::Error> {
    Monitor::new(&parent)?;
    let mut mailbox = Mailbox::new();
    loop {
        let (from, ball) = mailbox.receive::<Ball>()?.message()?;
        send_within(&from, &ball, PATIENCE)?;
    }
}

/// Plays with every other node.
pub fn run() -> Result<String> {
    let nodes = nodes().map_err(|error| failed(&error))?;
    let others = nodes.get(1..).unwrap_or(&[]);
    let mut bytes = 0;
    for node in others {
        bytes += play(*node).map_err(|error| format!("node {node}: {error}"))?;
    }
    Ok(format!("{} nodes, {} messages each way, {bytes} bytes", others.len(), BALLS))
}

/// Plays with one node; bytes sent.
fn play(node: NodeId) -> Result<u64> {
    let mut mailbox = Mailbox::new();
    let options = SpawnOptions::on(node).monitored();
    let child = ECHO.spawn(&me(), options).map_err(|error| failed(&error))?;
    if child.pid.node != node {
        return Err(format!("the child is on node {}", child.pid.node));
    }
    let (mut sent, mut back, mut bytes) = (0, 0, 0);
    while back < BALLS {
        let longest = sent < BALLS && payload_len(sent) == LONGEST_BYTES;
        let room = if longest { 1 } else { BALLS_IN_AIR_MAX };
        if sent < BALLS && sent - back < room {
            let ball = ball(sent);
            bytes += ball.bytes.0.len() as u64;
            send_within(&child.pid, &ball, PATIENCE).map_err(|error| failed(&error))?;
            sent += 1;
        } else {
            catch(&mut mailbox, &child, back)?;
            back += 1;
        }
    }
    kill(&child.pid).map_err(|error| failed(&error))?;
    expect_end(&mut mailbox, child.monitor, &ExitReason::Killed)?;
    let late = Monitor::new(&child.pid).map_err(|error| failed(&error))?;
    expect_end(&mut mailbox, Some(late), &ExitReason::NoProcess)?;
    Ok(bytes)
}

/// Takes the next ball, which must be number `number` and come from the child.
fn catch(mailbox: &mut Mailbox, child: &Child, number: u64) -> Result {
    let received = mailbox.receive_within::<Ball>(PATIENCE).map_err(|error| failed(&error))?;
    let (from, caught) = received.message().map_err(|error| failed(&error))?;
    if from != child.pid {
        return Err(format!("a ball from {from}"));
    }
    if caught != ball(number) {
        return Err(format!("ball {number} was to come, but {} came", caught.number));
    }
    Ok(())
}

fn expect_end(mailbox: &mut Mailbox, monitor: Option<Monitor>, reason: &ExitReason) -> Result {
    match mailbox.next_event_within(PATIENCE).map_err(|error| failed(&error))? {
        Event::Down(down) if Some(down.monitor) == monitor && down.reason == *reason => Ok(()),
        Event::Down(down) => Err(format!("{} ended: {}, not {reason}", down.pid, down.reason)),
        other => Err(format!("unexpected: {other:?}")),
    }
}

fn payload_len(number: u64) -> usize {
    match number {
        number if number % 400 == 399 => LONGEST_BYTES,
        number if number % 100 == 99 => LONG_BYTES,
        number => (number % 50) as usize,
    }
}

/// The ball with this number; its bytes tell it from every other.
fn ball(number: u64) -> Ball {
    let mut bytes = vec![number as u8; payload_len(number)];
    for (at, byte) in bytes.iter_mut().enumerate().step_by(1021) {
        *byte = (at as u64 ^ number) as u8;
    }
    Ball { number, bytes: Payload(bytes) }
}
