//! The start of the other CPUs: from the firmware's list of them to CPUs that wait for jobs.
//!
//! Owns the rows by which a CPU finds its data and stack, the page in the first MiB where it begins
//! (`entry.s`), and the sequence INIT, start-up, start-up (Intel SDM vol. 3, 8.4.4.1). All CPUs are
//! started at once, while the boot CPU goes on. One that does not come in time is sent back to
//! where INIT leaves it, said, and left off.

use super::idle;
use super::processors::Processors;
use super::time_stamps::Exchange;
use crate::apic::{self, Command};
use crate::clock::{self, Frequencies};
use crate::cpu::{self, CPUS_MAX, PerCpu};
use crate::interrupt::WAKE_VECTOR;
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

/// The other CPUs on their way: from [`Starting::begin`] to [`Starting::finish`] they start while
/// this one does other things.
#[derive(Debug)]
pub struct Starting {
    /// The page they begin in; `None` if none of them is expected.
    page: Option<LowText>,
    expected: usize,
    /// The counter when they were told to reset.
    reset_at: u64,
}

impl Starting {
    /// Makes all other enabled CPUs of the machine start. To be called once, after
    /// [`power::start`], with this CPU's local APIC on.
    #[must_use = "they wait for the finish"]
    pub fn begin() -> Self {
        let expected = processors().map_or(0, |processors| prepare(&processors));
        let page = if expected > 0 { begin() } else { None };
        Starting { page, expected, reset_at: cpu::own_time_stamp() }
    }

    /// Tells them the frequencies, which those that have come so far wait for. What is done between
    /// this and the finish lets a host with few processors find one for each of them: two that wait
    /// for one another on one processor would take its scheduler's time.
    pub fn go_on(&self, frequencies: Frequencies) {
        FREQUENCIES.call_once(|| frequencies);
        send_to_expected(Command::Interrupt(WAKE_VECTOR));
    }

    /// Waits for them, a bounded time. They wait, halted, for jobs then. Returns how many CPUs run
    /// now, this one included. Needs the clock and this CPU's timer running, and the CPUs told to
    /// [go on](Starting::go_on).
    pub fn finish(self) -> usize {
        if let Some(page) = self.page {
            if !cpu::has_hypervisor() {
                let ready_at = self.reset_at.saturating_add(clock::ticks(INIT_WAIT));
                spin_for(INIT_WAIT, || cpu::own_time_stamp() >= ready_at);
                send_to_expected(start_up(&page));
            }
            wait(self.expected, &page);
            // Before the others take part: they forget the page when they do.
            page.end();
            vm::prepare_sharing();
            admit();
        }
        cpu::count()
    }
}

/// The machine's list of its CPUs, as far as there is one.
fn processors() -> Option<Processors> {
    let root = power::root_pointer()?;
    match Processors::parse(acpi::find(root, *b"APIC", physical_bytes)?) {
        Ok(processors) => {
            if processors.left_off > 0 {
                let (count, max) = (processors.left_off, CPUS_MAX);
                warn!("{count} CPUs are left off: Craton uses {max} of a machine at most");
            }
            Some(processors)
        }
        Err(broken) => {
            warn!("only this CPU is used: {broken}");
            None
        }
    }
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

/// Puts the entry code where CPUs can begin, and resets them. Under a hypervisor they need no time
/// to reset, and begin.
fn begin() -> Option<LowText> {
    let Some(page) = LowText::new(fill) else {
        warn!("only this CPU is used: no free page in the first MiB for the others to begin in");
        return None;
    };
    send_to_expected(Command::Init);
    if cpu::has_hypervisor() {
        send_to_expected(start_up(&page));
    }
    Some(page)
}

fn send_to_expected(command: Command) {
    for row in rows_in(EXPECTED) {
        apic::send(row.apic_id.load(Ordering::Relaxed), command);
    }
}

fn start_up(page: &LowText) -> Command {
    Command::StartUp((page.address() >> 12) as u8)
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

/// Waits until the CPUs have come, a bounded time. Those that have not taken the first start-up are
/// sent the second; the others ignore it.
fn wait(expected: usize, page: &LowText) {
    let rows = &ROWS[..expected];
    let all_come = || {
        rows.iter().for_each(|row| row.exchange.answer(cpu::own_time_stamp));
        rows.iter().all(|row| row.state() == COME)
    };
    if !spin_for(START_UP_WAIT, all_come) {
        send_to_expected(start_up(page));
        spin_for(COME_MAX, all_come);
    }
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

/// Waits for a time, or until something holds. Whether it does.
fn spin_for(longest: Duration, done: impl Fn() -> bool) -> bool {
    let end = clock::now() + longest;
    loop {
        if done() {
            return true;
        }
        if clock::now() >= end {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Called by the entry code, on the CPU's main stack, with interrupts off. The clock may not run
/// yet.
extern "C" fn main(row: &'static Row) -> ! {
    // SAFETY: The row was made for this CPU alone, which has not come before.
    unsafe { cpu::start_other(row.cpu.load(Ordering::Acquire)) };
    idt::load();
    cpu::protect();
    apic::start_on_this_cpu();
    let this = cpu::current();
    this.set_apic_id(apic::id());
    cpu::enable_interrupts();
    let frequencies = loop {
        if let Some(frequencies) = FREQUENCIES.get() {
            break *frequencies;
        }
        // The boot CPU's other things may take long where it shares a processor with this one.
        timer::halt_unless(|| FREQUENCIES.is_completed());
    };
    timer::start(frequencies);
    let (first, all) = (clock::ticks(FIRST_EXCHANGE_MAX), clock::ticks(EXCHANGES_MAX));
    this.set_time_stamp_offset(row.exchange.measure(first, all, cpu::own_time_stamp));
    if !row.change(EXPECTED, COME) {
        x86_64::instructions::interrupts::disable();
        loop {
            x86_64::instructions::hlt(); // too late: for good
        }
    }
    while row.state() != ADMITTED {
        timer::halt_unless(|| row.state() == ADMITTED);
    }
    // What it remembers may be older than its part in the epochs.
    tlb::serve();
    idle(this)
}
