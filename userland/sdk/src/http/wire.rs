//! A connection that carries HTTP: bytes that came and are not understood yet, and deadlines.
//!
//! Owns [`Wire`], by which `client` and `server` read heads and bodies, in the clear or by TLS.

use super::{Body, Chunks, Refused};
use crate::net::TcpStream;
use crate::system::now;
#[cfg(feature = "tls")]
use crate::tls::{TlsError, TlsStream};
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, Instant};

const BLOCK_BYTES: usize = 4 << 10;

/// What carries it.
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Secure(alloc::boxed::Box<TlsStream>),
}

/// Why no more comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Over {
    /// The other side sends no more.
    Ended,
    Network(ErrorCode),
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// It said something that is not understood.
    Refused(Refused),
}

impl From<ErrorCode> for Over {
    fn from(code: ErrorCode) -> Self {
        Over::Network(code)
    }
}

impl From<Refused> for Over {
    fn from(refused: Refused) -> Self {
        Over::Refused(refused)
    }
}

#[cfg(feature = "tls")]
impl From<TlsError> for Over {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Network(code) => Over::Network(code),
            other => Over::Tls(other),
        }
    }
}

pub(super) struct Wire {
    pub(super) stream: Stream,
    /// What came and was not understood yet.
    pub(super) bytes: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Wire { stream, bytes: Vec::new() }
    }

    /// Waits for more bytes, until a time.
    pub(super) fn hear(&mut self, until: Instant) -> Result<(), Over> {
        self.wait_until(until)?;
        let mut block = [0; BLOCK_BYTES];
        let len = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut block)?,
            #[cfg(feature = "tls")]
            Stream::Secure(stream) => stream.read(&mut block)?,
        };
        self.bytes.extend_from_slice(&block[..len]);
        if len == 0 { Err(Over::Ended) } else { Ok(()) }
    }

    /// Sends bytes; all of them must be taken by a time.
    pub(super) fn say(&mut self, bytes: &[u8], until: Instant) -> Result<(), Over> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.wait_until(until)?;
            self.say_some(&mut rest)?;
        }
        Ok(())
    }

    /// Sends bytes, however long it takes, as long as some are taken again and again.
    pub(super) fn say_patiently(&mut self, bytes: &[u8], silence: Duration) -> Result<(), Over> {
        let mut rest = bytes;
        self.set_timeout(silence);
        while !rest.is_empty() {
            self.say_some(&mut rest)?;
        }
        Ok(())
    }

    /// Sends the first of the bytes.
    fn say_some(&mut self, rest: &mut &[u8]) -> Result<(), Over> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write(rest)?,
            #[cfg(feature = "tls")]
            Stream::Secure(stream) => stream.write(rest)?,
        };
        *rest = rest.get(sent..).unwrap_or_default();
        Ok(())
    }

    /// The next read or write waits until a time, which is not over.
    fn wait_until(&mut self, until: Instant) -> Result<(), Over> {
        let now = now();
        if now >= until {
            return Err(ErrorCode::TimedOut.into());
        }
        self.set_timeout(until.since(now));
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.set_timeout(Some(timeout)),
            #[cfg(feature = "tls")]
            Stream::Secure(stream) => stream.set_timeout(Some(timeout)),
        }
    }

    /// A head as `parse` understands it; it is off the wire then.
    pub(super) fn head<T>(
        &mut self,
        until: Instant,
        parse: impl Fn(&[u8]) -> Result<Option<T>, Refused>,
        len: impl Fn(&T) -> usize,
    ) -> Result<T, Over> {
        loop {
            if let Some(head) = parse(&self.bytes)? {
                self.bytes.drain(..len(&head).min(self.bytes.len()));
                return Ok(head);
            }
            self.hear(until)?;
        }
    }

    /// A body.
    pub(super) fn body(
        &mut self,
        body: Body,
        bytes_max: usize,
        until: Instant,
    ) -> Result<Vec<u8>, Over> {
        match body {
            Body::Length(len) if len > bytes_max => Err(Refused(413).into()),
            Body::Length(len) => {
                while self.bytes.len() < len {
                    self.hear(until)?;
                }
                let rest = self.bytes.split_off(len);
                Ok(core::mem::replace(&mut self.bytes, rest))
            }
            Body::Chunked => {
                let mut chunks = Chunks::new(bytes_max);
                loop {
                    if let Some(body) = chunks.take(&mut self.bytes)? {
                        return Ok(body);
                    }
                    self.hear(until)?;
                }
            }
            Body::UntilEnd => loop {
                if self.bytes.len() > bytes_max {
                    return Err(Refused(413).into());
                }
                match self.hear(until) {
                    Ok(()) => {}
                    Err(Over::Ended) => return Ok(core::mem::take(&mut self.bytes)),
                    Err(over) => return Err(over),
                }
            },
        }
    }
}
