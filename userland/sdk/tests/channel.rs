//! Channels between processes, run on threads; one case for each test.

use craton::host::{self, Fault, FaultKind, Scenario};
use craton::{
    CHANNEL_BYTES, CHANNEL_ITEMS, Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Pid,
    Received, Receiver, ReceiverEnd, Run, SenderEnd, SpawnOptions, exit, kill, me, nodes, select,
    send, send_bytes,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Word(String);

craton::message!(Number = "test.number", Word = "test.word");

craton::entries! {
    /// Plays the case that the first argument names.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Sends numbers from 0 on, and tells the parent of each that went off.
    pub SOURCE: "source" = source as fn((Pid, SenderEnd<Number>, u64, bool));
    /// Sends two words of this length; tells the parent of each that went off.
    pub BULK: "bulk" = bulk as fn((Pid, SenderEnd<Word>, usize));
    /// Is given a receiving end, adds up what comes on it, and tells the parent.
    pub ADDER: "adder" = adder as fn((Pid, ReceiverEnd<Number>));
    /// Is given a receiving end in a message, and does the same.
    pub LATE: "late" = late as fn(Pid);
    /// Gives the parent a sending end, receives three numbers, and ends.
    pub SINK: "sink" = sink as fn(Pid);
    /// Sends so many items on each of so many channels from this tag on, and waits for no credit.
    pub FLOOD: "flood" = flood as fn((Pid, u64, u64, u64));
}

type Result<T = ()> = std::result::Result<T, Error>;

const TICK: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(10);

fn source((parent, end, count, fails): (Pid, SenderEnd<Number>, u64, bool)) -> Result {
    let mut sender = end.open();
    for number in 0..count {
        if let Err(error) = sender.send(&Number(number)) {
            return send(&parent, &Word(error.to_string()));
        }
        send(&parent, &Number(number))?;
    }
    if fails {
        sender.flush()?;
        // As after a trap, nothing is dropped.
        core::mem::forget(sender);
        exit(&ExitReason::Error(vec![7]));
    }
    Ok(())
}

fn bulk((parent, end, len): (Pid, SenderEnd<Word>, usize)) -> Result {
    let mut sender = end.open();
    for number in 0..2 {
        sender.send(&Word("x".repeat(len)))?;
        send(&parent, &Number(number))?;
    }
    sender.flush()
}

fn sink(parent: Pid) -> Result {
    let (mut mailbox, mut receiver) = (Mailbox::new(), Receiver::<Number>::new());
    // An end travels in a message like any other value.
    send(&parent, &Word(hex(&receiver.sender())))?;
    for number in 0..3 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
    }
    Ok(())
}

fn flood((parent, first, channels, items): (Pid, u64, u64, u64)) -> Result {
    for tag in first..first + channels {
        for _ in 0..items {
            send_bytes(&parent, tag, &[0, 7], Some(Duration::MAX))?;
        }
    }
    send(&parent, &Word("flooded".into()))
}

fn adder((parent, end): (Pid, ReceiverEnd<Number>)) -> Result {
    let (mut mailbox, mut receiver, mut sum) = (Mailbox::new(), end.open(), 0);
    while let Some(Number(number)) = receiver.receive(&mut mailbox)? {
        sum += number;
    }
    send(&parent, &Word(sum.to_string()))
}

#[derive(Serialize, Deserialize)]
struct End(ReceiverEnd<Number>);
craton::message!(End = "test.end");

fn late(parent: Pid) -> Result {
    let (_, End(end)) = Mailbox::new().receive::<End>()?.message()?;
    adder((parent, end))
}

/// Two processes that another joins: it gives one end at a spawn or in a message, then the other.
fn given() -> Result {
    let mut mailbox = Mailbox::new();
    let end = ReceiverEnd::new();
    let adder = ADDER.spawn(&(me(), end.clone()), SpawnOptions::on(nodes()?[1]))?;
    SOURCE.spawn(&(me(), end.sender(&adder.pid), 50, false), SpawnOptions::on(nodes()?[2]))?;
    let (from, sum) = mailbox.receive::<Word>()?.message()?;
    assert_eq!((from, sum), (adder.pid, Word("1225".into())));
    // Items may be there before the end that they are for.
    let late = LATE.spawn(&me(), SpawnOptions::on(nodes()?[1]))?;
    let end = ReceiverEnd::new();
    SOURCE.spawn(&(me(), end.sender(&late.pid), 50, false), SpawnOptions::on(nodes()?[2]))?;
    for _ in 0..50 + CHANNEL_ITEMS {
        mailbox.receive::<Number>()?.message()?;
    }
    send(&late.pid, &End(end))?;
    let (from, sum) = mailbox.receive::<Word>()?.message()?;
    assert_eq!((from, sum), (late.pid, Word("1225".into())));
    Ok(())
}

