//! Clients of all sorts, on threads.

use craton::host::{self, Scenario};
use craton::net::{TcpListener, TcpStream};
use craton::{Error, ErrorCode, ExitReason, Run, SpawnOptions, kill};
use std::net::{Ipv4Addr, SocketAddr};

mod rig {
    use super::*;

    craton::entries! {
        /// Starts the server, talks to it as the run's arguments say, and ends it.
        pub RIG: "main" = rig as fn(Run);
        /// The server, which needs no console of its own here.
        pub SERVER: "server" = server as fn(u16);
        /// As the program's own.
        pub CONNECTION: "connection" = crate::connection as fn(());
    }

    fn server(port: u16) -> Result<(), Error> {
        crate::serve_on(&TcpListener::bind(port)?)
    }

    /// Says each argument on one connection, then prints all that comes back.
    fn rig(run: Run) -> Result<(), Error> {
        let server = SERVER.spawn(&80, SpawnOptions::here())?;
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        let mut client = loop {
            // It takes a moment to listen.
            match TcpStream::connect(to, None) {
                Err(ErrorCode::Refused) => craton::yield_now(),
                connected => break connected?,
            }
        };
        for argument in run.arguments() {
            // A server that has heard enough closes; what it said can still be read.
            if client.write_all(argument.as_bytes()).is_err() {
                break;
            }
        }
        let _ = client.finish();
        let mut block = [0; 1_000];
        loop {
            match client.read(&mut block)? {
                0 => break,
                len => run.stdout().write(&block[..len])?,
            }
        }
        kill(&server.pid)
    }
}

/// What the server answers.
fn answers(said: &[&str]) -> String {
    let arguments = said.iter().map(|&text| text.into()).collect();
    let outcome = host::run(rig::ENTRIES, Scenario { arguments, ..Scenario::default() });
    assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
    assert_eq!(outcome.left_over, Vec::<String>::new());
    String::from_utf8(outcome.stdout).expect("text")
}

#[test]
fn one_connection_carries_many_requests_in_any_pieces() {
    let text = answers(&[
        "GET /hello HT",
        "TP/1.1\r\nHost: x\r\n",
        "\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Le",
        "ngth: 5\r\n\r\nab",
        "cdeHEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /nowhere?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nignored",
    ]);
    let statuses: Vec<&str> = text.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 405 Method Not Allowed",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 Not Found"
        ]
    );
    assert_eq!(text.matches("\r\n\r\nhello\n").count(), 1, "HEAD has no body");
    assert!(text.ends_with("there is nothing here\n"));
}

#[test]
fn the_front_page_says_who_answers() {
    let text = answers(&["GET / HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(text.contains("<td>&lt;") && text.contains("<td>127.0.0.1:"), "{text}");
}

#[test]
fn what_is_no_request_is_answered_once() {
    let text = answers(&["nonsense\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1);
    let text = answers(&["GET / HTTP/1.1\r\nHost: x\r\n", &"a: b\r\n".repeat(2_000)]);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}
