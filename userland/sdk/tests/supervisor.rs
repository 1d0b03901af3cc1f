//! Supervisors on threads: who is started again, in which order children stop, when it is enough.
//!
//! `main` watches a supervisor that is a process of its own, and hears from each of its children
//! when it starts and when it is asked to stop.

use craton::host::{self, Scenario};
use craton::{
    ChildSpec, Duration, Error, Event, ExitReason, Mailbox, Monitor, Pid, Received, Restart, Run,
    Shutdown, SpawnOptions, Strategy, Supervisor, SupervisorError, exit, kill, me, send,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Started(String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stopping(String);

/// How a child is to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum End {
    Normal,
    Error,
}

craton::message!(Started = "test.started", Stopping = "test.stopping", End = "test.end");

craton::entries! {
    /// Plays the case that the first argument names.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Supervises the children of this case for the process that asks.
    pub SUPERVISOR: "supervisor" = supervisor as fn((Pid, String));
    /// Says that it lives and obeys.
    pub CHILD: "child" = child as fn((Pid, String));
}

type Result<T = ()> = std::result::Result<T, Error>;

/// Long, for what happens; short, for what does not.
const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(50);

fn main_entry(run: Run) -> Result {
    match run.arguments()[0].as_str() {
        "one_for_one" => one_for_one(),
        "one_for_all" => one_for_all(),
        "rest_for_one" => rest_for_one(),
        "intensity" => intensity(),
        "restarts" => restarts(),
        "stops" => stops(),
        "tree" => tree(),
        "unstartable" => unstartable(),
        other => panic!("no case {other}"),
    }
}

fn spec(watcher: Pid, name: &str) -> Result<ChildSpec> {
    ChildSpec::new(name, &CHILD, &(watcher, name.into()), SpawnOptions::here())
}

fn supervisor((watcher, case): (Pid, String)) -> std::result::Result<(), SupervisorError> {
    let supervisor = supervised(watcher, &case).map_err(SupervisorError::System)?;
    supervisor.run(&mut Mailbox::new())
}

fn supervised(watcher: Pid, case: &str) -> Result<Supervisor> {
    let strategy = match case {
        "one_for_all" => Strategy::OneForAll,
        "rest_for_one" => Strategy::RestForOne,
        _ => Strategy::OneForOne,
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| spec(watcher, name));
    let (a, b, c) = match case {
        "restarts" => (a?, b?.restart(Restart::Transient), c?.restart(Restart::Temporary)),
        // "b" does not listen, "c" is not asked.
        "stops" => {
            let deaf =
                ChildSpec::new("b", &CHILD, &(watcher, "deaf".into()), SpawnOptions::here())?;
            (a?, deaf.stop_timeout(MOMENT), c?.stop_timeout(Duration::ZERO))
        }
        "tree" => {
            let inner = (watcher, String::from("inner"));
            (a?, ChildSpec::new("inner", &SUPERVISOR, &inner, SpawnOptions::here())?, c?)
        }
        _ => (a?, b?, c?),
    };
    Ok(Supervisor::new(strategy).intensity(2, LONG).child(a).child(b).child(c))
}

fn child((watcher, name): (Pid, String)) -> Result {
    send(&watcher, &Started(name.clone()))?;
    let mut mailbox = Mailbox::new();
    loop {
        match mailbox.next_event()? {
            Event::Message(message) if message.is::<Shutdown>() && name != "deaf" => {
                send(&watcher, &Stopping(name))?;
                exit(&ExitReason::Shutdown);
            }
            Event::Message(message) if message.is::<End>() => match message.decode()? {
                End::Normal => return Ok(()),
                End::Error => exit(&ExitReason::Error(b"as asked".to_vec())),
            },
            _ => {}
        }
    }
}

/// A supervisor seen from outside, and its children as they were started last.
struct Watch {
    mailbox: Mailbox,
    supervisor: Pid,
    monitor: Option<Monitor>,
    children: BTreeMap<String, Pid>,
}

impl Watch {
    fn start(case: &str) -> Result<Watch> {
        let options = SpawnOptions::here().monitored();
        let child = SUPERVISOR.spawn(&(me(), case.into()), options)?;
        let (supervisor, monitor) = (child.pid, child.monitor);
        let mut watch =
            Watch { mailbox: Mailbox::new(), supervisor, monitor, children: BTreeMap::new() };
        watch.expect_started(3)?;
        Ok(watch)
    }

    /// Takes the news of so many children, and says who they are.
    fn expect_started(&mut self, count: usize) -> Result<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            let (from, Started(name)) = self.mailbox.receive_within(LONG)?.message()?;
            names.push(name.clone());
            assert_ne!(self.children.insert(name, from), Some(from), "an old one started");
        }
        names.sort();
        Ok(names.concat())
    }

    fn expect_stopping(&mut self, wanted: &str) -> Result {
        let (from, Stopping(name)) = self.mailbox.receive_within(LONG)?.message()?;
        assert_eq!((name.as_str(), from), (wanted, self.children[wanted]));
        Ok(())
    }

    fn end(&self, name: &str, how: End) -> Result {
        send(&self.children[name], &how)
    }

    /// How the supervisor ended; nothing else comes before it.
    fn expect_end(mut self) -> Result<ExitReason> {
        match self.mailbox.next_event_within(LONG)? {
            Event::Down(down) if Some(down.monitor) == self.monitor => {
                for pid in self.children.values() {
                    expect_dead(pid)?;
                }
                Ok(down.reason)
            }
            other => panic!("{other:?}"),
        }
    }

    fn stop(&self) -> Result {
        send(&self.supervisor, &Shutdown)
    }
}

