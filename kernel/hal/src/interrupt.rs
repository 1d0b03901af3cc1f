//! Interrupts: the way in from vectors 32 to 255 and from #DB, and preemption of fibers.
//!
//! Owns the stubs, the table of handlers and the decision what an interrupt does to the fiber that
//! it hit. Every vector runs on an IST stack, since the prebuilt `core` uses the red zone. A
//! handler sets flags and nothing more. Then, if a fiber was running:
//!
//! - in module text: its whole context is copied off the IST stack to the fiber, and the interrupt
//!   returns into the scheduler in its place;
//! - outside of it (a host call, a bulk memory operation): the return addresses into text that are
//!   found on its stack go into the debug registers, and #DB preempts it when it comes back. A
//!   stale address among them does no harm, as every place in text is a good one to preempt at. In
//!   case none of them is reached, the timer looks again.
//!
//! An exception of module text that no page cures is the program's own: it goes on in the handler
//! that was set for those, on its own stack ([`set_text_fault_handler`]).

mod cpu;
mod text;

pub use cpu::{Counters, counters};
pub(crate) use cpu::{CpuLocal, cpu};
pub use text::{TEXT_RANGES_MAX, register_text, unregister_text};

use crate::fiber::{Inner, Left};
use crate::idt;
use crate::memory::demand::{self, Served};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, Ordering};
use craton_abi::Duration;
use x86_64::registers::control::Cr2;

/// Vector of each CPU's one-shot timer.
pub const TIMER_VECTOR: u8 = 0x40;
/// Vector of the serial port, which has room again.
pub const SERIAL_VECTOR: u8 = 0x41;
/// Vector by which another CPU asks for attention: it ends a halt, or a process's slice.
pub const WAKE_VECTOR: u8 = 0xf0;
/// Vector by which another CPU asks for a flush of what this one remembers of the page tables.
pub const FLUSH_VECTOR: u8 = 0xf1;
/// Vector that the local APIC raises for nothing; it wants no end of interrupt.
pub const SPURIOUS_VECTOR: u8 = 0xff;
/// The debug exception.
pub const DEBUG_VECTOR: u8 = 1;
/// The page fault.
pub const PAGE_FAULT_VECTOR: u8 = 14;
/// Division by zero, or a quotient that does not fit.
pub const DIVIDE_VECTOR: u8 = 0;
/// The invalid opcode, by which compiled code says that it cannot go on.
pub const OPCODE_VECTOR: u8 = 6;
/// The lowest vector that is no exception.
pub const FIRST_VECTOR: u8 = 32;

/// Bits of a page fault's error code (Intel SDM vol. 3, 4.7): something is mapped there; an
/// instruction was to be fetched.
const FAULT_PRESENT: u64 = 1 << 0;
const FAULT_FETCH: u64 = 1 << 4;
/// How soon the timer looks again after it found a fiber outside text.
const RETRY: Duration = Duration::from_micros(500);
/// How many words of a fiber's stack are searched for a return address into text.
const SCAN_WORDS_MAX: usize = 1024;
/// Debug address registers of the CPU.
const RETURN_POINTS_MAX: usize = 4;

/// Where the registers are in `Context::general` that carry arguments, and the frame pointer.
const RBP: usize = 8;
const RDI: usize = 9;
const RSI: usize = 10;
const RDX: usize = 11;
const RCX: usize = 12;

