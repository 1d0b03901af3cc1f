//! Chunks cut into pieces, pieces cut into objects: what all CPUs share of the heap.
//!
//! Owns [`Slabs`]. Its memory comes in chunks of 64 KiB, aligned to their size, from a [`Source`].
//! The first granule of a chunk describes it; `linked_list_allocator` hands out the others as
//! *pieces*, first fit, so its cost is bounded by a chunk's 31 granules however much is live. A
//! piece holds objects of one class, and a bit for each that says whether it is free: free objects
//! themselves are never touched, since most are in no cache by then. A piece without a live object
//! goes back to its chunk, a chunk without a piece back to the source, but for one of each, so that
//! neither moves to and fro with every object.
//!
//! Locks are taken in the order class, chunks, source. Objects come and go by the batch: the
//! caches of the CPUs ([`super::magazines`]) stand in front.

use super::sizes::{CLASSES, GRANULE_BYTES, object_bytes, piece_granules, piece_objects};
use super::tlb::Lock as Mutex;
use core::alloc::Layout;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap as FirstFit;

/// Bytes of a chunk, and its alignment.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
const GRANULES: usize = CHUNK_BYTES / GRANULE_BYTES;
/// Chunks that are asked for a piece before a fresh one is taken.
const CHUNKS_ASKED_MAX: usize = 8;

const _: () = assert!(size_of::<Chunk>() <= GRANULE_BYTES, "the first granule describes a chunk");
const _: () = assert!(CLASSES <= u8::MAX as usize, "classes are numbered by a byte");
const _: () = assert!(GRANULES <= u8::MAX as usize, "granules are numbered by a byte");

/// Where chunks come from: memory of [`CHUNK_BYTES`], aligned to that.
///
/// # Safety
/// What both functions return is valid for reads and writes, exclusive to the taker until given
/// back, and its address is exposed.
pub(super) unsafe trait Source {
    /// Zeroed memory for ever, aligned to a page; `None` if there is none.
    fn take_for_ever(&self, bytes: usize) -> Option<NonNull<u8>>;
    /// A chunk, its content undefined; `None` if there is no memory.
    fn take(&self) -> Option<NonNull<u8>>;
    /// Takes a chunk back.
    ///
    /// # Safety
    /// `take` returned it, and nobody uses it any more.
    unsafe fn give(&self, chunk: NonNull<u8>);
}

/// The place of a chunk or a piece in a list; the first field of both.
#[repr(C)]
struct Link {
    before: *mut Link,
    after: *mut Link,
}

/// A list through the links of its members.
struct List {
    first: *mut Link,
    last: *mut Link,
}

