//! The symbols that wasmtime links against in a kernel: its thread-local word, its locks, its code.
//!
//! Owns the reservations that hold native code, writable or executable and never both, and tells
//! the interrupts where fibers can be preempted: in text, unless a trap is under way.

use super::PAGE_BYTES;
use alloc::collections::BTreeMap;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use craton_hal::memory::{Protection, Reservation};
use craton_hal::{fiber, interrupt};
use spin::Mutex;

// The names of `wasmtime/src/runtime/vm/sys/custom/capi.rs`.
const PROT_WRITE: u32 = 1 << 1;
const PROT_EXEC: u32 = 1 << 2;
const OK: i32 = 0;
const FAILED: i32 = 12; // ENOMEM, as any caller would read it

/// Native code, by the address of its reservation. Locked while a module is loaded or dropped.
static CODE: Mutex<BTreeMap<usize, Code>> = Mutex::new(BTreeMap::new());

struct Code {
    pages: Reservation,
    /// What of it is executable: where fibers can be preempted.
    text: Option<Range<usize>>,
}

impl Code {
    /// Gives a range of addresses, within the reservation, another protection.
    fn protect(&mut self, range: Range<usize>, flags: u32) -> Option<()> {
        let protection = match (flags & PROT_EXEC != 0, flags & PROT_WRITE != 0) {
            (true, true) => return None,
            (true, false) => Protection::ReadExecute,
            (false, true) => Protection::ReadWrite,
            (false, false) => Protection::ReadOnly,
        };
        let base = self.pages.as_ptr() as usize;
        let offsets = range.start.checked_sub(base)?..range.end.checked_sub(base)?;
        // SAFETY: wasmtime asks for this when it has written the code and holds no reference that
        // writes to it, and takes executable pages back only when nothing runs in them.
        unsafe { self.pages.protect(offsets, protection) }.ok()?;
        if protection == Protection::ReadExecute && self.text.is_none() {
            if !interrupt::register_text(range.clone()) {
                return None;
            }
            self.text = Some(range);
        }
        Some(())
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(text) = &self.text {
            interrupt::unregister_text(text.start);
        }
    }
}

fn status(done: Option<()>) -> i32 {
    done.map_or(FAILED, |()| OK)
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_new(size: usize, _flags: u32, out: &mut *mut u8) -> i32 {
    let Ok(mut pages) = Reservation::new(size) else {
        return FAILED;
    };
    if pages.commit(size).is_err() {
        return FAILED;
    }
    *out = pages.as_ptr();
    CODE.lock().insert(*out as usize, Code { pages, text: None });
    OK
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_munmap(start: *mut u8, _size: usize) -> i32 {
    let code = CODE.lock().remove(&(start as usize));
    // Unmapped with the lock free: other CPUs may wait for it.
    status(code.map(drop))
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mprotect(start: *mut u8, size: usize, flags: u32) -> i32 {
    // The last page of an artifact is rarely full.
    let range = start as usize..start as usize + size.next_multiple_of(PAGE_BYTES);
    let mut code = CODE.lock();
    let holder = code.range_mut(..=range.start).next_back();
    status(holder.and_then(|(_, code)| code.protect(range, flags)))
}

/// Would replace mappings; only memories that are not ours would ask for it.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_remap(_start: *mut u8, _size: usize, _flags: u32) -> i32 {
    FAILED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_page_size() -> usize {
    PAGE_BYTES
}

/// No image: memories are initialised by copying, which `memory_init_cow(false)` also says.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_new(_bytes: *const u8, _len: usize, out: &mut *mut u8) -> i32 {
    *out = ptr::null_mut();
    OK
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_map_at(_image: *mut u8, _address: *mut u8, _len: usize) -> i32 {
    FAILED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_free(_image: *mut u8) {}

/// Says whom to tell of exceptions in module text.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_init_traps(handler: interrupt::TextFaultHandler) -> i32 {
    interrupt::set_text_fault_handler(handler);
    OK
}

// wasmtime's own thread-local variable: one word that follows the fiber; slot 1 is for features
// that are not compiled in. While wasm runs, wasmtime reads the word only to record a trap, and
// sets it when the call that trapped has returned. In between an error is owned by a stack frame
// while control passes through module text, so a process that was killed there would leave the
// error behind: the read holds preemption off and the set allows it again. Should another version
// read the word elsewhere, the self-test's endless loops are not preempted, and it fails.

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(_slot: usize) -> *mut u8 {
    fiber::hold_preemption();
    fiber::local_word()
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(_slot: usize, word: *mut u8) {
    fiber::set_local_word(word);
    fiber::allow_preemption();
}

// wasmtime's locks. They guard tables that are touched when a module is loaded or dropped and when
// a trap is looked up: held for microseconds, never across a suspension, never by an interrupt, and
// no fiber is preempted outside module text. Spinning is enough.

const UNLOCKED: usize = 0;
const WRITER: usize = 1 << 63;

/// The lock behind one of wasmtime's words.
fn lock_at(word: *mut usize) -> &'static AtomicUsize {
    // SAFETY: wasmtime passes the address of a `usize` that lives as long as its lock, is aligned
    // and is touched through these functions alone; the reference does not outlive the call.
    unsafe { AtomicUsize::from_ptr(word) }
}

fn take(lock: &AtomicUsize, held: usize) {
    while lock.compare_exchange_weak(UNLOCKED, held, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        core::hint::spin_loop();
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_lock_acquire(lock: *mut usize) {
    take(lock_at(lock), WRITER);
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_lock_release(lock: *mut usize) {
    lock_at(lock).store(UNLOCKED, Ordering::Release);
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_lock_free(_lock: *mut usize) {}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_rwlock_read(lock: *mut usize) {
    let lock = lock_at(lock);
    loop {
        let readers = lock.load(Ordering::Relaxed) & !WRITER;
        let more = readers + 1;
        if lock.compare_exchange_weak(readers, more, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        core::hint::spin_loop();
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_rwlock_read_release(lock: *mut usize) {
    lock_at(lock).fetch_sub(1, Ordering::Release);
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_rwlock_write(lock: *mut usize) {
    take(lock_at(lock), WRITER);
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_rwlock_write_release(lock: *mut usize) {
    lock_at(lock).store(UNLOCKED, Ordering::Release);
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_sync_rwlock_free(_lock: *mut usize) {}
