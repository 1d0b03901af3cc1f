//! A program that uses the whole SDK, run on threads; one case for each test.

use craton::host::{self, Fault, FaultKind, Outcome, Scenario, node_id};
use craton::{
    Duration, Error, ErrorCode, Event, Exit, ExitReason, Mailbox, Message, Monitor, Pid, Received,
    Request, Run, SpawnOptions, TAG_MAX, Timer, TrapKind, ask, exit, kill, limit, link, me, names,
    nodes, now, random_u64, send, send_bytes, send_within, tag_of_name, trap_exits, unlink,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Text(String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Task {
    /// Send these numbers to the parent, each after a text.
    Count(u64),
    /// Answer requests: twice the number; zero is not answered, one ends the process.
    Serve,
    /// Do nothing until killed.
    Wait,
    /// Link to this process, say so to the parent, and wait.
    Link(Pid),
    /// Register this name, join "all", tell the parent how it went, and wait if it went well.
    Register(String),
    Panic,
    Exit(u8),
    Return,
}

craton::message!(Number = "test.number", Text = "test.text");

craton::entries! {
    /// Plays the case that the first argument names.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Does a task.
    pub CHILD: "child" = child as fn((Pid, Task));
}

type Result<T = ()> = std::result::Result<T, Error>;

const TICK: Duration = Duration::from_millis(20);

fn main_entry(run: Run) -> Result {
    match run.arguments()[0].as_str() {
        "echo" => echo(&run),
        "order" => order(),
        "reasons" => reasons(),
        "calls" => calls(),
        "asks" => asks(),
        "named" => named(),
        "timers" => timers(),
        "long" => long(),
        "full" => full(),
        "mailboxes" => mailboxes(),
        "ahead" => ahead(),
        "timeouts" => timeouts(),
        "monitors" => monitors(),
        "links" => links(),
        "places" => places(),
        "forged" => forged(),
        "lost" => lost(),
        other => panic!("no case {other}"),
    }
}

fn child((parent, task): (Pid, Task)) -> Result {
    match task {
        Task::Count(numbers) => (0..numbers).try_for_each(|number| {
            send(&parent, &Text(format!("{number}")))?;
            send(&parent, &Number(number))
        }),
        Task::Serve => serve(),
        Task::Wait => Mailbox::new().receive::<Number>().map(|_| ()),
        Task::Link(to) => {
            link(&to)?;
            send(&parent, &Number(0))?;
            Mailbox::new().receive::<Text>().map(|_| ())
        }
        Task::Register(name) => match names::register(&name) {
            Ok(()) => {
                names::join("all")?;
                send(&parent, &Text("registered".into()))?;
                Mailbox::new().receive::<Text>().map(|_| ())
            }
            Err(error) => send(&parent, &Text(error.to_string())),
        },
        Task::Panic => panic!("as asked"),
        Task::Exit(0) => exit(&ExitReason::Shutdown),
        Task::Exit(code) => exit(&ExitReason::Error(vec![code])),
        Task::Return => Err(Error::Malformed),
    }
}

fn serve() -> Result {
    let mut mailbox = Mailbox::new();
    loop {
        let (_, request) = mailbox.receive::<Request<Number>>()?.message()?;
        match request.body.0 {
            0 => {}
            1 => return Ok(()),
            number => request.reply(&Number(2 * number))?,
        }
    }
}

fn spawn(task: Task) -> Result<craton::Child> {
    CHILD.spawn(&(me(), task), SpawnOptions::here().monitored())
}

fn echo(run: &Run) -> Result {
    let (mut stdin, mut mailbox, mut stdout) = (run.stdin(), Mailbox::new(), run.stdout());
    loop {
        let part = stdin.read(&mut mailbox, 100_000)?;
        if part.is_empty() {
            assert!(stdin.ended() && stdin.read(&mut mailbox, 1)?.is_empty());
            return run.stderr().line("end");
        }
        stdout.write(part)?;
    }
}

fn order() -> Result {
    let child = CHILD.spawn(&(me(), Task::Count(300)), SpawnOptions::on(nodes()?[1]))?;
    let mut mailbox = Mailbox::new();
    // Twice as many messages as a mailbox holds: the numbers first, around the texts.
    for number in 0..100 {
        let (from, received) = mailbox.receive::<Number>()?.message()?;
        assert_eq!((from, received), (child.pid, Number(number)));
    }
    for number in 0..100 {
        let (_, text) = mailbox.receive::<Text>()?.message()?;
        assert_eq!(text, Text(format!("{number}")));
    }
    for number in 100..300 {
        let Event::Message(text) = mailbox.next_event()? else { panic!("a notice") };
        assert_eq!(text.decode::<Text>()?, Text(format!("{number}")));
        assert_eq!(text.decode::<Number>(), Err(Error::Malformed));
        let Event::Message(next) = mailbox.next_event()? else { panic!("a notice") };
        assert!(next.is::<Number>());
    }
    Ok(())
}

fn reason_of(task: Task, end: impl FnOnce(&Pid) -> Result) -> Result<ExitReason> {
    let child = spawn(task)?;
    end(&child.pid)?;
    let Received::Down(down) = Mailbox::new().receive::<Number>()? else { panic!("a message") };
    assert_eq!((down.pid, Some(down.monitor)), (child.pid, child.monitor));
    Ok(down.reason)
}

fn reasons() -> Result {
    let nothing = |_: &Pid| Ok(());
    assert_eq!(reason_of(Task::Count(0), nothing)?, ExitReason::Normal);
    assert_eq!(reason_of(Task::Exit(0), nothing)?, ExitReason::Shutdown);
    assert_eq!(reason_of(Task::Exit(7), nothing)?, ExitReason::Error(vec![7]));
    assert_eq!(reason_of(Task::Wait, kill)?, ExitReason::Killed);
    let ExitReason::Error(text) = reason_of(Task::Return, nothing)? else { panic!("no error") };
    assert_eq!(text, Error::Malformed.to_string().into_bytes());
    let ExitReason::Trap(kind, text) = reason_of(Task::Panic, nothing)? else { panic!("no trap") };
    assert_eq!((kind, text.as_str()), (TrapKind::Unreachable, "as asked"));
    Ok(())
}

fn calls() -> Result {
    let mut mailbox = Mailbox::new();
    let server = spawn(Task::Serve)?.pid;
    let bystander = spawn(Task::Count(0))?.pid;
    for number in 2..50 {
        let answer: Number = mailbox.call(&server, &Number(number), Duration::from_secs(5))?;
        assert_eq!(answer, Number(2 * number));
    }
    // The bystander's notice came during the calls and is still there.
    let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
    assert_eq!(down.pid, bystander);
    let silent: Result<Number> = mailbox.call(&server, &Number(0), TICK);
    assert_eq!(silent, Err(ErrorCode::TimedOut.into()));
    let ended: Result<Number> = mailbox.call(&server, &Number(1), Duration::from_secs(5));
    assert_eq!(ended, Err(Error::Down { pid: server, reason: ExitReason::Normal }));
    let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
    assert_eq!(down.pid, server);
    let nobody: Result<Number> = mailbox.call(&server, &Number(2), Duration::from_secs(5));
    assert_eq!(nobody, Err(ErrorCode::NoProcess.into()));
    // What is sent as no request is answered by nobody.
    send_bytes(&me(), <Request<Number> as Message>::TAG, &[4], None)?;
    let (_, unasked) = mailbox.receive::<Request<Number>>()?.message()?;
    assert_eq!(unasked.reply(&Number(8)), Err(Error::Malformed));
    Ok(())
}

/// Requests that are not waited for: answered in any order, by anybody, late, twice, or never.
fn asks() -> Result {
    let mut mailbox = Mailbox::new();
    let (first, second) = (ask(&me(), &Number(1))?, ask(&me(), &Number(2))?);
    let (_, one) = mailbox.receive::<Request<Number>>()?.message()?;
    let (_, two) = mailbox.receive::<Request<Number>>()?.message()?;
    two.reply(&Number(20))?;
    one.asker().reply(&Number(10))?;
    one.reply(&Number(11))?;
    send(&me(), &Text("after".into()))?;
    // The typed receive leaves answers to `next_event`.
    assert_eq!(mailbox.receive::<Text>()?.message()?.1, Text("after".into()));
    for (pending, number) in [(second, 20), (first, 10)] {
        let Event::Answer(answer) = mailbox.next_event()? else { panic!("no answer") };
        assert_eq!((answer.from, answer.pending), (me(), pending));
        assert_eq!(answer.decode::<Number>()?, Number(number));
    }
    assert!(mailbox.next_event_within(Duration::ZERO).is_err(), "the second answer is dropped");
    let taken_back = ask(&me(), &Number(3))?;
    let (_, three) = mailbox.receive::<Request<Number>>()?.message()?;
    assert!(!taken_back.cancel());
    three.reply(&Number(30))?;
    assert!(mailbox.next_event_within(Duration::ZERO).is_err(), "nobody waits for it");
    let server = spawn(Task::Wait)?;
    let open = ask(&server.pid, &Number(4))?;
    kill(&server.pid)?;
    let mut ends = vec![];
    for _ in 0..2 {
        let Event::Down(down) = mailbox.next_event()? else { panic!("no end") };
        ends.push(down.monitor);
    }
    assert!(ends.contains(&open.monitor) && ends.contains(&server.monitor.expect("watched")));
    let many: Result<Vec<_>> =
        (0..limit::REQUESTS_PER_PROCESS_MAX as u64).map(|n| ask(&me(), &Number(n))).collect();
    assert_eq!(many?.len(), limit::REQUESTS_PER_PROCESS_MAX);
    assert_eq!(ask(&me(), &Number(0)), Err(ErrorCode::LimitRequests.into()));
    Ok(())
}

fn named() -> Result {
    assert_eq!(names::find("main")?, None);
    names::register("main")?;
    names::register("main")?;
    assert_eq!(names::find("main")?, Some(me()));
    names::send_to("main", &Number(7))?;
    assert_eq!(Mailbox::new().receive::<Number>()?.message()?, (me(), Number(7)));
    let other = CHILD.spawn(&(me(), Task::Register("main".into())), SpawnOptions::here())?;
    let (from, answer) = Mailbox::new().receive::<Text>()?.message()?;
    assert_eq!((from, answer), (other.pid, Text("taken".into())));
    assert!(names::unregister("main")? && !names::unregister("main")?);
    let other = spawn(Task::Register("main".into()))?;
    let (_, answer) = Mailbox::new().receive::<Text>()?.message()?;
    assert_eq!((answer, names::find("main")?), (Text("registered".into()), Some(other.pid)));
    names::join("all")?;
    assert_eq!(names::members("all")?.len(), 2);
    assert!(names::leave("all")? && !names::leave("all")?);
    assert_eq!(names::members("all")?, [other.pid]);
    // Who hears of its end finds its names free.
    kill(&other.pid)?;
    let Received::Down(_) = Mailbox::new().receive::<Number>()? else { panic!("no end") };
    assert_eq!((names::find("main")?, names::members("all")?), (None, vec![]));
    names::register("main")?;
    // Another node has names of its own.
    let far = SpawnOptions::on(nodes()?[1]);
    let far = CHILD.spawn(&(me(), Task::Register("main".into())), far)?;
    let (_, answer) = Mailbox::new().receive::<Text>()?.message()?;
    assert_eq!((answer, names::find("main")?), (Text("registered".into()), Some(me())));
    kill(&far.pid)?;
    assert_eq!(names::register(""), Err(ErrorCode::Invalid.into()));
    let long = "n".repeat(limit::NAME_BYTES_MAX + 1);
    assert_eq!(names::join(&long), Err(ErrorCode::Invalid.into()));
    for number in 1..limit::NAMES_PER_PROCESS_MAX {
        names::join(&format!("{number}"))?;
    }
    assert_eq!(names::register("one more"), Err(ErrorCode::LimitNames.into()));
    Ok(())
}

fn timers() -> Result {
    let mut mailbox = Mailbox::new();
    let before = now();
    let late = Timer::after(TICK + TICK, 1)?;
    let early = Timer::after(TICK, 2)?;
    let never = Timer::after(Duration::MAX, 3)?;
    for timer in [early, late] {
        let Event::Timer(due) = mailbox.next_event()? else { panic!("no timer") };
        assert_eq!(due, timer);
    }
    assert!(now() - before >= TICK + TICK);
    assert!(never.cancel() && !never.cancel() && !early.cancel());
    let queued = Timer::after(Duration::ZERO, 4)?;
    assert!(!queued.cancel(), "it was due");
    assert!(mailbox.next_event_within(Duration::ZERO).is_err(), "and is taken back");
    Timer::after(Duration::ZERO, 5)?;
    let Received::Timer(due) = mailbox.receive::<Number>()? else { panic!("no timer") };
    assert_eq!(due.tag, 5);
    let all: Result<Vec<_>> =
        (0..limit::TIMERS_PER_PROCESS_MAX).map(|_| Timer::after(Duration::MAX, 0)).collect();
    assert_eq!(Timer::after(Duration::MAX, 0), Err(ErrorCode::LimitTimers.into()));
    assert!(all?.into_iter().all(Timer::cancel));
    Ok(())
}

fn long() -> Result {
    let mut mailbox = Mailbox::new();
    for len in [0, 255, 256, 257, 70_000, limit::MESSAGE_BYTES_MAX] {
        let bytes = vec![len as u8; len];
        send_bytes(&me(), 5, &bytes, None)?;
        let Event::Message(message) = mailbox.next_event()? else { panic!("a notice") };
        assert_eq!((message.tag, message.payload), (5, &bytes[..]));
    }
    let refused = send_bytes(&me(), 5, &vec![0; limit::MESSAGE_BYTES_MAX + 1], None);
    assert_eq!(refused, Err(ErrorCode::TooLong.into()));
    Ok(())
}

fn full() -> Result {
    let child = spawn(Task::Wait)?;
    for number in 0..limit::MAILBOX_MESSAGES {
        send(&child.pid, &Text(format!("{number}")))?;
    }
    let refused = send_within(&child.pid, &Text("more".into()), Duration::ZERO);
    assert_eq!(refused, Err(ErrorCode::Full.into()));
    let before = now();
    assert_eq!(send_within(&child.pid, &Number(1), TICK), Err(ErrorCode::Full.into()));
    assert!(now() - before >= TICK);
    kill(&child.pid)?;
    let Event::Down(_) = Mailbox::new().next_event()? else { panic!("a message") };
    assert_eq!(send(&child.pid, &Number(1)), Err(ErrorCode::NoProcess.into()));
    Ok(())
}

/// A mailbox is as large as the spawn says, if there can be one.
fn mailboxes() -> Result {
    let options = SpawnOptions::here().monitored();
    let small = CHILD.spawn(&(me(), Task::Wait), options.mailbox_max(2, 0))?;
    // It waits for a number.
    for text in ["one", "two"] {
        send_within(&small.pid, &Text(text.into()), Duration::ZERO)?;
    }
    let more = send_within(&small.pid, &Text("three".into()), Duration::ZERO);
    assert_eq!(more, Err(ErrorCode::Full.into()));
    kill(&small.pid)?;
    let most =
        CHILD.spawn(&(me(), Task::Wait), options.mailbox_max(limit::MAILBOX_MESSAGES_MAX, 0))?;
    kill(&most.pid)?;
    let beyond =
        CHILD.spawn(&(me(), Task::Wait), options.mailbox_max(limit::MAILBOX_MESSAGES_MAX + 1, 0));
    assert_eq!(beyond.err(), Some(ErrorCode::Invalid.into()));
    let mut mailbox = Mailbox::new();
    for _ in 0..2 {
        let Event::Down(_) = mailbox.next_event()? else { panic!("a message") };
    }
    Ok(())
}

/// A mailbox reads more than it is asked for. That is there for every other one, also by its tag,
/// in order, and before what came later.
fn ahead() -> Result {
    let child = spawn(Task::Wait)?;
    for number in 0..20 {
        send(&me(), &Number(number))?;
        send(&me(), &Text(format!("{number}")))?;
    }
    kill(&child.pid)?;
    let is = |envelope: craton::Envelope<'_>, number| {
        assert_eq!((envelope.from, envelope.decode()), (me(), Ok(Number(number))));
    };
    is(Mailbox::new().next_message()?, 0);
    let mut mailbox = Mailbox::with_capacity(0);
    let (_, text) = mailbox.receive::<Text>()?.message()?;
    assert_eq!(text, Text("0".into()));
    is(Mailbox::new().tagged(Number::TAG)?, 1);
    for number in 1..20 {
        let Event::Message(text) = mailbox.next_event_within(TICK)? else { panic!("too early") };
        assert_eq!(text.decode(), Ok(Text(format!("{number}"))));
        if number < 19 {
            is(mailbox.next_message()?, number + 1);
        }
    }
    let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
    assert_eq!(down.pid, child.pid);
    let nothing = mailbox.next_event_within(Duration::ZERO).err();
    assert_eq!(nothing, Some(ErrorCode::TimedOut.into()));
    // What is no message waits for who wants it.
    Timer::after(Duration::ZERO, 3)?;
    send_bytes(&me(), 7, b"last", None)?;
    assert_eq!(mailbox.next_message()?.payload, b"last");
    let Event::Timer(_) = mailbox.next_event()? else { panic!("no timer") };
    Ok(())
}

fn timeouts() -> Result {
    let mut mailbox = Mailbox::new();
    let timed_out = Error::Refused(ErrorCode::TimedOut);
    assert_eq!(mailbox.next_event_within(Duration::ZERO).err(), Some(timed_out.clone()));
    send(&me(), &Text("not a number".into()))?;
    let before = now();
    assert_eq!(mailbox.receive_within::<Number>(TICK), Err(timed_out));
    assert!(now() - before >= TICK);
    assert!(matches!(mailbox.next_event_within(Duration::ZERO)?, Event::Message(_)));
    Ok(())
}

fn monitors() -> Result {
    let mut mailbox = Mailbox::new();
    let child = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::here())?;
    assert_eq!(child.monitor, None);
    let (taken_back, kept) = (Monitor::new(&child.pid)?, Monitor::new(&child.pid)?);
    assert!(!taken_back.cancel());
    kill(&child.pid)?;
    let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
    assert_eq!((down.monitor, down.reason), (kept, ExitReason::Killed));
    let late = Monitor::new(&child.pid)?;
    let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
    assert_eq!((down.monitor, down.reason), (late, ExitReason::NoProcess));
    assert!(Monitor::new(&child.pid)?.cancel(), "the notice is queued, and taken back");
    assert!(mailbox.next_event_within(Duration::ZERO).is_err());
    Ok(())
}

