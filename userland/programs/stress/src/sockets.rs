//! A process that has more sockets than are closed in one go, and is killed with them.
//!
//! Owns the command `sockets`: what the node says when there are no more, and that the next
//! process has them all again.

use crate::{HOLDER, Result, failed};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use craton::net::{TcpListener, TcpStream, UdpSocket};
use craton::{
    Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Output, Pid, SpawnOptions, kill, send,
};
use serde::{Deserialize, Serialize};

/// How long a client may let itself be waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sockets for datagrams that a process asks for beside its connections, of which it gets all, or
/// as many as it may have.
const WANTED: u64 = 1_000;

/// The holder listens.
#[derive(Serialize, Deserialize)]
struct Listening;
craton::message!(Listening = "stress.listening");

/// What the holder got.
#[derive(Serialize, Deserialize)]
struct Held {
    connections: u64,
    datagrams: u64,
    /// The code of what it was told then.
    refusal: i32,
}
craton::message!(Held = "stress.held");

/// What the holder is to do.
#[derive(Serialize, Deserialize)]
pub struct Order {
    parent: Pid,
    port: u16,
    connections: u64,
}

/// The entry `holder`: says what it got, and keeps it.
pub fn holder(order: Order) -> core::result::Result<(), Error> {
    let listener = TcpListener::bind(order.port)?;
    send(&order.parent, &Listening)?;
    let mut connections: Vec<TcpStream> = vec![];
    while (connections.len() as u64) < order.connections {
        connections.push(listener.accept(Some(PATIENCE))?);
    }
    let mut datagrams: Vec<UdpSocket> = vec![];
    let mut refusal = 0;
    while refusal == 0 && (datagrams.len() as u64) < WANTED {
        match UdpSocket::bind(0) {
            Ok(socket) => datagrams.push(socket),
            Err(error) => refusal = error.code(),
        }
    }
    let (connections_count, datagrams_count) = (connections.len() as u64, datagrams.len() as u64);
    let held = Held { connections: connections_count, datagrams: datagrams_count, refusal };
    send(&order.parent, &held)?;
    Mailbox::new().next_event()?;
    drop((listener, connections, datagrams));
    Ok(())
}

/// Twice over: the second holder gets as much as the first.
pub fn run(mut out: Output, port: u16, connections: u64) -> Result<String> {
    let mut datagrams = None;
    for _ in 0..2 {
        let held = hold(&mut out, port, connections)?;
        let refusal = ErrorCode::from_code(held.refusal);
        let all = held.datagrams == WANTED || refusal == Some(ErrorCode::LimitSockets);
        if held.connections != connections || !all {
            return Err(format!("held {}, refused with {refusal:?}", held.connections));
        }
        if *datagrams.get_or_insert(held.datagrams) != held.datagrams {
            return Err(format!("{datagrams:?} at first, then {}", held.datagrams));
        }
    }
    Ok(format!("held {connections} connections twice"))
}

fn hold(out: &mut Output, port: u16, connections: u64) -> Result<Held> {
    let order = Order { parent: craton::me(), port, connections };
    let child =
        HOLDER.spawn(&order, SpawnOptions::here().monitored()).map_err(|error| failed(&error))?;
    let mut mailbox = Mailbox::new();
    let received = mailbox.receive::<Listening>().map_err(|error| failed(&error))?;
    received.message().map_err(|error| failed(&error))?;
    out.line("listening").map_err(|error| failed(&error))?;
    let received = mailbox.receive::<Held>().map_err(|error| failed(&error))?;
    let (_, held) = received.message().map_err(|error| failed(&error))?;
    kill(&child.pid).map_err(|error| failed(&error))?;
    match mailbox.next_event().map_err(|error| failed(&error))? {
        Event::Down(down) if down.reason == ExitReason::Killed => Ok(held),
        other => Err(format!("{other:?} in place of its end")),
    }
}
