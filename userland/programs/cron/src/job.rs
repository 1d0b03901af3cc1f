//! One run of a job, in a process of its own.
//!
//! Owns what the jobs do. A failure is the process's end: whoever started it tries again.

use crate::table::What;
use alloc::format;
use alloc::string::String;
use core::net::SocketAddr;
use craton::net::{TcpStream, resolve};
use craton::{Duration, Level, log};

/// How long each step of fetching a page may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Enough for the status line of an answer.
const STATUS_BYTES: usize = 64;

/// The entry `job`.
pub fn run(what: What) -> Result<(), String> {
    match what {
        What::Log(text) => {
            log(Level::Info, &text);
            Ok(())
        }
        What::Get { host, port, path } => get(&host, port, &path),
    }
}

fn get(host: &str, port: u16, path: &str) -> Result<(), String> {
    let failed = |what: &str, error| format!("{what}: {error}");
    let addresses = resolve(host, Some(TIMEOUT)).map_err(|error| failed(host, error))?;
    let address = *addresses.first().ok_or_else(|| format!("{host} has no address"))?;
    let stream = TcpStream::connect(SocketAddr::new(address, port), Some(TIMEOUT));
    let mut stream = stream.map_err(|error| failed("connecting", error))?;
    stream.set_timeout(Some(TIMEOUT));
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| failed("asking", error))?;
    let mut start = [0; STATUS_BYTES];
    let mut len = 0;
    while len < start.len() && !start[..len].contains(&b'\n') {
        match stream.read(&mut start[len..]).map_err(|error| failed("reading", error))? {
            0 => break,
            read => len += read,
        }
    }
    let line = String::from_utf8_lossy(&start[..len]);
    match line.split_whitespace().nth(1) {
        Some(status) if line.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
        _ => Err(format!("answered: {}", line.lines().next().unwrap_or(""))),
    }
}