fn links() -> Result {
    let mut mailbox = Mailbox::new();
    assert!(!trap_exits(true));
    assert!(trap_exits(true));
    let child = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::here().linked())?;
    link(&child.pid)?;
    kill(&child.pid)?;
    let Event::Exit(exit) = mailbox.next_event()? else { panic!("no end of a link") };
    assert_eq!(exit, Exit { pid: child.pid, reason: ExitReason::Killed });
    assert!(mailbox.next_event_within(Duration::ZERO).is_err(), "at most one link a pair");
    // The end of one goes to the next, and on; that of a third is none of their business.
    let last = spawn(Task::Wait)?;
    let middle = spawn(Task::Link(last.pid))?;
    mailbox.receive::<Number>()?.message()?;
    let apart = spawn(Task::Wait)?;
    link(&apart.pid)?;
    unlink(&apart.pid)?;
    kill(&middle.pid)?;
    let mut ends = vec![];
    for _ in 0..2 {
        let Received::Down(down) = mailbox.receive::<Number>()? else { panic!("no end") };
        ends.push((down.pid, down.reason));
    }
    ends.sort_by_key(|(pid, _)| *pid);
    let mut pids = [last.pid, middle.pid];
    pids.sort();
    assert_eq!(ends, pids.map(|pid| (pid, ExitReason::Killed)));
    link(&last.pid)?;
    let Received::Exit(exit) = mailbox.receive::<Number>()? else { panic!("no end of a link") };
    assert_eq!(exit, Exit { pid: last.pid, reason: ExitReason::NoProcess });
    kill(&apart.pid)?;
    let Event::Down(down) = mailbox.next_event()? else { panic!("the link was taken back") };
    assert_eq!(down.pid, apart.pid);
    Ok(())
}

