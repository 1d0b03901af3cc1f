//! One run of a job, in a process of its own.
//!
//! Owns what the jobs do. A failure is the process's end: whoever started it tries again.

use crate::table::What;
use alloc::format;
use alloc::string::String;
use craton::http::Client;
#[cfg(feature = "https")]
use craton::tls::Roots;
use craton::{Duration, Level, log};

/// How long fetching a page may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The entry `job`.
pub fn run(what: What) -> Result<(), String> {
    match what {
        What::Log(text) => {
            log(Level::Info, &text);
            Ok(())
        }
        What::Get { url, roots } => get(&url, &roots),
    }
}

fn get(url: &str, roots: &str) -> Result<(), String> {
    let answer = client(roots)?.timeout(TIMEOUT).get(url);
    match answer.map_err(|error| format!("{error}"))?.status {
        200..300 => Ok(()),
        status => Err(format!("answered: {status} {}", craton::http::reason(status))),
    }
}

#[cfg(feature = "https")]
fn client(roots: &str) -> Result<Client, String> {
    let roots = if roots.is_empty() { Roots::web() } else { Roots::from_pem(roots) };
    Ok(Client::new().roots(roots.map_err(|error| format!("{error}"))?))
}

#[cfg(not(feature = "https"))]
fn client(_roots: &str) -> Result<Client, String> {
    Ok(Client::new())
}
