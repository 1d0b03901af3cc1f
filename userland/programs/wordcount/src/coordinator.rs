//! The coordinator: spawns, hands out the input, watches everybody, checks the sums, prints.
//!
//! Owns the run. It holds at most [`CHUNKS_WAITING_MAX`] chunks and what it has asked of standard
//! input, whatever the input's size.

use crate::cutter::{CHUNK_BYTES_MAX, Cutter};
use crate::protocol::{
    End, Mapped, MapperArgument, More, Reduced, ReducerArgument, SEND_TIMEOUT, TAG_CHUNK, keep_top,
};
use crate::{MAPPER, REDUCER};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt::Write;
use craton::{
    Down, Envelope, Error, Event, Mailbox, NodeId, Pid, Run, SpawnOptions, Stdin, me, nodes,
    send_bytes, send_within, shards,
};

/// Mappers on each shard of each node, unless the arguments say otherwise: one computes while the
/// other waits for its next chunk.
const MAPPERS_PER_SHARD: usize = 2;
/// Most mappers on each shard.
const MAPPERS_PER_SHARD_MAX: usize = 64;
/// Bytes of input asked for at once: some chunks, in less than a mailbox takes from one sender.
const INPUT_BYTES: u32 = 4 * CHUNK_BYTES_MAX as u32;
/// Requests for input under way.
const INPUT_REQUESTS: usize = 2;
/// No more input is asked for while so many chunks wait for a mapper.
const CHUNKS_WAITING_MAX: usize = 4;

const USAGE: &str = "usage: craton run wordcount [--mappers COUNT-PER-CPU] < TEXT";

/// The entry `main`.
pub fn main(run: Run) -> Result<(), String> {
    let counted = count(&run);
    if let Err(text) = &counted {
        // If the operator is gone, the reason below is all that can be said.
        let _ = run.stderr().line(&format!("wordcount: {text}"));
    }
    counted
}

fn count(run: &Run) -> Result<(), String> {
    let mappers_per_shard = parse(run.arguments())?;
    let mut coordinator = Coordinator::new(run, mappers_per_shard)?;
    let mut mailbox = Mailbox::with_capacity(INPUT_BYTES as usize);
    while !coordinator.is_done() {
        coordinator.ask_for_input()?;
        match mailbox.next_event().map_err(text)? {
            Event::Message(message) => coordinator.message(&message)?,
            Event::Down(down) => coordinator.down(&down)?,
            other => return Err(format!("unexpected: {other:?}")),
        }
        coordinator.hand_out()?;
    }
    let result = coordinator.result()?;
    run.stdout().write(&result).map_err(text)
}

fn parse(arguments: &[String]) -> Result<usize, String> {
    match arguments {
        [] => Ok(MAPPERS_PER_SHARD),
        [flag, count] if flag == "--mappers" => match count.parse() {
            Ok(count @ 1..=MAPPERS_PER_SHARD_MAX) => Ok(count),
            _ => Err(format!("--mappers takes 1 to {MAPPERS_PER_SHARD_MAX}, not '{count}'")),
        },
        _ => Err(String::from(USAGE)),
    }
}

struct Coordinator {
    stdin: Stdin,
    cutter: Cutter,
    /// Chunks that no mapper has asked for yet.
    chunks: VecDeque<Vec<u8>>,
    /// Mappers that have room, once for each chunk.
    hungry: VecDeque<usize>,
    mappers: Vec<Worker<Mapped>>,
    reducers: Vec<Worker<Reduced>>,
    ended: bool,
}

/// A process of the run.
struct Worker<R> {
    pid: Pid,
    node: NodeId,
    report: Option<R>,
}

impl<R> Worker<R> {
    fn describe(&self, role: &str) -> String {
        format!("{role} {} on node {}", self.pid, self.node)
    }
}

impl Coordinator {
    fn new(run: &Run, mappers_per_shard: usize) -> Result<Self, String> {
        let nodes = nodes().map_err(text)?;
        let mut homes = Vec::new();
        for node in &nodes {
            let mappers = mappers_per_shard * shards(*node).map_err(text)?;
            homes.extend(vec![*node; mappers]);
        }
        let coordinator = me();
        let argument = ReducerArgument { coordinator, mappers: homes.len() };
        let spawn = |node: &NodeId| {
            worker(*node, REDUCER.spawn(&argument, SpawnOptions::on(*node).monitored()))
        };
        let reducers = nodes.iter().map(spawn).collect::<Result<Vec<_>, String>>()?;
        let pids = reducers.iter().map(|reducer| reducer.pid).collect();
        let argument = MapperArgument { coordinator, reducers: pids };
        let spawn = |node: &NodeId| {
            worker(*node, MAPPER.spawn(&argument, SpawnOptions::on(*node).monitored()))
        };
        let mappers = homes.iter().map(spawn).collect::<Result<Vec<_>, String>>()?;
        Ok(Coordinator {
            stdin: run.stdin(),
            cutter: Cutter::default(),
            chunks: VecDeque::new(),
            hungry: VecDeque::new(),
            mappers,
            reducers,
            ended: false,
        })
    }

    fn is_done(&self) -> bool {
        self.mappers.iter().all(|mapper| mapper.report.is_some())
            && self.reducers.iter().all(|reducer| reducer.report.is_some())
    }