fn hex(end: &SenderEnd<Number>) -> String {
    let bytes = postcard::to_allocvec(end).expect("an end can be coded");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end_of(hex: &str) -> SenderEnd<Number> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    postcard::from_bytes(&bytes).expect("an end")
}

fn main_entry(run: Run) -> Result {
    match run.arguments()[0].as_str() {
        "order" => order(),
        "given" => given(),
        "full" => full(),
        "bytes" => bytes(),
        "ends" => ends(),
        "closed" => closed(),
        "rivals" => rivals(),
        "patience" => patience(),
        "careless" => careless(),
        "crowd" => crowd(),
        "greedy" => greedy(),
        "dropped" => dropped(),
        "early" => early(),
        "receiver_ends" => receiver_ends(),
        "lost" => lost(),
        other => panic!("no case {other}"),
    }
}

/// A channel, and the process on another node that sends on it.
fn channel(count: u64, fails: bool) -> Result<(Receiver<Number>, Pid)> {
    let receiver = Receiver::new();
    let argument = (me(), receiver.sender(), count, fails);
    let child = SOURCE.spawn(&argument, SpawnOptions::on(nodes()?[1]))?;
    Ok((receiver, child.pid))
}

fn order() -> Result {
    let (mut receiver, _) = channel(200, false)?;
    let mut mailbox = Mailbox::new();
    for number in 0..200 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
    }
    assert_eq!(receiver.receive(&mut mailbox)?, None);
    assert_eq!(receiver.receive(&mut mailbox)?, None, "and for ever");
    Ok(())
}

/// Hears of as many numbers that were sent, and that no more are.
fn expect_sent(mailbox: &mut Mailbox, count: usize) -> Result {
    for _ in 0..count {
        mailbox.receive::<Number>()?.message()?;
    }
    let more = mailbox.receive_within::<Number>(TICK);
    assert_eq!(more, Err(ErrorCode::TimedOut.into()), "after {count}");
    Ok(())
}

fn full() -> Result {
    let (mut receiver, child) = channel(100, false)?;
    let mut mailbox = Mailbox::new();
    // Other messages of the same process pass a full channel: the last tells of the last item.
    expect_sent(&mut mailbox, CHANNEL_ITEMS)?;
    receiver.receive(&mut mailbox)?;
    // One that is taken is one that is sent.
    expect_sent(&mut mailbox, 1)?;
    receiver.close(&mut mailbox);
    let (_, word) = mailbox.receive::<Word>()?.message()?;
    assert_eq!(word, Word(Error::Closed.to_string()));
    kill(&child)
}

fn bytes() -> Result {
    let mut mailbox = Mailbox::new();
    for (len, at_once) in [(CHANNEL_BYTES / 2 - 10, 2), (CHANNEL_BYTES / 2 + 1, 1), (900_000, 1)] {
        let mut receiver = Receiver::<Word>::new();
        BULK.spawn(&(me(), receiver.sender(), len), SpawnOptions::here())?;
        expect_sent(&mut mailbox, at_once)?;
        for _ in 0..2 {
            let item = receiver.receive(&mut mailbox)?.expect("an item");
            assert_eq!(item.0.len(), len);
        }
        assert_eq!(receiver.receive(&mut mailbox)?, None);
        expect_sent(&mut mailbox, 2 - at_once)?;
    }
    Ok(())
}

fn ends() -> Result {
    let (mut receiver, child) = channel(3, true)?;
    let mut mailbox = Mailbox::new();
    for number in 0..3 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
    }
    let reason = ExitReason::Error(vec![7]);
    assert_eq!(receiver.receive(&mut mailbox), Err(Error::Down { pid: child, reason }));
    assert_eq!(receiver.receive(&mut mailbox)?, None);
    // What was sent before a sender finished is received after it is gone.
    let (mut receiver, child) = channel(CHANNEL_ITEMS as u64, false)?;
    let monitor = craton::Monitor::new(&child)?;
    loop {
        if let Received::Down(down) = mailbox.receive::<Number>()? {
            assert_eq!(down.monitor, monitor);
            break;
        }
    }
    for number in 0..CHANNEL_ITEMS as u64 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
    }
    assert_eq!(receiver.receive(&mut mailbox)?, None);
    Ok(())
}

fn closed() -> Result {
    let mut mailbox = Mailbox::new();
    let receiver = Receiver::<Number>::new();
    let end = receiver.sender();
    receiver.close(&mut mailbox);
    // So many closed channels are remembered, and each once.
    for _ in 0..1_000 {
        Receiver::<Number>::new().close(&mut mailbox);
    }
    SOURCE.spawn(&(me(), end, 100, false), SpawnOptions::here())?;
    // What comes for a closed channel is refused when it comes up, and is no event.
    let mut numbers = 0;
    loop {
        let Event::Message(message) = mailbox.next_event()? else { panic!("a notice") };
        if message.is::<Word>() {
            assert_eq!(message.decode::<Word>()?, Word(Error::Closed.to_string()));
            assert!(numbers <= CHANNEL_ITEMS);
            return Ok(());
        }
        assert!(message.is::<Number>());
        numbers += 1;
    }
}

