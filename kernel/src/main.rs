//! The kernel's binary: wiring, and no policy.
//!
//! Owns the order in which the parts start, and the panic handler.

#![no_std]
#![no_main]

extern crate alloc;

mod command_line;
mod host;
mod selftest;
mod selftest_card;
mod selftest_engine;
mod start;

use bootloader_api::BootInfo;
use bootloader_api::config::{BootloaderConfig, Mapping};
use core::panic::PanicInfo;
use craton_hal::boottrace::mark;
use craton_hal::memory::heap::KernelHeap;
use craton_hal::memory::layout::PHYSICAL_MAP_BASE;
use craton_hal::power::ExitCode;
use craton_hal::{apic, backtrace, boot, clock, cpu, interrupt, logger, memory};
use craton_hal::{power, serial, smp, timer, trap};
use log::{LevelFilter, info};

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// For loaders of the crate `bootloader`: they show physical memory where the kernel itself will.
static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::FixedAddress(PHYSICAL_MAP_BASE));
    config
};

bootloader_api::entry_point!(kernel_main, config = &BOOTLOADER_CONFIG);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    boot::enter(boot_info, main)
}

/// Starts the parts in the order in which they need each other.
extern "C" fn main(boot_info: &'static mut BootInfo) -> ! {
    clock::mark_origin();
    mark("entry code");
    serial::start();
    cpu::start_boot_cpu();
    trap::start();
    cpu::protect();
    mark("serial line, traps");
    let memory = memory::start(boot_info);
    mark("memory");
    logger::start(command_line::log_level().unwrap_or(LevelFilter::Info));
    info!("craton {} starts", env!("CARGO_PKG_VERSION"));
    mark("first line");
    power::start(memory.rsdp);
    mark("ACPI tables");
    interrupt::install();
    apic::start();
    let others = smp::Starting::begin();
    mark("interrupts");
    let Some(frequencies) = clock::start() else {
        start::refuse(format_args!("nothing tells how fast the time-stamp counter is"))
    };
    timer::start(frequencies);
    cpu::enable_interrupts();
    serial::start_interrupts();
    others.go_on(frequencies);
    mark("clocks");
    let config = start::configuration();
    mark("configuration");
    let cpus = others.finish();
    mark("other CPUs");
    info!(
        "{cpus} CPU{}, {} MiB of memory, {} KiB free",
        if cpus == 1 { "" } else { "s" },
        memory.usable_bytes.div_ceil(1 << 20),
        memory::free_bytes() / 1024,
    );
    command_line::obey();
    if let Some(missing) = cpu::missing_features() {
        start::refuse(format_args!("this CPU has no {missing}; programs need x86-64-v2"));
    }
    start::node(config)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if trap::begin_report() {
        let (place, location, message) = (trap::Place::here(), Location(info), info.message());
        serial::write(format_args!("\nPANIC {place} at {location}: {message}\n"));
        backtrace::print_here();
    } else {
        serial::write(format_args!("panic inside of the report\n"));
    }
    power::end(ExitCode::Panic)
}

/// Where a panic happened.
struct Location<'a>(&'a PanicInfo<'a>);

impl core::fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.location() {
            Some(place) => write!(f, "{}:{}", place.file(), place.line()),
            None => write!(f, "an unknown place"),
        }
    }
}
