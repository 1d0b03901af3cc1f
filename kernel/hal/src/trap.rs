//! Exceptions: caught where something expects them, else reported and fatal.
//!
//! Owns the 256 entry stubs, the saved registers ([`TrapFrame`]) and the report: name, decoded
//! error code, registers, CR2 and a backtrace. A fatal exception ends the machine through
//! [`crate::power::end`]; one inside the report ends it at once. [`crate::probe`] is what expects
//! exceptions. [`crate::interrupt`] replaces the gates of #DE, #DB, #UD, #PF and the
//! interrupts, and leaves to this what is no fiber's.

use crate::idt::{self, VECTORS};
use crate::power::{self, ExitCode};
use crate::{backtrace, cpu, probe, serial, smp};
use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr2, Cr3};

/// Bytes from one entry stub to the next.
const STUB_BYTES: u64 = 16;
const NON_MASKABLE: u64 = 2;
const PAGE_FAULT: u64 = 14;
/// Bit of a page fault's error code: an instruction was to be fetched (Intel SDM vol. 3, 4.7).
const FETCH: u64 = 1 << 4;

// Vectors that push an error code: 8, 10 to 14, 17, 21, 29, 30 (Intel SDM vol. 3, table 6-1; AMD
// APM vol. 2, 8.2.22 for the last two).
global_asm!(
    ".balign 16",
    "trap_stubs:",
    ".set vector, 0",
    ".globl craton_page_fault_trap, craton_divide_trap, craton_opcode_trap",
    ".rept 256",
    ".balign 16",
    ".if vector == 14",
    "craton_page_fault_trap:",
    ".endif",
    ".if vector == 0",
    "craton_divide_trap:",
    ".endif",
    ".if vector == 6",
    "craton_opcode_trap:",
    ".endif",
    ".if vector > 31 || ((0x60227d00 >> vector) & 1) == 0",
    "pushq $0",
    ".endif",
    "pushq $vector",
    "jmp trap_entry",
    ".set vector, vector + 1",
    ".endr",
    options(att_syntax)
);

global_asm!(
    "trap_entry:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rbx",
    "push rbp",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "mov rbx, rsp", // survives the call
    "sub rsp, 512",
    "and rsp, -16",
    "fxsave64 [rsp]",
    "call {handle}",
    "fxrstor64 [rsp]",
    "mov rsp, rbx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rbp",
    "pop rbx",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "add rsp, 16", // vector and error code
    "iretq",
    handle = sym handle,
);

unsafe extern "C" {
    static trap_stubs: u8;
}

/// The registers at an exception, as the stubs and the CPU push them.
#[repr(C)]
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the names are the registers'
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Fills the table with the stubs and loads it.
pub fn start() {
    let first = &raw const trap_stubs as u64;
    for vector in 0..VECTORS as u64 {
        // SAFETY: Each stub saves all registers, clears the direction flag, aligns the stack and
        // ends with `iretq`.
        unsafe { idt::set_gate(vector as u8, first + vector * STUB_BYTES) };
    }
    idt::load();
}

/// Set by the first fatal exception or panic: whatever comes after says less.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Stops all other CPUs for good, and their lines; of CPUs that fail at once only one goes on. Says
/// whether this is the first failure of the machine: a second one, inside of the report, should end
/// it without a report.
pub fn begin_report() -> bool {
    interrupts::disable();
    if cpu::of(0).is_some() {
        smp::stop_others();
    }
    serial::hold();
    !REPORTING.swap(true, Ordering::Relaxed)
}

/// Which CPU fails, and whether it does so in an interrupt: for the head of a report.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    cpu: usize,
    in_interrupt: bool,
}

impl Place {
    /// The place of code that has its stack at `stack_pointer`.
    fn of(stack_pointer: u64) -> Self {
        let started = cpu::of(0).is_some();
        Place {
            cpu: if started { cpu::index() } else { 0 },
            in_interrupt: started && cpu::is_interrupt_stack(stack_pointer),
        }
    }

    /// The place of the caller.
    pub fn here() -> Self {
        let on_the_stack = 0_u8;
        Self::of(&raw const on_the_stack as u64)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on CPU {}", self.cpu)?;
        f.write_str(if self.in_interrupt { " in an interrupt" } else { "" })
    }
}

extern "C" fn handle(frame: &mut TrapFrame) {
    let fault_address = if frame.vector == PAGE_FAULT { Cr2::read_raw() } else { 0 };
    if frame.vector == NON_MASKABLE {
        smp::stop_if_asked();
    }
    if probe::catch(frame, fault_address) {
        return;
    }
    if begin_report() {
        report(frame, fault_address);
    } else {
        let (vector, rip) = (frame.vector, frame.rip);
        serial::write(format_args!("exception {vector} at {rip:#x} inside of the report\n"));
    }
    power::end(ExitCode::Exception)
}

