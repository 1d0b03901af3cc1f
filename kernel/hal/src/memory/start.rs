//! The start of memory: frames out of the loader's map, page tables of the kernel's own.
//!
//! Owns the one switch from the loader's page tables to the final ones, in which the image is W^X,
//! the physical map shows text and read-only data as read-only, guard pages and the null page are
//! unmapped, and nothing else of the loader's is left.

use super::frames::{FrameMap, words_for};
use super::layout::{
    LARGE_PAGE_BYTES, PAGE_BYTES, PHYSICAL_MAP_BASE, PHYSICAL_MAP_BYTES_MAX, RESERVATIONS_BASE,
    RESERVATIONS_BYTES,
};
use super::paging::{Cache, Mapper, Protection};
use super::physical::Frames;
use super::quarantine::Quarantine;
use super::vm::{MachineTables, SPACE, Space};
use super::{RAM, RAM_RANGES_MAX, physical};
use crate::boot::Image;
use crate::{boot, cpu, stack};
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::fmt;
use core::slice;
use x86_64::PhysAddr;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

/// Maps of frames: those that are free, and two of those in quarantine.
const MAPS: usize = 3;

/// Where the first 4 GiB end, and with them the part of memory that has devices in between.
const LOW_MEMORY_END: u64 = 4 << 30;
/// With fewer frames not even a log line comes out: tables of pages, a CPU's caches, a chunk of the
/// heap.
const FRAMES_MIN: usize = 256;

/// Other CPUs begin in the first MiB.
const LOW_FRAME_END: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes of RAM that the loader's map reports as usable.
    pub usable_bytes: u64,
    /// The ACPI root pointer's physical address, if the loader knows it.
    pub rsdp: Option<u64>,
}

/// Takes memory over from the loader. To be called once, early; the `BootInfo` may be gone after
/// it, since it can lie in what only the loader's tables mapped.
pub fn start(boot_info: &'static mut BootInfo) -> Memory {
    let regions: &[MemoryRegion] = &boot_info.memory_regions;
    let rsdp = boot_info.rsdp_addr.into_option();
    let usable = || regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
    let end = usable().map(|region| region.end).max().unwrap_or(0).min(PHYSICAL_MAP_BYTES_MAX);

    let words = words_for(end);
    let map_bytes = (words * MAPS * size_of::<u64>()) as u64;
    let map_start = usable()
        .filter(|region| region.end <= LOW_MEMORY_END)
        .map(|region| (region.start.next_multiple_of(PAGE_BYTES), region.end))
        .find(|(start, end)| start + map_bytes <= *end)
        .map(|(start, _)| start);
    let Some(map_start) = map_start else {
        boot::refuse(format_args!("no {map_bytes} neighbouring bytes of memory below 4 GiB"))
    };
    let map_end = (map_start + map_bytes).next_multiple_of(PAGE_BYTES);
    // SAFETY: The range is usable memory, aligned, mapped by the loader, and is held back below.
    let maps = unsafe {
        slice::from_raw_parts_mut(physical::pointer(map_start).cast().as_ptr(), words * MAPS)
    };
    let (map, rest) = maps.split_at_mut(words);
    let (open, closed) = rest.split_at_mut(words);
    let mut frames = FrameMap::new(map);
    let quarantine = Quarantine::new(open, closed);
    let mut ram = [(0, 0); RAM_RANGES_MAX];
    for (range, region) in ram.iter_mut().zip(usable()) {
        *range = (region.start, region.end);
        frames.add(region.start, region.end.min(map_start.max(region.start)));
        frames.add(region.start.max(map_end), region.end);
    }
    if frames.free() < FRAMES_MIN {
        let (kib, min_kib) = (frames.free() * 4, FRAMES_MIN * 4);
        boot::refuse(format_args!(
            "too little memory: {kib} KiB are left beside the kernel, which needs {min_kib} KiB"
        ));
    }
    let usable_bytes = usable().map(|region| region.end - region.start).sum();
    physical::set_kernel_reserve(frames.free());
    physical::set_low_frame(frames.take_below(LOW_FRAME_END));
    physical::begin(Frames { map: frames, quarantine });

    let image = boot::image();
    let mut mapper = Mapper::new(MachineTables).expect("a fresh machine has a frame");
    map_physical(&mut mapper, regions);
    map_image(&mut mapper, &image);
    switch_to(mapper, &image);
    RAM.call_once(|| ram);
    Memory { usable_bytes, rsdp }
}

