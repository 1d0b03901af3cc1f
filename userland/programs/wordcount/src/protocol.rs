//! What coordinator, mappers and reducers say to each other.
//!
//! Owns the messages and how they flow; the counting is elsewhere.
//!
//! 1. A mapper sends [`More`] for each chunk that it has room for: [`CHUNKS_AHEAD`] at first, one
//!    for each chunk that it takes up. The coordinator sends chunks ([`TAG_CHUNK`]) only for these.
//! 2. A mapper sends batches of counts ([`TAG_BATCH`]) to reducers when it holds many, and the rest
//!    after [`End`]; then [`Finished`] to each reducer and [`Mapped`] to the coordinator.
//! 3. A reducer that has [`Finished`] from every mapper, and as many batches and words as each
//!    says, sends [`Reduced`].
//! 4. The coordinator prints if the sums agree from the first byte to the last word.
//!
//! Whoever meets an error ends with it; all watch the coordinator and the coordinator watches all,
//! so one end ends the run. No two wait for each other's room: chunks go down only on demand,
//! batches only from mappers to reducers, reports only up.

use alloc::vec::Vec;
use craton::{Duration, Pid, tag_of_name};
use serde::{Deserialize, Serialize};

/// Chunks that a mapper may have waiting.
pub const CHUNKS_AHEAD: usize = 2;
/// Words that are printed.
pub const TOP: usize = 20;
/// A chunk of text, raw.
pub const TAG_CHUNK: u64 = tag_of_name("wordcount.chunk");
/// A batch of counts, raw; see `batch`.
pub const TAG_BATCH: u64 = tag_of_name("wordcount.batch");
/// How long to wait for room in a mailbox before the run is given up.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// What a mapper is told at its start.
#[derive(Serialize, Deserialize)]
pub struct MapperArgument {
    /// Who hands out chunks.
    pub coordinator: Pid,
    /// Who adds up; a word belongs to one of them.
    pub reducers: Vec<Pid>,
}

/// What a reducer is told at its start.
#[derive(Serialize, Deserialize)]
pub struct ReducerArgument {
    /// Who wants the result.
    pub coordinator: Pid,
    /// How many mappers will send batches.
    pub mappers: usize,
}

/// Mapper to coordinator: there is room for one more chunk.
#[derive(Serialize, Deserialize)]
pub struct More;

/// Coordinator to mapper: no chunk follows.
#[derive(Serialize, Deserialize)]
pub struct End;

/// Mapper to reducer: no batch follows.
#[derive(Serialize, Deserialize)]
pub struct Finished {
    /// Batches sent.
    pub batches: u64,
    /// Words counted in them.
    pub words: u64,
}

/// Mapper to coordinator: all chunks are mapped, all batches sent.
#[derive(Serialize, Deserialize)]
pub struct Mapped {
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Words in all chunks.
    pub words: u64,
    /// Words sent to each reducer.
    pub sent: Vec<u64>,
}

/// Reducer to coordinator: all counts are in.
#[derive(Serialize, Deserialize)]
pub struct Reduced {
    /// Words received.
    pub words: u64,
    /// Different words among them.
    pub distinct: u64,
    /// The commonest, in order.
    pub top: Vec<(Vec<u8>, u64)>,
}

craton::message! {
    More = "wordcount.more",
    End = "wordcount.end",
    Finished = "wordcount.finished",
    Mapped = "wordcount.mapped",
    Reduced = "wordcount.reduced",
}

/// Keeps the [`TOP`] commonest words in order: most frequent first, ties by their bytes.
pub fn keep_top(top: &mut Vec<(Vec<u8>, u64)>, word: Vec<u8>, count: u64) {
    let at = top.partition_point(|(other, other_count)| {
        *other_count > count || (*other_count == count && *other < word)
    });
    if at < TOP {
        top.truncate(TOP - 1);
        top.insert(at, (word, count));
    }
}
