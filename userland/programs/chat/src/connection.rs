//! One person: what the peer types goes to the room, what the room says goes to the peer.
//!
//! Owns the lines of both directions. Ends in order whatever the peer does.

use crate::room::{Join, Joined, Say, Show};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::net::TcpStream;
use craton::{Duration, Error, ErrorCode, Event, Mailbox, Monitor, Pid, select, send};

/// How long it waits for the room, or for a peer to take what it is told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line; what is longer comes in pieces.
const LINE_BYTES_MAX: usize = 1024;
const BLOCK_BYTES: usize = 512;

/// The entry `connection`.
pub fn run(room: Pid) -> Result<(), Error> {
    let Some(stream) = TcpStream::served() else { return Ok(()) };
    Monitor::new(&room)?;
    let mut person = Person { stream, line: Vec::new(), mailbox: Mailbox::new(), room };
    match person.talk() {
        // A peer that is gone is no fault of ours.
        Err(Error::Refused(ErrorCode::Reset)) => Ok(()),
        other => other,
    }
}

struct Person {
    stream: TcpStream,
    /// What came of a line.
    line: Vec<u8>,
    mailbox: Mailbox,
    room: Pid,
}

impl Person {
    fn talk(&mut self) -> Result<(), Error> {
        self.write("your name, please:")?;
        if !self.join()? {
            return Ok(());
        }
        loop {
            match self.listen()? {
                Heard::End => return Ok(()),
                Heard::Closed => return self.write("* the room is closed"),
                Heard::Line(line) if line == "/quit" => return self.write("bye"),
                Heard::Line(line) if line.is_empty() => {}
                Heard::Line(line) => send(&self.room, &Say(line))?,
            }
        }
    }

    /// Asks for a name until one will do; false if the peer went away.
    fn join(&mut self) -> Result<bool, Error> {
        loop {
            let name = match self.listen()? {
                Heard::Line(name) => name,
                Heard::End | Heard::Closed => return Ok(false),
            };
            let (room, wish) = (self.room, Join(name));
            match self.mailbox.call::<_, Joined>(&room, &wish, TIMEOUT)? {
                Ok(people) => {
                    self.write(&format!("* here are: {}", people.join(", ")))?;
                    return Ok(true);
                }
                Err(why) => self.write(&format!("{why}; another, please:"))?,
            }
        }
    }

    /// Waits for a line of the peer, and shows what the room says meanwhile.
    fn listen(&mut self) -> Result<Heard, Error> {
        let mut block = [0; BLOCK_BYTES];
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Heard::Line(line));
            }
            let show = select! {
                event = &mut self.mailbox => match event {
                    Event::Message(message) if message.is::<Show>() => message.decode::<Show>()?,
                    Event::Down(_) => return Ok(Heard::Closed),
                    _ => continue,
                },
                read = self.stream.reading(&mut block) => match read? {
                    0 => return Ok(Heard::End),
                    len => {
                        self.line.extend_from_slice(&block[..len]);
                        continue;
                    }
                },
            }?;
            self.write(&show.0)?;
        }
    }

    /// The next line, if all of it is there.
    fn take_line(&mut self) -> Option<String> {
        let end = self.line.iter().position(|byte| *byte == b'\n');
        let long = self.line.len() >= LINE_BYTES_MAX;
        let len = end.or(long.then_some(LINE_BYTES_MAX))?;
        let text = String::from_utf8_lossy(&self.line[..len]);
        // What a terminal would obey is not passed on.
        let text = text.chars().filter(|letter| !letter.is_control()).collect::<String>();
        let text = text.trim().into();
        self.line.drain(..(len + 1).min(self.line.len()));
        Some(text)
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        self.stream.set_timeout(Some(TIMEOUT));
        Ok(self.stream.write_all(format!("{line}\r\n").as_bytes())?)
    }
}

enum Heard {
    /// A whole line.
    Line(String),
    /// The peer says no more.
    End,
    /// There is no room any more.
    Closed,
}
