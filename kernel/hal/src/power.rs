//! The ways a machine ends: exit codes for a test's QEMU, power-off, reset.
//!
//! Owns the port of QEMU's `isa-debug-exit`, the ACPI power-off, the reset ports, and what is to be
//! done after a failure. [`crate::acpi`] knows where the ports are.

use crate::acpi::{self, Register, Write};
use crate::{memory, serial};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;
use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

/// `isa-debug-exit`, where a test adds one; QEMU ends with status `2 * value + 1`.
const DEBUG_EXIT_PORT: u16 = 0xf4;
/// Where a BIOS leaves the ACPI root pointer.
const BIOS_AREA: u64 = 0xe_0000;
const BIOS_AREA_BYTES: usize = 0x2_0000;
/// PM1 control of QEMU's q35 and pc, for a loader that hides ACPI.
const QEMU_POWER_OFF: Write = Write::Word(0x604, 0x2000);
/// Reset control register of PC chipsets: a hard reset in two steps.
const RESET_CONTROL: u16 = 0xcf9;
/// The keyboard controller's command port, and its pulse on the reset line.
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xfe;

/// Why the machine ends, for whoever started it in QEMU with `isa-debug-exit` at 0xf4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitCode {
    /// Everything asked for went well: QEMU's status is 33.
    Success = 0x10,
    /// A test in the kernel failed: status 35.
    Failure = 0x11,
    /// The kernel panicked: status 37.
    Panic = 0x12,
    /// An exception nobody expected: status 39.
    Exception = 0x13,
}

static ACPI: Once<acpi::Power> = Once::new();
static ROOT: Once<u64> = Once::new();
/// Where the registers of [`ACPI`] that lie in memory are mapped: of the power-off, of the reset.
static MAPPED: [Once<Mapped>; 2] = [Once::new(), Once::new()];

/// A register of one byte that stays mapped for ever.
struct Mapped {
    physical: u32,
    place: NonNull<u8>,
}

// SAFETY: Any CPU may write the register; the last one to does it.
unsafe impl Send for Mapped {}
// SAFETY: As above.
unsafe impl Sync for Mapped {}
static RESET_AFTER_FAILURE: AtomicBool = AtomicBool::new(false);

/// Finds out how this machine is switched off, so that nothing has to be looked up in a failure.
pub fn start(rsdp: Option<u64>) {
    let rsdp = rsdp.or_else(|| {
        let area = memory::physical_bytes(BIOS_AREA, BIOS_AREA_BYTES)?;
        acpi::find_rsdp(area).map(|at| BIOS_AREA + at as u64)
    });
    let Some(rsdp) = rsdp else { return };
    ROOT.call_once(|| rsdp);
    if let Some(power) = acpi::power(rsdp, memory::physical_bytes) {
        for (write, mapped) in [Some(power.off), power.reset].into_iter().zip(&MAPPED) {
            map(write, mapped);
        }
        ACPI.call_once(|| power);
    }
}

/// Physical address of the machine's ACPI root pointer, if it has one.
pub(crate) fn root_pointer() -> Option<u64> {
    ROOT.get().copied()
}

fn map(write: Option<Write>, mapped: &Once<Mapped>) {
    if let Some(Write::Byte(Register::Memory(physical), _)) = write
        && let Some(place) = memory::vm::map_device(physical.into(), 1)
    {
        mapped.call_once(|| Mapped { physical, place });
    }
}

/// What [`end`] does where no test is waiting for an exit code: reset, or else power off.
pub fn reset_after_failure(reset: bool) {
    RESET_AFTER_FAILURE.store(reset, Ordering::Relaxed);
}

/// Ends QEMU with a code, if it has the device; returns on every other machine.
pub fn debug_exit(code: ExitCode) {
    serial::flush();
    let mut port = Port::<u32>::new(DEBUG_EXIT_PORT);
    // SAFETY: The port belongs to `isa-debug-exit` or to nothing.
    unsafe { port.write(code as u32) }
}

/// Ends the machine after a failure or a test: with a code where someone waits for it, else by
/// reset or power-off as [`reset_after_failure`] has it.
pub fn end(code: ExitCode) -> ! {
    debug_exit(code);
    if RESET_AFTER_FAILURE.load(Ordering::Relaxed) { reset() } else { power_off() }
}

/// Switches the machine off; a machine that cannot be is halted for good.
pub fn power_off() -> ! {
    serial::flush();
    interrupts::disable();
    write(ACPI.get().map_or(QEMU_POWER_OFF, |power| power.off));
    halt()
}

/// Resets the machine by every way there is.
pub fn reset() -> ! {
    serial::flush();
    interrupts::disable();
    if let Some(reset) = ACPI.get().and_then(|power| power.reset) {
        write(reset);
    }
    let ways = [(RESET_CONTROL, 0x02), (RESET_CONTROL, 0x06), (KEYBOARD_COMMAND, KEYBOARD_RESET)];
    for (port, value) in ways {
        write(Write::Byte(Register::Port(port), value));
    }
    halt()
}

/// Writes a register that ends the machine.
fn write(write: Write) {
    match write {
        Write::Word(port, value) => {
            let mut port = Port::<u16>::new(port);
            // SAFETY: The PM1 control register of this machine, or of the one it most likely is.
            unsafe { port.write(value) };
        }
        Write::Byte(Register::Port(port), value) => {
            let mut port = Port::<u8>::new(port);
            // SAFETY: A power port: whatever was going on ends here, as is meant.
            unsafe { port.write(value) };
        }
        Write::Byte(Register::Memory(physical), value) => {
            let mapped = MAPPED.iter().filter_map(Once::get);
            for mapped in mapped.filter(|mapped| mapped.physical == physical) {
                // SAFETY: A register of one byte, mapped for ever, whose write is what is meant.
                unsafe { mapped.place.write_volatile(value) };
            }
        }
    }
}

fn halt() -> ! {
    loop {
        hlt();
    }
}
