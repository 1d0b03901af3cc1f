//! One CPU: its own data behind the GS base, its segments, its protections.
//!
//! Owns [`PerCpu`], reached through the GS base on every CPU, with the segment tables and interrupt
//! stacks that belong to it, and the CPU features that the kernel turns on. Only the boot CPU
//! exists yet; nothing here assumes that. Neighbours: [`crate::idt`] names the interrupt stacks.

use crate::idt::Ist;
use crate::stack::{GUARD_BYTES, GuardedStack};
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::GsBase;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Words of per-CPU data that [`crate::interrupt`] and [`crate::fiber`] give a meaning.
pub const PER_CPU_WORDS: usize = 16;
/// Where the first of them lies from the GS base.
pub const PER_CPU_WORDS_OFFSET: usize = offset_of!(PerCpu, words);

/// Bytes of each interrupt stack: a report of a fault with a backtrace takes about 4 KiB.
const IST_STACK_BYTES: usize = 16 * 1024;

/// What belongs to one CPU. Its address is at `gs:[0]`.
#[repr(C, align(64))]
pub struct PerCpu {
    /// The address of this very value, so that one load through GS yields a pointer.
    own_address: u64,
    /// Words that the interrupt and fiber code number among themselves.
    pub words: [AtomicU64; PER_CPU_WORDS],
    /// The number of this CPU, from 0.
    pub index: u32,
    segments: GlobalDescriptorTable,
    task_state: TaskStateSegment,
}

type IstStacks = [GuardedStack<IST_STACK_BYTES>; Ist::COUNT];

#[unsafe(link_section = ".bss.stacks")]
static mut BOOT_IST_STACKS: IstStacks = [const { GuardedStack::new() }; Ist::COUNT];

static mut BOOT_CPU: PerCpu = PerCpu {
    own_address: 0,
    words: [const { AtomicU64::new(0) }; PER_CPU_WORDS],
    index: 0,
    segments: GlobalDescriptorTable::new(),
    task_state: TaskStateSegment::new(),
};

/// The data of the CPU this runs on.
pub fn current() -> &'static PerCpu {
    let address: *const PerCpu;
    // SAFETY: Every CPU sets its GS base to its `PerCpu`, whose first word is its own address,
    // before it runs anything that asks.
    unsafe { asm!("mov {}, gs:[0]", out(reg) address, options(nostack, pure, readonly)) };
    // SAFETY: `PerCpu` values live for ever and are shared from then on.
    unsafe { &*address }
}

/// Loads segments, task state and GS base of the boot CPU. Interrupts are off and stay so.
pub fn start_boot_cpu() {
    let stacks = &raw const BOOT_IST_STACKS;
    let cpu = &raw mut BOOT_CPU;
    // SAFETY: Runs once, at the start of the only CPU; from here on the value is only shared.
    let cpu = unsafe { &mut *cpu };
    for index in 0..Ist::COUNT {
        let stack = stacks as u64 + (index * size_of::<GuardedStack<IST_STACK_BYTES>>()) as u64;
        let top = stack + (GUARD_BYTES + IST_STACK_BYTES) as u64;
        cpu.task_state.interrupt_stack_table[index] = VirtAddr::new(top);
    }
    load(cpu);
}

fn load(cpu: &'static mut PerCpu) {
    cpu.own_address = &raw const *cpu as u64;
    let code = cpu.segments.append(Descriptor::kernel_code_segment());
    let data = cpu.segments.append(Descriptor::kernel_data_segment());
    let cpu: *mut PerCpu = cpu;
    // SAFETY: The value is static; the task state is read only by the CPU from here on.
    let task_state = unsafe { &(*cpu).task_state };
    // SAFETY: A distinct field of the same value.
    let segments = unsafe { &mut (*cpu).segments };
    let task = segments.append(Descriptor::tss_segment(task_state));
    segments.load();
    // SAFETY: The selector names the 64-bit code segment of the table just loaded.
    unsafe { CS::set_reg(code) };
    // SAFETY: The selector names its data segment.
    unsafe { SS::set_reg(data) };
    // SAFETY: As above.
    unsafe { DS::set_reg(data) };
    // SAFETY: As above.
    unsafe { ES::set_reg(data) };
    // SAFETY: The selector names a task state that lives for ever.
    unsafe { load_tss(task) };
    GsBase::write(VirtAddr::from_ptr(cpu));
}

/// The guard pages of this module's stacks, to be unmapped.
pub(crate) fn ist_guards() -> impl Iterator<Item = u64> {
    let stacks = &raw const BOOT_IST_STACKS as u64;
    (0..Ist::COUNT as u64)
        .map(move |i| stacks + i * size_of::<GuardedStack<IST_STACK_BYTES>>() as u64)
}

/// A leaf of CPUID, zero where the CPU does not have it.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let group = leaf & 0xc000_0000;
    if leaf > __cpuid(group).eax {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, subleaf)
}

/// Turns on what protects the kernel from itself, as far as the CPU has it: NX, write protection in
/// ring 0, SMEP, SMAP, UMIP (Intel SDM vol. 3, 2.5 and 4.6), and the reporting of machine checks.
pub fn protect() {
    let features = cpuid(7, 0);
    let mut cr4 = Cr4::read() | Cr4Flags::MACHINE_CHECK_EXCEPTION;
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.ebx & (1 << 7) != 0);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.ebx & (1 << 20) != 0);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.ecx & (1 << 2) != 0);
    // SAFETY: Every bit set is one that the CPU has, and none changes how the kernel's own pages,
    // which are all supervisor pages, are reached.
    unsafe { Cr4::write(cr4) };
    // SAFETY: No page table entry of the kernel uses the NX bit for anything else.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
    // SAFETY: The kernel writes to no read-only page.
    unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT)) };
}

/// Lets interrupts in, for the first time and for good: every gate has a handler by now, and every
/// source is masked or quiet. Only the moment before a halt turns them off again.
pub fn enable_interrupts() {
    x86_64::instructions::interrupts::enable();
}

/// The time-stamp counter, read in order with what stands before and after it.
pub fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", "lfence", out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}
