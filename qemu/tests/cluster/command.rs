//! The tool as a person meets it: its words, its exit codes, and what it leaves behind.
//!
//! Each test has a cluster and a folder of its own. A cluster is a child process here, so that it
//! can be killed; everything that it starts inherits a mark by which it is found.

use crate::bed::{guest_path, top};
use craton_qemu::testing::{LONG, kernel};
use craton_tool::registry;
use craton_tool::scratch::Scratch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// In the environment of everything that belongs to a test's cluster.
const MARK: &str = "CRATON_TEST_MARK";
/// The last thing that `craton up` says before it waits.
pub(crate) const STAYS: &str = "next: ";
/// The first thing that it says.
const BOOTS: &str = "booting ";

/// The tool to test: `CRATON_TOOL`, or the newer of what `make build` and cargo left.
fn tool() -> PathBuf {
    if let Some(path) = std::env::var_os("CRATON_TOOL") {
        return path.into();
    }
    ["build/craton", "tools/target/release/craton"]
        .into_iter()
        .filter_map(|path| Some((top().join(path).metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| top().join(path))
        .expect("no tool to test; run: make build")
}

/// A name for a cluster, and a folder that is empty when the test is over.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Whose the folder is.
    _scratch: Scratch,
}

impl Place {
    pub(crate) fn new(test: &str) -> Place {
        let name = format!("test-{test}-{}", std::process::id());
        let scratch = Scratch::new(test).unwrap();
        let folder = scratch.path().to_path_buf();
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        Place { name, folder, _scratch: scratch }
    }

    pub(crate) fn craton(&self, arguments: &[&str]) -> Command {
        // Tied to this process: if the test is killed, so is what it started.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tool())
            .args(arguments)
            .env("CRATON_KERNEL", kernel())
            .env("CRATON_KEYS", self.folder.join("keys"))
            .env("TMPDIR", self.folder.join("tmp"))
            .env(MARK, &self.name)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// What a command for this cluster says.
    pub(crate) fn ask(&self, verb: &str, arguments: &[&str]) -> Output {
        let all = [&[verb, "--cluster", &self.name], arguments].concat();
        self.craton(&all).output().unwrap()
    }

    /// Starts a cluster and waits for the line that begins so.
    pub(crate) fn up(&self, line: &str) -> Child {
        self.up_with(line, &[]).0
    }

    /// As [`Place::up`], with more options; answers what it said before that line, too.
    pub(crate) fn up_with(&self, line: &str, options: &[&str]) -> (Child, Vec<String>) {
        let mut child = self
            .craton(&[&["up", "--nodes", "2", "--cluster", &self.name], options].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut said, mut found) = (Vec::new(), false);
        for seen in lines.by_ref() {
            found = seen.starts_with(line);
            if found {
                break;
            }
            said.push(seen);
        }
        assert!(found, "the cluster does not say {line:?}");
        // Its pipe stays open: what it says later is not to end it.
        std::thread::spawn(move || lines.for_each(drop));
        (child, said)
    }

    /// Every living process that belongs to the cluster, but for this one.
    fn processes(&self) -> Vec<OwnedFd> {
        let wanted = format!("{MARK}={}", self.name);
        let marked = |process: &Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
        };
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
        all.filter(|entry| marked(&entry.path()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|id| pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok())
            .collect()
    }

    /// Waits until no process and no file of the cluster is left, and its name is free.
    #[track_caller]
    pub(crate) fn expect_nothing_left(&self) {
        let limit = Instant::now() + LONG;
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "{} processes are left", left.len());
            left.iter().for_each(wait_for_end);
        }
        let files: Vec<_> = std::fs::read_dir(self.folder.join("tmp")).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
        assert!(registry::find(&self.name).is_err(), "the name is still taken");
    }
}

