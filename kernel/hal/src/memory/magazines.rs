//! Each CPU's own free objects, in front of the shared slabs.
//!
//! Owns [`SmallHeap`]: an allocator of small objects in which the common allocation and the common
//! release touch nothing but what belongs to the CPU that makes them: a stack of free objects of
//! each class, its *magazine* (after Bonwick and Adams, "Magazines and Vmem", 2001). A magazine
//! holds two batches. An empty one takes a batch from [`super::slabs`], and a full one gives the
//! batch that lay there longest: either way one batch is left to take or to give, so a CPU that
//! allocates and frees in turn does not go there each time. An object may be freed by another CPU
//! than the one that allocated it: it joins the objects of the CPU that freed it.
//!
//! A CPU's magazines are allocated when it first needs them, and are for ever. Others take their
//! lock only to trim and to count. Nothing here may run in an interrupt. Locks are taken in the
//! order magazines, class, chunks, source.

use super::sizes::{CLASSES, batch, object_bytes};
use super::slabs::{Slabs, Source};
use super::tlb::Lock as Mutex;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use spin::MutexGuard;

/// Where the places of each class begin, and behind the last where they end.
const FIRST_PLACE: [usize; CLASSES + 1] = {
    let mut first = [0; CLASSES + 1];
    let mut class = 0;
    while class < CLASSES {
        first[class + 1] = first[class] + 2 * batch(class);
        class += 1;
    }
    first
};

type Place = MaybeUninit<NonNull<u8>>;

/// What a CPU has to itself. All zeros are a valid value: no objects.
struct Cache {
    counts: [usize; CLASSES],
    /// Bytes asked for less bytes given back on this CPU: only the sum over all CPUs means much.
    live_bytes: isize,
    places: [Place; FIRST_PLACE[CLASSES]],
}

impl Cache {
    /// The magazine of a class: its places, and how many from the first on hold an object.
    fn magazine(&mut self, class: usize) -> (&mut [Place], &mut usize) {
        let places = &mut self.places[FIRST_PLACE[class]..FIRST_PLACE[class + 1]];
        (places, &mut self.counts[class])
    }

    fn bytes(&self) -> usize {
        self.counts.iter().enumerate().map(|(class, count)| count * object_bytes(class)).sum()
    }
}

// SAFETY: The pointers are to free memory that the value owns.
unsafe impl Send for Cache {}

/// An allocator of small objects for `CPUS` CPUs.
pub(super) struct SmallHeap<S, const CPUS: usize> {
    caches: [AtomicPtr<Mutex<Cache>>; CPUS],
    slabs: Slabs<S>,
}

impl<S: Source, const CPUS: usize> SmallHeap<S, CPUS> {
    pub(super) const fn new(source: S) -> Self {
        SmallHeap {
            caches: [const { AtomicPtr::new(ptr::null_mut()) }; CPUS],
            slabs: Slabs::new(source),
        }
    }

    #[cfg(test)]
    fn source(&self) -> &S {
        self.slabs.source()
    }

    /// The cache of a CPU, if it has one yet.
    fn cache(&self, cpu: usize) -> Option<MutexGuard<'_, Cache>> {
        let cache = self.caches[cpu].load(Ordering::Acquire);
        // SAFETY: What is stored there is a cache for ever.
        unsafe { cache.as_ref() }.map(Mutex::lock)
    }

    /// The cache of the CPU that this runs on; `None` if there is no memory for one.
    fn own_cache(&self, cpu: usize) -> Option<MutexGuard<'_, Cache>> {
        self.cache(cpu).or_else(|| {
            let memory = self.slabs.take_for_ever(size_of::<Mutex<Cache>>())?;
            // Only this CPU makes its cache, and nothing that allocates interrupts it. Zeros are an
            // open lock around an empty cache.
            self.caches[cpu].store(memory.cast().as_ptr(), Ordering::Release);
            self.cache(cpu)
        })
    }

    fn caches(&self) -> impl Iterator<Item = MutexGuard<'_, Cache>> {
        (0..CPUS).filter_map(|cpu| self.cache(cpu))
    }

    /// Takes an object of the class on behalf of a CPU, of which `bytes` bytes are asked for.
    pub(super) fn take(&self, cpu: usize, class: usize, bytes: usize) -> Option<NonNull<u8>> {
        let mut cache = self.own_cache(cpu)?;
        let (places, count) = cache.magazine(class);
        if *count == 0 {
            *count = self.slabs.take(class, &mut places[..batch(class)]);
        }
        *count = count.checked_sub(1)?;
        // SAFETY: The places below the count, as it was, hold objects.
        let object = unsafe { places[*count].assume_init_read() };
        cache.live_bytes += bytes.cast_signed();
        Some(object)
    }

    /// Takes an object back, of which `bytes` bytes had been asked for.
    ///
    /// # Safety
    /// It came from [`SmallHeap::take`] with this class, on any CPU, and nobody uses it any more.
    pub(super) unsafe fn give(&self, cpu: usize, class: usize, object: NonNull<u8>, bytes: usize) {
        let Some(mut cache) = self.own_cache(cpu) else {
            // SAFETY: The caller gives the object up. Who has no memory for a cache counts nothing.
            return unsafe { self.slabs.give(class, &[Place::new(object)]) };
        };
        cache.live_bytes -= bytes.cast_signed();
        let (places, count) = cache.magazine(class);
        if *count == places.len() {
            let (old, young) = places.split_at_mut(batch(class));
            // SAFETY: What is in a magazine came from the slabs and is free.
            unsafe { self.slabs.give(class, old) };
            old.copy_from_slice(young);
            *count = young.len();
        }
        places[*count].write(object);
        *count += 1;
    }

    /// Counts bytes as live, or no longer so, that are not objects of a class.
    pub(super) fn count_live(&self, cpu: usize, bytes: isize) {
        if let Some(mut cache) = self.own_cache(cpu) {
            cache.live_bytes += bytes;
        }
    }

    /// Gives back to the source whatever can be, from every CPU.
    pub(super) fn trim(&self) {
        for mut cache in self.caches() {
            for class in 0..CLASSES {
                let (places, count) = cache.magazine(class);
                // SAFETY: What is in a magazine came from the slabs and is free.
                unsafe { self.slabs.give(class, &places[..*count]) };
                *count = 0;
            }
        }
        self.slabs.trim();
    }

    /// Bytes that the heap holds and nobody uses.
    pub(super) fn free_bytes(&self) -> usize {
        self.caches().map(|cache| cache.bytes()).sum::<usize>() + self.slabs.free_bytes()
    }

    /// Bytes asked for and not given back.
    pub(super) fn live_bytes(&self) -> usize {
        let sum: isize = self.caches().map(|cache| cache.live_bytes).sum();
        // Momentarily negative if a CPU frees what another counts only just now.
        sum.max(0).cast_unsigned()
    }

    /// Whether this CPU can have an object without asking the source.
    pub(super) fn has_listed(&self, cpu: usize, class: usize) -> bool {
        let own = self.cache(cpu).is_some_and(|cache| cache.counts[class] > 0);
        own || self.slabs.has_listed(class)
    }
}

#[cfg(test)]
#[path = "magazines_tests.rs"]
mod tests;
