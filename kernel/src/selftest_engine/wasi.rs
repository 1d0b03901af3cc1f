//! Tests of the part of WASI that a node has: what the guest finds, what is asked on its behalf.
//!
//! As in `calls.rs`, the guest traps with `unreachable` where an answer is wrong.

use super::calls::{Talk, converse, failed, pid_a, pid_b, pid_known};
use super::{Bench, Outcomes, check};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::run::{RunArgument, TAG_ERR, TAG_INPUT, TAG_OUT, TAG_READ};
use craton_abi::{Duration, ErrorCode, ExitReason, Payload, TimerId, limit};
use craton_hal::clock;
use craton_shard::port::{HostCall, HostReply, LogLevel, Outcome, Received, Resume};

/// The argument of a process that an operator runs.
fn run() -> Vec<u8> {
    let arguments = Vec::from([String::from("one"), String::new()]);
    RunArgument { console: pid_a(), stdin: pid_b(), arguments }.to_bytes()
}

pub(super) fn own(bench: &mut Bench) -> Outcomes {
    converse(bench, "wasi_own", &run(), Talk::new())
}

fn send(to: craton_abi::Pid, tag: u64, bytes: &[u8]) -> HostCall {
    HostCall::Send { to, tag, payload: Payload(bytes.to_vec()), timeout: Duration::MAX }
}

fn line(level: LogLevel, text: &str) -> (HostCall, HostReply) {
    (HostCall::Log { level, text: text.into() }, HostReply::Done)
}

pub(super) fn streams(bench: &mut Bench) -> Outcomes {
    let receive = || HostCall::Receive { tag: Some(TAG_INPUT), timeout: None, capacity: 8 };
    let input = |from, bytes: &[u8]| {
        let payload = Payload(bytes.to_vec());
        HostReply::Received(Received::Message { from, tag: TAG_INPUT, payload })
    };
    let wanted = || (send(pid_b(), TAG_READ, &8u32.to_le_bytes()), HostReply::Done);
    let talk = Vec::from([
        (send(pid_a(), TAG_OUT, b"a message"), HostReply::Done),
        (send(pid_a(), TAG_ERR, b"a message"), failed(ErrorCode::NoProcess)),
        wanted(),
        // Who is not standard input is not heard.
        (receive(), input(pid_known(), b"not you")),
        (receive(), input(pid_b(), b"hello")),
        wanted(),
        (receive(), input(pid_b(), b"")),
    ]);
    converse(bench, "wasi_streams", &run(), talk)
}

/// What is written without an operator, and that nothing of it is lost at the end.
pub(super) fn ends(bench: &mut Bench) -> Outcomes {
    converse(bench, "main", b"", Vec::from([line(LogLevel::Info, "a message")]))?;
    let (begun, all) = ("a messag!", 1100);
    let first = limit::LOG_LINE_BYTES_MAX - begun.len();
    let lines = [
        line(LogLevel::Info, "a messag"),
        line(LogLevel::Warn, "a messag"),
        // What came before without an end begins it.
        line(LogLevel::Info, &format!("{begun}{}", "A".repeat(first))),
        line(LogLevel::Info, &format!("{}sag!", "A".repeat(all - first))),
    ];
    let slot = bench.start("wasi_lines", b"")?;
    let mut resume = Resume::Start;
    let mut seen = Vec::new();
    let end = loop {
        match bench.advance(slot, resume) {
            Outcome::Call(call @ HostCall::Log { .. }) => seen.push(call),
            other => break other,
        }
        resume = Resume::Reply(HostReply::Done);
    };
    bench.engine.reclaim(slot);
    check(seen.iter().eq(lines.iter().map(|(call, _)| call)), || format!("lines: {seen:?}"))?;
    let failed = ExitReason::Error(b"exit status 3".to_vec());
    check(end == Outcome::Call(HostCall::Exit { reason: failed }), || format!("end: {end:?}"))?;
    let end = bench.run("wasi_exit", b"")?;
    check(end == ExitReason::Normal, || format!("status 0 ended with {end}"))
}

/// A sleep is a timer that alone is awaited, and ends by the clock.
pub(super) fn sleeps(bench: &mut Bench) -> Outcomes {
    let slot = bench.start("wasi_sleep", b"")?;
    let mut outcome = bench.advance(slot, Resume::Start);
    check(outcome == Outcome::Call(HostCall::Yield), || format!("{outcome:?}, not a yield"))?;
    let (mut reply, mut due, mut early) = (HostReply::Done, None, true);
    let id = TimerId::new(0x99);
    loop {
        outcome = bench.advance(slot, Resume::Reply(reply));
        reply = match &outcome {
            Outcome::Call(HostCall::SetTimer { after, .. })
                if due.is_none() && *after <= Duration::from_millis(1) =>
            {
                due = Some(clock::now() + *after);
                HostReply::Timer(id)
            }
            Outcome::Call(HostCall::Await { id: 0x99, timeout: None, capacity: 0 }) => {
                // Too early the first time: it sets another.
                while !early && due.is_some_and(|due| clock::now() < due) {}
                (due, early) = (None, false);
                HostReply::Received(Received::Timer { id, tag: 0 })
            }
            _ => break,
        };
    }
    bench.engine.reclaim(slot);
    let ended = Outcome::Exited(ExitReason::Normal);
    check(outcome == ended, || format!("a sleep came to {outcome:?}"))
}
