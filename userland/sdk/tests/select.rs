//! Waiting for several things at once, on threads; one case for each test.

use craton::host::{self, Scenario};
use craton::net::{TcpListener, TcpStream, UdpSocket};
use craton::select::{after, until};
use craton::{
    CHANNEL_ITEMS, Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Monitor, Pid, Receiver,
    Request, Run, Sender, SenderEnd, SpawnOptions, Timer, ask, exit, kill, me, now, select, send,
};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number(u64);

/// Answered with the number plus one; zero is answered by the end of whoever was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Next(u64);

craton::message!(Number = "test.number", Next = "test.next");

craton::entries! {
    /// Plays the case that the first argument names.
    pub MAIN: "main" = main_entry as fn(Run);
    /// Sends so many numbers on a channel, then ends with the reason that it is given.
    pub SOURCE: "source" = source as fn((SenderEnd<u64>, u64, bool));
    /// Takes so many numbers off a channel of its own, after it has given its end to the parent.
    pub SINK: "sink" = sink as fn((Pid, u64));
    /// Answers.
    pub ANSWERER: "answerer" = answerer as fn(());
}

type Result<T = ()> = std::result::Result<T, Error>;

const LONG: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct End(SenderEnd<u64>);
craton::message!(End = "test.end");

fn source((end, count, fails): (SenderEnd<u64>, u64, bool)) -> Result {
    let mut sender = end.open();
    for number in 0..count {
        sender.send(&number)?;
    }
    if fails {
        sender.flush()?;
        core::mem::forget(sender);
        exit(&ExitReason::Error(vec![7]));
    }
    Ok(())
}

fn sink((parent, count): (Pid, u64)) -> Result {
    let (mut mailbox, mut receiver) = (Mailbox::new(), Receiver::<u64>::new());
    send(&parent, &End(receiver.sender()))?;
    for number in 0..count {
        assert_eq!(receiver.receive(&mut mailbox)?, Some(number));
    }
    receiver.close(&mut mailbox);
    // It refuses what comes until its parent has heard enough.
    let _ = mailbox.next_event()?;
    Ok(())
}

fn answerer(_: ()) -> Result {
    let mut mailbox = Mailbox::new();
    loop {
        let (_, request) = mailbox.receive::<Request<Next>>()?.message()?;
        if request.body.0 == 0 {
            exit(&ExitReason::Error(vec![9]));
        }
        request.reply(&(request.body.0 + 1))?;
    }
}

fn main_entry(run: Run) -> Result {
    match run.arguments()[0].as_str() {
        "each" => each(),
        "fair" => fair(),
        "nothing_is_lost" => nothing_is_lost(),
        "nothing_is_left" => nothing_is_left(),
        "senders" => senders(),
        "ends" => ends(),
        "kept" => kept(),
        "alternating" => alternating(),
        "two_of_eight" => two_of_eight(),
        "monitors_of_requests" => monitors_of_requests(),
        other => panic!("no case {other}"),
    }
}

/// A connection: the client's end and the server's.
fn connection(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7);
    let client = TcpStream::connect(to, Some(LONG))?;
    Ok((client, listener.accept(Some(LONG))?))
}

