//! A client: one request, one answer, one connection.
//!
//! Owns [`Client`], [`Url`] and [`HttpError`].

use super::wire::{Over, Stream, Wire};
use super::{BODY_BYTES_MAX, Body, Headers, Refused, Response, ResponseHead, is_framing};
use crate::net::TcpStream;
use crate::system::now;
#[cfg(feature = "tls")]
use crate::tls::{Roots, TlsError, TlsStream};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use craton_abi::{Duration, ErrorCode, Instant};

/// How long an exchange may take, unless the program says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers that only say that the answer will come.
const INTERIM_MAX: usize = 8;

/// Where something is: `http://HOST[:PORT]/PATH`, or `https://`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    secure: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

/// Asks servers. It keeps no connections; a request is a connection.
#[must_use]
#[derive(Clone, Debug)]
pub struct Client {
    timeout: Duration,
    body_bytes_max: usize,
    headers: Headers,
    #[cfg(feature = "tls")]
    roots: Option<Roots>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HttpError {
    /// The connection, or the server's name. `timed-out`: the answer was not whole in time.
    Network(ErrorCode),
    /// The proof of the server's name, or what comes after it.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// For `https://` there must be [`Roots`](crate::tls::Roots) to trust, and the feature `tls`.
    NoRoots,
    /// The URL is none.
    Url,
    /// The answer is not HTTP/1.1, or it ended too early.
    Malformed,
    /// The answer is longer than may be.
    TooLong,
}

impl Url {
    /// Reads a URL. A user, an address of IPv6 and characters outside of ASCII are not understood.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`].
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let (scheme, rest) = text.split_once("://").ok_or(HttpError::Url)?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(HttpError::Url),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => {
                let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|_| is_number).ok_or(HttpError::Url)?;
                (host, Some(port))
            }
            None => (authority, None),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_good = !host.is_empty()
            && host.bytes().all(is_name)
            && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_good {
            return Err(HttpError::Url);
        }
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Url { secure, host: host.into(), port, path })
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// With 30 s for an exchange and 1 MiB for an answer.
    pub fn new() -> Self {
        Client {
            timeout: TIMEOUT,
            body_bytes_max: BODY_BYTES_MAX,
            headers: Headers::default(),
            #[cfg(feature = "tls")]
            roots: None,
        }
    }

    /// How long an exchange may take, from the question for the address to the last byte.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an answer may be.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Sends this header with each request. One that could not be sent is left out, and so are
    /// those that the client writes itself: the host, the length, the connection.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Whom to trust for `https://`.
    #[cfg(feature = "tls")]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Gets what is there.
    ///
    /// # Errors
    ///
    /// As [`HttpError`] says. An answer of any status is an answer.
    pub fn get(&self, url: &str) -> Result<Response, HttpError> {
        self.ask("GET", url, None)
    }

    /// Posts a body of this type.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. It may have been carried out in spite of the error.
    pub fn post(&self, url: &str, content_type: &str, body: &[u8]) -> Result<Response, HttpError> {
        self.ask("POST", url, Some((content_type, body)))
    }

    fn ask(
        &self,
        method: &str,
        url: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Response, HttpError> {
        let (url, until) = (Url::parse(url)?, now() + self.timeout);
        let mut wire = Wire::new(self.connect(&url, until)?);
        let request = self.encode(method, &url, body);
        // A server that has heard enough answers and closes: what it said is worth more than that
        // it did not take all.
        let said = wire.say(&request, until);
        for _ in 0..INTERIM_MAX {
            let head = wire.head(until, ResponseHead::parse, |head| head.bytes);
            let head = head.map_err(|over| said.clone().err().unwrap_or(over))?;
            if head.status >= 200 {
                let body = match head.body {
                    Body::Length(0) => Vec::new(),
                    body => wire.body(body, self.body_bytes_max, until)?,
                };
                return Ok(Response { status: head.status, headers: head.headers, body });
            }
        }
        Err(HttpError::Malformed)
    }

    fn encode(&self, method: &str, url: &Url, body: Option<(&str, &[u8])>) -> Vec<u8> {
        let Url { host, path, port, .. } = url;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}");
        if let Some(port) = port {
            let _ = write!(text, ":{port}");
        }
        text.push_str("\r\nconnection: close\r\n");
        let mut headers = self.headers.clone();
        if let Some((content_type, _)) = body {
            headers.add("content-type", content_type);
        }
        let is_own = |name: &str| is_framing(name) || name.eq_ignore_ascii_case("host");
        for (name, value) in headers.iter().filter(|(name, _)| !is_own(name)) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let body = body.map(|(_, body)| body);
        if let Some(body) = body {
            let _ = write!(text, "content-length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        bytes
    }

    fn connect(&self, url: &Url, until: Instant) -> Result<Stream, HttpError> {
        #[cfg(feature = "tls")]
        if url.secure {
            let roots = self.roots.as_ref().ok_or(HttpError::NoRoots)?;
            let stream = TlsStream::connect(&url.host, url.port(), roots, until.since(now()))?;
            return Ok(Stream::Secure(stream.into()));
        }
        if url.secure {
            return Err(HttpError::NoRoots);
        }
        let left = until.since(now());
        Ok(Stream::Plain(TcpStream::connect_to_host(&url.host, url.port(), left)?))
    }
}

impl From<ErrorCode> for HttpError {
    fn from(code: ErrorCode) -> Self {
        HttpError::Network(code)
    }
}

#[cfg(feature = "tls")]
impl From<TlsError> for HttpError {
    fn from(error: TlsError) -> Self {
        Over::from(error).into()
    }
}

impl From<Over> for HttpError {
    fn from(over: Over) -> Self {
        match over {
            Over::Network(code) => HttpError::Network(code),
            #[cfg(feature = "tls")]
            Over::Tls(error) => HttpError::Tls(error),
            Over::Refused(Refused(413 | 431)) => HttpError::TooLong,
            Over::Refused(_) | Over::Ended => HttpError::Malformed,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Network(code) => write!(f, "{code}"),
            #[cfg(feature = "tls")]
            HttpError::Tls(error) => write!(f, "{error}"),
            HttpError::NoRoots => f.write_str("no authority is trusted for https"),
            HttpError::Url => f.write_str("this is no URL of http or https"),
            HttpError::Malformed => f.write_str("the answer is not HTTP/1.1, or ended too early"),
            HttpError::TooLong => f.write_str("the answer is too long"),
        }
    }
}

impl core::error::Error for HttpError {}
