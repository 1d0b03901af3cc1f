//! What the author of a program does with the tool, from `craton new` to a run.
//!
//! Every program here is built by the tool as a user's would be, outside of the repository, and
//! runs on one cluster. What a machine has no compiler for is said and not tested.

use crate::bed::top;
use crate::command::{Place, STAYS, signal, text};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A program of the standard library alone.
const ORDINARY: &str = r#"
use std::collections::HashMap;

fn main() {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for argument in std::env::args().skip(1) {
        *seen.entry(argument).or_default() += 1;
    }
    println!("{} twice: {:?}", std::env::var("CRATON_PROGRAM").unwrap(), seen.get("b"));
    let start = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(start.elapsed().as_millis() >= 2);
    for line in std::io::stdin().lines() {
        eprintln!("read {}", line.unwrap());
    }
    std::process::exit(7);
}
"#;

fn has(command: &str, arguments: &[&str]) -> bool {
    Command::new(command).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The first of some names that a compiler may have.
fn first_of<'a>(commands: &[&'a str], arguments: &[&str]) -> Option<&'a str> {
    commands.iter().copied().find(|command| has(command, arguments))
}

fn expect(output: &Output, status: i32, stdout: &[&str]) {
    assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in stdout {
        assert!(said.lines().any(|one| one.starts_with(line)), "{line:?} is not in {said:?}");
    }
}

/// One program after the other on one cluster: each costs little more than its compiler.
#[test]
fn programs_of_every_make_are_built_and_run() {
    let place = Place::new("author");
    let (mut up, said) = place.up_with(STAYS, &["--forward", "6667"]);
    new_app(&place);
    ordinary_program(&place);
    ordinary_module(&place);
    c_program(&place);
    assemblyscript_program(&place);
    programs_of_the_repository(&place);
    chat(&place, &said);
    signal(&up, Signal::TERM);
    assert!(up.wait().unwrap().success());
    place.expect_nothing_left();
}

fn new_app(place: &Place) {
    let new = |name: &str| place.craton(&["new", name]).output().unwrap();
    expect(&new("squares"), 0, &["squares: "]);
    for (name, words) in [("squares", "it is there already"), ("No Name", "small letters")] {
        let refused = new(name);
        expect(&refused, 1, &[]);
        assert!(text(&refused.stderr).contains(words), "{}", text(&refused.stderr));
    }
    let run = place.ask("run", &["squares", "3", "12"]);
    expect(&run, 0, &["3 * 3 = 9, says ", "12 * 12 = 144, says "]);
    let run = place.ask("run", &["squares", "three"]);
    expect(&run, 1, &[]);
    assert!(text(&run.stderr).contains("not a number: three"), "{}", text(&run.stderr));
}

