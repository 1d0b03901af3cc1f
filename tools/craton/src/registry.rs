//! How the tool's commands find a cluster that another of its processes runs on this machine.
//!
//! Owns the rendezvous: an abstract unix socket named after the user and the cluster. It leaves no
//! file behind, whatever ends the process. One question a connection, one JSON line each way. Only
//! the same user is answered; nothing secret is told, only where the keys lie.

use crate::error::{Context, Error, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;

/// Longest line that is read from another process.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A local cluster, as its owner tells other processes of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// The cluster's name.
    pub name: String,
    /// Where its keys lie.
    pub keys: PathBuf,
    /// The process that owns it.
    pub owner: u32,
    /// Its nodes.
    pub nodes: Vec<RegisteredNode>,
}

/// A node of a local cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegisteredNode {
    /// Its name.
    pub name: String,
    /// Where an operator reaches it from this machine.
    pub forwarded: SocketAddr,
    /// The QEMU process that is the machine.
    pub process: u32,
}

#[derive(Serialize, Deserialize)]
enum Ask {
    Describe,
    Down,
}

fn address(name: &str) -> Result<SocketAddrUnix> {
    let user = rustix::process::getuid().as_raw();
    SocketAddrUnix::new_abstract_name(format!("craton-{user}-{name}").as_bytes())
        .tried(|| format!("name the cluster '{name}'"))
}

fn socket() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .tried(|| "make a socket".into())
}

/// Answers for the cluster until the process ends. A wish to take it down goes to `down`.
///
/// # Errors
///
/// If another process already runs a cluster of that name.
pub fn serve(registered: Registered, down: Sender<()>) -> Result<()> {
    let socket = socket()?;
    let name = registered.name.clone();
    rustix::net::bind(&socket, &address(&name)?).map_err(|error| {
        Error::new(format!("start the cluster '{name}'"), error)
            .advise(format!("craton down --cluster {name}, or another --cluster NAME"))
    })?;
    rustix::net::listen(&socket, 16).tried(|| "listen for other craton commands".into())?;
    thread::spawn(move || {
        while let Ok(peer) = rustix::net::accept_with(&socket, SocketFlags::CLOEXEC) {
            // A peer that asks nonsense or hangs up harms nobody: the next one is served.
            let _ = answer(peer, &registered, &down);
        }
    });
    Ok(())
}

fn answer(peer: OwnedFd, registered: &Registered, down: &Sender<()>) -> Result<()> {
    let credentials =
        rustix::net::sockopt::socket_peercred(&peer).tried(|| "see who asks".into())?;
    if credentials.uid != rustix::process::getuid() {
        return Err(Error::new("answer another user", "not allowed"));
    }
    let mut stream = UnixStream::from(peer);
    let timeout = Some(std::time::Duration::from_secs(1));
    stream.set_read_timeout(timeout).tried(|| "limit the wait".into())?;
    match read_line(&stream)? {
        Ask::Describe => write_line(&mut stream, registered)?,
        Ask::Down => {
            write_line(&mut stream, registered)?;
            // The owner may be on its way out already.
            let _ = down.send(());
        }
    }
    Ok(())
}

fn read_line<T: for<'a> Deserialize<'a>>(stream: &UnixStream) -> Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX))
        .read_line(&mut line)
        .tried(|| "read from the cluster's process".into())?;
    serde_json::from_str(&line).tried(|| "understand the cluster's process".into())
}

fn write_line<T: Serialize>(stream: &mut UnixStream, value: &T) -> Result<()> {
    let mut line = serde_json::to_string(value).tried(|| "put the answer in words".into())?;
    line.push('\n');
    stream.write_all(line.as_bytes()).tried(|| "write to the other process".into())
}

fn ask(name: &str, question: &Ask) -> Result<(Registered, UnixStream)> {
    let socket = socket()?;
    rustix::net::connect(&socket, &address(name)?).map_err(|_| {
        Error::new(
            format!("reach the cluster '{name}'"),
            "no craton process on this machine runs it",
        )
        .advise("craton up, or --connect ADDRESS:PORT for a cluster elsewhere")
    })?;
    let mut stream = UnixStream::from(socket);
    write_line(&mut stream, question)?;
    Ok((read_line(&stream)?, stream))
}

/// Finds the cluster `name` on this machine.
///
/// # Errors
///
/// If no process of this user runs it.
pub fn find(name: &str) -> Result<Registered> {
    Ok(ask(name, &Ask::Describe)?.0)
}

/// Takes the cluster `name` down and waits until its process is gone.
///
/// # Errors
///
/// If no process of this user runs it.
pub fn down(name: &str) -> Result<Registered> {
    let (registered, _) = ask(name, &Ask::Down)?;
    let Some(pid) = rustix::process::Pid::from_raw(registered.owner as i32) else {
        return Err(Error::new("wait for the cluster's process", "it has no process id"));
    };
    // The process may be gone already: then there is nothing to wait for.
    if let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let mut ready = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ready, None).tried(|| "wait for the cluster to end".into())?;
    }
    Ok(registered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_cluster_is_found_by_its_name_and_hears_that_it_should_end() {
        let name = format!("test-{}", std::process::id());
        assert!(find(&name).is_err());
        let (sender, receiver) = channel();
        let node = RegisteredNode {
            name: "n1".into(),
            forwarded: "127.0.0.1:9".parse().expect("an address"),
            process: 7,
        };
        let registered =
            Registered { name: name.clone(), keys: "k".into(), owner: 1, nodes: vec![node] };
        serve(registered.clone(), sender.clone()).expect("the name is free");
        assert_eq!(find(&name).expect("it is there").nodes[0].process, 7);
        assert!(serve(registered, sender).is_err(), "a name is taken once");
        let (_, _) = ask(&name, &Ask::Down).expect("it is there");
        receiver.recv().expect("the wish arrives");
    }
}
