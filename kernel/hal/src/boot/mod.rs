//! From whatever door the machine came through to one `kernel_main`.
//!
//! Owns the entry code of the PVH door (`entry.s`), the translation of its start-info into a
//! `bootloader_api::BootInfo`, and what only this door knows: the command line and the module.
//! Loaders that speak `bootloader_api` themselves arrive at `_start` with a `BootInfo` of their
//! own. Neighbours: [`crate::memory`] takes the `BootInfo` over; [`crate::stack`] gives the first
//! stack.

use crate::memory::layout::PHYSICAL_MAP_BASE;
use crate::power::{self, ExitCode};
use crate::pvh::{self, Malformed};
use crate::serial;
use crate::stack::{BOOT_STACK, BOOT_STACK_BYTES, GUARD_BYTES};
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegions, Optional};
use core::arch::{global_asm, naked_asm};
use core::fmt;
use core::ops::Range;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;

/// Longest command line; a machine with a longer one refuses to run.
pub const COMMAND_LINE_BYTES_MAX: usize = pvh::COMMAND_LINE_BYTES_MAX;
/// Physical memory below this address stays out of use: BIOS data and the trampoline of the other
/// CPUs, which must lie in the first MiB.
const LOW_MEMORY_HELD_BACK: u64 = 0x1_0000;
/// What the entry code maps.
const EARLY_MAP_BYTES: u64 = 4 << 30;

global_asm!(
    include_str!("entry.s"),
    stack_end = const GUARD_BYTES + BOOT_STACK_BYTES,
    pvh_main = sym pvh_main,
    options(att_syntax)
);

unsafe extern "C" {
    // Placed by kernel.ld; only their addresses mean anything.
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
    static __boot_tables_start: u8;
    static __boot_tables_end: u8;
    static __image_end: u8;

    // Written by the entry code, once, before any Rust runs.
    static boot_entry_time_stamp: u64;

    // Made by `bootloader_api::entry_point!` in the kernel's binary; the type is Rust's on both
    // sides.
    #[allow(improper_ctypes)]
    fn _start(boot_info: &'static mut BootInfo) -> !;
}

/// Where the parts of the kernel image lie, as virtual addresses on page boundaries.
#[derive(Debug, Clone)]
pub struct Image {
    /// Read and execute.
    pub text: Range<u64>,
    /// Read only.
    pub rodata: Range<u64>,
    /// Read and write; holds the next range too.
    pub data: Range<u64>,
    /// The page tables of the entry code, of no use once the kernel has its own.
    pub boot_tables: Range<u64>,
}

/// The image this code runs from.
pub fn image() -> Image {
    let start = &raw const __image_start as u64;
    let text_end = &raw const __text_end as u64;
    let rodata_end = &raw const __rodata_end as u64;
    Image {
        text: start..text_end,
        rodata: text_end..rodata_end,
        data: rodata_end..&raw const __image_end as u64,
        boot_tables: &raw const __boot_tables_start as u64..&raw const __boot_tables_end as u64,
    }
}

/// The time-stamp counter when the PVH door was entered; `None` if the kernel came by another.
pub fn entry_time_stamp() -> Option<u64> {
    // SAFETY: An aligned word of the image's data that nobody writes to any more.
    let time_stamp = unsafe { boot_entry_time_stamp };
    (time_stamp != 0).then_some(time_stamp)
}

/// The room that the image keeps for the names of its functions; zeros if nothing filled it.
pub fn symbols() -> &'static [u8] {
    let start = &raw const __symbols_start;
    let len = &raw const __symbols_end as usize - start as usize;
    // SAFETY: The linker script puts both around a part of the image that is mapped, and read-only.
    unsafe { slice::from_raw_parts(start, len) }
}

struct CommandLine {
    bytes: [u8; COMMAND_LINE_BYTES_MAX],
    len: usize,
}

static COMMAND_LINE: Once<CommandLine> = Once::new();
static MODULE: Once<Range<u64>> = Once::new();

/// The kernel command line; empty if the loader gave none.
pub fn command_line() -> &'static str {
    let line = COMMAND_LINE.get().and_then(|line| line.bytes.get(..line.len));
    line.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
}

/// The physical range of the loader's first module (QEMU's `-initrd`). Its frames are never handed
/// out; [`crate::memory::physical_bytes`] reads them.
pub fn module() -> Option<Range<u64>> {
    MODULE.get().cloned()
}