fn places() -> Result {
    let nodes = nodes()?;
    assert_eq!(nodes.len(), 20);
    assert_eq!((nodes[0], nodes[1]), (node_id(0), node_id(1)));
    let far = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::on(node_id(7)))?.pid;
    let beside = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::near(far))?.pid;
    let somewhere = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::anywhere())?.pid;
    assert_eq!((far.node, beside.node), (node_id(7), node_id(7)));
    assert!(nodes.contains(&somewhere.node));
    let nowhere = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::on(node_id(99)));
    assert_eq!(nowhere, Err(ErrorCode::NoConnection.into()));
    let unknown: craton::Entry<u8> = craton::Entry::new("unknown");
    assert_eq!(unknown.spawn(&0, SpawnOptions::here()), Err(ErrorCode::NoEntry.into()));
    assert_ne!(random_u64(), random_u64());
    [far, beside, somewhere].iter().try_for_each(kill)
}

fn forged() -> Result {
    let mut mailbox = Mailbox::new();
    send_bytes(&me(), Text::TAG, &[200, b'x'], None)?;
    assert_eq!(mailbox.receive::<Text>(), Err(Error::Malformed));
    send_bytes(&me(), Number::TAG, &[1, 0], None)?;
    assert_eq!(mailbox.receive::<Number>(), Err(Error::Malformed), "a byte too many");
    Ok(())
}

