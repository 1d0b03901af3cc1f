//! A mapper: counts the words of the chunks that it is given.
//!
//! Owns the counts until they are sent: combining them here is what keeps batches few.

use crate::batch::Batch;
use crate::cutter::CHUNK_BYTES_MAX;
use crate::protocol::{
    CHUNKS_AHEAD, End, Finished, Mapped, MapperArgument, More, SEND_TIMEOUT, TAG_BATCH, TAG_CHUNK,
};
use crate::table::{OutOfMemory, Table, owner};
use crate::text;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use craton::{Event, Mailbox, Monitor, Pid, send_bytes, send_within};

/// Different words that a mapper holds before it sends them on. Memory of a table is about twice
/// 16 bytes for each, and one chunk can add some thousands.
const DISTINCT_MAX: usize = 32 << 10;

struct Mapper {
    table: Table,
    reducers: Vec<Reducer>,
    bytes: u64,
    words: u64,
}

/// A reducer as a mapper sees it.
struct Reducer {
    pid: Pid,
    batch: Batch,
    batches: u64,
    words: u64,
}

/// The entry `mapper`.
pub fn run(argument: MapperArgument) -> Result<(), String> {
    let coordinator = argument.coordinator;
    let failed = |error: craton::Error| format!("{error}");
    Monitor::new(&coordinator).map_err(failed)?;
    let mut mailbox = Mailbox::with_capacity(CHUNK_BYTES_MAX);
    let mut mapper = Mapper::new(&argument.reducers).map_err(out_of_memory)?;
    for _ in 0..CHUNKS_AHEAD {
        send_within(&coordinator, &More, SEND_TIMEOUT).map_err(failed)?;
    }
    loop {
        match mailbox.next_event().map_err(failed)? {
            Event::Message(message) if message.tag == TAG_CHUNK => {
                // Before the work, so that the next chunk travels meanwhile.
                send_within(&coordinator, &More, SEND_TIMEOUT).map_err(failed)?;
                mapper.map(message.payload)?;
            }
            Event::Message(message) if message.is::<End>() => break,
            Event::Message(message) => {
                return Err(format!("unknown message from {}", message.from));
            }
            Event::Down(down) => return Err(format!("the coordinator ended: {}", down.reason)),
            other => return Err(format!("unexpected: {other:?}")),
        }
    }
    let mapped = mapper.finish()?;
    send_within(&coordinator, &mapped, SEND_TIMEOUT).map_err(failed)
}

impl Mapper {
    fn new(reducers: &[Pid]) -> Result<Self, OutOfMemory> {
        let reducer =
            |pid: &Pid| Reducer { pid: *pid, batch: Batch::default(), batches: 0, words: 0 };
        let reducers = reducers.iter().map(reducer).collect();
        Ok(Mapper { table: Table::new()?, reducers, bytes: 0, words: 0 })
    }

    fn map(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.bytes += chunk.len() as u64;
        self.words += text::count(chunk, &mut self.table).map_err(out_of_memory)?;
        if self.table.distinct() > DISTINCT_MAX { self.flush() } else { Ok(()) }
    }

    /// Sends all counts to their owners.
    fn flush(&mut self) -> Result<(), String> {
        let parts = self.reducers.len();
        for (units, count) in self.table.iter() {
            let reducer = &mut self.reducers[owner(units, parts)];
            reducer.batch.push(units, count);
            if reducer.batch.is_full() {
                reducer.send()?;
            }
        }
        self.table.clear();
        self.reducers.iter_mut().try_for_each(Reducer::send)
    }

    fn finish(&mut self) -> Result<Mapped, String> {
        self.flush()?;
        let mut sent = vec![];
        for Reducer { pid, batches, words, .. } in &self.reducers {
            let finished = Finished { batches: *batches, words: *words };
            send_within(pid, &finished, SEND_TIMEOUT).map_err(|error| lost(pid, error))?;
            sent.push(*words);
        }
        Ok(Mapped { bytes: self.bytes, words: self.words, sent })
    }
}

impl Reducer {
    fn send(&mut self) -> Result<(), String> {
        let (bytes, words) = self.batch.contents();
        if bytes.is_empty() {
            return Ok(());
        }
        send_bytes(&self.pid, TAG_BATCH, bytes, Some(SEND_TIMEOUT))
            .map_err(|error| lost(&self.pid, error))?;
        self.batches += 1;
        self.words += words;
        self.batch.clear();
        Ok(())
    }
}

fn lost(reducer: &Pid, error: craton::Error) -> String {
    format!("reducer {reducer} cannot be reached: {error}")
}

fn out_of_memory(_: OutOfMemory) -> String {
    String::from("no memory for the mapper's table")
}
