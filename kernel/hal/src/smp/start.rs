//! The start of the other CPUs: from the firmware's list of them to CPUs that wait for jobs.
//!
//! Owns the rows by which a CPU finds its data and stack, the page in the first MiB where it begins
//! (`entry.s`), and the sequence INIT, start-up, start-up (Intel SDM vol. 3, 8.4.4.1). All CPUs are
//! started at once. One that does not come in time is sent back to where INIT leaves it, said, and
//! left off.

use super::idle;
use super::processors::Processors;
use super::time_stamps::Exchange;
use crate::apic::{self, Command};
use crate::clock::{self, Frequencies};
use crate::cpu::{self, CPUS_MAX, PerCpu, cpuid};
use crate::memory::low_text::LowText;
use crate::memory::{physical_bytes, tlb, vm};
use crate::{acpi, idt, power, timer};
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use craton_abi::Duration;
use log::{info, warn};
use spin::Once;

global_asm!(
    include_str!("entry.s"),
    rows = sym ROWS,
    rows_max = const CPUS_MAX,
    row_bytes = const size_of::<Row>(),
    main = sym main,
    options(att_syntax)
);

unsafe extern "C" {
    // Places in `entry.s`; only their addresses mean anything.
    static smp_copy_start: u8;
    static smp_copy_end: u8;
    static smp_set_segments_base: u8;
    static smp_set_target: u8;
    static smp_set_root: u8;
}

/// How long a CPU waits after INIT where no hypervisor says that it need not.
const INIT_WAIT: Duration = Duration::from_millis(10);
/// How long a CPU has to take the first start-up before the second is sent.
const START_UP_WAIT: Duration = Duration::from_micros(200);
/// How long a CPU that has come waits to compare its clock with the boot CPU's for the first time,
/// and then for all.
const FIRST_EXCHANGE_MAX: Duration = Duration::from_millis(100);
const EXCHANGES_MAX: Duration = Duration::from_millis(1);
/// How long the CPUs have to come, all of them together. A host may have fewer than it shows.
const COME_MAX: Duration = Duration::from_secs(2);

/// What a CPU needs when it starts. `entry.s` knows the first three fields.
#[repr(C)]
struct Row {
    apic_id: AtomicU32,
    state: AtomicU32,
    stack_top: AtomicU64,
    cpu: AtomicPtr<PerCpu>,
    /// For comparing the two clocks.
    exchange: Exchange,
}

const _: () = assert!(offset_of!(Row, apic_id) == 0, "entry.s knows");
const _: () = assert!(offset_of!(Row, state) == 4, "entry.s knows");
const _: () = assert!(offset_of!(Row, stack_top) == 8, "entry.s knows");

/// States of a row. Nobody has it; a CPU is expected; it has come; it may go on; it is too late.
const FREE: u32 = 0;
const EXPECTED: u32 = 1;
const COME: u32 = 2;
const ADMITTED: u32 = 3;
const TOO_LATE: u32 = 4;

static ROWS: [Row; CPUS_MAX] = [const {
    Row {
        apic_id: AtomicU32::new(0),
        state: AtomicU32::new(FREE),
        stack_top: AtomicU64::new(0),
        cpu: AtomicPtr::new(ptr::null_mut()),
        exchange: Exchange::new(),
    }
}; CPUS_MAX];

static FREQUENCIES: Once<Frequencies> = Once::new();

impl Row {
    fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The data of the CPU that came.
    fn cpu(&self) -> Option<&'static PerCpu> {
        // SAFETY: Set once, to a value that lives for ever; its CPU, which alone had it, has come
        // and shares it from then on.
        unsafe { self.cpu.load(Ordering::Acquire).as_ref() }
    }
}

/// Starts all other enabled CPUs of the machine. They wait, halted, for jobs. Returns how many CPUs
/// run now, this one included. To be called once, after [`power::start`], with the clock and this
/// CPU's timer running.
pub fn start(frequencies: Frequencies) -> usize {
    FREQUENCIES.call_once(|| frequencies);
    let table = power::root_pointer().and_then(|root| acpi::find(root, *b"APIC", physical_bytes));
    let processors = match table.map(Processors::parse) {
        Some(Ok(processors)) => processors,
        Some(Err(broken)) => {
            warn!("only this CPU is used: {broken}");
            return 1;
        }
        None => return 1,
    };
    if processors.left_off > 0 {
        let (count, max) = (processors.left_off, CPUS_MAX);
        warn!("{count} CPUs are left off: Craton uses {max} of a machine at most");
    }
    let expected = prepare(&processors);
    if expected > 0
        && let Some(page) = begin()
    {
        wait(expected);
        // Before the others take part: they forget the page when they do.
        page.end();
        vm::prepare_sharing();
        admit();
    }
    cpu::count()
}

