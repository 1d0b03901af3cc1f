//! Ctrl-C and its kin as events.
//!
//! Owns the one thread that waits for signals; the rest of the tool reads a channel.

use crate::error::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::Sender;
use std::thread;

/// Sends `()` to `stop` each time somebody asks this process to end. Until this is called, such a
/// wish ends the process at once, which leaves nothing behind either.
///
/// # Errors
///
/// If the process may not handle signals.
pub fn forward_to(stop: Sender<()>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).tried(|| "handle Ctrl-C".into())?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if stop.send(()).is_err() {
                return;
            }
        }
    });
    Ok(())
}