fn lost() -> Result {
    let far = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::on(node_id(1)).monitored())?.pid;
    send(&me(), &Number(1))?;
    let Received::Down(down) = Mailbox::new().receive::<Text>()? else { panic!("a message") };
    assert_eq!((down.pid, down.reason), (far, ExitReason::NoConnection));
    assert_eq!(send(&far, &Number(1)), Err(ErrorCode::NoConnection.into()));
    let spawned = CHILD.spawn(&(me(), Task::Wait), SpawnOptions::near(far));
    assert_eq!(spawned, Err(ErrorCode::NoConnection.into()));
    assert_eq!(nodes()?.len(), 2);
    Ok(())
}

fn run_case(case: &str, scenario: Scenario) -> Outcome {
    let outcome = host::run(ENTRIES, Scenario { arguments: vec![case.into()], ..scenario });
    assert_eq!(outcome.reason, ExitReason::Normal, "{case}");
    outcome
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            let outcome = run_case(stringify!($name), Scenario::default());
            assert!(outcome.left_over.is_empty(), "{:?}", outcome.left_over);
        })+
    };
}

mod case {
    use super::{Scenario, run_case};
    cases!(
        order, reasons, calls, asks, named, timers, long, full, mailboxes, ahead, timeouts,
        monitors, links, forged
    );
}

