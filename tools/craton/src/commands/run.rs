//! `craton run`: a program on the cluster, with this terminal's input and output.
//!
//! Owns the way a run looks from the shell: the program's output on standard output and error, its
//! end as an exit code, progress where input comes from a file and a person looks on.

use super::Target;
use crate::client::{RunEnd, RunIo};
use crate::complain;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::table::bytes;
use crate::{guest, registry, signals};
use clap::Args;
use craton_abi::{ExitReason, Place};
use craton_wire::OutputStream;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// What a shell reports for a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

/// The options of `craton run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A folder with a Cargo.toml, a .wasm or .wat module, or a .craton bundle
    program: PathBuf,
    /// What the program reads as its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Start it wherever there is room, not on the node that is asked
    #[arg(long)]
    anywhere: bool,
    #[command(flatten)]
    target: Target,
}

impl Run {
    pub(super) fn run(self) -> Result<ExitCode> {
        let keys = match &self.target.connect {
            Some(_) => Keys::load_or_default(&self.target.keys)?,
            None => Keys::load(&registry::find(&self.target.cluster)?.keys)?,
        };
        let bundle = guest::bundle(&self.program, &keys)?;
        let mut client = self.target.connect()?;
        let place = if self.anywhere { Place::Anywhere } else { Place::Here };
        let (stop, stopped) = channel();
        signals::forward_to(stop)?;
        let mut progress = Progress::new();
        let io = RunIo {
            input: Box::new(io::stdin()),
            output: &mut write_out,
            progress: &mut |sent| progress.show(sent),
            stop: Some(stopped),
        };
        let end = client.run(&bundle, self.arguments, place, io);
        progress.clear();
        exit_code(&end?)
    }
}

fn exit_code(end: &RunEnd) -> Result<ExitCode> {
    if end.stopped {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    if end.reason.is_orderly() {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(status) = status_of(&end.reason) {
        return Ok(ExitCode::from(status));
    }
    Err(Error::new("finish the program", &end.reason))
}

/// The exit status that a program for WASI ended with: it has said by itself what was wrong.
fn status_of(reason: &ExitReason) -> Option<u8> {
    let ExitReason::Error(text) = reason else { return None };
    str::from_utf8(text).ok()?.strip_prefix("exit status ")?.parse().ok()
}

/// Writes what a program wrote to the stream it meant.
///
/// # Errors
///
/// Those of the stream: a closed pipe, a full disk.
fn write_out(stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        OutputStream::Out => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        OutputStream::Err => io::stderr().lock().write_all(bytes),
    }
}

/// A line on the terminal that counts the input: only where nobody types it and somebody looks.
struct Progress {
    shown: bool,
    enabled: bool,
    started: Instant,
    last: Instant,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_millis(200);

    fn new() -> Self {
        let enabled = io::stderr().is_terminal() && !io::stdin().is_terminal();
        Progress { shown: false, enabled, started: Instant::now(), last: Instant::now() }
    }

    fn show(&mut self, sent: u64) {
        if !self.enabled || self.last.elapsed() < Self::INTERVAL {
            return;
        }
        self.last = Instant::now();
        let rate = sent as f64 / self.started.elapsed().as_secs_f64();
        complain!(+ "\r  {} read, {}/s \x1b[K", bytes(sent), bytes(rate as u64));
        self.shown = true;
    }

    fn clear(&mut self) {
        if self.shown {
            complain!(+ "\r\x1b[K");
        }
    }
}
