//! A process that calls others over the network, and what it may not call.
//!
//! Owns the command `connect`: bytes there and back through an echo server, and every answer that a
//! call can have that leads nowhere.

use crate::{Result, failed};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton::net::{TcpStream, UdpSocket, resolve};
use craton::{Duration, ErrorCode};

/// How long a call may take.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
/// Bytes that go there and back.
const BYTES: usize = 100_000;
/// Parts in which they go: less than the server holds for us while we do not read.
const PART_BYTES: usize = 3_000;
/// Where nobody listens.
const CLOSED: u16 = 9;

/// Calls the echo server at `host` and `port`.
pub fn run(host: &str, port: u16) -> Result<String> {
    let addresses = resolve(host, PATIENCE).map_err(|error| code("resolve", error))?;
    let ip = *addresses.first().ok_or("no address")?;
    let mut stream = TcpStream::connect(SocketAddr::new(ip, port), PATIENCE)
        .map_err(|error| code("connect", error))?;
    stream.set_timeout(PATIENCE);
    let text: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut back = Vec::new();
    let mut block = [0; 1_000];
    for part in text.chunks(PART_BYTES) {
        stream.write_all(part).map_err(|error| code("write", error))?;
        let until = back.len() + part.len();
        while back.len() < until {
            match stream.read(&mut block).map_err(|error| code("read", error))? {
                0 => return Err(format!("the server closed after {} bytes", back.len())),
                len => back.extend_from_slice(&block[..len]),
            }
        }
    }
    if back != text {
        return Err(String::from("other bytes came back"));
    }
    dead_ends(ip)?;
    Ok(format!("{BYTES} bytes came back"))
}

/// What leads nowhere says why.
fn dead_ends(ip: IpAddr) -> Result {
    let of = |a, b, c, d, port| SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port);
    let expected = [
        (SocketAddr::new(ip, CLOSED), ErrorCode::Refused),
        (of(169, 254, 169, 254, 80), ErrorCode::Denied),
        (of(127, 0, 0, 1, 7700), ErrorCode::Denied),
        (of(0, 0, 0, 0, 80), ErrorCode::Invalid),
    ];
    let socket = UdpSocket::bind(0).map_err(|error| code("bind", error))?;
    for (to, expected) in expected {
        match TcpStream::connect(to, PATIENCE) {
            Err(error) if error == expected => {}
            other => return Err(format!("{to}: {other:?}")),
        }
        let datagram = socket.send_to(b"?", to);
        if expected == ErrorCode::Denied && datagram != Err(expected) {
            return Err(format!("a datagram to {to}: {datagram:?}"));
        }
    }
    match UdpSocket::bind(7700) {
        Err(ErrorCode::Denied) => Ok(()),
        other => Err(format!("the port of membership: {other:?}")),
    }
}

fn code(what: &str, error: ErrorCode) -> String {
    format!("{what}: {}", failed(&error.into()))
}
