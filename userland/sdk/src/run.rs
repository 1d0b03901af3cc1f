//! A run: the operator's arguments, standard input, output and error.
//!
//! Owns [`Run`], [`Output`] and [`Stdin`]. The streams are ordinary messages to two processes that
//! the operator's node plays (`docs/abi.md`); back-pressure is that of every mailbox.

use crate::entry::EntryArgument;
use crate::error::Error;
use crate::event::Envelope;
use crate::mailbox::Mailbox;
use crate::message::send_bytes;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::run::{RunArgument, TAG_ERR, TAG_INPUT, TAG_OUT, TAG_READ};
use craton_abi::{Duration, Pid, limit};

/// Bytes that are gathered before they are sent to the console.
const OUTPUT_BYTES: usize = 8 << 10;
/// Most that one request for input asks for: one message.
const INPUT_BYTES_MAX: u32 = limit::MESSAGE_BYTES_MAX as u32;

/// What the entry `main` takes.
#[derive(Clone, Debug)]
pub struct Run {
    argument: RunArgument,
}

/// Standard output or error, gathered; it is sent when full, on [`Output::flush`] and on drop.
///
/// A send waits for as long as the operator takes: who pipes a program into a pager stops it.
#[derive(Debug)]
pub struct Output {
    console: Pid,
    tag: u64,
    gathered: Vec<u8>,
}

/// Standard input, in parts.
#[derive(Debug)]
pub struct Stdin {
    pid: Pid,
    outstanding: usize,
    ended: bool,
}

impl EntryArgument for Run {
    fn from_argument(bytes: &[u8]) -> Result<Self, Error> {
        let argument = RunArgument::from_bytes(bytes).map_err(|_| Error::Malformed)?;
        Ok(Run { argument })
    }
}

impl Run {
    /// The arguments, the program's name not among them.
    pub fn arguments(&self) -> &[String] {
        &self.argument.arguments
    }

    /// Standard output.
    pub fn stdout(&self) -> Output {
        Output { console: self.argument.console, tag: TAG_OUT, gathered: Vec::new() }
    }

    /// Standard error.
    pub fn stderr(&self) -> Output {
        Output { console: self.argument.console, tag: TAG_ERR, gathered: Vec::new() }
    }

    /// Standard input. It is one stream: make one reader of it.
    pub fn stdin(&self) -> Stdin {
        Stdin { pid: self.argument.stdin, outstanding: 0, ended: false }
    }
}

impl Output {
    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// As [`send`](crate::send), if the operator is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for part in bytes.chunks(OUTPUT_BYTES) {
            if self.gathered.len() + part.len() > OUTPUT_BYTES {
                self.flush()?;
            }
            self.gathered.extend_from_slice(part);
        }
        Ok(())
    }

    /// Writes a line and flushes.
    ///
    /// # Errors
    ///
    /// As [`Output::write`].
    pub fn line(&mut self, text: &str) -> Result<(), Error> {
        self.write(text.as_bytes())?;
        self.write(b"\n")?;
        self.flush()
    }

    /// Sends what is gathered.
    ///
    /// # Errors
    ///
    /// As [`Output::write`].
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let sent = send_bytes(&self.console, self.tag, &self.gathered, Some(Duration::MAX));
        self.gathered.clear();
        sent
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nobody is left to be told: the operator is gone.
        let _ = self.flush();
    }
}

impl Stdin {
    /// Asks for the next part, of at most so many bytes. Several may be asked for ahead; parts
    /// come in order.
    ///
    /// # Errors
    ///
    /// As [`send`](crate::send), if the operator is gone.
    pub fn request(&mut self, bytes_max: u32) -> Result<(), Error> {
        let bytes_max = bytes_max.clamp(1, INPUT_BYTES_MAX);
        send_bytes(&self.pid, TAG_READ, &bytes_max.to_le_bytes(), Some(Duration::MAX))?;
        self.outstanding += 1;
        Ok(())
    }

    /// Parts asked for that have not come.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the end of input was seen.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// If this message is a part of standard input, its bytes; the empty part is the end. For
    /// programs that wait for other messages too.
    pub fn accept<'a>(&mut self, message: &Envelope<'a>) -> Option<&'a [u8]> {
        if message.from != self.pid || message.tag != TAG_INPUT {
            return None;
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        self.ended |= message.payload.is_empty();
        Some(message.payload)
    }

    /// Waits for the next part; empty at the end. Notices that come meanwhile are kept for the
    /// mailbox's next receive.
    ///
    /// # Errors
    ///
    /// As [`Stdin::request`].
    pub fn read<'a>(
        &mut self,
        mailbox: &'a mut Mailbox,
        bytes_max: u32,
    ) -> Result<&'a [u8], Error> {
        if self.ended {
            return Ok(&[]);
        }
        if self.outstanding == 0 {
            self.request(bytes_max)?;
        }
        let message = mailbox.tagged(TAG_INPUT)?;
        Ok(self.accept(&message).unwrap_or(&[]))
    }
}
