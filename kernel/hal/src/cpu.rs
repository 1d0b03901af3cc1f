//! One CPU: its own data behind the GS base, its segments, its protections.
//!
//! Owns [`PerCpu`], reached through the GS base on every CPU, with the segment tables and interrupt
//! stacks that belong to it, the table of all CPUs, and the CPU features that the kernel turns on.
//! Neighbours: [`crate::idt`] names the interrupt stacks, [`crate::smp`] starts the other CPUs.

use crate::idt::Ist;
use crate::memory::layout::PAGE_BYTES;
use crate::memory::{Reservation, VmError};
use crate::smp::{Activity, JobSlot};
use crate::stack::{GUARD_BYTES, GuardedStack};
use alloc::boxed::Box;
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use core::fmt;
use core::mem::{forget, offset_of};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::GsBase;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Most CPUs of a machine; more are left off.
pub const CPUS_MAX: usize = 64;

/// Words of per-CPU data that [`crate::interrupt`] and [`crate::fiber`] give a meaning.
pub const PER_CPU_WORDS: usize = 16;
/// Where the first of them lies from the GS base.
pub const PER_CPU_WORDS_OFFSET: usize = offset_of!(PerCpu, words);

/// Bytes of each interrupt stack: a report of a fault with a backtrace takes about 4 KiB.
const IST_STACK_BYTES: usize = 16 * 1024;
/// Bytes of the main stack of a CPU other than the boot CPU, which runs the same kind of loop.
const MAIN_STACK_BYTES: usize = crate::stack::BOOT_STACK_BYTES;

/// What belongs to one CPU. Its address is at `gs:[0]`.
#[repr(C, align(64))]
pub struct PerCpu {
    /// The address of this very value, so that one load through GS yields a pointer.
    own_address: u64,
    /// Words that the interrupt and fiber code number among themselves.
    pub words: [AtomicU64; PER_CPU_WORDS],
    /// The number of this CPU, from 0, which is the boot CPU's.
    index: AtomicU32,
    /// The id of its local APIC: where interrupts for it are sent.
    apic_id: AtomicU32,
    /// What to add to its time-stamp counter to get the boot CPU's.
    time_stamp_offset: AtomicU64,
    /// The epoch of its last flush: see `memory/tlb.rs`.
    flushed: AtomicU64,
    /// What it does, for who wants to wake it.
    pub(crate) activity: Activity,
    /// What it is to run.
    pub(crate) job: JobSlot,
    /// The guard pages of its interrupt stacks, and of its main stack last.
    guards: [AtomicU64; Ist::COUNT + 1],
    segments: GlobalDescriptorTable,
    task_state: TaskStateSegment,
}

impl PerCpu {
    const fn new() -> Self {
        PerCpu {
            own_address: 0,
            words: [const { AtomicU64::new(0) }; PER_CPU_WORDS],
            index: AtomicU32::new(0),
            apic_id: AtomicU32::new(0),
            time_stamp_offset: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            activity: Activity::new(),
            job: JobSlot::new(),
            guards: [const { AtomicU64::new(0) }; Ist::COUNT + 1],
            segments: GlobalDescriptorTable::new(),
            task_state: TaskStateSegment::new(),
        }
    }

    /// The guard pages of its stacks.
    pub(crate) fn guards(&self) -> impl Iterator<Item = u64> {
        self.guards.iter().map(|guard| guard.load(Ordering::Relaxed))
    }

    /// Its number.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed) as usize
    }

    /// What is added to its time-stamp counter.
    pub(crate) fn time_stamp_offset(&self) -> u64 {
        self.time_stamp_offset.load(Ordering::Relaxed)
    }

    /// The id of its local APIC.
    pub(crate) fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// Notes the id of its local APIC.
    pub(crate) fn set_apic_id(&self, id: u32) {
        self.apic_id.store(id, Ordering::Relaxed);
    }

    /// The epoch up to which it has forgotten what was unmapped.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Notes that it has flushed; an interrupt may have noted a later epoch meanwhile.
    pub(crate) fn set_flushed(&self, epoch: u64) {
        self.flushed.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Notes what is to be added to its time-stamp counter.
    pub(crate) fn set_time_stamp_offset(&self, offset: u64) {
        self.time_stamp_offset.store(offset, Ordering::Relaxed);
        TIME_STAMPS_DIFFER.fetch_or(offset != 0, Ordering::Release);
    }
}

