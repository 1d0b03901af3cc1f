//! One person: what the peer types goes to the room, what the room says goes to the peer.
//!
//! Owns the lines of both directions. Ends in order whatever the peer does.

use crate::room::{Join, Joined, Say, Show};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::net::TcpStream;
use craton::{Duration, Error, ErrorCode, Event, Mailbox, Monitor, Pid, send};

/// How long a process waits for its connection, which comes right after it.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long it waits for its peer before it looks what the room says.
const MOMENT: Duration = Duration::from_millis(50);
/// How long it waits for the room.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line; what is longer comes in pieces.
const LINE_BYTES_MAX: usize = 1024;
const BLOCK_BYTES: usize = 512;

/// The entry `connection`.
pub fn run(room: Pid) -> Result<(), Error> {
    let Ok(stream) = TcpStream::given(Some(HANDOVER)) else { return Ok(()) };
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
        self.stream.set_timeout(Some(MOMENT));
        self.write("your name, please:")?;
        if !self.join()? {
            return Ok(());
        }
        loop {
            match self.listen()? {
                Heard::End => return Ok(()),
                Heard::Line(line) if line == "/quit" => return self.write("bye"),
                Heard::Line(line) if line.is_empty() => {}
                Heard::Line(line) => send(&self.room, &Say(line))?,
                Heard::Nothing => {}
            }
            if !self.show()? {
                return self.write("* the room is closed");
            }
        }
    }

    /// Asks for a name until one will do; false if the peer went away.
    fn join(&mut self) -> Result<bool, Error> {
        loop {
            let name = match self.listen()? {
                Heard::Line(name) => name,
                Heard::End => return Ok(false),
                Heard::Nothing => continue,
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

    /// Waits a moment for the peer.
    fn listen(&mut self) -> Result<Heard, Error> {
        let mut block = [0; BLOCK_BYTES];
        if !self.line.contains(&b'\n') && self.line.len() < LINE_BYTES_MAX {
            match self.stream.read(&mut block) {
                Ok(0) => return Ok(Heard::End),
                Ok(len) => self.line.extend_from_slice(&block[..len]),
                Err(ErrorCode::TimedOut) => return Ok(Heard::Nothing),
                Err(error) => return Err(error.into()),
            }
        }
        let end = self.line.iter().position(|byte| *byte == b'\n');
        let Some(len) = end.or((self.line.len() >= LINE_BYTES_MAX).then_some(LINE_BYTES_MAX))
        else {
            return Ok(Heard::Nothing);
        };
        let text = String::from_utf8_lossy(&self.line[..len]);
        // What a terminal would obey is not passed on.
        let text = text.chars().filter(|letter| !letter.is_control()).collect::<String>();
        let text = text.trim().into();
        self.line.drain(..(len + 1).min(self.line.len()));
        Ok(Heard::Line(text))
    }

    /// Shows what the room has said; false if there is no room any more.
    fn show(&mut self) -> Result<bool, Error> {
        loop {
            match self.mailbox.next_event_within(Duration::ZERO) {
                Ok(Event::Message(message)) if message.is::<Show>() => {
                    let Show(line) = message.decode()?;
                    self.write(&line)?;
                }
                Ok(Event::Down(_)) => return Ok(false),
                Ok(_) => {}
                Err(Error::Refused(ErrorCode::TimedOut)) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        self.stream.set_timeout(Some(TIMEOUT));
        let written = self.stream.write_all(format!("{line}\r\n").as_bytes());
        self.stream.set_timeout(Some(MOMENT));
        Ok(written?)
    }
}

enum Heard {
    /// A whole line.
    Line(String),
    /// Nothing so far.
    Nothing,
    /// The peer says no more.
    End,
}
