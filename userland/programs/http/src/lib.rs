//! A web server, a process for each connection.
//!
//! `craton run http.craton [PORT]` listens on port 8080, or the one that is given, of the node that
//! it runs on; `make boot PROGRAM=userland/programs/http` boots a node that does nothing else.
//! `/` says what answers, `/hello` is a fixed small body to measure with.
//!
//! The process that accepts hands each connection to one of its own, which has a memory and limits
//! of its own and ends with it: a client that is slow, hostile or lucky enough to find a bug meets
//! nobody else. `request` reads requests, `page` makes answers, `conversation` has the patience.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod conversation;
mod page;
mod request;
#[cfg(test)]
mod tests;

use alloc::format;
use craton::net::{TcpListener, TcpStream};
use craton::{Duration, Error, ErrorCode, Level, Mailbox, Run, SpawnOptions, log};

craton::entries! {
    /// Where a run begins: accepts connections and gives each to a process.
    pub MAIN: "main" = serve as fn(Run);
    /// One connection, from its first request to its last answer.
    pub CONNECTION: "connection" = conversation::connection as fn(());
}

const PORT: u16 = 8080;
/// How long a server without room for more connections waits for some.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of memory that one connection may have.
const MEMORY: u64 = 1 << 20;

fn serve(run: Run) -> Result<(), Error> {
    let port = match run.arguments() {
        [] => PORT,
        [port] => port.parse().map_err(|_| Error::Malformed)?,
        _ => return Err(Error::Malformed),
    };
    let listener = TcpListener::bind(port)?;
    run.stdout().line(&format!("http: listening on port {port}"))?;
    accept_all(&listener)
}

fn accept_all(listener: &TcpListener) -> Result<(), Error> {
    loop {
        match listener.accept(None) {
            Ok(stream) => {
                if let Err(error) = hand_over(stream) {
                    // The node has no room for another process: this one client is turned away.
                    log(Level::Warn, &format!("a connection was closed: {error}"));
                }
            }
            // Those that wait are accepted when others have gone. Nobody writes to us: this waits.
            Err(ErrorCode::LimitSockets) => _ = Mailbox::new().next_event_within(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

fn hand_over(stream: TcpStream) -> Result<(), Error> {
    let child = CONNECTION.spawn(&(), SpawnOptions::here().memory_max(MEMORY))?;
    Ok(stream.give(&child.pid)?)
}
