//! One connection: requests and answers in turn, and patience with the client.
//!
//! Owns [`connection`]. Between requests a client may be idle for a minute; a request that has
//! begun must be whole within ten seconds, however slowly it trickles; an answer must be taken
//! within twenty seconds of silence.

use crate::page::{self, Facts};
use crate::request::{HEAD_BYTES_MAX, Refused, Request, parse};
use alloc::format;
use alloc::vec::Vec;
use craton::net::TcpStream;
use craton::{Duration, ErrorCode, Instant};

/// How long a process waits for its connection, which comes right after it.
const HANDOVER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);
const BLOCK_BYTES: usize = 4 << 10;

/// Why a conversation is over.
enum Over {
    /// The client has gone, or said enough.
    Gone,
    /// It said something that is no request.
    Refused(Refused),
}

impl From<ErrorCode> for Over {
    fn from(_: ErrorCode) -> Self {
        Over::Gone
    }
}

/// Ends in order whatever the client does.
pub(crate) fn connection(_: ()) {
    // Without one, whoever spawned us has ended.
    let Ok(stream) = TcpStream::given(Some(HANDOVER)) else { return };
    let mut client = Client { stream, bytes: Vec::new(), count: 0 };
    if let Err(Over::Refused(refused)) = client.converse() {
        // It may be gone; then nobody is there to be told.
        let _ = client.say(&page::refusal(refused).to_bytes());
    }
}

struct Client {
    stream: TcpStream,
    /// What came and was not understood yet.
    bytes: Vec<u8>,
    count: u64,
}

impl Client {
    fn converse(&mut self) -> Result<(), Over> {
        loop {
            let request = self.request()?;
            self.count += 1;
            let answer = page::answer(&request, || self.facts());
            self.say(&answer.to_bytes())?;
            if !answer.keeps_alive() {
                return Ok(());
            }
        }
    }

    /// The next request, its body read and forgotten.
    fn request(&mut self) -> Result<Request, Over> {
        if self.bytes.is_empty() {
            self.hear(craton::now() + IDLE)?;
        }
        let deadline = craton::now() + REQUEST;
        let late = |over| match over {
            Over::Gone if craton::now() >= deadline => Over::Refused(Refused(408)),
            over => over,
        };
        let request = loop {
            if let Some(request) = parse(&self.bytes).map_err(Over::Refused)? {
                break request;
            }
            self.hear(deadline).map_err(late)?;
        };
        self.bytes.drain(..request.head_bytes);
        let mut body_bytes = request.body_bytes;
        loop {
            let here = self.bytes.len().min(body_bytes);
            self.bytes.drain(..here);
            body_bytes -= here;
            if body_bytes == 0 {
                return Ok(request);
            }
            self.hear(deadline).map_err(late)?;
        }
    }

    /// Waits for more bytes, until a time.
    fn hear(&mut self, until: Instant) -> Result<(), Over> {
        let now = craton::now();
        if now >= until || self.bytes.len() > HEAD_BYTES_MAX {
            return Err(Over::Gone);
        }
        self.stream.set_timeout(Some(until.since(now)));
        let mut block = [0; BLOCK_BYTES];
        match self.stream.read(&mut block)? {
            0 => Err(Over::Gone),
            len => {
                self.bytes.extend_from_slice(&block[..len]);
                Ok(())
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.set_timeout(Some(ANSWER));
        Ok(self.stream.write_all(bytes)?)
    }

    fn facts(&self) -> Facts {
        Facts {
            process: format!("{}", craton::me()),
            peer: format!("{}", self.stream.peer()),
            // Only a node that is shutting down cannot tell.
            nodes: craton::nodes().map_or(1, |nodes| nodes.len()),
            count: self.count,
            uptime_secs: craton::now().since(Instant::ZERO).as_nanos() / 1_000_000_000,
        }
    }
}
