//! Tests of memory on the machine itself: what is mapped, and what comes back.

use super::traps::{caught, expect};
use super::{Dice, Outcome, check};
use crate::boot;
use crate::memory::layout::{
    HEAP_BASE, PAGE_BYTES, PHYSICAL_MAP_BASE, PHYSICAL_MAP_BYTES_MAX, RESERVATIONS_BASE,
    RESERVATIONS_BYTES,
};
use crate::memory::paging::{Mapping, Protection};
use crate::memory::physical::{self, Purpose, kernel_reserve_frames};
use crate::memory::vm::{self, Reservation, VmError};
use crate::memory::{self, DmaBuffer, is_mapped};
use crate::probe::Probe;
use crate::symbols;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const PAGE: usize = PAGE_BYTES as usize;
/// Frames of which a machine is exhausted: 256 MiB.
const EXHAUSTED_FRAMES_MAX: usize = (256 << 20) / PAGE;
/// The instruction `ret`.
const RET: u8 = 0xc3;

/// Runs one round of the memory functions on a buffer, against byte-wise models.
fn functions_round(dice: &mut Dice) -> Outcome {
    const BYTES: usize = 700;
    let before: Vec<u8> = (0..BYTES).map(|_| dice.below(256) as u8).collect();
    let len = dice.below(300);
    let (from, to) = (dice.below(BYTES - len), dice.below(BYTES - len));
    let round = format!("{len} bytes from {from} to {to}");

    let mut moved = before.clone();
    let start = moved.as_mut_ptr();
    // SAFETY: Both ranges lie within the buffer.
    unsafe { symbols::memmove(start.wrapping_add(to), start.wrapping_add(from), len) };
    let mut model = before.clone();
    model.splice(to..to + len, before[from..from + len].iter().copied());
    check!(moved.iter().eq(&model), "memmove of {round}");

    let mut copied = vec![0; BYTES];
    let (source, target) = (before[from..].as_ptr(), copied[to..].as_mut_ptr());
    // SAFETY: The ranges lie within two buffers.
    unsafe { symbols::memcpy(target, source, len) };
    let outside = copied[..to].iter().chain(&copied[to + len..]).all(|&byte| byte == 0);
    check!(
        outside && copied[to..to + len].iter().eq(&before[from..from + len]),
        "memcpy of {round}"
    );

    let byte = dice.below(512) as i32;
    // SAFETY: The range lies within the buffer.
    unsafe { symbols::memset(copied[to..].as_mut_ptr(), byte, len) };
    let outside = copied[..to].iter().chain(&copied[to + len..]).all(|&byte| byte == 0);
    check!(outside && copied[to..to + len].iter().all(|&b| b == byte as u8), "memset of {round}");

    let mut other = before[from..from + len].to_vec();
    if len > 0 && dice.below(2) == 0 {
        other[dice.below(len)] ^= 1 << dice.below(8);
    }
    // SAFETY: Both ranges are valid for the length.
    let order = unsafe { symbols::memcmp(other.as_ptr(), source, len) };
    let model = other.iter().cmp(before[from..from + len].iter()) as i32;
    check!(order.signum() == model, "memcmp of {round}: {order} instead of {model}");
    // SAFETY: As above.
    let differ = unsafe { symbols::bcmp(other.as_ptr(), source, len) };
    check!((differ != 0) == (model != 0), "bcmp of {round}: {differ}");
    Ok(())
}

pub(super) fn functions() -> Outcome {
    let mut dice = Dice(11);
    (0..2000).try_for_each(|_| functions_round(&mut dice))?;
    // SAFETY: The text ends with a zero.
    let len = unsafe { symbols::strlen(c"craton".to_bytes_with_nul().as_ptr()) };
    check!(len == 6, "strlen is {len}");
    Ok(())
}

/// Every mapping of the machine.
fn mappings() -> Vec<(u64, u64, Mapping)> {
    // Room is made beforehand, since the heap stands above the lock that the visit holds.
    let mut found = Vec::with_capacity(1 << 16);
    vm::visit(&mut |address, bytes, mapping| {
        if found.len() < found.capacity() {
            found.push((address, bytes, mapping));
        }
    });
    found
}