fn rivals() -> Result {
    let mut mailbox = Mailbox::new();
    let mut receiver = Receiver::<Number>::new();
    let first = (me(), receiver.sender(), 2, false);
    SOURCE.spawn(&first, SpawnOptions::here())?;
    assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(0)));
    let second = (me(), receiver.sender(), 100, false);
    SOURCE.spawn(&second, SpawnOptions::here())?;
    assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(1)));
    assert_eq!(receiver.receive(&mut mailbox)?, None);
    // The second hears so when its items come up, which are no events.
    loop {
        let Event::Message(message) = mailbox.next_event()? else { continue };
        if message.is::<Word>() {
            assert_eq!(message.decode::<Word>()?, Word(Error::Closed.to_string()));
            return Ok(());
        }
        assert!(message.is::<Number>());
    }
}

/// Whoever waits for something else meets no item, and loses none.
fn patience() -> Result {
    let (mut receiver, child) = channel(CHANNEL_ITEMS as u64, true)?;
    let mut mailbox = Mailbox::new();
    for _ in 0..CHANNEL_ITEMS {
        let Event::Message(message) = mailbox.next_event()? else { panic!("a notice") };
        assert!(message.is::<Number>());
    }
    for number in 0..CHANNEL_ITEMS as u64 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
    }
    // Nor is the end of the sender an event, though it comes meanwhile.
    let monitor = craton::Monitor::new(&child)?;
    match mailbox.next_event()? {
        Event::Down(down) => assert_eq!(down.monitor, monitor),
        other => panic!("{other:?}"),
    }
    let reason = ExitReason::Error(vec![7]);
    assert_eq!(receiver.receive(&mut mailbox), Err(Error::Down { pid: child, reason }));
    Ok(())
}

/// Full channels hold up no message: who waits for one by its tag lets items in, and loses none.
fn crowd() -> Result {
    const CHANNELS: usize = 40;
    let mut mailbox = Mailbox::new();
    let channels: Vec<_> = (0..CHANNELS).map(|_| channel(8, false)).collect::<Result<_>>()?;
    // The last that each can send now; the next word of each comes when all else is taken.
    expect_sent(&mut mailbox, CHANNELS * CHANNEL_ITEMS)?;
    send(&me(), &Word("hello".into()))?;
    assert_eq!(mailbox.receive::<Word>()?.message()?.1, Word("hello".into()));
    for (mut receiver, _) in channels {
        for number in 0..8 {
            assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
        }
        assert_eq!(receiver.receive(&mut mailbox)?, None);
    }
    Ok(())
}

/// The answers to a sender's items are no events, and are lost to no other wait.
fn careless() -> Result {
    let (mut receiver, mut mailbox) = (Receiver::<Number>::new(), Mailbox::new());
    let mut sender = receiver.sender().open();
    let timed_out = Some(ErrorCode::TimedOut.into());
    for round in 0..5 {
        for number in 0..CHANNEL_ITEMS as u64 {
            sender.send(&Number(number))?;
        }
        for number in 0..CHANNEL_ITEMS as u64 {
            assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)));
        }
        match round % 3 {
            0 => assert_eq!(mailbox.next_event_within(TICK).err(), timed_out),
            1 => select! {
                event = &mut mailbox => panic!("{event:?}"),
                () = craton::select::after(TICK) => (),
            }?,
            _ => assert_eq!(Mailbox::new().receive_within::<Word>(TICK).err(), timed_out),
        }
        select! {
            event = &mut mailbox => panic!("{event:?}"),
            room = sender.ready() => room?,
            () = craton::select::after(LONG) => panic!("the answers are lost"),
        }?;
    }
    // All answers that have come count, though the first of them says that it is over.
    for number in 0..CHANNEL_ITEMS as u64 {
        sender.send(&Number(number))?;
    }
    receiver.close(&mut mailbox);
    assert_eq!(mailbox.next_event_within(TICK).err(), timed_out);
    for _ in 0..2 {
        let room = select! {
            event = &mut mailbox => panic!("{event:?}"),
            room = sender.ready() => room,
        }?;
        assert_eq!(room, Err(Error::Closed));
        assert_eq!(sender.flush(), Ok(()));
    }
    Ok(())
}

