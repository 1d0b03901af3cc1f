//! Everything that a process must not do, on purpose.
//!
//! Owns [`Deed`] and [`perform`]. The traps are written in WebAssembly's own instructions, because
//! Rust refuses to compile most of them; the bad pointers go straight to the imports. This is the
//! only unsafe code among the programs (docs/decisions/0005-unsafe-in-the-sdk.md).

use craton::{ExitReason, Resource, TrapKind};
use serde::{Deserialize, Serialize};

/// Something that ends a process.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Deed {
    /// Divide by zero.
    Divide,
    /// Divide the least number by -1.
    DivideOverflow,
    /// Load from beyond the memory.
    Load,
    /// Store beyond the memory.
    Store,
    /// Execute `unreachable`.
    Unreachable,
    /// Panic, as Rust programs do.
    Panic,
    /// Call oneself without end.
    Recurse,
    /// Call what is no function, through the table.
    CallNull,
    /// Call beyond the table.
    CallBeyond,
    /// Use up all memory, then need more.
    Exhaust,
    /// Give the host call of this number a bad pointer.
    BadPointer(u8),
    /// Exit with bytes that are no reason.
    MalformedExit,
    /// Exit as if killed.
    ForgedExit,
}

/// Host calls that take a pointer, once for each pointer.
pub const BAD_POINTERS: u8 = 20;

impl Deed {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Deed> {
        [
            Deed::Divide,
            Deed::DivideOverflow,
            Deed::Load,
            Deed::Store,
            Deed::Unreachable,
            Deed::Panic,
            Deed::Recurse,
            Deed::CallNull,
            Deed::CallBeyond,
            Deed::Exhaust,
            Deed::MalformedExit,
            Deed::ForgedExit,
        ]
        .into_iter()
        .chain((0..BAD_POINTERS).map(Deed::BadPointer))
    }

    /// Whether a process that did this ends with `reason`.
    pub fn explains(self, reason: &ExitReason) -> bool {
        let kind = match self {
            Deed::Divide | Deed::DivideOverflow => TrapKind::Arithmetic,
            Deed::Load | Deed::Store => TrapKind::MemoryOutOfBounds,
            Deed::Unreachable | Deed::Panic => TrapKind::Unreachable,
            Deed::Recurse => TrapKind::StackOverflow,
            Deed::CallNull => TrapKind::IndirectCall,
            Deed::CallBeyond => TrapKind::TableOutOfBounds,
            // A Rust program panics when it is denied memory; the node knows why.
            Deed::Exhaust => return *reason == ExitReason::Limit(Resource::Memory),
            Deed::BadPointer(_) => TrapKind::BadPointer,
            Deed::MalformedExit | Deed::ForgedExit => TrapKind::Other,
        };
        matches!(reason, ExitReason::Trap(is, _) if *is == kind)
    }
}

/// Does it. Returns only if the node let it pass.
#[cfg(target_arch = "wasm32")]
pub fn perform(deed: Deed) {
    match deed {
        Deed::Divide => drop(wasm::divide(1, 0)),
        Deed::DivideOverflow => drop(wasm::divide(i32::MIN, -1)),
        Deed::Load => drop(wasm::load()),
        Deed::Store => wasm::store(),
        Deed::Unreachable => wasm::trap(),
        Deed::Panic => panic!("as asked"),
        Deed::Recurse => drop(wasm::recurse(1)),
        Deed::CallNull => wasm::call(0),
        Deed::CallBeyond => wasm::call(i32::MAX),
        Deed::Exhaust => exhaust(),
        Deed::BadPointer(which) => wasm::bad_pointer(which),
        Deed::MalformedExit => wasm::exit(&[0xff, 1]),
        Deed::ForgedExit => wasm::exit(&[2]),
    }
}

/// Computes without end and without a host call.
#[cfg(target_arch = "wasm32")]
pub fn spin() -> ! {
    wasm::spin()
}

/// Fills a GiB of memory over and over, with one instruction for each.
#[cfg(target_arch = "wasm32")]
pub fn fill() {
    const PAGES: usize = (1 << 30) / 65_536;
    let before = core::arch::wasm32::memory_grow::<0>(PAGES);
    assert!(before != usize::MAX, "there is no such memory");
    wasm::fill(before * 65_536);
}

/// On threads there is none.
#[cfg(not(target_arch = "wasm32"))]
pub fn fill() {
    spin()
}

/// On threads nothing is trapped, so nothing is tried.
#[cfg(not(target_arch = "wasm32"))]
pub fn perform(_: Deed) {}

/// A thread can be ended at a host call only.
#[cfg(not(target_arch = "wasm32"))]
pub fn spin() -> ! {
    loop {
        craton::yield_now();
    }
}

#[cfg(target_arch = "wasm32")]
fn exhaust() {
    const PART_BYTES: usize = 1 << 20;
    let mut parts = alloc::vec::Vec::new();
    loop {
        // Seen by nobody, the memory would be optimised away.
        parts.push(core::hint::black_box(alloc::vec![1_u8; PART_BYTES]));
        core::hint::black_box(&parts);
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)] // docs/decisions/0005-unsafe-in-the-sdk.md
mod wasm {
    use craton::Pid;

    core::arch::global_asm!(include_str!("hostile.s"));

