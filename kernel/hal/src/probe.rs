//! Touching what may fault, and living on.
//!
//! Owns a few instructions whose exception is an answer instead of the end: [`probe`] says what an
//! access did. [`crate::trap`] asks [`catch`] first. For tests and for code that must not trust an
//! address, such as a backtrace.

use crate::trap::TrapFrame;
use core::arch::global_asm;

global_asm!(
    "probe_read:",
    "movzx eax, byte ptr [rdi]",
    "ret",
    "probe_write:", // what was there is put back, were the write allowed
    "mov al, [rdi]",
    "probe_write_store:",
    "mov [rdi], al",
    "xor eax, eax",
    "ret",
    "probe_execute:",
    "call rdi",
    "probe_execute_return:",
    "xor eax, eax",
    "ret",
    "probe_invalid_opcode:",
    "ud2",
    "probe_divide:",
    "xor edx, edx",
    "xor ecx, ecx",
    "mov eax, 1",
    "probe_divide_divide:",
    "div ecx",
    "xor eax, eax",
    "ret",
    "probe_breakpoint:",
    "int3",
    "probe_breakpoint_after:",
    "xor eax, eax",
    "probe_return:", // where a caught exception goes on, with the answer in RAX
    "ret",
);

unsafe extern "C" {
    fn probe_read(address: u64) -> u64;
    fn probe_write(address: u64) -> u64;
    fn probe_execute(address: u64) -> u64;
    fn probe_invalid_opcode() -> u64;
    fn probe_divide() -> u64;
    fn probe_breakpoint() -> u64;
    static probe_write_store: u8;
    static probe_execute_return: u8;
    static probe_divide_divide: u8;
    static probe_breakpoint_after: u8;
    static probe_return: u8;
}

const CAUGHT: u64 = 1 << 63;
const PAGE_FAULT: u64 = 14;

/// An instruction that may raise an exception.
#[derive(Debug, Clone, Copy)]
pub enum Probe {
    /// Reads a byte.
    Read(u64),
    /// Reads a byte and writes it back.
    Write(u64),
    /// Calls an address: a `ret` there comes back.
    Execute(u64),
    /// Executes an opcode that no CPU has.
    InvalidOpcode,
    /// Divides by zero.
    Divide,
    /// Executes a breakpoint.
    Breakpoint,
}

/// The exception that a probe raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// Its vector.
    pub vector: u8,
    /// Its error code, 0 where it has none.
    pub error: u32,
}

/// Executes one instruction that may fault and says how it went.
///
/// # Safety
/// The access may be made: no device register is read, nobody else writes to the byte meanwhile,
/// and what is executed is code of a function without arguments.
pub unsafe fn probe(probe: Probe) -> Result<(), Caught> {
    let answer = match probe {
        // SAFETY: The caller vouches for the access; an exception comes back as an answer.
        Probe::Read(address) => unsafe { probe_read(address) },
        // SAFETY: As above.
        Probe::Write(address) => unsafe { probe_write(address) },
        // SAFETY: As above.
        Probe::Execute(address) => unsafe { probe_execute(address) },
        // SAFETY: The exception it raises is caught.
        Probe::InvalidOpcode => unsafe { probe_invalid_opcode() },
        // SAFETY: As above.
        Probe::Divide => unsafe { probe_divide() },
        // SAFETY: As above.
        Probe::Breakpoint => unsafe { probe_breakpoint() },
    };
    caught(answer).map_or(Ok(()), Err)
}

/// Reads a byte that may not be there.
///
/// # Safety
/// As [`probe`]; somebody else may write to the byte.
pub unsafe fn read_byte(address: u64) -> Result<u8, Caught> {
    // SAFETY: The caller vouches for the access; an exception comes back as an answer.
    let answer = unsafe { probe_read(address) };
    caught(answer).map_or(Ok(answer as u8), Err)
}

/// The exception in a probe's answer.
fn caught(answer: u64) -> Option<Caught> {
    let is_caught = answer & CAUGHT != 0;
    is_caught.then_some(Caught { vector: (answer >> 32) as u8, error: answer as u32 })
}

/// Turns the exception into a probe's answer if it was one's. Called by [`crate::trap`].
pub(crate) fn catch(frame: &mut TrapFrame, fault_address: u64) -> bool {
    let at = |function: unsafe extern "C" fn(u64) -> u64| function as *const () as u64;
    let sites = [
        at(probe_read),
        at(probe_write),
        &raw const probe_write_store as u64,
        probe_invalid_opcode as *const () as u64,
        &raw const probe_divide_divide as u64,
        &raw const probe_breakpoint_after as u64,
    ];
    if !sites.contains(&frame.rip) && !left_probe_execute(frame, fault_address) {
        return false;
    }
    frame.rax = CAUGHT | (frame.vector & 0xff) << 32 | frame.error & 0xffff_ffff;
    frame.rip = &raw const probe_return as u64;
    true
}

/// Whether the fetch of a probed function's first instruction failed; drops its return address.
fn left_probe_execute(frame: &mut TrapFrame, fault_address: u64) -> bool {
    if frame.vector != PAGE_FAULT || frame.rip != fault_address {
        return false;
    }
    let top = core::ptr::with_exposed_provenance::<u64>(frame.rsp as usize);
    if !top.is_aligned() || !crate::memory::is_mapped(frame.rsp) {
        return false;
    }
    // SAFETY: Mapped and aligned, hence within one page; the interrupted code stands still.
    let return_address = unsafe { top.read() };
    if return_address != &raw const probe_execute_return as u64 {
        return false;
    }
    frame.rsp += 8;
    true
}
