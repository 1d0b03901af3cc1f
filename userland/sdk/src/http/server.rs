//! A server's side of a connection: requests and answers in turn, and patience with the client.
//!
//! Owns [`Routes`]. Between requests a client may be idle for a minute; a request that has begun
//! must be whole within ten seconds, however slowly it trickles; an answer must be taken within
//! twenty seconds of silence.

use super::wire::{Over, Stream, Wire};
use super::{BODY_BYTES_MAX, Body, Refused, Request, RequestHead, Response};
use super::{has_body, is_framing, reason};
use crate::net::TcpStream;
use crate::system::now;
use alloc::format;
use alloc::vec::Vec;
use core::fmt::Write as _;
use craton_abi::{Duration, ErrorCode};

const IDLE: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);

type Handler = fn(&Request) -> Response;

/// Which function answers which requests.
#[must_use]
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<(&'static str, &'static str, Handler)>,
    body_bytes_max: usize,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// None: everything is `404 Not Found`.
    pub const fn new() -> Self {
        Routes { routes: Vec::new(), body_bytes_max: BODY_BYTES_MAX }
    }

    /// `GET` of a path, and `HEAD` if no route is for that itself; a path that ends with `*` stands
    /// for all that begin so.
    pub fn get(self, path: &'static str, handler: Handler) -> Self {
        self.on("GET", path, handler)
    }

    /// `POST` to a path.
    pub fn post(self, path: &'static str, handler: Handler) -> Self {
        self.on("POST", path, handler)
    }

    /// Any method. The first route that fits answers.
    pub fn on(mut self, method: &'static str, path: &'static str, handler: Handler) -> Self {
        self.routes.push((method, path, handler));
        self
    }

    /// Takes bodies of at most so many bytes; larger ones are `413 Content Too Large`.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Serves the connection that this process is given: what the entry of
    /// [`TcpListener::serve`](crate::net::TcpListener::serve) does. Ends in order whatever the
    /// client does.
    pub fn serve_given(&self) {
        // Without one, whoever spawned us has ended.
        if let Some(stream) = TcpStream::served() {
            self.serve(stream);
        }
    }

    /// Answers the requests of a connection until its client is gone, has said enough, or has
    /// said what is no request: that is answered too, and ends it.
    pub fn serve(&self, stream: TcpStream) {
        let peer = stream.peer();
        let mut wire = Wire::new(Stream::Plain(stream));
        let mut count = 0;
        let refused = loop {
            count += 1;
            let (request, keep_alive) = match self.request(&mut wire, peer, count) {
                Ok(request) => request,
                Err(Over::Refused(refused)) => break refused,
                Err(_) => return,
            };
            let is_head = request.method == "HEAD";
            let answer = encode(&self.answer(&request), is_head, keep_alive);
            if wire.say_patiently(&answer, ANSWER).is_err() || !keep_alive {
                return;
            }
        };
        let Refused(status) = refused;
        let answer = Response::text(status, &format!("{}\n", reason(status)));
        // It may be gone; then nobody is there to be told.
        let _ = wire.say_patiently(&encode(&answer, false, false), ANSWER);
    }

    /// The next request, and whether the client wants to ask again.
    fn request(
        &self,
        wire: &mut Wire,
        peer: core::net::SocketAddr,
        count: u64,
    ) -> Result<(Request, bool), Over> {
        if wire.bytes.is_empty() {
            wire.hear(now() + IDLE)?;
        }
        let until = now() + REQUEST;
        let late = |over| match over {
            Over::Network(ErrorCode::TimedOut) => Over::Refused(Refused(408)),
            over => over,
        };
        let head = wire.head(until, RequestHead::parse, |head| head.bytes).map_err(late)?;
        // Nobody is asked for a body that will not be taken.
        let is_awaited = match head.body {
            Body::Length(len) => (1..=self.body_bytes_max).contains(&len),
            Body::Chunked | Body::UntilEnd => true,
        };
        if head.expects && is_awaited && wire.bytes.is_empty() {
            wire.say(b"HTTP/1.1 100 Continue\r\n\r\n", until)?;
        }
        let body = wire.body(head.body, self.body_bytes_max, until).map_err(late)?;
        let RequestHead { method, path, query, headers, keep_alive, .. } = head;
        Ok((Request { method, path, query, headers, body, peer, count }, keep_alive))
    }

    fn answer(&self, request: &Request) -> Response {
        let here = || self.routes.iter().filter(|(_, path, _)| fits(path, &request.path));
        let by = |method: &str| here().find(|(of, _, _)| *of == method);
        let instead = || if request.method == "HEAD" { by("GET") } else { None };
        if let Some((_, _, handler)) = by(&request.method).or_else(instead) {
            return handler(request);
        }
        let mut allowed = Vec::new();
        for (method, _, _) in here() {
            let also = if *method == "GET" { "HEAD" } else { method };
            for method in [*method, also] {
                if !allowed.contains(&method) {
                    allowed.push(method);
                }
            }
        }
        if allowed.is_empty() {
            return Response::text(404, "there is nothing here\n");
        }
        let allowed = allowed.join(", ");
        Response::text(405, &format!("only {allowed}\n")).header("allow", &allowed)
    }
}

fn fits(route: &str, path: &str) -> bool {
    match route.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == route,
    }
}

/// Head and body as they are sent.
fn encode(response: &Response, head_only: bool, keep_alive: bool) -> Vec<u8> {
    let Response { status, headers, body } = response;
    let mut text = format!("HTTP/1.1 {status} {}\r\nserver: craton\r\n", reason(*status));
    for (name, value) in headers.iter().filter(|(name, _)| !is_framing(name)) {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let connection = if keep_alive { "keep-alive" } else { "close" };
    // A status without a body has no length either.
    if has_body(*status) {
        let _ = write!(text, "content-length: {}\r\n", body.len());
    }
    let _ = write!(text, "connection: {connection}\r\n\r\n");
    let mut bytes = text.into_bytes();
    if !head_only && has_body(*status) {
        bytes.extend_from_slice(body);
    }
    bytes
}
