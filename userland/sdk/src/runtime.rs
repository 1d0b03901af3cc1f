//! What a Rust program without `std` needs on wasm32: an allocator and an end for panics.
//!
//! Owns both. A panic is logged, then traps: the process ends with
//! [`TrapKind::Unreachable`](craton_abi::TrapKind), and its watchers read the backtrace.

use crate::system::{Level, log};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Longest text of a panic that is logged, in bytes.
const PANIC_BYTES_MAX: usize = 512;

/// Text of bounded length. It is not allocated: the panic may come from an allocation that failed.
struct Text {
    bytes: [u8; PANIC_BYTES_MAX],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut kept = text.len().min(PANIC_BYTES_MAX - self.len);
        while !text.is_char_boundary(kept) {
            kept -= 1;
        }
        self.bytes[self.len..self.len + kept].copy_from_slice(&text.as_bytes()[..kept]);
        self.len += kept;
        if kept == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    let mut text = Text { bytes: [0; PANIC_BYTES_MAX], len: 0 };
    // An error means that the text was cut, which is what the bound is for.
    let _ = write!(text, "{info}");
    log(Level::Error, core::str::from_utf8(&text.bytes[..text.len]).unwrap_or("panic"));
    core::arch::wasm32::unreachable()
}