fn ordinary_program(place: &Place) {
    let package = place.folder.join("ordinary");
    std::fs::create_dir_all(package.join("src")).unwrap();
    let manifest = "[package]\nname = \"ordinary\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(package.join("src/main.rs"), ORDINARY).unwrap();
    let build = |target: &str| {
        let mut build = place.craton(&["build", "ordinary", "--output", target]);
        build.env("CARGO_TARGET_DIR", place.folder.join(format!("{target}.target")));
        (build.output().unwrap(), std::fs::read(place.folder.join(target)).unwrap_or_default())
    };
    let (built, first) = build("first.craton");
    if !built.status.success() {
        let error = text(&built.stderr);
        assert!(error.contains("no wasm32-wasip1 on this machine\n  try: "), "{error}");
        assert!(
            error.contains("target add wasm32-wasip1") || error.contains("--target"),
            "{error}"
        );
        eprintln!("there is no standard library for wasm32-wasip1: not tested");
        return;
    }
    let (_, second) = build("second.craton");
    assert!(first == second && !first.is_empty(), "two builds differ");
    let mut run = place
        .craton(&["run", "--cluster", &place.name, "first.craton", "a", "b", "b"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(b"one\ntwo").unwrap();
    let output = run.wait_with_output().unwrap();
    expect(&output, 7, &["ordinary twice: Some(2)"]);
    assert_eq!(text(&output.stderr), "read one\nread two\n");
}

/// What a toolchain makes of a program, by hand: for machines that have none.
const MODULE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\10\00\00\00\0c\00\00\00hello, WASI\n")
    (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
        (call $proc_exit (i32.const 9))))"#;

/// Writes what it reads.
const READER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\00\01\00\00\00\01\00\00")
    (func (export "_start")
        (drop (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 20)))
        (i32.store (i32.const 12) (i32.load (i32.const 20)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;

fn ordinary_module(place: &Place) {
    std::fs::write(place.folder.join("module.wat"), MODULE).unwrap();
    expect(&place.ask("run", &["module.wat"]), 9, &["hello, WASI"]);
    // Its first question may come before the operator hears of its start: again and again.
    std::fs::write(place.folder.join("reader.wat"), READER).unwrap();
    for round in 0..5 {
        let mut run = place.craton(&["run", "--cluster", &place.name, "reader.wat"]);
        let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(run.stdin.take().unwrap(), "round {round}").unwrap();
        let output = run.wait_with_output().unwrap();
        expect(&output, 0, &[&format!("round {round}")]);
    }
    let unknown = MODULE.replace("fd_write", "path_open");
    std::fs::write(place.folder.join("module.wat"), unknown).unwrap();
    let refused = place.craton(&["build", "module.wat"]).output().unwrap();
    expect(&refused, 1, &[]);
    let error = text(&refused.stderr);
    assert!(error.contains("wasi_snapshot_preview1.path_open, which no node has"), "{error}");
}

/// The command that a source's first comment names, made by `compiler`, run on the cluster.
fn compiled(place: &Place, compiler: &mut Command, source: &Path, module: &str) -> Output {
    let made = compiler.arg(source).arg("-o").arg(place.folder.join(module)).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    place.ask("run", &[module, "you", "me"])
}

fn c_program(place: &Place) {
    let links = ["--target=wasm32", "-fuse-ld=lld", "-nostdlib", "-Wl,--version"];
    let Some(clang) = first_of(&["clang-19", "clang"], &links) else {
        eprintln!("there is no clang with a linker for wasm32: not tested");
        return;
    };
    let mut compiler = Command::new(clang);
    compiler.args(["--target=wasm32", "-O2", "-mbulk-memory", "-msimd128", "-nostdlib"]);
    compiler.args(["-Wl,--no-entry", "-Wall", "-Wextra", "-Werror"]);
    let run = compiled(place, &mut compiler, &top().join("userland/c/greet.c"), "c.wasm");
    expect(&run, 0, &["hello, you", "hello, me"]);
}

fn assemblyscript_program(place: &Place) {
    if !has("asc", &["--version"]) {
        eprintln!("there is no asc: not tested");
        return;
    }
    let mut compiler = Command::new("asc");
    compiler.args(["--runtime", "stub", "--exportStart", "_initialize", "--use", "abort="]);
    // It takes paths relative to where it is.
    compiler.current_dir("/");
    let source = top().join("userland/assemblyscript/greet.ts").canonicalize().unwrap();
    let run = compiled(place, &mut compiler, &source, "as.wasm");
    expect(&run, 0, &["hello, you and me, from AssemblyScript"]);
}

/// Runs a program of the repository. What `make` built of it is used again.
fn start(place: &Place, program: &str, arguments: &[&str]) -> Child {
    let package = top().join("userland/programs").join(program);
    let mut run = place.craton(&["run", "--cluster", &place.name]);
    run.arg(package).args(arguments).env("CARGO_TARGET_DIR", top().join("target/guest"));
    run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn programs_of_the_repository(place: &Place) {
    let run = |program: &str, argument: &str, input: &str| {
        let mut run = start(place, program, &[argument]);
        run.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        run.wait_with_output().unwrap()
    };
    expect(&run("primes", "1000000", ""), 0, &["78498 primes below 1000000"]);
    let line = "@every 1s log the time has come";
    expect(&run("cron", "1", line), 0, &[&format!("{line}: done")]);
    let logs = ["n1", "n2"].map(|node| place.ask("logs", &["--node", node]));
    assert!(logs.iter().any(|log| text(&log.stdout).contains("the time has come")), "{logs:?}");
}

/// Two people, each connected to another machine.
fn chat(place: &Place, said: &[String]) {
    let mut room = start(place, "chat", &[]);
    let mut listens = BufReader::new(room.stdout.take().unwrap()).lines();
    assert_eq!(listens.next().unwrap().unwrap(), "chat: port 6667 of 2 nodes");
    let forwarded = said.iter().filter(|line| line.ends_with(":6667"));
    let addresses = forwarded.filter_map(|line| line.split_whitespace().nth(1));
    let mut people: Vec<_> = addresses.map(Person::connect).collect();
    let [ada, bob] = &mut people[..] else { panic!("two ports are forwarded: {said:?}") };
    for (person, name) in [(&mut *ada, "ada"), (&mut *bob, "bob")] {
        person.expect("your name, please:");
        person.say(name);
        assert!(person.hears().starts_with("* here are: "));
    }
    ada.expect("* bob is here");
    bob.say("hello");
    ada.expect("bob: hello");
    ada.say("/quit");
    ada.expect("bye");
    bob.expect("* ada is gone");
    signal(&room, Signal::INT);
    assert_eq!(room.wait().unwrap().code(), Some(130));
    bob.expect("* the room is closed");
}

struct Person(BufReader<TcpStream>);

impl Person {
    fn connect(address: &str) -> Person {
        Person(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.hears(), line);
    }
}

/// A program with a `main` of its own that has the standard library and processes.
const MIXED: &str = r#"
use craton::{Event, Mailbox, Pid, SpawnOptions, me, send_bytes};
use std::collections::HashMap;

craton::entries! {
    /// Squares a number.
    pub WORKER: "worker" = worker as fn((Pid, u64));
}

fn worker((parent, number): (Pid, u64)) -> Result<(), craton::Error> {
    println!("squaring {number}");
    let squares = HashMap::from([(number, number * number)]);
    send_bytes(&parent, 1, &squares[&number].to_le_bytes(), None)
}

fn main() {
    let mut mailbox = Mailbox::new();
    for number in 1..=3 {
        WORKER.spawn(&(me(), number), SpawnOptions::anywhere()).unwrap();
        let Ok(Event::Message(message)) = mailbox.next_event() else { panic!("no message") };
        println!("{number} squared is {}", u64::from_le_bytes(message.payload.try_into().unwrap()));
    }
}
"#;

#[test]
#[ignore = "builds the SDK for another target, for ten seconds"]
fn the_standard_library_and_the_sdk_go_together() {
    let place = Place::new("mixed");
    let mut up = place.up(STAYS);
    expect(&place.craton(&["new", "app"]).output().unwrap(), 0, &[]);
    let package = place.folder.join("mixed");
    std::fs::create_dir_all(package.join("src")).unwrap();
    let manifest = "[package]\nname = \"mixed\"\nedition = \"2024\"\n[dependencies]\n\
                    craton = { path = \"../app/craton/sdk\" }\n[workspace]\n";
    std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(package.join("src/main.rs"), MIXED).unwrap();
    let run = place.ask("run", &["mixed"]);
    expect(&run, 0, &["1 squared is 1", "2 squared is 4", "3 squared is 9"]);
    let logs = ["n1", "n2"].map(|node| text(&place.ask("logs", &["--node", node]).stdout));
    assert!(logs.concat().contains("squaring 3"), "{logs:?}");
    signal(&up, Signal::TERM);
    assert!(up.wait().unwrap().success());
}
