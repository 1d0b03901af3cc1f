//! Bodies that come in chunks (RFC 9112, section 7.1).
//!
//! Owns [`Chunks`], which reads them; `wire` brings the bytes.

use super::{HEAD_BYTES_MAX, Refused, is_control};
use alloc::vec::Vec;

/// Longest line that says how long a chunk is, with its end.
const LINE_BYTES_MAX: usize = 256;
const END: &[u8] = b"\r\n";

/// Reads a body in chunks, from whatever parts come.
#[derive(Clone, Debug)]
pub struct Chunks {
    state: State,
    body: Vec<u8>,
    bytes_max: usize,
    /// Bytes of the trailer, which is read and forgotten.
    trailer_bytes: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// How long the next chunk is.
    Length,
    /// So many bytes of a chunk.
    Data(usize),
    /// The end of a chunk's line.
    End,
    Trailer,
}

impl Chunks {
    /// For a body of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Chunks { state: State::Length, body: Vec::new(), bytes_max, trailer_bytes: 0 }
    }

    /// Takes what is understood off the front of `bytes`; the body once it is whole.
    ///
    /// # Errors
    ///
    /// 400 for what are no chunks, 413 for more than may be.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Refused> {
        let mut used = 0;
        let over = self.look(bytes, &mut used);
        bytes.drain(..used.min(bytes.len()));
        Ok(over?.then(|| core::mem::take(&mut self.body)))
    }

    fn look(&mut self, bytes: &[u8], used: &mut usize) -> Result<bool, Refused> {
        loop {
            let rest = bytes.get(*used..).unwrap_or_default();
            match self.state {
                State::Length => match size_line(rest)? {
                    None => return Ok(false),
                    Some((len, size)) => {
                        *used += len;
                        self.begin(size)?;
                    }
                },
                State::Data(left) => {
                    let len = rest.len().min(left);
                    self.body.extend_from_slice(&rest[..len]);
                    *used += len;
                    if len < left {
                        self.state = State::Data(left - len);
                        return Ok(false);
                    }
                    self.state = State::End;
                }
                State::End => match rest.get(..END.len()) {
                    None => return Ok(false),
                    Some(END) => {
                        *used += END.len();
                        self.state = State::Length;
                    }
                    Some(_) => return Err(Refused(400)),
                },
                State::Trailer => return self.skip_trailer(rest, used),
            }
        }
    }

    fn begin(&mut self, size: u64) -> Result<(), Refused> {
        let room = self.bytes_max - self.body.len();
        self.state = match usize::try_from(size) {
            Ok(0) => State::Trailer,
            Ok(size) if size <= room => State::Data(size),
            _ => return Err(Refused(413)),
        };
        Ok(())
    }

    /// Skips lines up to the empty one.
    fn skip_trailer(&mut self, bytes: &[u8], used: &mut usize) -> Result<bool, Refused> {
        // What is behind the limit is not looked at, so that it is the same however much came.
        let room = HEAD_BYTES_MAX - self.trailer_bytes;
        let mut rest = &bytes[..bytes.len().min(room)];
        while let Some(len) = rest.windows(END.len()).position(|two| two == END) {
            check_line(&rest[..len])?;
            rest = &rest[len + END.len()..];
            *used += len + END.len();
            self.trailer_bytes += len + END.len();
            if len == 0 {
                return Ok(true);
            }
        }
        check_line(rest.strip_suffix(b"\r").unwrap_or(rest))?;
        if bytes.len() > room { Err(Refused(431)) } else { Ok(false) }
    }
}

/// How long the line is that says how long a chunk is, and that; `None` until it is whole.
///
/// `httparse` takes more than is safe: an empty line for no length, and anything in an extension,
/// even the LF at which another reader might end the line.
fn size_line(bytes: &[u8]) -> Result<Option<(usize, u64)>, Refused> {
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let end = line.iter().position(|byte| *byte == b'\n').map_or(line.len(), |at| at + 1);
    let line = &line[..end];
    if line.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(Refused(400));
    }
    check_line(line.strip_suffix(END).or(line.strip_suffix(b"\r")).unwrap_or(line))?;
    match httparse::parse_chunk_size(line) {
        Ok(httparse::Status::Complete(found)) => Ok(Some(found)),
        Ok(httparse::Status::Partial) if line.len() < LINE_BYTES_MAX => Ok(None),
        _ => Err(Refused(400)),
    }
}

/// A line without its end has no bytes in it that could be another end.
fn check_line(line: &[u8]) -> Result<(), Refused> {
    if line.iter().copied().any(is_control) { Err(Refused(400)) } else { Ok(()) }
}
