//! Answers: from what is asked for to bytes.
//!
//! Owns [`Answer`] and the pages. What the page of `/` shows of its process is given as [`Facts`].

use crate::request::{Refused, Request};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a page can show.
pub(crate) struct Facts {
    /// The process that answers.
    pub(crate) process: String,
    /// Who asked.
    pub(crate) peer: String,
    /// Nodes of the cluster.
    pub(crate) nodes: usize,
    /// Which request of this connection it is, from 1.
    pub(crate) count: u64,
    /// Seconds since the node started.
    pub(crate) uptime_secs: u64,
}

/// An answer.
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
    /// Only its head is wanted.
    head_only: bool,
    /// The connection stays open after it.
    keep_alive: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// The answer to a request. `facts` are asked for where they are shown.
pub(crate) fn answer(request: &Request, facts: impl FnOnce() -> Facts) -> Answer {
    let (status, kind, body) = match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/") => (200, HTML, front(&facts())),
        ("GET" | "HEAD", "/hello") => (200, TEXT, String::from("hello\n")),
        ("GET" | "HEAD", _) => (404, TEXT, String::from("there is / and /hello\n")),
        _ => (405, TEXT, String::from("only GET and HEAD are understood\n")),
    };
    let head_only = request.method == "HEAD";
    Answer { status, kind, body, head_only, keep_alive: request.keep_alive }
}

/// The answer to what is no request.
pub(crate) fn refusal(refused: Refused) -> Answer {
    let body = format!("{}\n", reason(refused.0));
    Answer { status: refused.0, kind: TEXT, body, head_only: false, keep_alive: false }
}

fn front(facts: &Facts) -> String {
    let Facts { process, peer, nodes, count, uptime_secs } = facts;
    let process = escaped(process);
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Craton</title>\n\
         <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:36em;margin:4em auto;\
         padding:0 1em}}td{{padding:.1em 1em .1em 0}}</style>\n\
         <h1>Hello from a process of your own</h1>\n\
         <p>This page was made by a WebAssembly process that was started for your connection \
         alone, on a machine that runs Craton and no other operating system.</p>\n\
         <table>\n<tr><td>process<td>{process}\n<tr><td>you<td>{peer}\n\
         <tr><td>request of this connection<td>{count}\n\
         <tr><td>nodes of the cluster<td>{nodes}\n\
         <tr><td>the node is up for<td>{uptime_secs} s\n</table>\n"
    )
}

/// Text that cannot be taken for markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Answer {
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Head and body as they are sent.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let Answer { status, kind, body, .. } = self;
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        let allow = if *status == 405 { "allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {status} {}\r\nserver: craton\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\nconnection: {connection}\r\n{allow}\r\n",
            reason(*status),
            body.len(),
        );
        if !self.head_only {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
