//! Tests of exceptions, clocks and timer on the machine itself.

use super::{Outcome, check};
use crate::probe::{Caught, Probe, probe};
use crate::{boot, clock, cpu, entropy, fw_cfg, interrupt, serial, timer};
use alloc::string::String;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use craton_abi::{Duration, Instant};

/// Addresses between the two canonical halves.
const NON_CANONICAL: u64 = 1 << 63;
static DATA: [u8; 16] = [0xc3; 16];

pub(super) fn expect(what: Probe, expected: Result<(), Caught>) -> Outcome {
    // SAFETY: The tests probe what is theirs or must fault; nothing else runs meanwhile.
    let found = unsafe { probe(what) };
    check!(found == expected, "{what:x?} gave {found:x?} where {expected:x?} was due");
    Ok(())
}

pub(super) fn caught(vector: u8, error: u32) -> Result<(), Caught> {
    Err(Caught { vector, error })
}

fn expectations() -> [(Probe, Result<(), Caught>); 9] {
    let text = boot::image().text.start;
    let data = DATA.as_ptr() as u64;
    [
        (Probe::Read(8), caught(14, 0)),
        (Probe::Write(text), caught(14, 3)),
        (Probe::Write(data), caught(14, 3)),
        (Probe::Execute(data), caught(14, 0x11)),
        (Probe::Execute(8), caught(14, 0x10)),
        (Probe::Read(NON_CANONICAL), caught(13, 0)),
        (Probe::InvalidOpcode, caught(6, 0)),
        (Probe::Divide, caught(0, 0)),
        (Probe::Breakpoint, caught(3, 0)),
    ]
}

pub(super) fn all_caught() -> Outcome {
    expectations().into_iter().try_for_each(|(what, expected)| expect(what, expected))
}

pub(super) fn registers_survive() -> Outcome {
    extern "C" fn trap() {
        // SAFETY: A breakpoint, caught by the probe.
        let _ = unsafe { probe(Probe::Breakpoint) };
    }
    const PATTERN: u64 = 0x0123_4567_89ab_cdef;
    let (vector, kept): (u64, u64);
    // SAFETY: Raises a breakpoint exception that is caught between two moves; R12 is not changed by
    // a C function. The exception handler may use the first vector register as it likes.
    unsafe {
        asm!(
            "movq xmm0, {pattern}",
            "mov r12, {pattern}",
            "call {trap}",
            "movq rax, xmm0",
            "mov rdx, r12",
            pattern = in(reg) PATTERN,
            trap = sym trap,
            lateout("rax") vector,
            lateout("rdx") kept,
            out("r12") _,
            clobber_abi("C"),
        )
    };
    check!(vector == PATTERN, "XMM0 is {vector:x}");
    check!(kept == PATTERN, "R12 is {kept:x}");
    Ok(())
}

pub(super) fn per_cpu() -> Outcome {
    let current = cpu::current();
    let base = x86_64::registers::model_specific::GsBase::read().as_u64();
    check!(base == &raw const *current as u64, "the GS base is {base:#x}");
    check!(cpu::index() == 0, "the boot CPU has index {}", cpu::index());
    Ok(())
}

pub(super) fn clock() -> Outcome {
    let start = clock::now();
    let mut last = start;
    for _ in 0..100_000 {
        let now = clock::now();
        check!(now >= last, "{} after {}", now.as_nanos(), last.as_nanos());
        last = now;
    }
    check!(last > start, "it stands still at {}", last.as_nanos());
    if let Some(wall) = clock::wall() {
        const YEAR_2024: u64 = 1_704_067_200;
        let seconds = wall.as_nanos() / 1_000_000_000;
        check!(seconds > YEAR_2024, "the date is {seconds} s after 1970");
    }
    Ok(())
}

static TICKS: AtomicU32 = AtomicU32::new(0);