/// Maps all memory at its place in the physical map: low memory in one piece, so that the tables
/// that firmware leaves between and just above RAM are seen too, then RAM beyond.
fn map_physical(mapper: &mut Mapper<MachineTables>, regions: &[MemoryRegion]) {
    let ram = |region: &&MemoryRegion| {
        matches!(region.kind, MemoryRegionKind::Usable | MemoryRegionKind::Bootloader)
    };
    let low = regions.iter().filter(ram).filter(|region| region.end <= LOW_MEMORY_END);
    let low_end = low.map(|region| region.end).max().unwrap_or(0);
    map_large_pages(mapper, 0, low_end);
    for region in regions.iter().filter(ram).filter(|region| region.start >= LOW_MEMORY_END) {
        map_large_pages(mapper, region.start, region.end.min(PHYSICAL_MAP_BYTES_MAX));
    }
}

fn map_large_pages(mapper: &mut Mapper<MachineTables>, start: u64, end: u64) {
    let first = start / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    for physical in (first..end).step_by(LARGE_PAGE_BYTES as usize) {
        // Two regions can share a large page; the second finds it mapped, which is as well.
        let _ = mapper.map_large(PHYSICAL_MAP_BASE + physical, physical);
    }
}

/// Whether an address is one of the image's guard pages.
fn is_guard(page: u64) -> bool {
    page == stack::boot_guard() || cpu::ist_guards().any(|guard| guard == page)
}

/// Maps the image where it is linked, each part with its protection, and takes away from the
/// physical map what would make text or read-only data writable.
fn map_image(mapper: &mut Mapper<MachineTables>, image: &Image) {
    // The loader knows where the image's frames are: one to one or not.
    let mut loader = Mapper::over(MachineTables, Cr3::read().0.start_address());
    let parts = [
        (&image.text, Protection::ReadExecute),
        (&image.rodata, Protection::ReadOnly),
        (&image.data, Protection::ReadWrite),
    ];
    for (range, protection) in parts {
        for page in range.clone().step_by(PAGE_BYTES as usize) {
            if is_guard(page) || image.boot_tables.contains(&page) {
                continue;
            }
            let frame = loader.lookup(page).expect("the image is mapped, or who runs").physical;
            mapper
                .map(page, frame, protection, Cache::WriteBack)
                .expect("a fresh machine has frames for its tables");
            if protection != Protection::ReadWrite {
                mapper
                    .protect(PHYSICAL_MAP_BASE + frame, Protection::ReadOnly)
                    .expect("the image lies in memory that the physical map shows");
            }
        }
    }
}

/// Loads the new tables and frees what only the old ones needed.
fn switch_to(mapper: Mapper<MachineTables>, image: &Image) {
    let mut loader = Mapper::over(MachineTables, Cr3::read().0.start_address());
    let root = PhysFrame::containing_address(PhysAddr::new(mapper.root().as_u64()));
    let unneeded = image.data.clone().step_by(PAGE_BYTES as usize);
    let unneeded = unneeded.filter(|page| is_guard(*page) || image.boot_tables.contains(page));
    let frames = unneeded.map(|page| loader.lookup(page).map(|found| found.physical));
    // Looked up now, given after the switch: the old tables are among them.
    let mut freed = [None; UNNEEDED_FRAMES_MAX];
    freed.iter_mut().zip(frames).for_each(|(place, frame)| *place = frame);
    // SAFETY: The new tables map the image, this stack and the physical map where the old ones do.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
    *SPACE.lock() = Some(Space::new(mapper));
    physical::with_frames(|frames| {
        freed.iter().flatten().for_each(|&frame| frames.map.add(frame, frame + PAGE_BYTES));
    });
}

/// More than there are: six boot tables and a guard for each stack.
const UNNEEDED_FRAMES_MAX: usize = 24;

/// What runs out where an address faulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// A stack of a CPU.
    Stack(cpu::CpuStack),
    /// A process's memory or stack, or another reservation.
    Reservation,
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guarded::Stack(stack) => stack.fmt(f),
            Guarded::Reservation => f.write_str("a stack or memory of a reservation"),
        }
    }
}

/// What an address that faulted guards, if it does.
pub fn guard_at(address: u64) -> Option<Guarded> {
    let page = address / PAGE_BYTES * PAGE_BYTES;
    if let Some(stack) = cpu::stack_guarded_by(page) {
        return Some(Guarded::Stack(stack));
    }
    let reservations = RESERVATIONS_BASE..RESERVATIONS_BASE + RESERVATIONS_BYTES;
    reservations.contains(&address).then_some(Guarded::Reservation)
}