/// Every register of interrupted code, in the order in which the stubs push it.
#[repr(C, align(16))]
#[derive(Clone)]
pub(crate) struct Context {
    vector_state: [u8; 512],
    general: [u64; 15],
    vector: u64,
    /// Nothing, or a page fault's error code.
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const _: () = assert!(
    size_of::<Context>().is_multiple_of(16),
    "pushed from a 16-byte aligned top, it must leave fxsave and the call aligned"
);

impl Context {
    pub(crate) const EMPTY: Context = Context {
        vector_state: [0; 512],
        general: [0; 15],
        vector: 0,
        error: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    };
}

global_asm!(
    ".globl craton_interrupt_stubs, craton_debug_stub, craton_fault_stub, craton_interrupt_restore",
    ".globl craton_divide_stub, craton_opcode_stub",
    ".balign 16",
    "craton_interrupt_stubs:",
    ".set craton_vector, {first}",
    ".rept 256 - {first}",
    ".balign 16",
    "push 0",
    "push craton_vector",
    "jmp craton_interrupt",
    ".set craton_vector, craton_vector + 1",
    ".endr",
    ".balign 16",
    "craton_debug_stub:",
    "push 0",
    "push {debug}",
    "jmp craton_interrupt",
    "craton_divide_stub:",
    "push 0",
    "push {divide}",
    "jmp craton_interrupt",
    "craton_opcode_stub:",
    "push 0",
    "push {opcode}",
    "jmp craton_interrupt",
    // The CPU pushes an error code where the others have nothing.
    "craton_fault_stub:",
    "push {page_fault}",
    "craton_interrupt:",
    "push rax; push rbx; push rcx; push rdx; push rsi; push rdi; push rbp",
    "push r8; push r9; push r10; push r11; push r12; push r13; push r14; push r15",
    "sub rsp, 512",
    "fxsave64 [rsp]",
    "cld",
    "mov rdi, rsp",
    "call {dispatch}",
    "test rax, rax",
    "jnz 2f",
    "craton_interrupt_restore:",
    "fxrstor64 [rsp]",
    "add rsp, 512",
    "pop r15; pop r14; pop r13; pop r12; pop r11; pop r10; pop r9; pop r8",
    "pop rbp; pop rdi; pop rsi; pop rdx; pop rcx; pop rbx; pop rax",
    "add rsp, 16",
    "iretq",
    "2: cmp rax, {foreign}",
    "je 3f",
    // The fiber was preempted: go on where `Fiber::resume` waits, as `fiber::switch` would.
    "mov rsp, rax",
    "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp",
    "sti",
    "ret",
    // An exception that is none of a fiber's: as if its own stub had been entered. The flags are
    // those of the frame.
    "3: fxrstor64 [rsp]",
    "add rsp, 512",
    "pop r15; pop r14; pop r13; pop r12; pop r11; pop r10; pop r9; pop r8",
    "pop rbp; pop rdi; pop rsi; pop rdx; pop rcx; pop rbx; pop rax",
    "cmp qword ptr [rsp], {page_fault}",
    "je 4f",
    "cmp qword ptr [rsp], {opcode}",
    "lea rsp, [rsp + 16]",
    "je craton_opcode_trap",
    "jmp craton_divide_trap",
    "4: add rsp, 8",
    "jmp craton_page_fault_trap",
    divide = const DIVIDE_VECTOR,
    opcode = const OPCODE_VECTOR,
    page_fault = const PAGE_FAULT_VECTOR,
    foreign = const FOREIGN,
    first = const FIRST_VECTOR,
    debug = const DEBUG_VECTOR,
    dispatch = sym dispatch,
);

unsafe extern "C" {
    #[link_name = "craton_interrupt_stubs"]
    fn stubs();
    #[link_name = "craton_debug_stub"]
    fn debug_stub();
    #[link_name = "craton_fault_stub"]
    fn fault_stub();
    #[link_name = "craton_divide_stub"]
    fn divide_stub();
    #[link_name = "craton_opcode_stub"]
    fn opcode_stub();
    /// The second half of the stub: from a context at the stack pointer to what it describes.
    #[link_name = "craton_interrupt_restore"]
    pub(crate) fn restore();
}

/// Bytes from one stub to the next.
const STUB_BYTES: usize = 16;

/// What [`dispatch`] answers of an exception that the exceptions' own handler is to see.
const FOREIGN: usize = 1;

/// Takes over #DE, #DB, #UD, #PF and the vectors from 32 on.
pub fn install() {
    let debug = debug_stub as *const () as u64;
    // SAFETY: the stub keeps the contract of `set_gate`: it saves every register with `fxsave64`
    // and pushes, clears the direction flag, calls Rust with an aligned stack, and leaves by
    // `iretq` or for the scheduler's stack.
    unsafe { idt::set_gate(DEBUG_VECTOR, debug) };
    let exceptions = [
        (DIVIDE_VECTOR, divide_stub as *const () as u64),
        (OPCODE_VECTOR, opcode_stub as *const () as u64),
        (PAGE_FAULT_VECTOR, fault_stub as *const () as u64),
    ];
    for (vector, stub) in exceptions {
        // SAFETY: as above; what it does not serve it leaves to the handler that was there before,
        // with everything as it was.
        unsafe { idt::set_gate(vector, stub) };
    }
    for vector in FIRST_VECTOR..=u8::MAX {
        let index = usize::from(vector - FIRST_VECTOR);
        let stub = stubs as *const () as usize + index * STUB_BYTES;
        // SAFETY: as above.
        unsafe { idt::set_gate(vector, stub as u64) };
    }
}

/// Is told of an exception of module text, as the code that had it: where, with which frame
/// pointer, and at which address, if it was of one. Does not return if the program can end for it.
pub type TextFaultHandler = extern "C" fn(usize, usize, bool, usize);

static TEXT_FAULT_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `handler` run where module text divides by zero, reaches an invalid opcode or touches what
/// is no page of its process: on the stack of its fiber, with interrupts on.
pub fn set_text_fault_handler(handler: TextFaultHandler) {
    TEXT_FAULT_HANDLER.store(handler as *mut (), Ordering::Release);
}

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// Lets `handler` run at each interrupt of `vector`: on an IST stack, with interrupts off, possibly
/// in the middle of anything. It sets flags; it takes no lock and allocates nothing.
pub fn set_handler(vector: u8, handler: fn(u8)) {
    HANDLERS[usize::from(vector)].store(handler as *mut (), Ordering::Release);
}

/// Called by the stubs. Zero to return to where the interrupt came from; otherwise the stack
/// pointer of the scheduler, whose fiber was preempted.
extern "C" fn dispatch(context: &mut Context) -> usize {
    let cpu = cpu();
    // The stubs push what they were assembled with: it fits a byte.
    let vector = context.vector as u8;
    if vector == DEBUG_VECTOR {
        cpu.cancel_return_points();
        return cpu.preempt(context).unwrap_or(0);
    }
    match vector {
        PAGE_FAULT_VECTOR => return cpu.page_fault(context),
        DIVIDE_VECTOR | OPCODE_VECTOR => return cpu.text_fault(context, None),
        SPURIOUS_VECTOR => return 0,
        // Concerns no process: what was interrupted goes on.
        FLUSH_VECTOR => {
            crate::memory::tlb::serve();
            crate::apic::end_of_interrupt();
            return 0;
        }
        TIMER_VECTOR => cpu.set_timer_deadline(0),
        _ => {}
    }
    let handler = HANDLERS[usize::from(vector)].load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `set_handler` stores here, and it stores functions of this type.
        let handler = unsafe { core::mem::transmute::<*mut (), fn(u8)>(handler) };
        handler(vector);
    }
    crate::apic::end_of_interrupt();
    cpu.preempt(context).unwrap_or_else(|| {
        cpu.preempt_later(context);
        0
    })
}