fn count_tick(_vector: u8) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn timer_interrupts() -> Outcome {
    interrupt::set_handler(interrupt::TIMER_VECTOR, count_tick);
    let before = TICKS.load(Ordering::Relaxed);
    let give_up = clock::now() + Duration::from_secs(1);
    timer::arm(Duration::from_millis(1));
    while TICKS.load(Ordering::Relaxed) == before {
        check!(clock::now() < give_up, "a second of computing was not interrupted");
    }
    Ok(())
}

/// Halts until the timer ticks; `None` if it does not within a second's worth of halting.
fn wait_for_tick(before: u32) -> Option<Instant> {
    let give_up = clock::now() + Duration::from_secs(1);
    while TICKS.load(Ordering::Relaxed) == before {
        if clock::now() > give_up {
            return None;
        }
        timer::halt_unless(|| TICKS.load(Ordering::Relaxed) != before);
    }
    Some(clock::now())
}

pub(super) fn timer() -> Outcome {
    interrupt::set_handler(interrupt::TIMER_VECTOR, count_tick);
    for millis in [1, 5, 20] {
        let before = TICKS.load(Ordering::Relaxed);
        let start = clock::now();
        let after = Duration::from_millis(millis);
        timer::arm(after);
        let woke = wait_for_tick(before).ok_or_else(|| String::from("it never fired"))?;
        let took = woke - start;
        // The two clocks were measured separately; a thousandth apart is the same time.
        check!(
            took.saturating_mul(1001) >= after.saturating_mul(1000),
            "{took} instead of {after}"
        );
        check!(TICKS.load(Ordering::Relaxed) == before + 1, "it fired more than once");
    }
    Ok(())
}

pub(super) fn no_lost_wake_up() -> Outcome {
    // The tick comes at every distance from the halt; a halt that sleeps over one hangs here.
    for step in 0..400 {
        let before = TICKS.load(Ordering::Relaxed);
        timer::arm(Duration::from_nanos(step * 250));
        wait_for_tick(before).ok_or_else(|| alloc::format!("step {step} slept over its tick"))?;
    }
    for step in 0..400 {
        timer::halt_at_most(Duration::from_nanos(step * 250), || false);
    }
    let start = clock::now();
    timer::halt_at_most(Duration::from_secs(60), || true);
    let took = clock::now() - start;
    check!(took < Duration::from_secs(1), "it halted for {took} where there was work");
    Ok(())
}

pub(super) fn serial_interrupts() -> Outcome {
    let Some(before) = serial::provoke_interrupt() else {
        log::info!("left out, as no I/O APIC has its line: the serial port's interrupt");
        return Ok(());
    };
    let give_up = clock::now() + Duration::from_secs(10);
    while serial::interrupts_taken() == before {
        check!(clock::now() < give_up, "it has room and does not say so");
        timer::halt_at_most(Duration::from_millis(10), || serial::interrupts_taken() != before);
    }
    Ok(())
}

pub(super) fn seeds() -> Outcome {
    let ((first, _), (second, sources)) = (entropy::seed(), entropy::seed());
    check!(first != second, "twice the same");
    let distinct = first.iter().filter(|&&byte| byte != first[0]).count();
    check!(distinct > 8, "{first:x?} from {sources} is no seed");
    Ok(())
}

pub(super) fn configuration() -> Outcome {
    // QEMU's list of what to load where: records of 128 bytes, on every PC of its own.
    const RECORD_BYTES: usize = 128;
    let Some(file) = fw_cfg::read("etc/table-loader") else {
        let hypervisor = cpu::cpuid(0x4000_0000, 0).ebx.to_le_bytes();
        check!(&hypervisor != b"TCGT", "QEMU has such a device");
        return Ok(());
    };
    let whole = !file.is_empty() && file.len().is_multiple_of(RECORD_BYTES);
    check!(whole && file.iter().any(|&byte| byte != 0), "{} bytes of it", file.len());
    check!(fw_cfg::read("etc/table-loade").is_none(), "half a name is no name");
    Ok(())
}