    fn ask_for_input(&mut self) -> Result<(), String> {
        while !self.stdin.ended()
            && self.chunks.len() < CHUNKS_WAITING_MAX
            && self.stdin.outstanding() < INPUT_REQUESTS
        {
            self.stdin.request(INPUT_BYTES).map_err(text)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &Envelope<'_>) -> Result<(), String> {
        if let Some(input) = self.stdin.accept(message) {
            let chunks = &mut self.chunks;
            return self.cutter.push(input, |chunk| {
                chunks.push_back(chunk);
                Ok(())
            });
        }
        if let Some(at) = self.mappers.iter().position(|mapper| mapper.pid == message.from) {
            if message.is::<More>() {
                self.hungry.push_back(at);
            } else {
                self.mappers[at].report = Some(message.decode().map_err(text)?);
            }
            return Ok(());
        }
        let from = self.reducers.iter_mut().find(|reducer| reducer.pid == message.from);
        let reducer = from.ok_or_else(|| format!("message from a stranger, {}", message.from))?;
        reducer.report = Some(message.decode().map_err(text)?);
        Ok(())
    }

    /// A worker that has reported may end; any other end is the end of the run.
    fn down(&self, down: &Down) -> Result<(), String> {
        let mapper = self.mappers.iter().find(|mapper| mapper.pid == down.pid);
        let reducer = self.reducers.iter().find(|reducer| reducer.pid == down.pid);
        let name = match (mapper, reducer) {
            (Some(mapper), _) if mapper.report.is_none() => mapper.describe("mapper"),
            (_, Some(reducer)) if reducer.report.is_none() => reducer.describe("reducer"),
            _ => return Ok(()),
        };
        Err(format!("{name} ended before its work was done: {}; nothing is counted", down.reason))
    }

    /// Sends chunks to mappers that have room; after the last, tells all that it was.
    fn hand_out(&mut self) -> Result<(), String> {
        if self.stdin.ended() && !self.ended {
            self.chunks.extend(self.cutter.finish());
        }
        while let (Some(&at), Some(chunk)) = (self.hungry.front(), self.chunks.front()) {
            let mapper = &self.mappers[at];
            send_bytes(&mapper.pid, TAG_CHUNK, chunk, Some(SEND_TIMEOUT))
                .map_err(|error| unreachable(mapper, &error))?;
            self.hungry.pop_front();
            self.chunks.pop_front();
        }
        if self.stdin.ended() && self.chunks.is_empty() && !self.ended {
            self.ended = true;
            for mapper in &self.mappers {
                send_within(&mapper.pid, &End, SEND_TIMEOUT)
                    .map_err(|error| unreachable(mapper, &error))?;
            }
        }
        Ok(())
    }

    /// What is printed, if every byte that came in was mapped and every word mapped was reduced.
    fn result(&self) -> Result<Vec<u8>, String> {
        let mapped: Vec<&Mapped> = self.mappers.iter().flat_map(|mapper| &mapper.report).collect();
        let reduced: Vec<&Reduced> = self.reducers.iter().flat_map(|one| &one.report).collect();
        let bytes = mapped.iter().map(|mapped| mapped.bytes).sum::<u64>();
        agree("bytes read", self.cutter.bytes() - self.cutter.passed_over(), "mapped", bytes)?;
        for (at, reduced) in reduced.iter().enumerate() {
            let sent = mapped.iter().map(|mapped| mapped.sent.get(at).copied().unwrap_or(0)).sum();
            agree("words sent to a reducer", sent, "received", reduced.words)?;
        }
        let words = mapped.iter().map(|mapped| mapped.words).sum();
        agree("words mapped", words, "reduced", reduced.iter().map(|one| one.words).sum())?;
        let distinct = reduced.iter().map(|reduced| reduced.distinct).sum();
        Ok(render(&reduced, self.cutter.bytes(), words, distinct))
    }
}

fn render(reduced: &[&Reduced], bytes: u64, words: u64, distinct: u64) -> Vec<u8> {
    let mut top = Vec::new();
    for (word, count) in reduced.iter().flat_map(|reduced| &reduced.top) {
        keep_top(&mut top, word.clone(), *count);
    }
    let mut out = Vec::new();
    for (word, count) in top {
        out.extend_from_slice(format!("{count:>12}  ").as_bytes());
        out.extend_from_slice(&word);
        out.push(b'\n');
    }
    let mut totals = String::new();
    // Writing to a `String` does not fail.
    let _ = write!(totals, "bytes {bytes}\nwords {words}\ndistinct {distinct}\n");
    out.extend_from_slice(totals.as_bytes());
    out
}

fn agree(what: &str, expected: u64, other: &str, found: u64) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{expected} {what} but {found} {other}; nothing is counted"))
}

fn worker<R>(node: NodeId, child: Result<craton::Child, Error>) -> Result<Worker<R>, String> {
    match child {
        Ok(child) => Ok(Worker { pid: child.pid, node, report: None }),
        Err(error) => Err(format!("cannot start a worker on node {node}: {error}")),
    }
}

fn unreachable(mapper: &Worker<Mapped>, error: &Error) -> String {
    format!("{} cannot be reached: {error}; nothing is counted", mapper.describe("mapper"))
}

fn text(error: Error) -> String {
    format!("{error}")
}
