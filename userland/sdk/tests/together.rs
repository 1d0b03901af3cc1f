//! Processes that are spawned together, run on threads; one case for each test.

use craton::host::{self, Scenario};
use craton::{
    Down, Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Member, Monitor, Pid,
    ReceiverEnd, Run, SenderEnd, SpawnOptions, SpawnSet, kill, limit, me, nodes, send,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Begun(Pid);
craton::message!(Begun = "test.begun");

/// Whom to tell of the beginning, and a channel each way.
type Ends = (Pid, SenderEnd<u64>, ReceiverEnd<u64>);

craton::entries! {
    /// Plays the case that the first argument names.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Sends numbers and hears each back, raised.
    pub ASKS: "asks" = asks as fn(Member<Ends>);
    /// Sends back each number that comes, raised.
    pub RAISES: "raises" = raises as fn(Member<Ends>);
    /// Waits for ever.
    pub WAITS: "waits" = waits as fn(());
    /// Spawns two members, tells its parent of them, and lets none begin.
    pub HESITATES: "hesitates" = hesitates as fn(Pid);
}

type Result<T = ()> = std::result::Result<T, Error>;

const TICK: Duration = Duration::from_millis(30);
const NUMBERS: u64 = 50;

fn asks(member: Member<Ends>) -> Result {
    let mut mailbox = Mailbox::new();
    let (parent, there, back) = member.begin(&mut mailbox)?;
    send(&parent, &Begun(me()))?;
    let (mut there, mut back) = (there.open(), back.open());
    for number in 0..NUMBERS {
        there.send(&number)?;
        assert_eq!(back.receive(&mut mailbox)?, Some(number + 1));
    }
    Ok(())
}

fn raises(member: Member<Ends>) -> Result {
    let mut mailbox = Mailbox::new();
    let (parent, there, back) = member.begin(&mut mailbox)?;
    send(&parent, &Begun(me()))?;
    let (mut there, mut back) = (there.open(), back.open());
    while let Some(number) = back.receive(&mut mailbox)? {
        there.send(&(number + 1))?;
    }
    Ok(())
}

fn waits((): ()) -> Result {
    Mailbox::new().next_event().map(|_| ())
}

fn hesitates(parent: Pid) -> Result {
    let mut set = SpawnSet::new();
    for node in nodes()? {
        let seat = set.join(&ASKS, SpawnOptions::on(node))?;
        send(&parent, &Begun(seat.pid()))?;
    }
    waits(())
}

/// Two processes with a channel each way, on nodes of their own.
fn both_ways() -> Result {
    let (mut mailbox, mut set, nodes) = (Mailbox::new(), SpawnSet::new(), nodes()?);
    let asks = set.join(&ASKS, SpawnOptions::on(nodes[1]).monitored())?;
    let raises = set.join(&RAISES, SpawnOptions::on(nodes[2]).monitored())?;
    let (there, back) = (ReceiverEnd::new(), ReceiverEnd::new());
    set.give(&asks, &(me(), there.sender(&raises.pid()), back.clone()))?;
    set.give(&raises, &(me(), back.sender(&asks.pid()), there))?;
    let early = mailbox.receive_within::<Begun>(TICK);
    assert_eq!(early, Err(ErrorCode::TimedOut.into()), "nobody begins before all are there");
    let children = set.start()?;
    assert_eq!([children[0].pid, children[1].pid], [asks.pid(), raises.pid()]);
    for _ in 0..2 {
        mailbox.receive::<Begun>()?.message()?;
    }
    for _ in 0..2 {
        let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
        assert_eq!(down.reason, ExitReason::Normal);
        assert!(children.iter().any(|child| child.monitor == Some(down.monitor)));
    }
    Ok(())
}

/// Nobody is left of these, and nothing is told of their ends.
fn assert_gone(pids: &[Pid]) -> Result {
    let mut mailbox = Mailbox::new();
    let early = mailbox.next_event_within(TICK).err();
    assert_eq!(early, Some(ErrorCode::TimedOut.into()), "an end is told");
    for pid in pids {
        let monitor = Monitor::new(pid)?;
        let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
        assert_eq!(down, Down { pid: *pid, monitor, reason: ExitReason::NoProcess });
    }
    Ok(())
}

fn none() -> Result {
    let (mut set, nodes) = (SpawnSet::new(), nodes()?);
    let first = set.spawn(&WAITS, &(), SpawnOptions::here().monitored())?.pid;
    let second = set.join(&ASKS, SpawnOptions::on(nodes[1]).linked().monitored())?.pid();
    let third = set.join(&ASKS, SpawnOptions::on(nodes[2]).linked())?.pid();
    let impossible = SpawnOptions::here().cpu_share(limit::CPU_SHARE_MAX + 1);
    let refused = set.spawn(&WAITS, &(), impossible).err();
    assert_eq!(refused, Some(ErrorCode::Invalid.into()));
    // There is no such set any more, and no other begins in its place.
    assert_eq!(set.spawn(&WAITS, &(), SpawnOptions::here()).err(), refused);
    assert_eq!(set.start().err(), refused);
    assert_gone(&[first, second, third])
}

fn dropped() -> Result {
    let mut set = SpawnSet::new();
    let seat = set.join(&ASKS, SpawnOptions::anywhere().linked())?;
    let pid = set.spawn(&WAITS, &(), SpawnOptions::anywhere())?.pid;
    drop(set);
    assert_gone(&[seat.pid(), pid])
}

fn not_given() -> Result {
    let mut set = SpawnSet::new();
    let seat = set.join(&ASKS, SpawnOptions::anywhere().monitored())?;
    assert_eq!(set.start().err(), Some(ErrorCode::Invalid.into()));
    assert_gone(&[seat.pid()])?;
    // Nor is the seat one of another set.
    let (mut other, end) = (SpawnSet::new(), ReceiverEnd::new());
    let given = other.give(&seat, &(me(), end.sender(&me()), end));
    assert_eq!(given, Err(ErrorCode::Invalid.into()));
    Ok(())
}

/// A member that ends before the set begins takes the others with it.
fn one_ends() -> Result {
    let mut set = SpawnSet::new();
    let seats = [0, 1].map(|_| set.join(&ASKS, SpawnOptions::anywhere()));
    let [first, second] = seats;
    let (first, second, end) = (first?, second?, ReceiverEnd::new());
    for (seat, to) in [(&first, &second), (&second, &first)] {
        set.give(seat, &(me(), end.sender(&to.pid()), end.clone()))?;
    }
    kill(&first.pid())?;
    assert_gone(&[first.pid()])?;
    assert_eq!(set.start().err(), Some(ErrorCode::NoProcess.into()));
    assert_gone(&[second.pid()])
}

/// Members whose parent is killed do not wait for ever.
fn orphans() -> Result {
    let mut mailbox = Mailbox::new();
    let parent = HESITATES.spawn(&me(), SpawnOptions::here())?.pid;
    let mut monitors = Vec::new();
    for _ in nodes()? {
        let (_, Begun(member)) = mailbox.receive::<Begun>()?.message()?;
        monitors.push(Monitor::new(&member)?);
    }
    kill(&parent)?;
    for _ in monitors {
        let Event::Down(down) = mailbox.next_event()? else { panic!("a message") };
        assert!(matches!(down.reason, ExitReason::Error(_)), "{down:?}");
    }
    Ok(())
}

fn main_entry(run: Run) -> Result {
    match run.arguments()[0].as_str() {
        "both_ways" => both_ways(),
        "none" => none(),
        "dropped" => dropped(),
        "not_given" => not_given(),
        "one_ends" => one_ends(),
        "orphans" => orphans(),
        other => panic!("no case {other}"),
    }
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            let arguments = vec![stringify!($name).into()];
            let outcome = host::run(super::ENTRIES, Scenario { arguments, ..Scenario::default() });
            assert_eq!(outcome.reason, ExitReason::Normal);
            assert!(outcome.left_over.is_empty(), "{:?}", outcome.left_over);
        })+
    };
}

mod case {
    use super::{ExitReason, Scenario, host};
    cases!(both_ways, none, dropped, not_given, one_ends, orphans);
}