type IstStacks = [GuardedStack<IST_STACK_BYTES>; Ist::COUNT];

#[unsafe(link_section = ".bss.stacks")]
static mut BOOT_IST_STACKS: IstStacks = [const { GuardedStack::new() }; Ist::COUNT];

static mut BOOT_CPU: PerCpu = PerCpu::new();

/// The CPUs that run, by their index. Written by the boot CPU before [`COUNT`] says so.
static CPUS: [AtomicPtr<PerCpu>; CPUS_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; CPUS_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(1);
/// Whether the counters of some CPUs need their offset.
static TIME_STAMPS_DIFFER: AtomicBool = AtomicBool::new(false);

/// The number of the executing CPU, from 0, which is the boot CPU's. Valid from
/// [`start_boot_cpu`] on. Without the feature `metal`, as in host tests, there is only CPU 0.
#[inline]
pub fn index() -> usize {
    if cfg!(feature = "metal") { current().index() } else { 0 }
}

/// How many CPUs run.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// The data of a CPU, if it runs.
pub(crate) fn of(index: usize) -> Option<&'static PerCpu> {
    let cpu = CPUS.get(index)?.load(Ordering::Acquire);
    // SAFETY: Null, or one of the values that live for ever and are only shared.
    unsafe { cpu.as_ref() }
}

/// All CPUs that run.
pub(crate) fn all() -> impl Iterator<Item = &'static PerCpu> {
    (0..count()).filter_map(of)
}

/// Lets CPUs that have started take part, numbered in the order given after those that do.
pub(crate) fn admit(cpus: impl Iterator<Item = &'static PerCpu>) {
    let mut count = count();
    for cpu in cpus {
        let Some(place) = CPUS.get(count) else { break };
        cpu.index.store(count as u32, Ordering::Relaxed);
        place.store(ptr::from_ref(cpu).cast_mut(), Ordering::Release);
        count += 1;
    }
    COUNT.store(count, Ordering::Release);
}

/// The data of the CPU this runs on.
#[inline]
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
        cpu.guards[index].store(stack, Ordering::Relaxed);
    }
    cpu.guards[Ist::COUNT].store(crate::stack::boot_guard(), Ordering::Relaxed);
    CPUS[0].store(cpu, Ordering::Release);
    load(cpu);
}

/// Makes the data and the stacks of another CPU. Returns the data and the top of its main stack.
pub(crate) fn prepare_other() -> Result<(*mut PerCpu, u64), VmError> {
    let mut cpu = Box::new(PerCpu::new());
    let mut stacks: [Option<Reservation>; Ist::COUNT + 1] = [const { None }; Ist::COUNT + 1];
    let mut main_top = 0;
    for (i, stack) in stacks.iter_mut().enumerate() {
        let bytes = if i == Ist::COUNT { MAIN_STACK_BYTES } else { IST_STACK_BYTES };
        let mut reservation = Reservation::new_for_kernel(bytes)?;
        reservation.commit(bytes)?;
        let base = reservation.as_ptr() as u64;
        cpu.guards[i].store(base - PAGE_BYTES, Ordering::Relaxed);
        if i < Ist::COUNT {
            cpu.task_state.interrupt_stack_table[i] = VirtAddr::new(base + bytes as u64);
        } else {
            main_top = base + bytes as u64;
        }
        *stack = Some(reservation);
    }
    // A CPU needs its stacks for ever.
    forget(stacks);
    Ok((Box::into_raw(cpu), main_top))
}

/// Loads segments, task state and GS base of the executing CPU, another than the boot CPU.
///
/// # Safety
/// `cpu` comes from [`prepare_other`] and is this CPU's alone until this returns; interrupts are
/// off.
pub(crate) unsafe fn start_other(cpu: *mut PerCpu) {
    // SAFETY: The caller's promise; the value was leaked and lives for ever.
    load(unsafe { &mut *cpu });
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

/// The guard pages of the boot CPU's interrupt stacks, to be unmapped.
pub(crate) fn ist_guards() -> impl Iterator<Item = u64> {
    let stacks = &raw const BOOT_IST_STACKS as u64;
    (0..Ist::COUNT as u64)
        .map(move |i| stacks + i * size_of::<GuardedStack<IST_STACK_BYTES>>() as u64)
}

/// A stack of a CPU, in words for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuStack {
    cpu: usize,
    is_main: bool,
}

