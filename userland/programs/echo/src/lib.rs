//! A TCP server that sends back what it is sent, a process for each connection.
//!
//! `craton run echo.craton [PORT]` listens on port 7, or the one that is given, of the node that it
//! runs on. Whoever talks nonsense, crashes or goes to sleep does so to a process of its own: the
//! others do not notice. A connection that says nothing for five minutes is closed.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

use alloc::format;
use craton::net::{TcpListener, TcpStream};
use craton::{Duration, Error, Run, SpawnOptions};

craton::entries! {
    /// Where a run begins: accepts connections and gives each to a process.
    pub MAIN: "main" = serve as fn(Run);
    /// One connection, from its first byte to its last.
    pub CONNECTION: "connection" = connection as fn(());
}

const PORT: u16 = 7;
/// How long a connection may say nothing, or take nothing.
const IDLE: Duration = Duration::from_secs(300);
/// Bytes of memory that one connection may have.
const MEMORY: u64 = 1 << 20;
const BLOCK_BYTES: usize = 4 << 10;

fn serve(run: Run) -> Result<(), Error> {
    let port = match run.arguments() {
        [] => PORT,
        [port] => port.parse().map_err(|_| Error::Malformed)?,
        _ => return Err(Error::Malformed),
    };
    let listener = TcpListener::bind(port)?;
    run.stdout().line(&format!("echo: listening on port {port}"))?;
    match listener.serve(&CONNECTION, &(), SpawnOptions::here().memory_max(MEMORY))? {}
}

/// Ends in order whatever the peer does: a peer that is gone is no fault of ours.
fn connection(_: ()) {
    // Without one, whoever spawned us has ended.
    let Some(mut stream) = TcpStream::served() else { return };
    stream.set_timeout(Some(IDLE));
    let mut block = [0; BLOCK_BYTES];
    while let Ok(len) = stream.read(&mut block) {
        if len == 0 || stream.write_all(&block[..len]).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton::host::{self, Scenario};
    use craton::{ErrorCode, ExitReason, kill};
    use std::net::{Ipv4Addr, SocketAddr};

    mod rig {
        use super::*;

        craton::entries! {
            /// Starts the server, talks to it, and ends it.
            pub RIG: "main" = rig as fn(Run);
            /// The server, which needs no console of its own here.
            pub SERVER: "server" = server as fn(u16);
            /// As the program's own.
            pub CONNECTION: "connection" = super::connection as fn(());
        }

        fn server(port: u16) -> Result<(), Error> {
            match TcpListener::bind(port)?.serve(&CONNECTION, &(), SpawnOptions::here())? {}
        }

        fn rig(_: Run) -> Result<(), Error> {
            let server = SERVER.spawn(&9, SpawnOptions::here())?;
            let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
            let mut clients = Vec::new();
            while clients.len() < 5 {
                // It takes a moment to listen.
                match TcpStream::connect(to, None) {
                    Ok(client) => clients.push(client),
                    Err(ErrorCode::Refused) => craton::yield_now(),
                    Err(error) => return Err(error.into()),
                }
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let text = format!("client {index}");
                client.write_all(text.as_bytes())?;
                let mut back = [0; 8];
                assert_eq!(client.read(&mut back)?, 8);
                assert_eq!(back, text.as_bytes());
            }
            for mut client in clients {
                client.finish()?;
                assert_eq!(client.read(&mut [0; 8])?, 0);
            }
            kill(&server.pid)
        }
    }

    #[test]
    fn each_client_hears_its_own_words() {
        let outcome = host::run(rig::ENTRIES, Scenario::default());
        assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
        assert_eq!(outcome.left_over, Vec::<String>::new());
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        let arguments = vec!["http".into()];
        let outcome = host::run(ENTRIES, Scenario { arguments, ..Scenario::default() });
        assert!(matches!(outcome.reason, ExitReason::Error(_)));
    }
}