    unsafe extern "C" {
        // SAFETY (all of these): they touch no memory of the program; they trap, or return.
        #[link_name = "hostile_divide"]
        pub(super) safe fn divide(dividend: i32, divisor: i32) -> i32;
        #[link_name = "hostile_load"]
        pub(super) safe fn load() -> i32;
        #[link_name = "hostile_store"]
        pub(super) safe fn store();
        #[link_name = "hostile_trap"]
        pub(super) safe fn trap();
        #[link_name = "hostile_recurse"]
        pub(super) safe fn recurse(depth: i32) -> i32;
        #[link_name = "hostile_call"]
        pub(super) safe fn call(index: i32);
        #[link_name = "hostile_spin"]
        pub(super) safe fn spin() -> !;
    }

    unsafe extern "C" {
        // SAFETY: it writes to the memory behind what was there when it was grown, which nobody
        // else knows of, and does not return.
        #[link_name = "hostile_fill"]
        pub(super) safe fn fill(from: usize) -> !;
    }

    type PidBytes = [u8; Pid::BYTES];

    // As in the SDK's `sys`, so that the linker sees one declaration.
    #[link(wasm_import_module = "craton")]
    unsafe extern "C" {
        fn self_pid(out: *mut PidBytes);
        fn argument_read(to: *mut u8, len: usize) -> u32;
        fn random(to: *mut u8, len: usize);
        fn log(level: i32, text: *const u8, len: usize);
        #[link_name = "exit"]
        fn exit_with(reason: *const u8, len: usize) -> !;
        fn spawn(
            place_kind: i32,
            place: *const u8,
            program: *const u8,
            entry: *const u8,
            entry_len: usize,
            argument: *const u8,
            argument_len: usize,
            flags: i32,
            limits: *const u8,
            limits_len: usize,
            out_pid: *mut PidBytes,
            out_monitor: *mut u64,
        ) -> i32;
        fn send(to: *const PidBytes, tag: u64, payload: *const u8, len: usize, timeout: i64)
        -> i32;
        fn receive(
            to: *mut u8,
            capacity: usize,
            use_tag: i32,
            tag: u64,
            timeout: i64,
            out: *mut [u8; 48],
        ) -> i32;
        fn monitor(target: *const PidBytes) -> i64;
        fn kill(target: *const PidBytes) -> i32;
        fn nodes(to: *mut u64, capacity: usize) -> i32;
    }

    /// An address that no 32-bit memory of a test reaches.
    fn bad<T>() -> *mut T {
        core::ptr::without_provenance_mut(0xffff_ff00)
    }

    /// Leaves the process with bytes as they are.
    pub(super) fn exit(reason: &[u8]) {
        // SAFETY: the pointer and length are those of one live slice.
        unsafe { exit_with(reason.as_ptr(), reason.len()) }
    }

    /// Gives one host call one bad pointer; the rest of its arguments are good.
    pub(super) fn bad_pointer(which: u8) {
        match which {
            0..6 => bad_output(which),
            6..12 => bad_spawn(which - 6),
            _ => bad_message(which - 12),
        }
    }

    fn bad_output(which: u8) {
        let near_end = core::arch::wasm32::memory_size::<0>() * 65_536 - 4;
        // SAFETY (each arm): the range is outside the memory, or ends outside it; the ABI says that
        // the call then ends the process and touches nothing.
        match which {
            0 => unsafe { self_pid(bad()) },
            1 => drop(unsafe { argument_read(bad(), 16) }),
            2 => unsafe { random(bad(), 16) },
            // Begins inside, ends outside.
            3 => unsafe { random(core::ptr::without_provenance_mut(near_end), 16) },
            // Pointer and length overflow 32 bits.
            4 => unsafe { random(bad(), usize::MAX) },
            _ => drop(unsafe { nodes(bad(), 4) }),
        }
    }

    fn bad_spawn(which: u8) {
        let entry = b"nothing";
        let (mut pid, mut watch, place) = ([0; Pid::BYTES], 0, [0_u8; Pid::BYTES]);
        let mut arguments = (place.as_ptr(), core::ptr::null(), entry.as_ptr(), entry.as_ptr());
        let mut outputs = (&raw mut pid, &raw mut watch);
        match which {
            0 => arguments.0 = bad(),
            1 => arguments.1 = bad(),
            2 => arguments.2 = bad(),
            3 => arguments.3 = bad(),
            4 => outputs.0 = bad(),
            _ => outputs.1 = bad(),
        }
        let (place, program, entry_at, argument) = arguments;
        // SAFETY: one range is outside the memory, so that the call ends the process and touches
        // nothing; the others are live and of the lengths that the call takes. The place is read,
        // since its kind is a node.
        unsafe {
            spawn(
                2,
                place,
                program,
                entry_at,
                entry.len(),
                argument,
                1,
                1,
                place,
                0,
                outputs.0,
                outputs.1,
            )
        };
    }

    fn bad_message(which: u8) {
        let (pid, mut header, mut buffer) = (craton::me().to_bytes(), [0; 48], [0_u8; 8]);
        // SAFETY (each arm): one range is outside the memory, so that the call ends the process and
        // touches nothing; the others are live and of the lengths that the call takes.
        match which {
            0 => drop(unsafe { send(bad(), 1, buffer.as_ptr(), 8, 0) }),
            1 => drop(unsafe { send(&pid, 1, bad(), 8, 0) }),
            2 => drop(unsafe { receive(bad(), 8, 0, 0, 0, &mut header) }),
            3 => drop(unsafe { receive(buffer.as_mut_ptr(), 8, 0, 0, 0, bad()) }),
            4 => drop(unsafe { monitor(bad()) }),
            5 => drop(unsafe { kill(bad()) }),
            6 => unsafe { log(2, bad(), 8) },
            _ => unsafe { exit_with(bad(), 1) },
        }
    }
}