impl CpuLocal {
    /// Takes the CPU from the running fiber if it was in module text and does not hold it.
    fn preempt(self, context: &Context) -> Option<usize> {
        self.is_in_text(context).then(|| self.preempt_as(context, Left::Preempted))
    }

    /// Whether a fiber runs, is in module text and does not hold the CPU.
    fn is_in_text(self, context: &Context) -> bool {
        !self.fiber().is_null() && !self.is_held() && text::is_text(context.rip as usize)
    }

    /// Takes the CPU from the running fiber, which is in module text.
    fn preempt_as(self, context: &Context, left: Left) -> usize {
        let fiber = self.fiber();
        // SAFETY: the running fiber's record is kept alive by `Fiber::resume`, which waits on this
        // CPU's scheduler stack and does not touch it before it is returned to. The body runs and
        // has its own field borrowed, so this one alone is written.
        unsafe { (*fiber).context = context.clone() };
        // SAFETY: as above.
        unsafe { (*fiber).left = left };
        self.count_preemption();
        self.leave()
    }

    /// Lets pages of the running fiber come, or ends its run for want of them.
    fn page_fault(self, context: &mut Context) -> usize {
        if context.error & (FAULT_PRESENT | FAULT_FETCH) != 0 {
            return FOREIGN;
        }
        let address = Cr2::read_raw();
        match demand::serve(address, self.is_in_text(context)) {
            Served::Mapped => 0,
            Served::Foreign => self.text_fault(context, Some(address)),
            Served::Short => self.preempt_as(context, Left::Starved),
        }
    }

