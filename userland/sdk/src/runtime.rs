//! What a Rust program without `std` needs on wasm32: an allocator and an end for panics.
//!
//! Owns both. A panic is logged, then traps: the process ends with
//! [`TrapKind::Unreachable`](craton_abi::TrapKind), and its watchers read the backtrace.

use crate::system::{Level, log};
use alloc::string::String;
use core::fmt::Write;
use core::panic::PanicInfo;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    let mut text = String::new();
    // Writing to a `String` does not fail. Should the memory be used up, the allocation traps,
    // which is the end that this function is after.
    let _ = write!(text, "{info}");
    log(Level::Error, &text);
    core::arch::wasm32::unreachable()
}