pub(super) fn w_xor_x() -> Outcome {
    let mut program = Reservation::new(2 * PAGE).map_err(|e| format!("{e:?}"))?;
    program.commit(2 * PAGE).map_err(|e| format!("{e:?}"))?;
    // SAFETY: Nobody refers to the page.
    unsafe { program.protect(0..PAGE, Protection::ReadExecute) }.map_err(|e| format!("{e:?}"))?;

    let mappings = mappings();
    check!(mappings.len() > 100, "only {} mappings were seen", mappings.len());
    let mut executable: Vec<u64> = Vec::new();
    for (address, bytes, mapping) in &mappings {
        let protection = Protection::of(mapping.flags);
        check!(protection.is_some(), "{address:#x} is writable and executable");
        if protection == Some(Protection::ReadExecute) {
            check!(*bytes == PAGE_BYTES, "{address:#x} is executable and large");
            executable.push(mapping.physical);
        }
    }
    executable.sort_unstable();
    let text = boot::image().text;
    let text_pages = ((text.end - text.start) / PAGE_BYTES) as usize;
    check!(executable.len() == text_pages + 1, "{} executable pages", executable.len());
    for (address, bytes, mapping) in &mappings {
        if Protection::of(mapping.flags) != Some(Protection::ReadWrite) {
            continue;
        }
        let first = executable.partition_point(|&frame| frame < mapping.physical);
        let hit = executable.get(first).is_some_and(|&frame| frame < mapping.physical + bytes);
        check!(!hit, "{address:#x} makes executable memory writable");
    }
    Ok(())
}

pub(super) fn unmapped() -> Outcome {
    let image = boot::image();
    let reservations = RESERVATIONS_BASE..RESERVATIONS_BASE + RESERVATIONS_BYTES;
    for (address, bytes, _) in mappings() {
        let end = address + (bytes - 1);
        let known = (image.text.start <= address && end < image.data.end)
            || (PHYSICAL_MAP_BASE..PHYSICAL_MAP_BASE + PHYSICAL_MAP_BYTES_MAX).contains(&address)
            || (HEAP_BASE..RESERVATIONS_BASE).contains(&address)
            || reservations.contains(&address);
        check!(known, "{address:#x} is mapped and nobody's");
    }
    for guard in crate::cpu::ist_guards().chain([crate::stack::boot_guard(), 0]) {
        check!(!is_mapped(guard) && !is_mapped(guard + 4095), "{guard:#x} is mapped");
    }
    check!(!is_mapped(image.boot_tables.start), "the boot tables are still mapped");
    Ok(())
}

pub(super) fn image_protected() -> Outcome {
    let image = boot::image();
    super::traps::all_caught()?;
    for address in [image.text.start, image.text.end - 1, image.rodata.start, image.rodata.end - 1]
    {
        expect(Probe::Read(address), Ok(()))?;
        expect(Probe::Write(address), caught(14, 3))?;
        let physical = vm::physical_address(address).ok_or_else(|| String::from("unmapped"))?;
        expect(Probe::Write(PHYSICAL_MAP_BASE + physical), caught(14, 3))?;
        expect(Probe::Execute(PHYSICAL_MAP_BASE + physical), caught(14, 0x11))?;
    }
    expect(Probe::Write(image.rodata.end), Ok(()))?;
    expect(Probe::Execute(image.rodata.end), caught(14, 0x11))
}

pub(super) fn reservations() -> Outcome {
    let round = || -> Outcome {
        let mut reservation = Reservation::new(10 * PAGE).map_err(|e| format!("{e:?}"))?;
        let base = reservation.as_ptr() as u64;
        expect(Probe::Read(base), caught(14, 0))?;
        reservation.commit(PAGE + 1).map_err(|e| format!("{e:?}"))?;
        check!(reservation.committed_bytes() == 2 * PAGE, "pages are whole");
        // SAFETY: As many bytes are committed, and nobody else refers to them.
        let bytes = unsafe { core::slice::from_raw_parts_mut(reservation.as_ptr(), 2 * PAGE) };
        check!(bytes.iter().all(|&byte| byte == 0), "fresh memory is not zero");
        bytes.fill(0xaa);
        expect(Probe::Read(base - 1), caught(14, 0))?;
        expect(Probe::Read(base + 2 * PAGE_BYTES), caught(14, 0))?;
        let too_much = reservation.commit(11 * PAGE);
        check!(too_much == Err(VmError::OutOfRange), "{too_much:?}");
        reservation.commit(PAGE).map_err(|e| format!("{e:?}"))?;
        check!(reservation.committed_bytes() == 2 * PAGE, "a smaller commitment changes nothing");
        drop(reservation);
        expect(Probe::Read(base), caught(14, 0))
    };
    round()?; // takes what is kept for ever: list nodes
    let before = memory::free_bytes();
    (0..50).try_for_each(|_| round())?;
    let after = memory::free_bytes();
    check!(after == before, "{after} bytes are free instead of {before}");
    Ok(())
}

