//! Clients that ask as fast as they are answered.
//!
//! Owns the loads on a server of the usual small services: [`to`] and [`from`] (bulk), [`echo`]
//! (round trips) and [`http`] (requests over many connections at once, from one thread that waits
//! for all of them). The same whoever serves.

use craton_tool::error::{Context, Error, Result};
use rustix::event::{Timespec, epoll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long each sample takes.
const SPAN: Duration = Duration::from_secs(2);
/// Nothing that is measured is silent for so long.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK_BYTES: usize = 64 << 10;
const ECHO_BYTES: usize = 32;
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
const HTTP: u16 = 80;
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: node\r\n\r\n";
/// Where an answer's head ends, and what says how long the rest is.
const HEAD_END: &[u8] = b"\r\n\r\n";
const LENGTH: &[u8] = b"content-length:";
/// Longest answer that is waited for.
const ANSWER_BYTES_MAX: usize = 16 << 10;

fn connect(server: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let tried = || format!("connect to port {port}");
    let to = SocketAddr::from((server, port));
    let stream = TcpStream::connect_timeout(&to, PATIENCE).tried(tried)?;
    stream.set_nodelay(true).tried(tried)?;
    stream.set_read_timeout(Some(PATIENCE)).tried(tried)?;
    stream.set_write_timeout(Some(PATIENCE)).tried(tried)?;
    Ok(stream)
}

/// Bytes a second to the server, which throws them away, until it has them all.
pub fn to(server: Ipv4Addr) -> Result<f64> {
    let tried = || "send bulk".into();
    let mut stream = connect(server, DISCARD)?;
    let (start, chunk, mut bytes) = (Instant::now(), vec![7; CHUNK_BYTES], 0);
    while start.elapsed() < SPAN {
        bytes += stream.write(&chunk).tried(tried)?;
    }
    stream.shutdown(Shutdown::Write).tried(tried)?;
    // It closes once it has read the end.
    while stream.read(&mut [0; 512]).tried(tried)? > 0 {}
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// Bytes a second from the server, which sends all the time.
pub fn from(server: Ipv4Addr) -> Result<f64> {
    let mut stream = connect(server, CHARGEN)?;
    let (start, mut chunk, mut bytes) = (Instant::now(), vec![0; CHUNK_BYTES], 0);
    while start.elapsed() < SPAN {
        bytes += stream.read(&mut chunk).tried(|| "receive bulk".into())?;
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// Times of round trips of a few bytes, one after another.
pub fn echo(server: Ipv4Addr) -> Result<Vec<f64>> {
    let mut stream = connect(server, ECHO)?;
    let (start, mut bytes, mut times) = (Instant::now(), [7; ECHO_BYTES], Vec::new());
    while start.elapsed() < SPAN {
        let sent = Instant::now();
        let trip = stream.write_all(&bytes).and_then(|()| stream.read_exact(&mut bytes));
        trip.tried(|| "have bytes echoed".into())?;
        times.push(sent.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// One connection, and what of an answer it has.
struct Asker {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Asker {
    fn ask(&mut self) -> std::io::Result<()> {
        self.answer.clear();
        // A request is short and fits what a socket holds: either all of it goes or none.
        self.stream.write_all(REQUEST)
    }

    /// Reads what came; true if the answer is whole.
    fn hear(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.answer.extend_from_slice(&chunk[..count]);
                if self.answer.len() > ANSWER_BYTES_MAX {
                    return Err(ErrorKind::InvalidData.into());
                }
                Ok(length(&self.answer).is_some_and(|length| self.answer.len() >= length))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How long an answer is, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let (lines, body_at) = (&answer[..head], head + HEAD_END.len());
    let body = lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(LENGTH.len())?;
        let value = str::from_utf8(value).ok().filter(|_| name.eq_ignore_ascii_case(LENGTH))?;
        value.trim().parse::<usize>().ok()
    });
    Some(body_at + body.unwrap_or(0))
}

/// Requests a second over so many connections, each of which asks again once it is answered.
pub fn http(server: Ipv4Addr, connections: usize) -> Result<f64> {
    let tried = || format!("ask over {connections} connections");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).tried(tried)?;
    let mut askers = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = connect(server, HTTP)?;
        stream.set_nonblocking(true).tried(tried)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &stream, data, epoll::EventFlags::IN).tried(tried)?;
        askers.push(Asker { stream, answer: Vec::new() });
    }
    let start = Instant::now();
    for asker in &mut askers {
        asker.ask().tried(tried)?;
    }
    let (mut answered, mut events) = (0_u64, Vec::with_capacity(256));
    while start.elapsed() < SPAN {
        events.clear();
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let room = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&poll, room, Some(&patience)).tried(tried)? == 0 {
            return Err(Error::new(tried(), "nobody answers any more"));
        }
        for event in &events {
            let asker = &mut askers[event.data.u64() as usize];
            if asker.hear().tried(tried)? {
                answered += 1;
                asker.ask().tried(tried)?;
            }
        }
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_their_heads_say() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\ncontent-length:  3\r\n\r\nabcd";
        assert_eq!(length(answer), Some(answer.len() - 1));
        assert_eq!(length(&answer[..30]), None);
        assert_eq!(length(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
    }
}
