//! Which addresses are module text: where an interrupt may take the CPU from a fiber.
//!
//! Owns the table of text ranges. Writers hold a lock and are rare (a program is loaded or
//! unloaded); interrupts read without one at any time, also in the middle of a write on their own
//! CPU. A range is published by its start and taken back by it, so a reader sees it whole or not at
//! all. A reader on another CPU may pair the start of a range with the end of its successor in the
//! same row; that covers no executable address that is not module text, so it does no harm.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Most ranges at once: one for each loaded module.
pub const TEXT_RANGES_MAX: usize = 256;

const EMPTY: usize = usize::MAX;

struct Row {
    start: AtomicUsize,
    end: AtomicUsize,
}

static ROWS: [Row; TEXT_RANGES_MAX] =
    [const { Row { start: AtomicUsize::new(EMPTY), end: AtomicUsize::new(0) } }; TEXT_RANGES_MAX];
/// Rows in use lie below this index.
static ROWS_END: AtomicUsize = AtomicUsize::new(0);
static WRITER: spin::Mutex<()> = spin::Mutex::new(());

/// Allows preemption while the CPU executes in `range`. False if the table is full.
#[must_use]
pub fn register_text(range: Range<usize>) -> bool {
    let _writer = WRITER.lock();
    let free = ROWS.iter().position(|row| row.start.load(Ordering::Relaxed) == EMPTY);
    let Some(index) = free else {
        return false;
    };
    ROWS[index].end.store(range.end, Ordering::Relaxed);
    ROWS[index].start.store(range.start, Ordering::Release);
    ROWS_END.fetch_max(index + 1, Ordering::Release);
    true
}

/// Takes back the range that begins at `start`. Nothing executes in it any more.
pub fn unregister_text(start: usize) {
    let _writer = WRITER.lock();
    if let Some(row) = ROWS.iter().find(|row| row.start.load(Ordering::Relaxed) == start) {
        row.start.store(EMPTY, Ordering::Release);
    }
}

/// Whether `address` is module text.
pub(crate) fn is_text(address: usize) -> bool {
    let end = ROWS_END.load(Ordering::Acquire).min(TEXT_RANGES_MAX);
    ROWS[..end].iter().any(|row| {
        let start = row.start.load(Ordering::Acquire);
        start <= address && address < row.end.load(Ordering::Relaxed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_text_from_registration_to_removal() {
        assert!(!is_text(0x1000));
        assert!(register_text(0x1000..0x2000));
        assert!(register_text(0x4000..0x5000));
        assert!(is_text(0x1000) && is_text(0x1fff) && is_text(0x4000));
        assert!(!is_text(0xfff) && !is_text(0x2000) && !is_text(0x3000));
        unregister_text(0x1000);
        assert!(!is_text(0x1000) && is_text(0x4000));
        unregister_text(0x4000);
        let fits = (0..TEXT_RANGES_MAX).all(|n| register_text(n * 16..n * 16 + 16));
        assert!(fits && !register_text(0..1), "the table has another size than it says");
        (0..TEXT_RANGES_MAX).for_each(|n| unregister_text(n * 16));
        assert!(!is_text(0) && !is_text(16));
    }
}