impl fmt::Display for CpuStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_main { "the main stack" } else { "an interrupt stack" })?;
        if self.cpu == 0 { Ok(()) } else { write!(f, " of CPU {}", self.cpu) }
    }
}

/// The stack whose guard begins at `page`, if one's does. Takes no lock.
pub(crate) fn stack_guarded_by(page: u64) -> Option<CpuStack> {
    all().enumerate().find_map(|(cpu, data)| {
        let which = data.guards().enumerate().find(|(_, guard)| *guard == page)?.0;
        Some(CpuStack { cpu, is_main: which == Ist::COUNT })
    })
}

/// Whether an address lies in this CPU's stack for interrupts: whether what runs there was called
/// by an interrupt.
pub(crate) fn is_interrupt_stack(address: u64) -> bool {
    let guard = current().guards[Ist::Interrupt as usize - 1].load(Ordering::Relaxed);
    let start = guard + GUARD_BYTES as u64;
    (start..start + IST_STACK_BYTES as u64).contains(&address)
}

/// A leaf of CPUID, zero where the CPU does not have it.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let group = leaf & 0xc000_0000;
    if leaf > __cpuid(group).eax {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, subleaf)
}

/// Whether this is a virtual machine, as every hypervisor says (bit 31 of ECX in leaf 1).
pub(crate) fn has_hypervisor() -> bool {
    cpuid(1, 0).ecx & (1 << 31) != 0
}

/// What programs are compiled for, x86-64-v2, beyond what every CPU in long mode has: the bit of
/// CPUID leaf 1, register ECX (Intel SDM vol. 2A, CPUID; System V ABI for x86-64, 3.1.1).
const PROGRAM_FEATURES: [(u32, &str); 6] =
    [(0, "SSE3"), (9, "SSSE3"), (13, "CMPXCHG16B"), (19, "SSE4.1"), (20, "SSE4.2"), (23, "POPCNT")];

/// The features that programs need and a CPU with this ECX in leaf 1 does not have.
#[derive(Debug, Clone, Copy)]
pub struct MissingFeatures(u32);

impl MissingFeatures {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let missing = move |(bit, _): &&(u32, &str)| self.0 & 1 << bit == 0;
        PROGRAM_FEATURES.iter().filter(missing).map(|(_, name)| *name)
    }
}

impl fmt::Display for MissingFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What this CPU lacks of what programs are compiled for, if anything.
pub fn missing_features() -> Option<MissingFeatures> {
    let missing = MissingFeatures(cpuid(1, 0).ecx);
    missing.names().next().map(|_| missing)
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

/// The time-stamp counter, read in order with what stands before and after it; equal on all CPUs
/// as far as [`crate::smp`] could measure.
pub fn time_stamp() -> u64 {
    own_time_stamp().wrapping_add(time_stamp_offset())
}

/// What this CPU's own counter shows at `time_stamp`.
pub(crate) fn to_own_time_stamp(time_stamp: u64) -> u64 {
    time_stamp.saturating_sub_signed(time_stamp_offset().cast_signed())
}

/// What is to be added to this CPU's counter. The data behind the GS base is looked at only if it
/// matters, so that time can be told before the GS base is set.
fn time_stamp_offset() -> u64 {
    if TIME_STAMPS_DIFFER.load(Ordering::Acquire) { current().time_stamp_offset() } else { 0 }
}

/// This CPU's own time-stamp counter.
pub(crate) fn own_time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", "lfence", out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_a_cpu_lacks_is_named() {
        assert_eq!(MissingFeatures(u32::MAX).names().count(), 0);
        let without = !(1 << 20 | 1 << 23);
        assert_eq!(MissingFeatures(without).to_string(), "SSE4.2, POPCNT");
        assert_eq!(MissingFeatures(0).names().count(), PROGRAM_FEATURES.len());
    }
}