impl List {
    const fn new() -> Self {
        List { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    /// # Safety
    /// `link` is valid, in no list, and only reached through this one until it is removed.
    unsafe fn push_front(&mut self, link: *mut Link) {
        // SAFETY: The caller gives the link; the list has it from now on.
        unsafe { link.write(Link { before: ptr::null_mut(), after: self.first }) };
        match self.first.is_null() {
            true => self.last = link,
            // SAFETY: Members of the list are valid.
            false => unsafe { (*self.first).before = link },
        }
        self.first = link;
    }

    /// # Safety
    /// As for [`List::push_front`].
    unsafe fn push_back(&mut self, link: *mut Link) {
        // SAFETY: As in `push_front`.
        unsafe { link.write(Link { before: self.last, after: ptr::null_mut() }) };
        match self.last.is_null() {
            true => self.first = link,
            // SAFETY: Members of the list are valid.
            false => unsafe { (*self.last).after = link },
        }
        self.last = link;
    }

    /// # Safety
    /// `link` is in this list.
    unsafe fn remove(&mut self, link: *mut Link) {
        // SAFETY: Members of the list are valid.
        let Link { before, after } = unsafe { link.read() };
        match before.is_null() {
            true => self.first = after,
            // SAFETY: As above.
            false => unsafe { (*before).after = after },
        }
        match after.is_null() {
            true => self.last = before,
            // SAFETY: As above.
            false => unsafe { (*after).before = before },
        }
    }
}

/// Objects of one class. Guarded by the lock of that class.
#[repr(C)]
struct Piece {
    link: Link,
    /// A set bit is a free object.
    free: u128,
}

/// The bits of a piece of a class without a live object.
const fn all_free(class: usize) -> u128 {
    u128::MAX >> (u128::BITS as usize - piece_objects(class))
}

/// What the first granule of a chunk holds.
#[repr(C)]
struct Chunk {
    /// In the list of chunks while a granule is free. Guarded by the lock of the chunks, as is
    /// `granules`.
    link: Link,
    granules: FirstFit,
    /// The first granule of the piece that a granule belongs to. Written while the piece is made.
    starts: [u8; GRANULES],
    /// The class of the piece that begins at a granule. Written while the piece is made.
    classes: [u8; GRANULES],
    /// Each at the index of its first granule.
    pieces: [Piece; GRANULES],
}

/// The chunk that an address lies in, and the granule.
fn place_of(address: NonNull<u8>) -> (NonNull<Chunk>, usize) {
    let offset = address.addr().get() % CHUNK_BYTES;
    // SAFETY: A chunk is aligned to its size, so its start is at or below whatever lies in it.
    let start = unsafe { address.sub(offset) };
    (start.cast(), offset / GRANULE_BYTES)
}

/// The chunk that describes a piece, and the piece's first granule.
fn piece_place(piece: NonNull<Piece>) -> (NonNull<Chunk>, usize) {
    let (chunk, _) = place_of(piece.cast());
    let offset = piece.addr().get() - chunk.addr().get() - offset_of!(Chunk, pieces);
    (chunk, offset / size_of::<Piece>())
}

/// Where the objects of a piece of this chunk begin.
fn first_object(chunk: NonNull<Chunk>, start: usize) -> NonNull<u8> {
    // SAFETY: A granule's number times its size is within the chunk.
    unsafe { chunk.cast::<u8>().add(start * GRANULE_BYTES) }
}

fn piece_layout(class: usize) -> Layout {
    let bytes = piece_granules(class) * GRANULE_BYTES;
    Layout::from_size_align(bytes, GRANULE_BYTES).expect("a granule is a power of two")
}

struct Chunks {
    /// Chunks with a free granule.
    with_room: List,
    /// How many of them have no piece: at most one is kept.
    empty: usize,
    free_bytes: usize,
}

impl Chunks {
    /// The first granules of a piece, and its chunk, from one of the first chunks with room.
    fn take_piece(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        for _ in 0..CHUNKS_ASKED_MAX {
            let chunk: *mut Chunk = NonNull::new(self.with_room.first)?.as_ptr().cast();
            // SAFETY: Chunks in the list are valid, and their granules under this lock.
            let granules = unsafe { &mut (*chunk).granules };
            let was_empty = granules.used() == 0;
            let taken = granules.allocate_first_fit(layout);
            let full = granules.free() == 0;
            if taken.is_err() || full {
                // SAFETY: It is the list's first.
                unsafe { self.with_room.remove(chunk.cast()) };
            }
            if let Ok(piece) = taken {
                self.empty -= usize::from(was_empty);
                self.free_bytes -= layout.size();
                return Some(piece);
            }
            // The next one asks another first.
            // SAFETY: Just removed, and valid.
            unsafe { self.with_room.push_back(chunk.cast()) };
        }
        None
    }

    /// Takes a fresh chunk in.
    ///
    /// # Safety
    /// The memory is a chunk of the source.
    unsafe fn add(&mut self, memory: NonNull<u8>) {
        let chunk: *mut Chunk = memory.as_ptr().cast();
        // SAFETY: The first granule is the chunk's own and large enough.
        unsafe { chunk.write_bytes(0, 1) };
        let bytes = CHUNK_BYTES - GRANULE_BYTES;
        // SAFETY: Within the chunk.
        let first = unsafe { memory.add(GRANULE_BYTES) };
        // SAFETY: The granules from the second on are memory that nobody uses.
        let granules = unsafe { FirstFit::new(first.as_ptr(), bytes) };
        // SAFETY: A field of the chunk.
        let place = unsafe { &raw mut (*chunk).granules };
        // SAFETY: Valid for writes, and what is there needs no drop.
        unsafe { place.write(granules) };
        // SAFETY: The chunk is fresh, hence in no list.
        unsafe { self.with_room.push_front(chunk.cast()) };
        self.empty += 1;
        self.free_bytes += bytes;
    }

    /// Takes a piece back. Returns its chunk if that is no longer needed; it is in no list then.
    ///
    /// # Safety
    /// The piece came from [`Chunks::take_piece`] with this layout, and nobody uses it any more.
    unsafe fn give_piece(&mut self, piece: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        let chunk: *mut Chunk = place_of(piece).0.as_ptr();
        // SAFETY: The chunk of a piece is valid, and its granules under this lock.
        let granules = unsafe { &mut (*chunk).granules };
        let was_full = granules.free() == 0;
        // SAFETY: The caller vouches for piece and layout.
        unsafe { granules.deallocate(piece, layout) };
        self.free_bytes += layout.size();
        if was_full {
            // SAFETY: A full chunk is in no list.
            unsafe { self.with_room.push_front(chunk.cast()) };
        }
        if granules.used() > 0 {
            return None;
        }
        self.empty += 1;
        if self.empty == 1 {
            return None;
        }
        // SAFETY: It has a free granule, so it is in the list.
        unsafe { self.retire(chunk) }
    }

    /// # Safety
    /// The chunk is in the list and has no piece.
    unsafe fn retire(&mut self, chunk: *mut Chunk) -> Option<NonNull<u8>> {
        // SAFETY: The caller says that it is in the list.
        unsafe { self.with_room.remove(chunk.cast()) };
        self.empty -= 1;
        self.free_bytes -= CHUNK_BYTES - GRANULE_BYTES;
        NonNull::new(chunk.cast())
    }

    /// A chunk without a piece, taken out of the list.
    fn take_empty(&mut self) -> Option<NonNull<u8>> {
        let mut at: *mut Chunk = self.with_room.first.cast();
        while self.empty > 0 && !at.is_null() {
            // SAFETY: Chunks in the list are valid, and their granules under this lock.
            let granules = unsafe { &(*at).granules };
            if granules.used() == 0 {
                // SAFETY: In the list, and without a piece.
                return unsafe { self.retire(at) };
            }
            // SAFETY: As above.
            at = unsafe { (*at).link.after }.cast();
        }
        None
    }
}

struct Class {
    /// Pieces with a free object.
    with_room: List,
    /// How many of them have no live object: at most one is kept.
    unused: usize,
    free_objects: usize,
}

// SAFETY: The links lead to memory that the value owns.
unsafe impl Send for Class {}
// SAFETY: As above.
unsafe impl Send for Chunks {}

/// The shared part of the heap. See the module.
pub(super) struct Slabs<S> {
    classes: [Mutex<Class>; CLASSES],
    chunks: Mutex<Chunks>,
    source: S,
}

impl<S: Source> Slabs<S> {
    pub(super) const fn new(source: S) -> Self {
        Slabs {
            classes: [const { Mutex::new(Class::new()) }; CLASSES],
            chunks: Mutex::new(Chunks { with_room: List::new(), empty: 0, free_bytes: 0 }),
            source,
        }
    }

    #[cfg(test)]
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Fills the places with objects of a class, from the first on; returns how many, fewer if
    /// there is no memory.
    pub(super) fn take(&self, class: usize, places: &mut [MaybeUninit<NonNull<u8>>]) -> usize {
        let mut taken = 0;
        let mut pieces = self.classes[class].lock();
        while taken < places.len() {
            let piece: *mut Piece = pieces.with_room.first.cast();
            let Some(at) = NonNull::new(piece) else {
                match self.make_piece(class) {
                    // SAFETY: The piece is fresh, hence in no list.
                    Some(piece) => unsafe { pieces.add(class, piece) },
                    None => break,
                }
                continue;
            };
            let (chunk, start) = piece_place(at);
            let first = first_object(chunk, start);
            // SAFETY: Pieces in the list are valid and under the lock of their class.
            let free = unsafe { &mut (*piece).free };
            pieces.unused -= usize::from(*free == all_free(class));
            for place in &mut places[taken..] {
                if *free == 0 {
                    break;
                }
                let index = free.trailing_zeros() as usize;
                *free &= *free - 1;
                // SAFETY: Only bits of objects within the piece are ever set.
                place.write(unsafe { first.add(index * object_bytes(class)) });
                taken += 1;
            }
            if *free == 0 {
                // SAFETY: It is the list's first.
                unsafe { pieces.with_room.remove(piece.cast()) };
            }
        }
        pieces.free_objects -= taken;
        taken
    }

    /// Takes objects of a class back.
    ///
    /// # Safety
    /// They came from [`Slabs::take`] with this class, and nobody uses them any more.
    pub(super) unsafe fn give(&self, class: usize, objects: &[MaybeUninit<NonNull<u8>>]) {
        let mut pieces = self.classes[class].lock();
        pieces.free_objects += objects.len();
        for object in objects {
            // SAFETY: The caller gives objects.
            let object = unsafe { object.assume_init_read() };
            let (chunk, granule) = place_of(object);
            let places = chunk.as_ptr();
            // SAFETY: The chunk of a live object is valid; the start of its piece was written
            // before the object was handed out.
            let start = usize::from(unsafe { (*places).starts[granule] });
            // SAFETY: As above.
            let of_class = usize::from(unsafe { (*places).classes[start] });
            assert!(of_class == class, "an object is freed with the layout it was allocated with");
            let offset = object.addr().get() - first_object(chunk, start).addr().get();
            assert!(offset.is_multiple_of(object_bytes(class)), "an object is freed whole");
            let bit = 1 << (offset / object_bytes(class));
            // SAFETY: Pieces are under the lock of their class.
            let piece = unsafe { &raw mut (*places).pieces[start] };
            // SAFETY: As above.
            let free = unsafe { &mut (*piece).free };
            assert!(*free & bit == 0, "an object is freed once");
            if *free == 0 {
                // SAFETY: A piece without free objects is in no list. Only its link is written.
                unsafe { pieces.with_room.push_front(piece.cast()) };
            }
            *free |= bit;
            if *free == all_free(class) {
                pieces.unused += 1;
                if pieces.unused > 1 {
                    // SAFETY: None of its objects is live, and it is in the list.
                    unsafe { self.end_piece(&mut pieces, class, piece) };
                }
            }
        }
    }

    /// Gives back to the source whatever can be: pieces and chunks that are kept for the next call.
    pub(super) fn trim(&self) {
        for (class, pieces) in self.classes.iter().enumerate() {
            let mut pieces = pieces.lock();
            let mut at: *mut Piece = pieces.with_room.first.cast();
            while pieces.unused > 0 && !at.is_null() {
                let piece = at;
                // SAFETY: Pieces in the list are valid and under this lock.
                at = unsafe { (*piece).link.after }.cast();
                // SAFETY: As above.
                let free = unsafe { (*piece).free };
                if free == all_free(class) {
                    // SAFETY: None of its objects is live, and it is in the list.
                    unsafe { self.end_piece(&mut pieces, class, piece) };
                }
            }
        }
        let mut chunks = self.chunks.lock();
        while let Some(chunk) = chunks.take_empty() {
            // SAFETY: It came from the source and holds nothing.
            unsafe { self.source.give(chunk) };
        }
    }

    /// Bytes of free objects and of granules without a piece.
    pub(super) fn free_bytes(&self) -> usize {
        let of_class = |(class, pieces): (usize, &Mutex<Class>)| {
            pieces.lock().free_objects * object_bytes(class)
        };
        let objects: usize = self.classes.iter().enumerate().map(of_class).sum();
        objects + self.chunks.lock().free_bytes
    }

    /// Memory for ever, for who stands in front of the slabs.
    pub(super) fn take_for_ever(&self, bytes: usize) -> Option<NonNull<u8>> {
        self.source.take_for_ever(bytes)
    }

    /// Whether an object can be had without asking the source.
    pub(super) fn has_listed(&self, class: usize) -> bool {
        self.classes[class].lock().free_objects > 0 || self.chunks.lock().empty > 0
    }

    /// A piece of the class, all of its objects free, in no list.
    fn make_piece(&self, class: usize) -> Option<*mut Piece> {
        let layout = piece_layout(class);
        let memory = self.take_granules(layout)?;
        let (chunk, start) = place_of(memory);
        let chunk = chunk.as_ptr();
        for granule in start..start + piece_granules(class) {
            // SAFETY: The granules are the new piece's, so nobody else looks at their places.
            unsafe { (*chunk).starts[granule] = start as u8 };
        }
        // SAFETY: As above.
        unsafe { (*chunk).classes[start] = class as u8 };
        // SAFETY: The place at the index of the piece's first granule is its own.
        let piece = unsafe { &raw mut (*chunk).pieces[start] };
        let link = Link { before: ptr::null_mut(), after: ptr::null_mut() };
        // SAFETY: As above.
        unsafe { piece.write(Piece { link, free: all_free(class) }) };
        Some(piece)
    }

    fn take_granules(&self, layout: Layout) -> Option<NonNull<u8>> {
        let mut chunks = self.chunks.lock();
        if let Some(piece) = chunks.take_piece(layout) {
            return Some(piece);
        }
        let fresh = self.source.take()?;
        // SAFETY: Fresh from the source.
        unsafe { chunks.add(fresh) };
        chunks.take_piece(layout)
    }

    /// Gives a piece back to its chunk, and that perhaps to the source.
    ///
    /// # Safety
    /// The piece is in the list of its class and none of its objects is live.
    unsafe fn end_piece(&self, pieces: &mut Class, class: usize, piece: *mut Piece) {
        // SAFETY: The caller says that it is in the list.
        unsafe { pieces.with_room.remove(piece.cast()) };
        pieces.unused -= 1;
        pieces.free_objects -= piece_objects(class);
        let Some(at) = NonNull::new(piece) else { return };
        let (chunk, start) = piece_place(at);
        let memory = first_object(chunk, start);
        // SAFETY: The piece was made with this layout, and holds nothing.
        let chunk = unsafe { self.chunks.lock().give_piece(memory, piece_layout(class)) };
        if let Some(chunk) = chunk {
            // SAFETY: It came from the source and holds nothing.
            unsafe { self.source.give(chunk) };
        }
    }
}

impl Class {
    const fn new() -> Self {
        Class { with_room: List::new(), unused: 0, free_objects: 0 }
    }

    /// # Safety
    /// The piece is valid, all of its objects are free, and it is in no list.
    unsafe fn add(&mut self, class: usize, piece: *mut Piece) {
        // SAFETY: As the caller says.
        unsafe { self.with_room.push_front(piece.cast()) };
        self.unused += 1;
        self.free_objects += piece_objects(class);
    }
}

#[cfg(test)]
#[path = "slabs_tests.rs"]
pub(super) mod tests;
