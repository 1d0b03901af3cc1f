//! The kernel's binary: wiring, and no policy.
//!
//! Owns the order in which the parts start and the panic handler.

#![no_std]
#![no_main]
extern crate alloc;

use bootloader_api::BootInfo;
use bootloader_api::config::{BootloaderConfig, Mapping};
use core::sync::atomic::{AtomicU32, Ordering};
use craton_hal::memory::{self, heap::KernelHeap, layout::PHYSICAL_MAP_BASE};
use craton_hal::power::ExitCode;
use craton_hal::{apic, boot, clock, cpu, interrupt, logger, power, serial, timer, trap};

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::FixedAddress(PHYSICAL_MAP_BASE));
    config
};

bootloader_api::entry_point!(kernel_main, config = &BOOTLOADER_CONFIG);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    // SAFETY: First thing in the entry point.
    unsafe { boot::enter(boot_info, run) }
}

static T: AtomicU32 = AtomicU32::new(0);
extern "C" fn run(boot_info: &'static mut BootInfo) -> ! {
    clock::mark_origin();
    serial::start();
    cpu::start_boot_cpu();
    trap::start();
    cpu::protect();
    let memory = memory::start(boot_info);
    logger::start(log::LevelFilter::Info);
    interrupt::install();
    apic::start();
    let f = clock::start();
    timer::start(f);
    log::info!(
        "{} KiB free of {} KiB {:?}, {:?}",
        memory::free_bytes() / 1024,
        memory.usable_bytes / 1024,
        f,
        clock::wall(),
    );
    interrupt::set_handler(0x40, |_| {
        T.fetch_add(1, Ordering::Relaxed);
    });
    for _ in 0..5 {
        let n = T.load(Ordering::Relaxed);
        let t0 = clock::now();
        timer::arm(craton_abi::Duration::from_millis(20));
        while T.load(Ordering::Relaxed) == n {
            timer::halt_unless(|| T.load(Ordering::Relaxed) != n);
        }
        log::info!("woke after {}", clock::now() - t0);
    }
    if boot::command_line().contains("null") {
        unsafe { (8 as *mut u8).read_volatile() };
    }
    power::end(ExitCode::Success)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    serial::write(format_args!("{info}\n"));
    craton_hal::backtrace::print_here();
    power::end(ExitCode::Panic)
}