pub(super) fn executable_reservation() -> Outcome {
    let before = physical::free_frames();
    let mut program = Reservation::new(PAGE).map_err(|e| format!("{e:?}"))?;
    program.commit(PAGE).map_err(|e| format!("{e:?}"))?;
    let base = program.as_ptr() as u64;
    let physical = vm::physical_address(base).ok_or_else(|| String::from("unmapped"))?;
    let alias = PHYSICAL_MAP_BASE + physical;
    // SAFETY: Committed and writable.
    unsafe { program.as_ptr().write(RET) };
    expect(Probe::Execute(base), caught(14, 0x11))?;
    expect(Probe::Write(alias), Ok(()))?;
    // SAFETY: Nobody refers to the page.
    unsafe { program.protect(0..PAGE, Protection::ReadExecute) }.map_err(|e| format!("{e:?}"))?;
    expect(Probe::Execute(base), Ok(()))?;
    expect(Probe::Write(base), caught(14, 3))?;
    expect(Probe::Write(alias), caught(14, 3))?;
    // SAFETY: Nobody executes the page any more.
    unsafe { program.protect(0..PAGE, Protection::ReadWrite) }.map_err(|e| format!("{e:?}"))?;
    expect(Probe::Write(base), Ok(()))?;
    expect(Probe::Write(alias), Ok(()))?;
    expect(Probe::Execute(base), caught(14, 0x11))?;
    // SAFETY: As above; dropped while it is executable.
    unsafe { program.protect(0..PAGE, Protection::ReadExecute) }.map_err(|e| format!("{e:?}"))?;
    // SAFETY: The range is refused.
    let odd = unsafe { program.protect(0..PAGE + 1, Protection::ReadOnly) };
    check!(odd == Err(VmError::OutOfRange), "{odd:?}");
    drop(program);
    expect(Probe::Write(alias), Ok(()))?;
    expect(Probe::Read(base), caught(14, 0))?;
    // The physical map keeps the table that it was split by.
    let lost = before - physical::free_frames();
    check!(lost <= 1, "{lost} frames are gone");
    Ok(())
}

pub(super) fn exhaustion() -> Outcome {
    // Frames that nobody touches: to fill all of a large memory takes a minute and shows no more.
    let aside = physical::free_frames().saturating_sub(EXHAUSTED_FRAMES_MAX);
    let aside: Vec<u64> = (0..aside).filter_map(|_| physical::take(Purpose::Kernel)).collect();
    let outcome = exhaust();
    aside.into_iter().for_each(|frame| physical::give(frame, 1));
    outcome
}

fn exhaust() -> Outcome {
    let before = physical::free_frames();
    let mut greedy = Reservation::new(before * PAGE * 2).map_err(|e| format!("{e:?}"))?;
    let refused = greedy.commit(before * PAGE + PAGE);
    check!(refused == Err(VmError::NoMemory), "{refused:?}");
    check!(greedy.committed_bytes() == 0, "a refused commitment leaves something");
    let left = physical::free_frames();
    check!(left == before, "{left} frames are free instead of {before}");
    while greedy.commit(greedy.committed_bytes() + 64 * PAGE).is_ok() {}
    let reserve = physical::free_frames();
    check!(reserve >= kernel_reserve_frames(), "a process took all but {reserve} frames");
    check!(!memory::has_room(100 * PAGE), "there is room for processes in the kernel's reserve");
    check!(!vec![1_u8; 3 * PAGE].is_empty(), "the kernel has its reserve");
    drop(greedy);
    check!(memory::has_room(100 * PAGE), "room does not come back");
    let after = physical::free_frames();
    check!(after + 1 >= before, "{after} frames are free instead of {before}");
    Ok(())
}