/// Everything that can be waited for is heard, alone, by a process that waits for all of it.
fn each() -> Result {
    let listener = TcpListener::bind(7)?;
    let (mut client, mut server) = connection(&listener)?;
    let (socket, other) = (UdpSocket::bind(9)?, UdpSocket::bind(0)?);
    let (mut mailbox, mut items) = (Mailbox::new(), Receiver::<u64>::new());
    let (mut block, mut datagram) = ([0; 16], [0; 16]);
    let child = ANSWERER.spawn(&(), SpawnOptions::here())?.pid;
    let (mut timer, mut heard) = (Timer::after(LONG, 0)?, Vec::new());
    let monitor = Monitor::new(&child)?;
    let mut pending = ask(&child, &Next(1))?;
    for step in 0..8 {
        match step {
            0 => {}
            1 => client.write_all(b"word")?,
            2 => drop(TcpStream::connect(SocketAddr::new([127, 0, 0, 1].into(), 7), Some(LONG))?),
            3 => other.send_to(b"datagram", SocketAddr::new([127, 0, 0, 1].into(), 9))?,
            4 => drop(SOURCE.spawn(&(items.sender(), 1, true), SpawnOptions::here())?),
            5 => send(&me(), &Number(5))?,
            6 => timer = Timer::after(TICK, 6)?,
            _ => pending = ask(&child, &Next(0))?,
        }
        select! {
            event = &mut mailbox => match event {
                Event::Message(message) => heard.push(format!("{:?}", message.decode::<Number>()?)),
                other => panic!("{other:?}"),
            },
            read = server.reading(&mut block) => heard.push(format!("read {}", read?)),
            stream = listener.accepting() => heard.push(format!("from {}", stream?.peer().ip())),
            datagram = socket.receiving(&mut datagram) => {
                heard.push(format!("datagram {}", datagram?.0));
            },
            item = &mut items => heard.push(format!("item {:?}", item?)),
            () = timer => heard.push("timer".into()),
            answer = pending.answered::<u64>() => heard.push(format!("answer {:?}", answer.ok())),
            down = monitor => heard.push(format!("down {:?}", down.reason)),
            () = after(LONG) => panic!("nothing came"),
        }?;
        if step == 4 {
            // The end of its sender too.
            let end = select! {
                event = &mut mailbox => panic!("{event:?}"),
                item = &mut items => item,
            }?;
            assert!(matches!(end, Err(Error::Down { .. })), "{end:?}");
            items = Receiver::new();
        }
    }
    assert_eq!(
        heard[..7],
        [
            "answer Some(2)",
            "read 4",
            "from 127.0.0.1",
            "datagram 8",
            "item Some(0)",
            "Number(5)",
            "timer",
        ]
    );
    assert!(heard[7] == "answer None" || heard[7].starts_with("down"), "{}", heard[7]);
    Ok(())
}

/// Sources that always have something each have their turn.
fn fair() -> Result {
    const ROUNDS: usize = 400;
    let listener = TcpListener::bind(7)?;
    let (mut client, mut server) = connection(&listener)?;
    let (mut mailbox, mut items) = (Mailbox::new(), Receiver::<u64>::new());
    SOURCE.spawn(&(items.sender(), u64::MAX, false), SpawnOptions::here())?;
    client.write_all(&[0; 2_000])?;
    for number in 0..ROUNDS as u64 / 4 {
        send(&me(), &Number(number))?;
    }
    let (mut messages, mut bytes, mut times, mut numbers) = (0, 0, 0, 0);
    // A channel has an item when its sender had the time for it.
    while messages + bytes + times < ROUNDS || numbers == 0 {
        let mut block = [0; 1];
        select! {
            event = &mut mailbox => {
                assert!(matches!(event, Event::Message(_)), "{event:?}");
                messages += 1;
            },
            read = server.reading(&mut block) => bytes += read?,
            () = until(now()) => times += 1,
            item = &mut items => {
                assert_eq!(item?, Some(numbers));
                numbers += 1;
            },
        }?;
    }
    for (count, what) in [(messages, "messages"), (bytes, "bytes"), (times, "times")] {
        assert!(count >= ROUNDS / 5, "{count} {what} in {ROUNDS} rounds");
    }
    items.close(&mut mailbox);
    Ok(())
}

/// Waits for changing sets of sources leave everything that they do not take.
fn nothing_is_lost() -> Result {
    const COUNT: u64 = 100;
    let listener = TcpListener::bind(7)?;
    let (mut client, mut server) = connection(&listener)?;
    let mut mailbox = Mailbox::new();
    let (mut one, mut other) = (Receiver::<u64>::new(), Receiver::<u64>::new());
    SOURCE.spawn(&(one.sender(), COUNT, false), SpawnOptions::here())?;
    SOURCE.spawn(&(other.sender(), COUNT, false), SpawnOptions::here())?;
    let (mut read, mut ones, mut others, mut messages) = (Vec::new(), 0, 0, 0);
    let (mut over, mut round) = (0, 0);
    let mut next = |item: Option<u64>, count: &mut u64| match item {
        Some(number) => {
            assert_eq!(number, *count);
            *count += 1;
        }
        None => over += 1,
    };
    while ones < COUNT || others < COUNT || read.len() < COUNT as usize || messages < COUNT {
        if round < COUNT {
            client.write_all(&[round as u8])?;
            send(&me(), &Number(round))?;
        }
        round += 1;
        let mut block = [0; 3];
        match round % 3 {
            0 => select! {
                event = &mut mailbox => messages += u64::from(matches!(event, Event::Message(_))),
                item = &mut one => next(item?, &mut ones),
            },
            1 => select! {
                event = &mut mailbox => messages += u64::from(matches!(event, Event::Message(_))),
                len = server.reading(&mut block) => read.extend_from_slice(&block[..len?]),
                () = after(Duration::from_millis(1)) => (),
            },
            _ => select! {
                event = &mut mailbox => messages += u64::from(matches!(event, Event::Message(_))),
                item = &mut other => next(item?, &mut others),
            },
        }?;
    }
    assert_eq!(read, (0..COUNT as u8).collect::<Vec<_>>());
    assert_eq!(messages, COUNT);
    Ok(())
}

