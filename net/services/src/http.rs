//! One HTTP/1.1 connection: requests in, answers out, in order.
//!
//! Owns [`Conversation`]. Requests may be pipelined: each is read when the answer before it was
//! handed to the stack, so one client's unread answers hold nothing but its own buffers. Bodies are
//! read and forgotten. `httparse` reads the heads. What it then makes of one is less than programs
//! want (`userland/sdk/src/http/head.rs`): no headers, no chunks, and one buffer of its size; and
//! neither the kernel nor a program is to depend on the other's code for it.

use crate::limit;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_net::{Stack, StreamId};

/// What a conversation waits for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// A request.
    Idle,
    /// The rest of a request.
    Asking,
    /// The client, to take what was answered.
    Answering,
}

/// What is to be done next.
pub(crate) enum Step {
    /// Nothing, until the stack tells of something.
    Wait,
    /// To answer a question for this path.
    Asked(String),
    /// To close: everything was said.
    Over,
}

/// What is answered.
pub(crate) struct Page {
    pub(crate) status: Status,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

/// How a request went.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLong,
    HeadTooLarge,
    NotImplemented,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::TooLong => "413 Content Too Large",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
        }
    }
}

/// A request, as far as it matters.
#[derive(Debug, Eq, PartialEq)]
struct Request {
    path: String,
    /// Of the head.
    bytes: usize,
    body_bytes: usize,
    head_only: bool,
    keep: bool,
}

/// One connection's requests and answers.
#[derive(Default)]
pub(crate) struct Conversation {
    input: Vec<u8>,
    /// Bytes of a body that are still to come.
    body: usize,
    output: Vec<u8>,
    sent: usize,
    answered: u64,
    /// Of the request that is being answered.
    head_only: bool,
    /// No request after this one is read.
    last: bool,
}

impl Conversation {
    /// What it waits for, and requests answered so far.
    pub(crate) fn stage(&self) -> (Stage, u64) {
        let stage = if self.sent < self.output.len() {
            Stage::Answering
        } else if self.input.is_empty() && self.body == 0 {
            Stage::Idle
        } else {
            Stage::Asking
        };
        (stage, self.answered)
    }

    /// Goes on as far as it can without an answer.
    pub(crate) fn step(&mut self, stream: StreamId, finished: bool, stack: &mut Stack) -> Step {
        loop {
            if !self.flush(stream, stack) {
                return Step::Wait;
            }
            if self.last {
                return Step::Over;
            }
            self.skip_body();
            if self.body == 0 && !self.input.is_empty() {
                match parse(&self.input) {
                    Ok(Some(request)) => return Step::Asked(self.begin(request)),
                    Ok(None) if self.input.len() < limit::HEAD_BYTES_MAX => {}
                    Ok(None) => {
                        self.refuse(Status::HeadTooLarge);
                        continue;
                    }
                    Err(status) => {
                        self.refuse(status);
                        continue;
                    }
                }
            }
            let room = limit::HEAD_BYTES_MAX - self.input.len();
            if stack.read(stream, &mut self.input, room).unwrap_or(0) == 0 {
                return if finished { Step::Over } else { Step::Wait };
            }
        }
    }

    fn begin(&mut self, request: Request) -> String {
        self.input.drain(..request.bytes);
        self.body = request.body_bytes;
        self.head_only = request.head_only;
        self.last = !request.keep;
        request.path
    }

    /// The answer to what was asked.
    pub(crate) fn answer(&mut self, page: &Page) {
        self.answered += 1;
        let connection = if self.last { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n",
            page.status.line(),
            page.kind,
            page.body.len(),
        );
        self.output.extend_from_slice(head.as_bytes());
        if !self.head_only {
            self.output.extend_from_slice(page.body.as_bytes());
        }
    }

    /// Says what is wrong, and hears no more: where the next request begins is not known.
    fn refuse(&mut self, status: Status) {
        self.head_only = false;
        self.last = true;
        let body = format!("{}\n", status.line());
        self.answer(&Page { status, kind: "text/plain", body });
    }

    /// Hands the answer to the stack; whether that was all of it.
    fn flush(&mut self, stream: StreamId, stack: &mut Stack) -> bool {
        while self.sent < self.output.len() {
            let taken = stack.write(stream, &self.output[self.sent..]).unwrap_or(0);
            if taken == 0 {
                return false;
            }
            self.sent += taken;
        }
        self.output.clear();
        // A connection that is idle holds next to nothing.
        self.output.shrink_to(1 << 10);
        self.sent = 0;
        true
    }

    fn skip_body(&mut self) {
        let here = self.body.min(self.input.len());
        self.input.drain(..here);
        self.body -= here;
        if self.input.is_empty() {
            self.input.shrink_to(1 << 10);
        }
    }
}

/// Reads the head of a request; `None` if there is more to come.
fn parse(input: &[u8]) -> Result<Option<Request>, Status> {
    let mut headers = [httparse::EMPTY_HEADER; limit::HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let bytes = match head.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Status::BadRequest);
    };
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    if target.len() > limit::PATH_BYTES_MAX {
        return Err(Status::HeadTooLarge);
    }
    let named = |name: &str| {
        let name = alloc::string::String::from(name);
        head.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(&name))
    };
    if named("transfer-encoding").next().is_some() {
        return Err(Status::NotImplemented);
    }
    // Two hosts, or none, is no request (RFC 9112, 3.2).
    if version == 1 && named("host").count() != 1 {
        return Err(Status::BadRequest);
    }
    let mut body_bytes = 0;
    for (index, header) in named("content-length").enumerate() {
        let length = digits(header.value).filter(|length| index == 0 || *length == body_bytes);
        body_bytes = length.ok_or(Status::BadRequest)?;
    }
    if body_bytes > limit::BODY_BYTES_MAX {
        return Err(Status::TooLong);
    }
    let says = |word: &str| {
        named("connection").any(|header| {
            let value = core::str::from_utf8(header.value).unwrap_or("");
            value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    let keep = if version == 1 { !says("close") } else { says("keep-alive") };
    let path = target.split('?').next().unwrap_or(target).into();
    Ok(Some(Request { path, bytes, body_bytes, head_only, keep }))
}

/// A number that is nothing but digits.
fn digits(value: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(value).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let request = |head: &str| parse(head.as_bytes());
        let plain = request("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nrest").expect("it is one");
        let expected =
            Request { path: "/a".into(), bytes: 32, body_bytes: 0, head_only: false, keep: true };
        assert_eq!(plain, Some(expected));
        assert_eq!(request("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        let keeps = |head: &str| request(head).map(|request| request.map(|request| request.keep));
        assert_eq!(keeps("GET / HTTP/1.0\r\n\r\n"), Ok(Some(false)));
        assert_eq!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Ok(Some(true)));
        assert_eq!(
            keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: a, close\r\n\r\n"),
            Ok(Some(false))
        );
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                Status::NotImplemented,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Status::BadRequest),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Status::BadRequest,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", Status::TooLong),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Status::BadRequest),
            ("\x16\x03\x01\x02\x00", Status::BadRequest),
        ];
        for (head, status) in cases {
            assert_eq!(parse(head.as_bytes()), Err(status), "{head:?}");
        }
    }
}
