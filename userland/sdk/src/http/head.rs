//! Heads of requests and responses: from bytes to what they say.
//!
//! Owns [`RequestHead`], [`ResponseHead`] and [`Body`]. Whatever could make two readers of one
//! connection disagree about where a message ends (RFC 9112, section 11.2) is refused.

use super::{HEAD_BYTES_MAX, HEADERS_MAX, Headers, Refused, has_body};
use alloc::string::String;
use httparse::{EMPTY_HEADER, Header, Status};

/// How long a body is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// So many bytes.
    Length(usize),
    /// As long as its chunks say.
    Chunked,
    /// Up to the end of the connection.
    UntilEnd,
}

/// The head of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestHead {
    /// `GET` and so on.
    pub method: String,
    /// What comes before the `?` of the target.
    pub path: String,
    /// What comes behind it.
    pub query: Option<String>,
    /// All headers.
    pub headers: Headers,
    /// The client wants to ask again on this connection.
    pub keep_alive: bool,
    /// It waits for a word before it sends the body.
    pub expects: bool,
    /// How long its body is.
    pub body: Body,
    /// Bytes of the head.
    pub bytes: usize,
}

/// The head of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponseHead {
    /// 200, 404 and so on.
    pub status: u16,
    /// All headers.
    pub headers: Headers,
    /// How long its body is, if it has one.
    pub body: Body,
    /// Bytes of the head.
    pub bytes: usize,
}

/// What the headers say about the connection and the message's end.
#[derive(Default)]
struct Framing {
    length: Option<usize>,
    chunked: bool,
    hosts: usize,
    close: bool,
    keep_alive: bool,
    expects: bool,
}

/// White space of HTTP (RFC 9110, section 5.6.3). Not that of Unicode: who would trim a no-break
/// space off `chunked` would see another end of the message than those who do not.
const SPACE: [char; 2] = [' ', '\t'];

/// Where a head ends, as far as `httparse` is concerned; `None`: more is to come.
///
/// What is wrong first is what is said, as it would be had the bytes come one by one.
fn end(parsed: httparse::Result<usize>, bytes: &[u8]) -> Result<Option<usize>, Refused> {
    match parsed {
        Ok(Status::Complete(used)) if used <= HEAD_BYTES_MAX => {
            check_lines(&bytes[..used]).map(|()| Some(used))
        }
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => check_lines(bytes).map(|()| None),
        Ok(_) => check_lines(&bytes[..HEAD_BYTES_MAX]).and(Err(Refused(431))),
        Err(httparse::Error::TooManyHeaders) => {
            check_lines(lines(bytes, 1 + HEADERS_MAX)).and(Err(Refused(431)))
        }
        Err(httparse::Error::Version) => check_lines(lines(bytes, 0)).and(Err(Refused(505))),
        Err(_) => Err(Refused(400)),
    }
}

/// The empty lines at the beginning, which `httparse` skips, and so many behind them.
fn lines(bytes: &[u8], count: usize) -> &[u8] {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let ends = bytes[start..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let behind = ends.map(|(at, _)| start + at + 1).take(count).last();
    &bytes[..behind.unwrap_or(start)]
}

/// Lines end with CR and LF; `httparse` would take the LF alone, which others do not.
fn check_lines(bytes: &[u8]) -> Result<(), Refused> {
    let mut before = 0;
    for byte in bytes {
        if *byte == b'\n' && before != b'\r' {
            return Err(Refused(400));
        }
        before = *byte;
    }
    Ok(())
}

impl RequestHead {
    /// The head that `bytes` begin with; `None` until it is whole.
    ///
    /// # Errors
    ///
    /// The status that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refused> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let Some(used) = end(head.parse(bytes), bytes)? else { return Ok(None) };
        let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version)
        else {
            return Err(Refused(400));
        };
        let (headers, framing) = read_headers(head.headers)?;
        if framing.hosts > 1 || (version == 1 && framing.hosts == 0) {
            return Err(Refused(400));
        }
        let body = match framing {
            // Before HTTP/1.1 nobody could have meant it.
            Framing { chunked: true, .. } if version == 0 => return Err(Refused(400)),
            Framing { chunked: true, .. } => Body::Chunked,
            Framing { length, .. } => Body::Length(length.unwrap_or(0)),
        };
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.into())),
            None => (target, None),
        };
        Ok(Some(RequestHead {
            method: method.into(),
            path: path.into(),
            query,
            headers,
            keep_alive: !framing.close && (version == 1 || framing.keep_alive),
            // Before HTTP/1.1 nobody would understand the word.
            expects: framing.expects && version == 1,
            body,
            bytes: used,
        }))
    }
}

impl ResponseHead {
    /// The head that `bytes` begin with; `None` until it is whole.
    ///
    /// # Errors
    ///
    /// As for a request: 400 for what is none, 431 where it is too long, 505 for another version.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refused> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let Some(used) = end(head.parse(bytes), bytes)? else { return Ok(None) };
        let status = head.code.filter(|status| (100..600).contains(status)).ok_or(Refused(400))?;
        let (headers, framing) = read_headers(head.headers)?;
        let body = match framing {
            _ if !has_body(status) => Body::Length(0),
            Framing { chunked: true, .. } => Body::Chunked,
            Framing { length: Some(length), .. } => Body::Length(length),
            _ => Body::UntilEnd,
        };
        Ok(Some(ResponseHead { status, headers, body, bytes: used }))
    }
}

fn read_headers(from: &[Header<'_>]) -> Result<(Headers, Framing), Refused> {
    let (mut headers, mut framing) = (Headers::default(), Framing::default());
    for header in from {
        let value = core::str::from_utf8(header.value).map_err(|_| Refused(400))?;
        let value = value.trim_matches(SPACE);
        framing.note(header.name, value)?;
        headers.0.push((header.name.into(), value.into()));
    }
    if framing.chunked && framing.length.is_some() {
        return Err(Refused(400));
    }
    Ok((headers, framing))
}

impl Framing {
    fn note(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        if name.eq_ignore_ascii_case("content-length") {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let given = value.parse().ok().filter(|_| is_number).ok_or(Refused(400))?;
            if self.length.replace(given).is_some_and(|before| before != given) {
                return Err(Refused(400));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // Once and alone: any other encoding, or the same one twice, is not understood.
            if self.chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(Refused(501));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(|word| word.trim_matches(SPACE)) {
                self.close |= word.eq_ignore_ascii_case("close");
                self.keep_alive |= word.eq_ignore_ascii_case("keep-alive");
            }
        } else if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects |= value.eq_ignore_ascii_case("100-continue");
        }
        Ok(())
    }
}