/// A wait that took something else leaves no watch behind.
fn nothing_is_left() -> Result {
    let listener = TcpListener::bind(7)?;
    let (mut client, mut server) = connection(&listener)?;
    let (mut mailbox, mut block) = (Mailbox::new(), [0; 16]);
    for _ in 0..3 {
        select! {
            event = &mut mailbox => panic!("{event:?}"),
            read = server.reading(&mut block) => panic!("{read:?}"),
            stream = listener.accepting() => panic!("{stream:?}"),
            () = after(TICK) => (),
        }?;
        client.write_all(b"word")?;
        let none = mailbox.next_event_within(TICK).err();
        assert_eq!(none, Some(ErrorCode::TimedOut.into()));
        assert_eq!(server.read(&mut block)?, 4);
    }
    // As many as a process may have: the wait says so, and takes its own back.
    let timers: Vec<Timer> = core::iter::from_fn(|| Timer::after(LONG, 0).ok()).collect();
    let refused = select! {
        event = &mut mailbox => panic!("{event:?}"),
        read = server.reading(&mut block) => panic!("{read:?}"),
    };
    assert_eq!(refused, Err(Error::Refused(ErrorCode::LimitTimers)));
    timers.into_iter().for_each(|timer| assert!(timer.cancel()));
    Ok(())
}

/// A process that sends on a channel while it listens.
fn senders() -> Result {
    const COUNT: u64 = 50;
    let mut mailbox = Mailbox::new();
    let child = SINK.spawn(&(me(), COUNT), SpawnOptions::here())?;
    let (_, End(end)) = mailbox.receive::<End>()?.message()?;
    let mut sender: Sender<u64> = end.open();
    let mut sent = 0;
    let over = loop {
        let room = select! {
            event = &mut mailbox => panic!("{event:?}"),
            room = sender.ready() => room,
        }?;
        match room {
            // There is room: it waits for nothing.
            Ok(()) => sender.send_within(&sent, Duration::ZERO)?,
            Err(error) => break error,
        }
        sent += 1;
    };
    assert_eq!(over, Error::Closed);
    assert!((COUNT..=COUNT + 2 * CHANNEL_ITEMS as u64).contains(&sent), "{sent}");
    send(&child.pid, &Number(0))
}

/// The ends of channels, in order and not.
fn ends() -> Result {
    let mut mailbox = Mailbox::new();
    let (mut good, mut bad) = (Receiver::<u64>::new(), Receiver::<u64>::new());
    SOURCE.spawn(&(good.sender(), 3, false), SpawnOptions::here())?;
    let child = SOURCE.spawn(&(bad.sender(), 3, true), SpawnOptions::here())?;
    let (mut finished, mut failed) = (false, false);
    while !(finished && failed) {
        // What is over says so at once and for ever, so it is asked no more.
        if finished {
            select! {
                event = &mut mailbox => panic!("{event:?}"),
                item = &mut bad => match item {
                    Ok(item) => assert!(item.is_some()),
                    Err(Error::Down { pid, .. }) => failed = pid == child.pid,
                    Err(error) => return Err(error),
                },
            }?;
        } else {
            select! {
                event = &mut mailbox => panic!("{event:?}"),
                item = &mut good => finished = item?.is_none(),
            }?;
        }
    }
    Ok(())
}

