//! The ways a machine ends: exit codes for a test's QEMU, power-off, reset.
//!
//! Owns the port of QEMU's `isa-debug-exit`, the ACPI power-off and the reset ports.

use x86_64::instructions::port::Port;

/// `isa-debug-exit`, where a test adds one; QEMU ends with status `2 * value + 1`.
const DEBUG_EXIT_PORT: u16 = 0xf4;

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

/// Ends QEMU with a code, if it has the device; returns on every other machine.
pub fn debug_exit(code: ExitCode) {
    let mut port = Port::<u32>::new(DEBUG_EXIT_PORT);
    // SAFETY: The port belongs to `isa-debug-exit` or to nothing.
    unsafe { port.write(code as u32) }
}

/// Ends the machine after a failure.
pub fn end(code: ExitCode) -> ! {
    debug_exit(code);
    loop {
        x86_64::instructions::hlt();
    }
}
