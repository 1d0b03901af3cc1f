//! A web server, a process for each connection.
//!
//! `craton run http.craton [PORT]` listens on port 8080, or the one that is given, of the node that
//! it runs on; `make boot PROGRAM=userland/programs/http` boots a node that does nothing else.
//! `/` says what answers, `/hello` is a fixed small body to measure with.
//!
//! The process that accepts hands each connection to one of its own, which has a memory and limits
//! of its own and ends with it: a client that is slow, hostile or lucky enough to find a bug meets
//! nobody else. `craton::http` reads requests and has the patience, `page` makes answers.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod page;
#[cfg(test)]
mod tests;

use alloc::format;
use craton::net::TcpListener;
use craton::{Error, Run, SpawnOptions};

craton::entries! {
    /// Where a run begins: accepts connections and gives each to a process.
    pub MAIN: "main" = serve as fn(Run);
    /// One connection, from its first request to its last answer.
    pub CONNECTION: "connection" = connection as fn(());
}

const PORT: u16 = 8080;
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
    serve_on(&listener)
}

fn serve_on(listener: &TcpListener) -> Result<(), Error> {
    match listener.serve(&CONNECTION, &(), SpawnOptions::here().memory_max(MEMORY))? {}
}

fn connection(_: ()) {
    page::routes().serve_given();
}