/// What an earlier receive kept is found by who waits for it.
fn kept() -> Result {
    let mut mailbox = Mailbox::new();
    let child = ANSWERER.spawn(&(), SpawnOptions::here())?.pid;
    let (timer, pending) = (Timer::after(Duration::ZERO, 1)?, ask(&child, &Next(4))?);
    send(&me(), &Number(1))?;
    // Everything is there when the last of it is, and is kept by this.
    mailbox.call::<_, u64>(&child, &Next(1), LONG)?;
    assert_eq!(mailbox.tagged(<Number as craton::Message>::TAG)?.decode::<Number>()?, Number(1));
    let (mut answered, mut due) = (false, false);
    while !(answered && due) {
        select! {
            event = &mut mailbox => panic!("{event:?}"),
            answer = pending.answered::<u64>() => answered = answer? == 5,
            () = timer => due = true,
            () = after(LONG) => panic!("nothing came"),
        }?;
    }
    kill(&child)
}

/// Waits that alternate are each fair, though they count their turns together.
fn alternating() -> Result {
    const ROUNDS: usize = 400;
    let mut mailbox = Mailbox::new();
    let mut times = [0; 2];
    for round in 0..2 * ROUNDS {
        send(&me(), &Number(0))?;
        let is_time = match round % 2 {
            0 => select! { _ = &mut mailbox => false, () = until(now()) => true },
            _ => select! { _ = &mut mailbox => false, () = until(now()) => true },
        }?;
        times[round % 2] += usize::from(is_time);
        if is_time {
            // One message is there at each wait.
            assert!(matches!(mailbox.next_event()?, Event::Message(_)));
        }
    }
    for times in times {
        assert!((ROUNDS * 2 / 5..=ROUNDS * 3 / 5).contains(&times), "{times} of {ROUNDS}");
    }
    Ok(())
}

/// Two that always have something share evenly, beside others that have nothing.
fn two_of_eight() -> Result {
    const ROUNDS: usize = 400;
    let mut mailbox = Mailbox::new();
    let (mut neighbours, mut apart) = ([0; 2], [0; 2]);
    for _ in 0..ROUNDS {
        neighbours[select! {
            event = &mut mailbox => panic!("{event:?}"),
            () = until(now()) => 0,
            () = until(now()) => 1,
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
        }?] += 1;
        apart[select! {
            event = &mut mailbox => panic!("{event:?}"),
            () = after(LONG) => panic!("it is not the time"),
            () = until(now()) => 0,
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
            () = until(now()) => 1,
            () = after(LONG) => panic!("it is not the time"),
            () = after(LONG) => panic!("it is not the time"),
        }?] += 1;
    }
    for count in neighbours.into_iter().chain(apart) {
        assert!((ROUNDS * 2 / 5..=ROUNDS * 3 / 5).contains(&count), "{neighbours:?} {apart:?}");
    }
    Ok(())
}

/// The answer to a request is not lost to who waits for its monitor.
fn monitors_of_requests() -> Result {
    let mut mailbox = Mailbox::new();
    let child = ANSWERER.spawn(&(), SpawnOptions::here())?.pid;
    for is_kept in [false, true] {
        let pending = [ask(&child, &Next(4))?, ask(&child, &Next(6))?];
        if is_kept {
            // What else is there is kept by this.
            mailbox.receive_within::<Number>(TICK).expect_err("no number was sent");
        }
        let answer = select! {
            event = &mut mailbox => match event {
                Event::Answer(answer) => answer.decode::<u64>()?,
                other => panic!("{other:?}"),
            },
            down = pending[0].monitor => panic!("{down:?}"),
        }?;
        assert_eq!(answer, 5);
        let answer = select! {
            event = &mut mailbox => panic!("{event:?}"),
            down = pending[1].monitor => panic!("{down:?}"),
            answer = pending[1].answered::<u64>() => answer?,
        }?;
        assert_eq!(answer, 7);
    }
    kill(&child)
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            let arguments = vec![stringify!($name).into()];
            let outcome = host::run(ENTRIES, Scenario { arguments, ..Scenario::default() });
            assert_eq!(outcome.reason, ExitReason::Normal);
            assert!(outcome.left_over.is_empty(), "{:?}", outcome.left_over);
        })+
    };
}

mod case {
    use super::{ENTRIES, ExitReason, Scenario, host};
    cases!(each, fair, nothing_is_lost, nothing_is_left, senders, ends, kept);
    cases!(alternating, two_of_eight, monitors_of_requests);
}
