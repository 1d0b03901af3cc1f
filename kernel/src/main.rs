//! The kernel's binary: wiring, and no policy.
//!
//! Owns the order in which the parts start and the panic handler.

#![no_std]
#![no_main]
extern crate alloc;

use bootloader_api::BootInfo;
use bootloader_api::config::{BootloaderConfig, Mapping};
use craton_hal::memory::{self, heap::KernelHeap, layout::PHYSICAL_MAP_BASE};
use craton_hal::power::ExitCode;
use craton_hal::{boot, cpu, power, serial, trap};

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

extern "C" fn run(boot_info: &'static mut BootInfo) -> ! {
    serial::start();
    cpu::start_boot_cpu();
    trap::start();
    cpu::protect();
    let memory = memory::start(boot_info);
    serial::write(format_args!(
        "craton: {} KiB free of {} KiB\n",
        memory::free_bytes() / 1024,
        memory.usable_bytes / 1024
    ));
    let mut v = alloc::vec::Vec::new();
    for i in 0..100000u64 {
        v.push(alloc::boxed::Box::new(i));
    }
    serial::write(format_args!(
        "{} {}\n",
        v.iter().map(|b| **b).sum::<u64>(),
        memory::free_bytes() / 1024
    ));
    drop(v);
    serial::write(format_args!("{} \n", memory::free_bytes() / 1024));
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
