//! Clients of a node's ports, which nobody here wrote or which ask the plainest way there is.
//!
//! Owns what several tests ask with: [`curl`], [`echo_much`], [`metric`].

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Hosts are slow and busy; what is asserted is that it comes, not when.
const PATIENCE: Duration = Duration::from_secs(60);

/// What curl prints, which must find nothing wrong.
#[track_caller]
pub fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]).args(arguments);
    let output = command.output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A connection that never waits for ever.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends so many bytes, whatever has come back, and hears all of them and the end.
#[track_caller]
pub fn echo_much(echo: SocketAddr, bytes: u32) {
    let mut stream = connect(echo);
    let text: Vec<u8> = (0..bytes).map(|number| (number / 7) as u8).collect();
    let (mut sender, sent) = (stream.try_clone().unwrap(), text.clone());
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    sending.join().unwrap();
    assert!(heard == text, "{} bytes came back", heard.len());
}

/// A number of a node's metrics, asked at the address of its page.
#[track_caller]
pub fn metric(http: SocketAddr, name: &str) -> u64 {
    let mut stream = connect(http);
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    value_in(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A number in the text of a node's metrics.
pub fn value_in(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