/// Allocates and frees at random; every object keeps a pattern that others would disturb.
fn heap_round(seed: u64) -> Outcome {
    let mut dice = Dice(seed);
    let mut held: Vec<Vec<u8>> = Vec::with_capacity(300);
    for step in 0..4000_usize {
        if held.len() < 300 && dice.below(5) < 3 {
            let bytes = match dice.below(10) {
                0..8 => dice.below(3000),
                8 => dice.below(20_000),
                _ => dice.below(200_000),
            };
            held.push(vec![step as u8; bytes]);
        } else if !held.is_empty() {
            let object = held.swap_remove(dice.below(held.len()));
            let first = object.first().copied().unwrap_or(0);
            check!(object.iter().all(|&byte| byte == first), "seed {seed}: somebody wrote to it");
        }
    }
    Ok(())
}

pub(super) fn heap() -> Outcome {
    let left = || {
        memory::heap::trim();
        (memory::free_bytes(), memory::heap::live_bytes())
    };
    heap_round(1)?; // tables of pages are made and stay
    heap_round(2)?;
    let (free, live) = left();
    heap_round(1)?;
    heap_round(2)?;
    let (free_after, live_after) = left();
    check!(live_after == live, "{live_after} bytes live instead of {live}");
    check!(free_after == free, "{free_after} bytes are free instead of {free}");
    for align in [1, 16, 64, 256, 4096] {
        let layout = core::alloc::Layout::from_size_align(24, align).map_err(|e| format!("{e}"))?;
        // SAFETY: The layout has a size.
        let object = unsafe { alloc::alloc::alloc(layout) };
        let aligned = !object.is_null() && (object as usize).is_multiple_of(align);
        check!(aligned, "{object:?} for {align}");
        // SAFETY: Allocated with this layout just now.
        unsafe { alloc::alloc::dealloc(object, layout) };
    }
    Ok(())
}

/// Many small objects at once, then none: their frames serve other purposes again.
pub(super) fn heap_shrinks() -> Outcome {
    const OBJECTS: usize = 20_000;
    memory::heap::trim();
    let before = physical::free_frames();
    let mut burst: Vec<alloc::boxed::Box<[usize; 20]>> = Vec::with_capacity(OBJECTS);
    burst.extend((0..OBJECTS).map(|i| alloc::boxed::Box::new([i; 20])));
    let during = physical::free_frames();
    let used = before.saturating_sub(during) * PAGE;
    check!(used >= OBJECTS * 160, "{OBJECTS} objects of 160 bytes in {used} bytes");
    check!(used <= OBJECTS * 200, "{used} bytes for {OBJECTS} objects of 160 bytes and a table");
    check!(burst.iter().enumerate().all(|(i, object)| **object == [i; 20]), "one was overwritten");
    drop(burst);
    let kept = before.saturating_sub(physical::free_frames()) * PAGE;
    check!(kept <= 256 * 1024, "{kept} bytes are kept");
    memory::heap::trim();
    let after = physical::free_frames();
    check!(after == before, "{after} frames are free instead of {before}");
    Ok(())
}

/// A request that no machine can meet is refused, and nothing else happens.
pub(super) fn heap_refuses() -> Outcome {
    let before = physical::free_frames();
    let mut bytes: Vec<u8> = Vec::new();
    let asked = before.saturating_mul(2 * PAGE);
    check!(bytes.try_reserve_exact(asked).is_err(), "{asked} bytes were given");
    check!(bytes.try_reserve_exact(isize::MAX as usize).is_err(), "half the address space");
    memory::heap::trim();
    let after = physical::free_frames();
    check!(after >= before, "{after} frames are free instead of {before}");
    Ok(())
}

pub(super) fn dma() -> Outcome {
    let before = physical::free_frames();
    let buffer = DmaBuffer::new(3 * PAGE + 1).ok_or_else(|| String::from("no frames"))?;
    check!(buffer.len() == 4 * PAGE, "{} bytes", buffer.len());
    for page in 0..4 {
        let address = buffer.pointer().as_ptr() as u64 + page * PAGE_BYTES;
        let physical = vm::physical_address(address);
        check!(physical == Some(buffer.physical() + page * PAGE_BYTES), "{physical:x?}");
    }
    // SAFETY: The buffer is valid for its length and nobody else's.
    let bytes = unsafe { core::slice::from_raw_parts(buffer.pointer().as_ptr(), buffer.len()) };
    check!(bytes.iter().all(|&byte| byte == 0), "it is not zero");
    drop(buffer);
    check!(physical::free_frames() == before, "it did not come back");
    check!(DmaBuffer::new(usize::MAX / 2).is_none(), "more than the machine has");
    Ok(())
}