/// One that sends without credit has no more kept of it than another.
fn greedy() -> Result {
    let (mut receiver, mut mailbox) = (Receiver::<Number>::new(), Mailbox::new());
    FLOOD.spawn(&(me(), tag_of(&receiver), 1, 100), SpawnOptions::here())?;
    assert_eq!(mailbox.receive::<Word>()?.message()?.1, Word("flooded".into()));
    let mut items = 0;
    let end = loop {
        match receiver.receive(&mut mailbox) {
            Ok(Some(number)) => assert_eq!(number, Number(7)),
            end => break end,
        }
        items += 1;
    };
    assert!(matches!(end, Err(Error::Down { .. })), "it did not finish: {end:?}");
    assert_eq!(items, CHANNEL_ITEMS + 1);
    Ok(())
}

/// A receiver that is dropped is closed.
fn dropped() -> Result {
    let (receiver, _) = channel(100, false)?;
    let mut mailbox = Mailbox::new();
    expect_sent(&mut mailbox, CHANNEL_ITEMS)?;
    drop(receiver);
    assert_eq!(mailbox.receive::<Word>()?.message()?.1, Word(Error::Closed.to_string()));
    Ok(())
}

/// Channels that nobody opens are kept of in bounds; they are no harm to those that are open.
fn early() -> Result {
    let mut mailbox = Mailbox::new();
    let (mut receiver, child) = channel(10, false)?;
    expect_sent(&mut mailbox, CHANNEL_ITEMS)?;
    FLOOD.spawn(&(me(), tag_of(&receiver) ^ 1 << 61, 200, 1), SpawnOptions::here())?;
    assert_eq!(mailbox.receive::<Word>()?.message()?.1, Word("flooded".into()));
    for number in 0..10 {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(Number(number)), "of {child:?}");
    }
    assert_eq!(receiver.receive(&mut mailbox)?, None);
    expect_sent(&mut mailbox, 10 - CHANNEL_ITEMS)?;
    let end = ReceiverEnd::<Number>::new();
    SOURCE.spawn(&(me(), end.sender(&me()), 100, false), SpawnOptions::here())?;
    loop {
        let Event::Message(message) = mailbox.next_event()? else { panic!("a notice") };
        if message.is::<Word>() {
            assert_eq!(message.decode::<Word>()?, Word(Error::Closed.to_string()));
            return Ok(());
        }
    }
}

/// The tag of a channel, which is the last thing in its sending end.
fn tag_of(receiver: &Receiver<Number>) -> u64 {
    let bytes = postcard::to_allocvec(&receiver.sender()).expect("an end can be coded");
    let pid = postcard::to_allocvec(&me()).expect("a pid can be coded").len();
    postcard::from_bytes(&bytes[pid..]).expect("a tag")
}

fn receiver_ends() -> Result {
    let mut mailbox = Mailbox::new();
    let child = SINK.spawn(&me(), SpawnOptions::on(nodes()?[1]))?;
    let (_, word) = mailbox.receive::<Word>()?.message()?;
    let mut sender = end_of(&word.0).open();
    let error = loop {
        if let Err(error) = sender.send(&Number(0)) {
            break error;
        }
    };
    // It wanted the numbers to rise, and says so by its end.
    let Error::Down { pid, reason: ExitReason::Trap(..) } = error else { panic!("{error}") };
    assert_eq!((pid, sender.send(&Number(1)).is_err()), (child.pid, true));
    let mut lonely = Receiver::<Number>::new().sender().open();
    for number in 0..CHANNEL_ITEMS as u64 {
        lonely.send(&Number(number))?;
    }
    assert_eq!(lonely.send_within(&Number(9), TICK), Err(ErrorCode::Full.into()));
    Ok(())
}

fn lost() -> Result {
    let (mut receiver, child) = channel(1_000, false)?;
    let mut mailbox = Mailbox::new();
    let error = loop {
        match receiver.receive(&mut mailbox) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the sender was lost before it finished"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Down { pid: child, reason: ExitReason::NoConnection });
    Ok(())
}

fn run_case(case: &str, scenario: Scenario) {
    let outcome = host::run(ENTRIES, Scenario { arguments: vec![case.into()], ..scenario });
    assert_eq!(outcome.reason, ExitReason::Normal, "{case}");
    assert!(outcome.left_over.is_empty(), "{:?}", outcome.left_over);
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            run_case(stringify!($name), Scenario::default());
        })+
    };
}

mod case {
    use super::{Scenario, run_case};
    cases!(
        order,
        given,
        full,
        bytes,
        ends,
        closed,
        rivals,
        patience,
        careless,
        crowd,
        greedy,
        dropped,
        early,
        receiver_ends
    );
}

#[test]
fn a_lost_node_ends_a_channel() {
    let fault = Some(Fault { after_sends: 60, kind: FaultKind::LoseNode(1) });
    run_case("lost", Scenario { fault, ..Scenario::default() });
}
