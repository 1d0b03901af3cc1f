//! An Erlang/OTP on this host: what compiles the benchmarks for BEAM, and BEAM without a guest.
//!
//! Owns [`Erlang`] and [`HostBeam`], which is asked as the guest of `beam` is, by a pipe in place
//! of a serial console.

use crate::beam::seconds;
use craton_tool::error::{Context, Error, Result};
use craton_tool::scratch::Scratch;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const MODULE: &str = include_str!("../beam/craton_bench.erl");
const MODULE_NAME: &str = "craton_bench";

/// An installation.
pub struct Erlang {
    root: PathBuf,
    /// The folder of its emulator.
    bin: PathBuf,
}

impl Erlang {
    /// The one whose libraries are in this folder.
    pub fn at(root: &Path) -> Option<Self> {
        let mut entries = std::fs::read_dir(root).ok()?.filter_map(|entry| entry.ok());
        let is_erts = |name: &str| name.starts_with("erts-");
        let erts = entries.find(|entry| is_erts(&entry.file_name().to_string_lossy()))?;
        let bin = erts.path().join("bin");
        bin.join("erlexec").exists().then(|| Erlang { root: root.to_path_buf(), bin })
    }

    /// The one that this host calls `erl`.
    pub fn installed() -> Option<Self> {
        let script = "io:put_chars(code:root_dir()), halt().";
        let output = Command::new("erl").args(["-noinput", "-eval", script]).output().ok()?;
        Erlang::at(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
    }

    /// Runs it, tied to this process.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(self.bin.join("erlexec"))
            .envs([("EMU", "beam"), ("PROGNAME", "erl")])
            .env("ROOTDIR", &self.root)
            .env("BINDIR", &self.bin);
        command
    }

    /// Compiles the module of the benchmarks into a folder.
    ///
    /// # Errors
    ///
    /// What the compiler says.
    pub fn compile(&self, folder: &Path) -> Result<PathBuf> {
        let tried = || format!("compile the benchmarks with {}", self.root.display());
        let source = folder.join(format!("{MODULE_NAME}.erl"));
        std::fs::write(&source, MODULE).tried(tried)?;
        let (file, outdir) = (source.display(), folder.display());
        let script = format!(
            "case compile:file(\"{file}\",[{{outdir,\"{outdir}\"}},report]) of \
             {{ok,_}} -> halt(0); _ -> halt(1) end."
        );
        let output = self.command().args(["-noinput", "-eval", &script]).output().tried(tried)?;
        if output.status.success() {
            return Ok(folder.join(format!("{MODULE_NAME}.beam")));
        }
        Err(Error::new(tried(), String::from_utf8_lossy(&output.stdout)))
    }
}

/// BEAM as a process of this host, with one scheduler.
pub struct HostBeam {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _folder: Scratch,
}

impl HostBeam {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn start(erlang: &Erlang) -> Result<Self> {
        let tried = || format!("start BEAM of {} here", erlang.root.display());
        let folder = Scratch::new("beam")?;
        erlang.compile(folder.path())?;
        let mut child = erlang
            .command()
            .args(["-noinput", "+S", "1:1", "-pa"])
            .arg(folder.path())
            .args(["-s", MODULE_NAME, "main"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .tried(tried)?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new(tried(), "it has no pipes"));
        };
        let answers = BufReader::new(answers).lines();
        let mut beam = HostBeam { child, questions, answers, _folder: folder };
        match beam.line()?.as_str() {
            "READY" => Ok(beam),
            other => Err(Error::new(tried(), other)),
        }
    }

    fn line(&mut self) -> Result<String> {
        let tried = || "hear BEAM".to_string();
        let line = self.answers.next().ok_or_else(|| Error::new(tried(), "it ended"))?;
        line.tried(tried)
    }

    /// Seconds for one of what `question` (`NAME COUNT`) asks for.
    ///
    /// # Errors
    ///
    /// If it says that it failed, or ends.
    pub fn ask(&mut self, question: &str) -> Result<f64> {
        let tried = || format!("have BEAM do '{question}' here");
        writeln!(self.questions, "{question}")
            .and_then(|()| self.questions.flush())
            .tried(tried)?;
        let answer = self.line()?;
        seconds(&answer).ok_or_else(|| Error::new(tried(), answer))
    }
}

impl Drop for HostBeam {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