fn report(frame: &TrapFrame, fault_address: u64) {
    let name = name(frame.vector);
    let vector = frame.vector;
    let place = Place::of(frame.rsp);
    serial::write(format_args!("\nFATAL EXCEPTION {vector}: {name} {place}\n"));
    if vector == PAGE_FAULT {
        let cause = PageFaultCause(frame.error);
        match crate::memory::guard_at(fault_address) {
            Some(stack) => serial::write(format_args!(
                "  {cause} at address {fault_address:#x}: overflow of {stack}\n"
            )),
            None => serial::write(format_args!("  {cause} at address {fault_address:#x}\n")),
        }
    } else if let Some(selector) = Selector::of(frame) {
        serial::write(format_args!("  {selector}\n"));
    }
    let cr3 = Cr3::read().0.start_address().as_u64();
    serial::write(format_args!("{frame}  cr2 {fault_address:016x} cr3 {cr3:016x}\n"));
    let astray = vector == PAGE_FAULT && frame.error & FETCH != 0;
    backtrace::print(frame.rip, frame.rbp, astray.then_some(frame.rsp));
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self;
        writeln!(f, "  rip {:016x} rsp {:016x} rflags {:08x}", r.rip, r.rsp, r.rflags)?;
        writeln!(f, "  cs {:x} ss {:x} error code {:#x}", r.cs, r.ss, r.error)?;
        writeln!(f, "  rax {:016x} rbx {:016x} rcx {:016x}", r.rax, r.rbx, r.rcx)?;
        writeln!(f, "  rdx {:016x} rsi {:016x} rdi {:016x}", r.rdx, r.rsi, r.rdi)?;
        writeln!(f, "  rbp {:016x} r8  {:016x} r9  {:016x}", r.rbp, r.r8, r.r9)?;
        writeln!(f, "  r10 {:016x} r11 {:016x} r12 {:016x}", r.r10, r.r11, r.r12)?;
        writeln!(f, "  r13 {:016x} r14 {:016x} r15 {:016x}", r.r13, r.r14, r.r15)
    }
}

/// The name of a vector (Intel SDM vol. 3, table 6-1).
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error (#DE)",
        1 => "debug (#DB)",
        2 => "non-maskable interrupt",
        3 => "breakpoint (#BP)",
        4 => "overflow (#OF)",
        5 => "bound range exceeded (#BR)",
        6 => "invalid opcode (#UD)",
        7 => "device not available (#NM)",
        8 => "double fault (#DF)",
        10 => "invalid task state (#TS)",
        11 => "segment not present (#NP)",
        12 => "stack segment fault (#SS)",
        13 => "general protection (#GP)",
        14 => "page fault (#PF)",
        16 => "x87 floating point (#MF)",
        17 => "alignment check (#AC)",
        18 => "machine check (#MC)",
        19 => "SIMD floating point (#XM)",
        20 => "virtualisation (#VE)",
        21 => "control protection (#CP)",
        28..=30 => "of the hypervisor",
        32.. => "interrupt without a handler",
        _ => "reserved",
    }
}

/// A page fault's error code in words (Intel SDM vol. 3, 4.7).
struct PageFaultCause(u64);

impl fmt::Display for PageFaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRESENT: u64 = 1 << 0;
        const WRITE: u64 = 1 << 1;
        const RESERVED: u64 = 1 << 3;
        let access = match self.0 {
            error if error & FETCH != 0 => "execution",
            error if error & WRITE != 0 => "write",
            _ => "read",
        };
        let why = match self.0 {
            error if error & RESERVED != 0 => "through a malformed page table",
            error if error & PRESENT != 0 => "against the page's protection",
            _ => "where nothing is mapped",
        };
        write!(f, "{access} {why}")
    }
}

/// The selector error code that #TS, #NP, #SS and #GP push (Intel SDM vol. 3, 6.13).
struct Selector(u64);

impl Selector {
    fn of(frame: &TrapFrame) -> Option<Selector> {
        (matches!(frame.vector, 10..=13) && frame.error != 0).then_some(Selector(frame.error))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.0 >> 1 & 3 {
            0 => "GDT",
            2 => "LDT",
            _ => "IDT",
        };
        let from = if self.0 & 1 != 0 { ", from outside of the program" } else { "" };
        write!(f, "entry {} of the {table}{from}", self.0 >> 3 & 0x1fff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn error_codes_are_put_in_words() {
        assert_eq!(PageFaultCause(0).to_string(), "read where nothing is mapped");
        assert_eq!(PageFaultCause(3).to_string(), "write against the page's protection");
        assert_eq!(PageFaultCause(0x11).to_string(), "execution against the page's protection");
        assert_eq!(PageFaultCause(9).to_string(), "read through a malformed page table");
        assert_eq!(Selector(14 << 3 | 2).to_string(), "entry 14 of the IDT");
        assert_eq!(
            Selector(2 << 3 | 1).to_string(),
            "entry 2 of the GDT, from outside of the program"
        );
    }

    #[test]
    fn a_place_names_the_cpu() {
        let place = |cpu, in_interrupt| Place { cpu, in_interrupt }.to_string();
        assert_eq!(place(1, false), "on CPU 1");
        assert_eq!(place(0, true), "on CPU 0 in an interrupt");
    }

    #[test]
    fn every_exception_has_a_name() {
        for vector in [0, 6, 8, 13, 14] {
            assert!(name(vector).contains('#'), "vector {vector}");
        }
        assert_eq!(name(200), "interrupt without a handler");
    }
}
