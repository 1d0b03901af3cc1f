//! A reducer: adds up the counts of the words that belong to it.
//!
//! Owns those counts. Its memory grows with the number of different words, not with the input.

use crate::batch::{BATCH_BYTES_MAX, MalformedBatch, decode};
use crate::protocol::{Finished, Reduced, ReducerArgument, SEND_TIMEOUT, TAG_BATCH, TOP, keep_top};
use crate::table::{OutOfMemory, Table, word_bytes};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::{Envelope, Error, Event, Mailbox, Monitor, Pid, send_within};

struct Reducer {
    table: Table,
    mappers: BTreeMap<Pid, Tally>,
}

/// What came from one mapper.
#[derive(Default)]
struct Tally {
    batches: u64,
    words: u64,
    finished: bool,
}

/// Why a batch cannot be added.
enum BatchError {
    Malformed,
    OutOfMemory,
}

/// The entry `reducer`.
pub fn run(argument: ReducerArgument) -> Result<(), String> {
    let failed = |error: Error| format!("{error}");
    Monitor::new(&argument.coordinator).map_err(failed)?;
    let mut mailbox = Mailbox::with_capacity(BATCH_BYTES_MAX);
    let table = Table::new().map_err(|_| out_of_memory(0))?;
    let mut reducer = Reducer { table, mappers: BTreeMap::new() };
    while reducer.finished() < argument.mappers {
        match mailbox.next_event().map_err(failed)? {
            Event::Message(message) if message.tag == TAG_BATCH => reducer.add(&message)?,
            Event::Message(message) if message.is::<Finished>() => reducer.check(&message)?,
            Event::Message(message) => {
                return Err(format!("unknown message from {}", message.from));
            }
            Event::Down(down) => return Err(format!("the coordinator ended: {}", down.reason)),
            other => return Err(format!("unexpected: {other:?}")),
        }
    }
    send_within(&argument.coordinator, &reducer.reduced(), SEND_TIMEOUT).map_err(failed)
}

impl Reducer {
    fn finished(&self) -> usize {
        self.mappers.values().filter(|tally| tally.finished).count()
    }

    fn add(&mut self, message: &Envelope<'_>) -> Result<(), String> {
        let mut words = 0;
        let table = &mut self.table;
        let added = decode(message.payload, |units, count| {
            words += count;
            table.add(units, count).map_err(BatchError::from)
        });
        let tally = self.mappers.entry(message.from).or_default();
        tally.batches += 1;
        tally.words += words;
        match added {
            Ok(()) => Ok(()),
            Err(BatchError::OutOfMemory) => Err(out_of_memory(self.table.distinct())),
            Err(BatchError::Malformed) => Err(format!("malformed batch from {}", message.from)),
        }
    }

    fn check(&mut self, message: &Envelope<'_>) -> Result<(), String> {
        let from = message.from;
        let sent: Finished = message.decode().map_err(|error| format!("{error}"))?;
        let tally = self.mappers.entry(from).or_default();
        if (tally.batches, tally.words) != (sent.batches, sent.words) {
            let Tally { batches, words, .. } = tally;
            return Err(format!(
                "mapper {from} sent {} batches with {} words, here are {batches} with {words}",
                sent.batches, sent.words
            ));
        }
        tally.finished = true;
        Ok(())
    }

    fn reduced(&self) -> Reduced {
        let mut top: Vec<(Vec<u8>, u64)> = Vec::new();
        for (units, count) in self.table.iter() {
            // Most words are too rare: they are not even turned into bytes.
            if top.len() < TOP || top.last().is_some_and(|(_, least)| count >= *least) {
                keep_top(&mut top, word_bytes(units), count);
            }
        }
        Reduced {
            words: self.mappers.values().map(|tally| tally.words).sum(),
            distinct: self.table.distinct() as u64,
            top,
        }
    }
}

impl From<MalformedBatch> for BatchError {
    fn from(_: MalformedBatch) -> Self {
        BatchError::Malformed
    }
}

impl From<OutOfMemory> for BatchError {
    fn from(_: OutOfMemory) -> Self {
        BatchError::OutOfMemory
    }
}

fn out_of_memory(distinct: usize) -> String {
    format!("no memory for more than {distinct} different words on one node: add nodes")
}