#[test]
fn input_comes_whole_and_output_goes_whole() {
    let input: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for input_parts in [vec![], vec![1000, 1, 70_000]] {
        let scenario = Scenario { input: input.clone(), input_parts, ..Scenario::default() };
        let outcome = run_case("echo", scenario);
        assert!(outcome.stdout == input);
        assert_eq!(outcome.stderr, b"end\n");
    }
}

#[test]
fn processes_run_where_they_are_spawned() {
    run_case("places", Scenario { nodes: 20, ..Scenario::default() });
}

#[test]
fn a_lost_node_is_told_to_who_watches_and_who_sends() {
    let fault = Some(Fault { after_sends: 1, kind: FaultKind::LoseNode(1) });
    run_case("lost", Scenario { fault, ..Scenario::default() });
}

#[test]
fn a_run_that_is_none_is_refused() {
    craton::entries! {
        /// Takes something else than a run.
        pub WRONG: "main" = wrong as fn(u8);
    }
    fn wrong(_: u8) {}
    let outcome = host::run(ENTRIES, Scenario::default());
    assert!(matches!(outcome.reason, ExitReason::Error(_)), "{:?}", outcome.reason);
}

#[test]
fn tags_of_names_differ_and_stay_below_the_reserved_bits() {
    let tags: Vec<u64> = (0..10_000).map(|n| tag_of_name(&format!("name.{n}"))).collect();
    assert!(tags.iter().all(|tag| *tag <= TAG_MAX));
    assert_eq!(tags.iter().collect::<std::collections::BTreeSet<_>>().len(), tags.len());
}