    /// Lets the running fiber, which had an exception in module text, go on in the handler of such.
    fn text_fault(self, context: &mut Context, address: Option<u64>) -> usize {
        if !self.is_in_text(context) || TEXT_FAULT_HANDLER.load(Ordering::Relaxed).is_null() {
            return FOREIGN;
        }
        let general = &mut context.general;
        (general[RDI], general[RSI]) = (context.rip, general[RBP]);
        (general[RDX], general[RCX]) = (u64::from(address.is_some()), address.unwrap_or(0));
        context.rip = after_text_fault as *const () as u64;
        // As a call leaves it. There is nothing to return to: what lies above is not touched.
        context.rsp = context.rsp / 16 * 16 - 8;
        0
    }

    /// The running fiber, if there is one, cannot be preempted yet: waits for its return to text.
    fn preempt_later(self, context: &Context) {
        let fiber = self.fiber();
        if fiber.is_null() {
            return;
        }
        self.count_delayed();
        // SAFETY: as in `preempt`.
        let stack = unsafe { Inner::stack_range(fiber) };
        let mut points = [0; RETURN_POINTS_MAX];
        let found = find_return_points(context.rsp as usize, stack, &mut points);
        if found > 0 {
            arm(&points[..found]);
            self.set_armed(true);
        }
        crate::timer::arm(RETRY);
    }

    /// Forgets the return addresses that #DB waits for.
    #[inline]
    pub(crate) fn cancel_return_points(self) {
        if self.is_armed() {
            self.set_armed(false);
            // SAFETY: DR7 = 0 disables every breakpoint; nobody but this module uses them.
            unsafe { asm!("mov dr7, {0}", "mov dr6, {0}", in(reg) 0u64, options(nostack)) };
        }
    }
}

/// Where a fiber goes on that had an exception in module text. Nothing of the frame that had it is
/// used again, and module text owns nothing.
extern "C" fn after_text_fault(rip: usize, rbp: usize, has_address: bool, address: usize) -> ! {
    let handler = TEXT_FAULT_HANDLER.load(Ordering::Acquire);
    // SAFETY: not null, as `text_fault` saw; only `set_text_fault_handler` stores here, and it
    // stores functions of this type.
    let handler = unsafe { core::mem::transmute::<*mut (), TextFaultHandler>(handler) };
    handler(rip, rbp, has_address, address);
    panic!("module text at {rip:#x} had an exception that is no trap, at address {address:#x}")
}

/// Collects the first distinct text addresses found on the stack from `rsp` upwards.
fn find_return_points(
    rsp: usize,
    stack: core::ops::Range<usize>,
    points: &mut [usize; RETURN_POINTS_MAX],
) -> usize {
    if !stack.contains(&rsp) {
        return 0;
    }
    let first = rsp.next_multiple_of(size_of::<usize>());
    let words = ((stack.end - first) / size_of::<usize>()).min(SCAN_WORDS_MAX);
    let mut found = 0;
    for index in 0..words {
        let address = first + index * size_of::<usize>();
        // SAFETY: an aligned word between the interrupted stack pointer and the end of the mapped
        // stack of the fiber, which does not run now. Read as a number only.
        let word = unsafe { core::ptr::read_volatile(address as *const usize) };
        if text::is_text(word) && !points[..found].contains(&word) {
            points[found] = word;
            found += 1;
            if found == RETURN_POINTS_MAX {
                break;
            }
        }
    }
    found
}

/// Puts `points` into the debug address registers as instruction breakpoints (Intel SDM volume 3,
/// 18.2: L0 to L3 are the even low bits of DR7, its condition and length fields zero).
fn arm(points: &[usize]) {
    let point = |index: usize| points.get(index).copied().unwrap_or(0);
    let enabled: u64 = (0..points.len()).map(|index| 1 << (2 * index)).sum();
    // SAFETY: breakpoints on module text only, disabled again by `cancel_return_points`; the flags
    // and the stack are not touched.
    unsafe {
        asm!(
            "mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", "mov dr7, {4}",
            in(reg) point(0), in(reg) point(1), in(reg) point(2), in(reg) point(3),
            in(reg) enabled,
            options(nostack, preserves_flags),
        )
    };
}
