//! Tests of the slabs on the host: against a model, under seeds, and with no memory left.

use super::*;
use crate::memory::sizes::batch;
use std::alloc::{alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

/// Chunks of the host's memory, as many as a test allows.
pub(in crate::memory) struct HostChunks {
    left: AtomicUsize,
    max: usize,
}

impl HostChunks {
    pub(in crate::memory) const fn new(max: usize) -> Self {
        HostChunks { left: AtomicUsize::new(max), max }
    }

    /// Chunks that are taken.
    pub(in crate::memory) fn taken(&self) -> usize {
        self.max - self.left.load(Ordering::Relaxed)
    }

    fn layout() -> Layout {
        Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES).expect("a power of two")
    }
}

// SAFETY: The host's allocator keeps the promise.
unsafe impl Source for HostChunks {
    fn take_for_ever(&self, bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, 4096).ok()?;
        // SAFETY: The layout has a size.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
    }

    fn take(&self) -> Option<NonNull<u8>> {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        // SAFETY: The layout has a size.
        NonNull::new(unsafe { alloc(Self::layout()) })
    }

    unsafe fn give(&self, chunk: NonNull<u8>) {
        // SAFETY: The caller gives up what `take` returned.
        unsafe { dealloc(chunk.as_ptr(), Self::layout()) };
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// A small deterministic generator, so that a failure replays by its seed.
pub(in crate::memory) struct Dice(pub(in crate::memory) u64);

impl Dice {
    pub(in crate::memory) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

fn take<S: Source>(slabs: &Slabs<S>, class: usize, count: usize) -> Vec<NonNull<u8>> {
    let mut places = std::vec![MaybeUninit::uninit(); count];
    let taken = slabs.take(class, &mut places);
    // SAFETY: As many places were filled.
    places.iter().take(taken).map(|place| unsafe { place.assume_init_read() }).collect()
}

fn give_one<S: Source>(slabs: &Slabs<S>, class: usize, object: NonNull<u8>) {
    // SAFETY: The tests give each object once, or want to be told.
    unsafe { slabs.give(class, &[MaybeUninit::new(object)]) };
}

/// Live objects by their address: the model of who owns what.
#[derive(Default)]
struct Model(BTreeMap<usize, (usize, usize)>);

impl Model {
    fn add(&mut self, object: NonNull<u8>, class: usize) {
        let (start, end) = (object.addr().get(), object.addr().get() + object_bytes(class));
        let below = self.0.range(..end).next_back();
        assert!(below.is_none_or(|(_, (_, below_end))| *below_end <= start), "objects overlap");
        self.0.insert(start, (class, end));
    }
}

/// Takes and gives batches at random, then everything back.
fn round(seed: u64, chunks_max: usize) {
    let mut dice = Dice(seed);
    let slabs = Slabs::new(HostChunks::new(chunks_max));
    let mut model = Model::default();
    let mut held: Vec<(usize, NonNull<u8>)> = Vec::new();
    let mut refused = 0;
    for _ in 0..3000 {
        if dice.below(5) < 3 {
            let class = dice.below(CLASSES);
            let count = 1 + dice.below(batch(class));
            let objects = take(&slabs, class, count);
            refused += usize::from(objects.len() < count);
            for object in objects {
                model.add(object, class);
                // SAFETY: The object is ours: whoever else uses its memory will see it.
                unsafe { object.write_bytes(class as u8, object_bytes(class)) };
                held.push((class, object));
            }
        } else {
            for _ in 0..dice.below(40).min(held.len()) {
                let (class, object) = held.swap_remove(dice.below(held.len()));
                // SAFETY: A live object.
                let bytes =
                    unsafe { core::slice::from_raw_parts(object.as_ptr(), object_bytes(class)) };
                assert!(bytes.iter().all(|&byte| byte == class as u8), "seed {seed}");
                model.0.remove(&object.addr().get());
                give_one(&slabs, class, object);
            }
        }
    }
    assert_eq!(refused > 0, slabs.source.taken() == chunks_max, "seed {seed}");
    held.drain(..).for_each(|(class, object)| give_one(&slabs, class, object));
    slabs.trim();
    assert_eq!((slabs.source.taken(), slabs.free_bytes()), (0, 0), "seed {seed}");
}

#[test]
fn objects_never_overlap_and_all_memory_comes_back() {
    for seed in 0..20 {
        round(seed, 10_000);
    }
}

#[test]
fn a_source_that_runs_dry_refuses_and_recovers() {
    for seed in 0..20 {
        round(seed, 3);
    }
}

#[test]
fn free_bytes_say_what_can_be_had_without_a_chunk() {
    let slabs = Slabs::new(HostChunks::new(1));
    assert!(!slabs.has_listed(3) && slabs.free_bytes() == 0);
    let first = take(&slabs, 3, 1);
    let usable = CHUNK_BYTES - GRANULE_BYTES;
    let piece = piece_objects(3) * object_bytes(3);
    let taken = piece_granules(3) * GRANULE_BYTES;
    assert_eq!(slabs.free_bytes(), usable - taken + piece - object_bytes(3));
    assert!(slabs.has_listed(3));
    assert!(!slabs.has_listed(4), "the chunk has a piece, of another class");
    give_one(&slabs, 3, first[0]);
    assert_eq!(slabs.free_bytes(), usable - taken + piece, "one unused piece is kept");
    assert!(slabs.has_listed(3));
}

#[test]
fn a_burst_leaves_one_piece_and_one_chunk_behind() {
    let slabs = Slabs::new(HostChunks::new(1000));
    let class = CLASSES / 2;
    let mut held = Vec::new();
    while slabs.source.taken() < 100 {
        held.extend(take(&slabs, class, batch(class)));
    }
    held.into_iter().for_each(|object| give_one(&slabs, class, object));
    assert!(slabs.source.taken() <= 2, "{} chunks are kept", slabs.source.taken());
    slabs.trim();
    assert_eq!(slabs.source.taken(), 0);
}

#[test]
#[should_panic(expected = "an object is freed with the layout it was allocated with")]
fn freeing_as_another_class_is_caught() {
    let slabs = Slabs::new(HostChunks::new(1));
    give_one(&slabs, 4, take(&slabs, 3, 1)[0]);
}

#[test]
#[should_panic(expected = "an object is freed once")]
fn freeing_twice_is_caught() {
    let slabs = Slabs::new(HostChunks::new(1));
    let objects = take(&slabs, 3, 2);
    give_one(&slabs, 3, objects[0]);
    give_one(&slabs, 3, objects[0]);
}

#[test]
#[should_panic(expected = "an object is freed whole")]
fn freeing_the_middle_of_an_object_is_caught() {
    let slabs = Slabs::new(HostChunks::new(1));
    let object = take(&slabs, 3, 1)[0];
    // SAFETY: Within the object.
    give_one(&slabs, 3, unsafe { object.add(8) });
}
