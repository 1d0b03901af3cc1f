//! The kernel's binary: wiring, and no policy.
//!
//! Owns the order in which the parts start and the panic handler.

#![no_std]
#![no_main]

use bootloader_api::BootInfo;
use craton_hal::{boot, power, serial};

bootloader_api::entry_point!(kernel_main);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    // SAFETY: First thing in the entry point.
    unsafe { boot::enter(boot_info, run) }
}

extern "C" fn run(boot_info: &'static mut BootInfo) -> ! {
    serial::start();
    serial::write(format_args!("craton: {}\n", boot::command_line()));
    for region in boot_info.memory_regions.iter() {
        serial::write(format_args!("{region:x?}\n"));
    }
    power::debug_exit(power::ExitCode::Success);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    serial::write(format_args!("{info}\n"));
    power::debug_exit(power::ExitCode::Panic);
    loop {
        core::hint::spin_loop();
    }
}
