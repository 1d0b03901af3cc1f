//! What the server says.
//!
//! Owns the routes and the pages; `craton::http` has the rest.

use alloc::format;
use alloc::string::String;
use craton::Instant;
use craton::http::{Request, Response, Routes};

/// Longest body that is read, and forgotten: a process has little memory.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Who answers what.
pub(crate) fn routes() -> Routes {
    Routes::new().body_bytes_max(BODY_BYTES_MAX).get("/", front).get("/hello", hello)
}

fn hello(_: &Request) -> Response {
    Response::text(200, "hello\n")
}

fn front(request: &Request) -> Response {
    let process = escaped(&format!("{}", craton::me()));
    let Request { peer, count, .. } = request;
    // Only a node that is shutting down cannot tell.
    let nodes = craton::nodes().map_or(1, |nodes| nodes.len());
    let uptime_secs = craton::now().since(Instant::ZERO).as_nanos() / 1_000_000_000;
    let page = format!(
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
    );
    Response::html(200, &page)
}

/// Text that cannot be taken for markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