/// The true start of the kernel on every door: turns SSE on (loaders of `bootloader_api` need not),
/// takes the kernel's own stack and calls `main` on it. To be called first thing in the function
/// given to `bootloader_api::entry_point!`.
///
/// # Panics
/// If it is called again: the stack is taken.
pub fn enter(
    boot_info: &'static mut BootInfo,
    main: extern "C" fn(&'static mut BootInfo) -> !,
) -> ! {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    assert!(!ENTERED.swap(true, Ordering::Relaxed), "the kernel starts once");
    // SAFETY: Nothing on the boot stack is needed any more: whoever called this diverges.
    unsafe { take_boot_stack(boot_info, main) }
}

/// # Safety
/// The boot stack is free, or what it holds is never returned to.
#[unsafe(naked)]
unsafe extern "C" fn take_boot_stack(
    boot_info: &'static mut BootInfo,
    main: extern "C" fn(&'static mut BootInfo) -> !,
) -> ! {
    naked_asm!(
        "mov rax, cr0",
        "and rax, -5",     // not EM
        "or rax, 0x10022", // WP, NE, MP
        "mov cr0, rax",
        "mov rax, cr4",
        "or rax, 0x600", // OSFXSR, OSXMMEXCPT
        "mov cr4, rax",
        "lea rsp, [rip + {stack} + {stack_end}]",
        "xor ebp, ebp",
        "call rsi",
        "ud2",
        stack = sym BOOT_STACK,
        stack_end = const GUARD_BYTES + BOOT_STACK_BYTES,
    )
}

/// Bytes of physical memory through the entry code's map. `None` if they lie outside of it.
fn early_bytes(address: u64, len: u64) -> Option<&'static [u8]> {
    let end = address.checked_add(len)?;
    if address == 0 || end > EARLY_MAP_BYTES {
        return None;
    }
    let start = ptr::with_exposed_provenance((PHYSICAL_MAP_BASE + address) as usize);
    // SAFETY: The entry code maps all of the first 4 GiB there, and nothing writes to what a loader
    // left while the slice is in use: frames are handed out only after it was copied.
    Some(unsafe { slice::from_raw_parts(start, len as usize) })
}

/// Says in one sentence why the machine cannot run, and ends it. For the time before there is a log
/// or a heap.
pub(crate) fn refuse(why: fmt::Arguments<'_>) -> ! {
    serial::start();
    serial::write(format_args!("cannot run: {why}\n"));
    power::end(ExitCode::Failure)
}

fn keep_command_line(address: u64) -> Result<(), Malformed> {
    if address == 0 {
        return Ok(());
    }
    // The length is unknown: look at as much as is kept, or as the map has.
    let len = EARLY_MAP_BYTES.saturating_sub(address).min(COMMAND_LINE_BYTES_MAX as u64 + 1);
    let text = pvh::command_line(early_bytes(address, len).unwrap_or_default())?;
    let mut bytes = [0; COMMAND_LINE_BYTES_MAX];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    COMMAND_LINE.call_once(|| CommandLine { bytes, len: text.len() });
    Ok(())
}

/// What to keep out of the usable regions, sorted by address, `count` entries of the array.
fn held_back(info: &pvh::StartInfo, image: &Image) -> ([pvh::Range; pvh::HELD_BACK_MAX], usize) {
    let mut held = [pvh::Range::default(); pvh::HELD_BACK_MAX];
    held[0] = pvh::Range { start: 0, end: LOW_MEMORY_HELD_BACK };
    held[1] = pvh::Range { start: image.text.start, end: image.data.end };
    let mut count = 2;
    let entry = (info.module_count > 0)
        .then(|| early_bytes(info.modules, pvh::MODULE_ENTRY_BYTES as u64))
        .flatten();
    if let Some(module) = entry.and_then(pvh::module) {
        MODULE.call_once(|| module.start..module.end);
        held[count] = module;
        count += 1;
    }
    held[..count].sort_unstable_by_key(|range| range.start);
    (held, count)
}

/// Called by the entry code, on the boot stack, with SSE on.
extern "C" fn pvh_main(start_info: u32) -> ! {
    match translate(start_info) {
        // SAFETY: `_start` is the macro's wrapper and takes exactly this argument.
        Ok(boot_info) => unsafe { _start(boot_info) },
        Err(malformed) => refuse(format_args!("{malformed}")),
    }
}

/// Turns the start-info into a `BootInfo`, and keeps what that has no place for. Runs once.
fn translate(start_info: u32) -> Result<&'static mut BootInfo, Malformed> {
    static mut REGIONS: [MemoryRegion; pvh::REGIONS_MAX] =
        [const { MemoryRegion::empty() }; pvh::REGIONS_MAX];
    static mut BOOT_INFO: Option<BootInfo> = None;

    let bytes = early_bytes(u64::from(start_info), pvh::START_INFO_BYTES as u64);
    let bytes = bytes.and_then(|b| b.try_into().ok()).ok_or(Malformed::Missing)?;
    let info = pvh::StartInfo::parse(bytes)?;
    keep_command_line(info.command_line)?;

    let image = image();
    let (held, held_count) = held_back(&info, &image);
    let entries = (info.memory_entries as usize).min(pvh::MEMORY_ENTRIES_MAX);
    let map = early_bytes(info.memory_map, (entries * pvh::MEMORY_ENTRY_BYTES) as u64);
    let map = map.ok_or(Malformed::MemoryMapOutOfReach)?;
    pvh::check(map, pvh::Range { start: image.text.start, end: image.data.end })?;
    let regions = &raw mut REGIONS;
    // SAFETY: This function runs once, before anything else could touch its own static.
    let regions = unsafe { &mut *regions };
    let count = pvh::regions(map, &held[..held_count], regions);

    let mut boot_info = BootInfo::new(MemoryRegions::from(&mut regions[..count]));
    boot_info.physical_memory_offset = Optional::Some(PHYSICAL_MAP_BASE);
    if info.rsdp != 0 {
        boot_info.rsdp_addr = Optional::Some(info.rsdp);
    }
    if let Some(module) = module() {
        boot_info.ramdisk_addr = Optional::Some(PHYSICAL_MAP_BASE + module.start);
        boot_info.ramdisk_len = module.end - module.start;
    }
    boot_info.kernel_addr = image.text.start;
    boot_info.kernel_len = image.data.end - image.text.start;
    let place = &raw mut BOOT_INFO;
    // SAFETY: As above: the one run of this function owns its static.
    let place = unsafe { &mut *place };
    Ok(place.insert(boot_info))
}
