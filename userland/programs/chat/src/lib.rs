//! A chat over TCP whose people may be connected to any node of a cluster.
//!
//! `craton run chat.craton [PORT]` listens on port 6667, or the one that is given, of every node;
//! `nc ADDRESS 6667` is a client. One process is the room; each connection has a process of its
//! own, which ends with it and is missed by the room. It waits for the room and for its peer at
//! once, by `select!`.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod connection;
mod room;

use alloc::format;
use alloc::string::String;
use core::fmt::Display;
use craton::net::TcpListener;
use craton::{Error, Event, Mailbox, Pid, Request, Run, SpawnOptions, me, nodes, trap_exits};
use room::{Join, Room, Say};

const PORT: u16 = 6667;
/// Bytes of memory that one connection may have.
const MEMORY: u64 = 1 << 20;

craton::entries! {
    /// Where a run begins: the room.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Accepts connections of a node for the room.
    pub LISTENER: "listener" = listener as fn((Pid, u16));
    /// One person.
    pub CONNECTION: "connection" = connection::run as fn(Pid);
}

fn text(error: impl Display) -> String {
    format!("{error}")
}

fn main_entry(run: Run) -> Result<(), String> {
    let port = match run.arguments() {
        [] => PORT,
        [port] => port.parse().map_err(|_| format!("not a port: {port}"))?,
        _ => return Err("usage: chat [PORT]".into()),
    };
    // The listeners end with this process, which hears when one of them ends.
    trap_exits(true);
    let mut listeners = 0;
    for node in nodes().map_err(text)? {
        LISTENER.spawn(&(me(), port), SpawnOptions::on(node).linked()).map_err(text)?;
        listeners += 1;
    }
    run.stdout().line(&format!("chat: port {port} of {listeners} nodes")).map_err(text)?;
    keep_room(listeners)
}

/// Passes on what is said, until the last node that listens is lost.
fn keep_room(mut listeners: usize) -> Result<(), String> {
    let (mut mailbox, mut room) = (Mailbox::new(), Room::default());
    loop {
        match mailbox.next_event().map_err(text)? {
            Event::Message(message) if message.is::<Request<Join>>() => {
                let request: Request<Join> = message.decode().map_err(text)?;
                request.reply(&room.join(message.from, &request.body.0)).map_err(text)?;
            }
            Event::Message(message) if message.is::<Say>() => {
                room.say(message.from, &message.decode::<Say>().map_err(text)?.0);
            }
            Event::Down(down) => room.left(down.pid),
            Event::Exit(exit) if exit.reason == craton::ExitReason::NoConnection => {
                listeners -= 1;
                if listeners == 0 {
                    return Err("no node listens any more".into());
                }
            }
            Event::Exit(exit) => return Err(format!("a listener ended: {}", exit.reason)),
            _ => {}
        }
    }
}

fn listener((room, port): (Pid, u16)) -> Result<(), Error> {
    let options = SpawnOptions::here().memory_max(MEMORY);
    match TcpListener::bind(port)?.serve(&CONNECTION, &room, options)? {}
}

#[cfg(test)]
mod tests;