#[track_caller]
fn wait_for_end(process: &OwnedFd) {
    let limit = Timespec::try_from(LONG).unwrap();
    let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ended, 1, "a process outlived its cluster");
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_is_there_for_every_verb() {
    let place = Place::new("help");
    let help = |arguments: &[&str]| {
        let output = place.craton(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage: craton"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        help
    };
    let all = help(&["--help"]);
    for verb in ["key", "new", "build", "up", "down", "run", "nodes", "ps", "logs"] {
        assert!(all.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {all}");
        help(&[verb, "--help"]);
    }
    for json in ["nodes", "ps", "logs"] {
        assert!(help(&[json, "--help"]).contains("--json"));
    }
    assert!(place.craton(&["--version"]).output().unwrap().status.success());
}

#[test]
fn without_a_cluster_the_tool_says_what_to_do() {
    let place = Place::new("none");
    for verb in ["nodes", "ps", "logs", "down"] {
        let output = place.ask(verb, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {error}");
        assert!(error.contains("try: craton up"), "{verb}: {error}");
    }
    let output = place.ask("run", &["nothing.wat"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("try: craton up"), "{}", text(&output.stderr));
    let output = place.craton(&["nodes", "--connect", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("try: "), "{}", text(&output.stderr));
    assert_eq!(place.craton(&["fly"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_killed_cluster_leaves_nothing() {
    let place = Place::new("killed");
    for line in [BOOTS, STAYS] {
        let mut up = place.up(line);
        signal(&up, Signal::KILL);
        up.wait().unwrap();
        place.expect_nothing_left();
    }
}

#[test]
fn a_cluster_that_is_asked_to_end_leaves_nothing_and_succeeds() {
    let place = Place::new("asked");
    for asked in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut up = place.up(STAYS);
        assert!(place.processes().len() >= 3, "the tool and two machines");
        signal(&up, asked);
        assert!(up.wait().unwrap().success());
        place.expect_nothing_left();
    }
    let mut up = place.up(STAYS);
    let down = place.ask("down", &[]);
    assert!(down.status.success(), "{down:?}");
    place.expect_nothing_left();
    assert!(up.wait().unwrap().success());
}

#[test]
fn the_commands_speak_with_a_cluster() {
    let place = Place::new("verbs");
    let mut up = place.up(STAYS);
    let ask = |verb: &str, arguments: &[&str]| {
        let output = place.ask(verb, arguments);
        assert!(output.status.success(), "{verb} {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(ask("nodes", &[]).starts_with("NAME"));
    // More commands in a row than a node has places for one person's tools.
    (0..40).for_each(|_| assert!(ask("nodes", &[]).contains("n2")));
    let nodes: serde_json::Value = serde_json::from_str(&ask("nodes", &["--json"])).unwrap();
    let mut names: Vec<_> = nodes.as_array().unwrap().iter().map(|n| n["name"].clone()).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["n1", "n2"]);
    assert_eq!(ask("ps", &["--json"]).trim(), "[]");
    assert!(ask("logs", &["--node", "n2"]).contains("is up at"));
    let taken = place.craton(&["up", "--cluster", &place.name]).output().unwrap();
    assert_eq!(taken.status.code(), Some(1), "one name, one cluster");
    assert!(text(&taken.stderr).contains("try: "), "{}", text(&taken.stderr));
    exit_codes_are_the_shells(&place);
    an_interrupted_run_ends_with_130(&place);
    signal(&up, Signal::TERM);
    assert!(up.wait().unwrap().success());
    place.expect_nothing_left();
}

fn exit_codes_are_the_shells(place: &Place) {
    let guest = |name: &str| guest_path(name).to_str().unwrap().to_owned();
    let good = place.ask("run", &[&guest("nothing")]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let trapped = place.ask("run", &[&guest("trap")]);
    assert_eq!(trapped.status.code(), Some(1));
    assert!(text(&trapped.stderr).contains("unreachable"), "{}", text(&trapped.stderr));
    let absent = place.ask("run", &["no-such-program"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("no-such-program"), "{}", text(&absent.stderr));
}

fn an_interrupted_run_ends_with_130(place: &Place) {
    let guest = guest_path("watch");
    let run = place
        .craton(&["run", "--cluster", &place.name, guest.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let limit = Instant::now() + LONG;
    // The listing is the event: the process shows in it once it runs.
    while !text(&place.ask("ps", &["--json"]).stdout).contains("\"wait\"") {
        assert!(Instant::now() < limit, "the program does not start");
    }
    signal(&run, Signal::INT);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    while text(&place.ask("ps", &["--json"]).stdout).trim() != "[]" {
        assert!(Instant::now() < limit, "the program was not ended");
    }
}

/// The command by which `craton debug` says that gdb attaches, run with more of gdb's words.
fn attach(place: &Place, debug: &mut Child, more: &[&str]) -> String {
    let mut lines = BufReader::new(debug.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.trim_start().starts_with("gdb ")).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let words = more.iter().map(|word| format!(" -ex '{word}'")).collect::<String>();
    let gdb = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "sh", "-c"])
        .arg(format!("{line} -nx -batch{words}"))
        .current_dir(&place.folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    text(&gdb.stdout) + &text(&gdb.stderr)
}

#[test]
fn gdb_attaches_as_it_is_told_and_sees_every_cpu() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("gdb is not installed: not tested");
        return;
    }
    let place = Place::new("debug");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ["debug", "--cpus", "2", "--append", "selftest", "--port", &free.to_string()];
    let mut debug = place
        .craton(&[&options[..], &["--cluster", &place.name]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let breakpoint = "hbreak craton_kernel::main";
    let seen = attach(
        &place,
        &mut debug,
        &["info threads", breakpoint, "continue", "backtrace 1", "info symbol $pc", "kill"],
    );
    for words in [
        "(CPU#0",
        "(CPU#1",
        "Thread 1 hit Breakpoint 1, craton_kernel::main",
        "kernel/src/main.rs:",
        " in section .text",
    ] {
        assert!(seen.contains(words), "{words:?} is not in what gdb says: {seen}");
    }
    // gdb has ended the machine, and with it goes the tool.
    debug.wait().unwrap();
    place.expect_nothing_left();
}

#[test]
fn a_run_reads_its_input_and_writes_its_output() {
    let place = Place::new("pipes");
    let mut up = place.up(STAYS);
    let wordcount = place.folder.join("wordcount.craton");
    let keys = craton_tool::keys::Keys::load(&place.folder.join("keys")).unwrap();
    std::fs::write(&wordcount, crate::bed::program_for("wordcount", &keys)).unwrap();
    let input = crate::random::text(11, 300_000);
    let mut run = place
        .craton(&["run", "--cluster", &place.name, wordcount.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(&input).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success());
    let counts = wordcount_reference::count(&input[..]).unwrap();
    assert_eq!(text(&output.stdout), text(&wordcount_reference::render(&counts)));
    signal(&up, Signal::TERM);
    up.wait().unwrap();
}

/// The words after which a line of `lines` goes on, once one has them.
fn line_with(lines: &mut impl Iterator<Item = String>, words: &str) -> String {
    lines.find(|line| line.contains(words)).unwrap_or_else(|| panic!("nobody says {words:?}"))
}

#[test]
fn a_node_runs_the_program_that_its_image_carries() {
    let place = Place::new("carries");
    let echo = guest_path("echo");
    // A bundle whose compiler these keys do not know.
    let foreign = top().join("build/programs/hello.craton");
    for (program, words) in [
        (&echo, &[" program: started as <", " program: ended: normal"][..]),
        (&foreign, &[" program: cannot be started: the bundle is signed by "]),
    ] {
        let mut boot = place.craton(&["boot", "--cluster", &place.name, "--program"]);
        boot.arg(program).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = boot.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        for words in words {
            line_with(&mut lines, words);
        }
        std::thread::spawn(move || lines.for_each(drop));
        assert!(place.ask("down", &[]).status.success());
        child.wait().unwrap();
        place.expect_nothing_left();
    }
}

#[test]
fn services_are_reached_as_it_is_printed() {
    let place = Place::new("printed");
    let arguments =
        ["up", "--nodes", "1", "--cluster", &place.name, "--services", "http", "--forward", "7"];
    let mut child = place.craton(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let closed = line_with(&mut lines, "is 10.77.0.10:7 (echo)");
    let page = line_with(&mut lines, "is 10.77.0.10:80 (http)");
    let url = page.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let got = Command::new("curl").args(["-sS", "--max-time", "60", url]).output().unwrap();
    let text = String::from_utf8_lossy(&got.stdout);
    assert!(got.status.success() && text.contains("node        n1 ("), "{got:?}");
    // Forwarded, but turned on by nobody.
    let address = closed.split_whitespace().nth(1).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut byte = [0];
    let refused = stream.write_all(&[1]).and_then(|()| std::io::Read::read(&mut stream, &mut byte));
    assert!(refused.is_err() || refused.is_ok_and(|bytes| bytes == 0), "nobody echoes");
    // Nobody reads any more; the tool ends as it is asked to all the same.
    drop(lines);
    assert!(place.ask("down", &[]).status.success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    place.expect_nothing_left();
    let unknown = place.craton(&["up", "--services", "gopher"]).output().unwrap();
    let text = String::from_utf8_lossy(&unknown.stderr);
    assert!(text.contains("the services are echo, discard, chargen, http"), "{text}");
}
