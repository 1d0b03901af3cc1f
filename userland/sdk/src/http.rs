//! HTTP/1.1, as a server and as a client: small, bounded, and strict with the other side.
//!
//! Owns [`Request`] and [`Response`]; [`Routes`] answers the requests of a connection, [`Client`]
//! asks. The syntax of heads is the crate `httparse`'s business; which lengths and headers are
//! believed is decided in `head`, `chunks` reads bodies of unknown length. Bodies are whole in
//! memory and have a limit. There are no redirects, no cookies and no caches here. The feature
//! `http` of this crate brings it; with `tls` too, the client takes `https://`.
//!
//! A server gives each connection a process of its own:
//!
//! ```no_run
//! # #[cfg(feature = "http")]
//! # mod example {
//! use craton::http::{Request, Response, Routes};
//! use craton::net::TcpListener;
//! use craton::{Error, Run, SpawnOptions};
//!
//! craton::entries! {
//!     pub MAIN: "main" = serve as fn(Run);
//!     pub CONNECTION: "connection" = connection as fn(());
//! }
//!
//! fn serve(_: Run) -> Result<(), Error> {
//!     match TcpListener::bind(8080)?.serve(&CONNECTION, &(), SpawnOptions::here())? {}
//! }
//!
//! fn connection(_: ()) {
//!     Routes::new().get("/", hello).post("/say", say).serve_given();
//! }
//!
//! fn hello(_: &Request) -> Response {
//!     Response::text(200, "hello\n")
//! }
//!
//! fn say(request: &Request) -> Response {
//!     Response::text(200, &String::from_utf8_lossy(&request.body))
//! }
//! # }
//! ```

mod chunks;
mod client;
mod head;
mod server;
mod wire;

pub use chunks::Chunks;
pub use client::{Client, HttpError, Url};
pub use head::{Body, RequestHead, ResponseHead};
pub use server::Routes;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Longest head of a request or a response.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers.
pub const HEADERS_MAX: usize = 64;
/// Longest body, unless the program says otherwise.
pub const BODY_BYTES_MAX: usize = 1 << 20;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Headers, in the order in which they came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers(Vec<(String, String)>);

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// What comes before the `?` of the target.
    pub path: String,
    /// What comes behind it.
    pub query: Option<String>,
    /// All headers.
    pub headers: Headers,
    /// The body, whole.
    pub body: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddr,
    /// Which request of this connection it is, from 1.
    pub count: u64,
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// 200, 404 and so on.
    pub status: u16,
    /// All headers but those that say how long it is and whether the connection stays: a server
    /// writes these itself and leaves out those of the program.
    pub headers: Headers,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// What came is not HTTP/1.1, or asks for what nobody here gives: the status that says so. The
/// connection ends with it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Refused(pub u16);

impl Headers {
    /// The first value under this name, of whatever case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds one; says whether it can be sent: what could end a line or a name is refused.
    pub fn add(&mut self, name: &str, value: &str) -> bool {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_good =
            !name.is_empty() && name.bytes().all(is_token) && !value.bytes().any(is_control);
        if is_good {
            self.0.push((name.into(), value.into()));
        }
        is_good
    }
}

impl Response {
    /// An answer with a body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = Headers::default();
        headers.add("content-type", content_type);
        Response { status, headers, body: body.into() }
    }

    /// A text.
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, TEXT, text)
    }

    /// A page.
    pub fn html(status: u16, page: &str) -> Self {
        Self::new(status, HTML, page)
    }

    /// With one more header. One that could not be sent is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.add(name, value);
        self
    }
}

/// Whether an answer of this status has a body at all (RFC 9112, section 6.3).
const fn has_body(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

/// Whether a header says where a message ends or what becomes of its connection. Whoever encodes
/// the message writes these; a second one could contradict it.
fn is_framing(name: &str) -> bool {
    let framing = ["content-length", "transfer-encoding", "connection"];
    framing.iter().any(|of| name.eq_ignore_ascii_case(of))
}

/// Neither a tab nor a letter: what may be in no line of HTTP.
const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// What a status means; empty for those that have no word here.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