fn expect_dead(pid: &Pid) -> Result {
    Monitor::new(pid)?;
    let told = Mailbox::new().receive_within::<Started>(LONG)?;
    assert!(matches!(told, Received::Down(_)), "a child outlived its supervisor: {told:?}");
    Ok(())
}

fn one_for_one() -> Result {
    let mut watch = Watch::start("one_for_one")?;
    watch.end("b", End::Error)?;
    assert_eq!(watch.expect_started(1)?, "b");
    kill(&watch.children["a"])?;
    assert_eq!(watch.expect_started(1)?, "a");
    watch.stop()?;
    for name in ["c", "b", "a"] {
        watch.expect_stopping(name)?;
    }
    assert_eq!(watch.expect_end()?, ExitReason::Normal);
    Ok(())
}

fn one_for_all() -> Result {
    let mut watch = Watch::start("one_for_all")?;
    watch.end("b", End::Normal)?;
    watch.expect_stopping("c")?;
    watch.expect_stopping("a")?;
    assert_eq!(watch.expect_started(3)?, "abc");
    kill(&watch.supervisor)?;
    assert_eq!(watch.expect_end()?, ExitReason::Killed);
    Ok(())
}

fn rest_for_one() -> Result {
    let mut watch = Watch::start("rest_for_one")?;
    watch.end("b", End::Error)?;
    watch.expect_stopping("c")?;
    assert_eq!(watch.expect_started(2)?, "bc");
    watch.end("c", End::Error)?;
    assert_eq!(watch.expect_started(1)?, "c");
    watch.stop()?;
    watch.expect_stopping("c")
}

fn intensity() -> Result {
    let mut watch = Watch::start("intensity")?;
    for _ in 0..2 {
        watch.end("a", End::Error)?;
        assert_eq!(watch.expect_started(1)?, "a");
    }
    watch.end("a", End::Error)?;
    watch.expect_stopping("c")?;
    watch.expect_stopping("b")?;
    let reason = watch.expect_end()?.to_string();
    assert!(reason.contains("a ended too often, at last: error: as asked"), "{reason}");
    Ok(())
}

fn restarts() -> Result {
    let mut watch = Watch::start("restarts")?;
    // A transient one that ended in good order and a temporary one stay away.
    watch.end("b", End::Normal)?;
    watch.end("c", End::Error)?;
    watch.end("a", End::Normal)?;
    assert_eq!(watch.expect_started(1)?, "a");
    assert!(watch.mailbox.next_event_within(MOMENT).is_err());
    watch.stop()?;
    watch.expect_stopping("a")?;
    assert_eq!(watch.expect_end()?, ExitReason::Normal);
    Ok(())
}

fn stops() -> Result {
    let mut watch = Watch::start("stops")?;
    watch.stop()?;
    watch.expect_stopping("a")?;
    assert_eq!(watch.expect_end()?, ExitReason::Normal);
    Ok(())
}

/// A supervisor under a supervisor: it stops with its own children when it is asked to.
fn tree() -> Result {
    let mut watch = Watch::start("tree")?;
    // Of the five, those of the same name are seen as one.
    watch.expect_started(2)?;
    watch.stop()?;
    let mut stopped = Vec::new();
    while let Ok(Received::Message { body: Stopping(name), .. }) = watch.mailbox.receive() {
        stopped.push(name);
    }
    assert_eq!(stopped.concat(), "ccbaa", "the outer c, the inner children, the outer a");
    Ok(())
}

fn unstartable() -> Result {
    let mut mailbox = Mailbox::new();
    let lost = SpawnOptions::on(host::node_id(9));
    let bad = ChildSpec::new("b", &CHILD, &(me(), "b".into()), lost)?;
    let mut supervisor = Supervisor::new(Strategy::OneForOne).child(spec(me(), "a")?).child(bad);
    let error = supervisor.start(&mut mailbox).expect_err("there is no such node");
    assert!(error.to_string().contains("no-connection"), "{error}");
    assert_eq!(supervisor.children().count(), 0);
    // It is told when it is told to add one, too, and goes on.
    let bad = ChildSpec::new("b", &CHILD, &(me(), "b".into()), lost)?;
    assert!(supervisor.add(bad).is_err());
    let pid = supervisor.add(spec(me(), "c")?)?;
    assert_eq!(supervisor.children().collect::<Vec<_>>(), [("c", pid)]);
    supervisor.stop(&mut mailbox)
}

#[track_caller]
fn play(case: &str) {
    let arguments = vec![case.into()];
    let outcome = host::run(ENTRIES, Scenario { arguments, ..Scenario::default() });
    assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
    assert!(outcome.left_over.is_empty(), "{:?}", outcome.left_over);
}

#[test]
fn one_for_one_restarts_the_child_that_ended() {
    play("one_for_one");
}

#[test]
fn one_for_all_restarts_all_and_takes_them_along_when_it_is_killed() {
    play("one_for_all");
}

#[test]
fn rest_for_one_restarts_those_behind_too() {
    play("rest_for_one");
}

#[test]
fn too_many_restarts_end_the_supervisor() {
    play("intensity");
}

#[test]
fn the_kind_of_a_child_says_whether_it_is_restarted() {
    play("restarts");
}

#[test]
fn a_child_that_does_not_stop_is_killed() {
    play("stops");
}

#[test]
fn a_tree_of_supervisors_stops_from_its_last_leaf() {
    play("tree");
}

#[test]
fn a_child_that_cannot_start_is_an_error() {
    play("unstartable");
}