/// Fills a row for each CPU but this one. Returns how many.
fn prepare(processors: &Processors) -> usize {
    let this = apic::id();
    let others = processors.ids().iter().filter(|&&id| id != this);
    let mut expected = 0;
    for &id in others {
        if !apic::can_reach(id) {
            warn!("the CPU of APIC {id} is left off: only a machine with x2APIC reaches it");
            continue;
        }
        match cpu::prepare_other() {
            Ok((data, stack_top)) => {
                let row = ROWS.get(expected).expect("no more ids than rows");
                row.apic_id.store(id, Ordering::Relaxed);
                row.stack_top.store(stack_top, Ordering::Relaxed);
                row.cpu.store(data, Ordering::Release);
                row.state.store(EXPECTED, Ordering::Release);
                expected += 1;
            }
            Err(_) => warn!("the CPU of APIC {id} is left off: no memory for its stacks"),
        }
    }
    expected
}

fn rows_in(state: u32) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.state() == state)
}

/// Puts the entry code where CPUs can begin, and makes them.
fn begin() -> Option<LowText> {
    let Some(page) = LowText::new(fill) else {
        warn!("only this CPU is used: no free page in the first MiB for the others to begin in");
        return None;
    };
    let send_all = |command| {
        for row in rows_in(EXPECTED) {
            apic::send(row.apic_id.load(Ordering::Relaxed), command);
        }
    };
    send_all(Command::Init);
    let hypervisor = cpuid(1, 0).ecx & (1 << 31) != 0;
    if !hypervisor {
        spin_for(INIT_WAIT, || false);
    }
    let start_up = Command::StartUp((page.address() >> 12) as u8);
    send_all(start_up);
    spin_for(START_UP_WAIT, || rows_in(EXPECTED).next().is_none());
    send_all(start_up);
    Some(page)
}

/// Copies the entry code to a page and sets the words that depend on where it lies.
fn fill(page: &mut [u8], address: u32) {
    let start = &raw const smp_copy_start;
    let offset = |place: *const u8| place as usize - start as usize;
    let len = offset(&raw const smp_copy_end);
    // SAFETY: The code between the two labels, in read-only data.
    let code = unsafe { core::slice::from_raw_parts(start, len) };
    page[..len].copy_from_slice(code);
    let root = vm::root();
    let root = u32::try_from(root).expect("the first frame that was taken lies below 4 GiB");
    let words = [
        (&raw const smp_set_segments_base, address),
        (&raw const smp_set_target, address),
        (&raw const smp_set_root, root),
    ];
    for (place, add) in words {
        let at = offset(place);
        let word: &mut [u8; 4] = (&mut page[at..at + 4]).try_into().expect("four bytes");
        *word = (u32::from_le_bytes(*word) + add).to_le_bytes();
    }
}

/// Waits until the CPUs have come, a bounded time.
fn wait(expected: usize) {
    let rows = &ROWS[..expected];
    spin_for(COME_MAX, || {
        rows.iter().for_each(|row| row.exchange.answer(cpu::own_time_stamp));
        rows.iter().all(|row| row.state() == COME)
    });
    for row in rows_in(EXPECTED) {
        if row.change(EXPECTED, TOO_LATE) {
            let id = row.apic_id.load(Ordering::Relaxed);
            // From here it cannot come back: the page where it would begin is needed no longer.
            apic::send(id, Command::Init);
            warn!("the CPU of APIC {id} is left off: it did not start within {COME_MAX}");
        }
    }
}

/// Lets the CPUs that came take part.
fn admit() {
    cpu::admit(rows_in(COME).filter_map(Row::cpu));
    for row in rows_in(COME) {
        let cpu = row.cpu();
        row.state.store(ADMITTED, Ordering::Release);
        let Some(cpu) = cpu else { continue };
        super::wake_cpu(cpu);
        match cpu.time_stamp_offset().cast_signed() {
            0 => {}
            add => info!("the clock of CPU {} is corrected by {add} ticks", cpu.index()),
        }
    }
}

/// Waits for a time, or until something holds.
fn spin_for(longest: Duration, done: impl Fn() -> bool) {
    let end = clock::now() + longest;
    while !done() && clock::now() < end {
        core::hint::spin_loop();
    }
}

/// Called by the entry code, on the CPU's main stack, with interrupts off.
extern "C" fn main(row: &'static Row) -> ! {
    // SAFETY: The row was made for this CPU alone, which has not come before.
    unsafe { cpu::start_other(row.cpu.load(Ordering::Acquire)) };
    idt::load();
    cpu::protect();
    apic::start_on_this_cpu();
    let this = cpu::current();
    this.set_apic_id(apic::id());
    if let Some(frequencies) = FREQUENCIES.get() {
        timer::start(*frequencies);
    }
    let (first, all) = (clock::ticks(FIRST_EXCHANGE_MAX), clock::ticks(EXCHANGES_MAX));
    this.set_time_stamp_offset(row.exchange.measure(first, all, cpu::own_time_stamp));
    if !row.change(EXPECTED, COME) {
        loop {
            x86_64::instructions::hlt(); // too late, with interrupts off: for good
        }
    }
    cpu::enable_interrupts();
    while row.state() != ADMITTED {
        timer::halt_unless(|| row.state() == ADMITTED);
    }
    // What it remembers may be older than its part in the epochs.
    tlb::serve();
    idle(this)
}
