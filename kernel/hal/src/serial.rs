//! The serial line: COM1 at 115200 baud, written from anywhere.
//!
//! Owns the one UART. A line is written under a lock; who cannot get it within [`LOCK_SPINS_MAX`]
//! turns (a panic or a trap in the middle of a line, say) writes without it, since a garbled line
//! is worth more than none. Nothing here allocates or waits for ever. [`crate::logger`] and the
//! panic handler are the users.

use core::fmt;
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// The first serial port of a PC.
const COM1: u16 = 0x3f8;
/// Turns of waiting for the lock, some milliseconds.
const LOCK_SPINS_MAX: u32 = 1 << 20;
/// Turns of waiting for the transmitter to take more bytes; a line nobody drains is given up.
const READY_SPINS_MAX: u32 = 1 << 20;

static PORT: Mutex<Port> = Mutex::new(Port::new());

struct Port {
    uart: Uart16550<PioBackend>,
    /// Set at start if a UART answered.
    present: bool,
}

impl Port {
    const fn new() -> Self {
        // SAFETY: COM1 is a serial port on a PC or nothing at all; only this module drives it.
        let uart = unsafe { Uart16550::new_port(COM1) };
        match uart {
            Ok(uart) => Port { uart, present: false },
            Err(_) => panic!("COM1 leaves room for the registers"),
        }
    }

    fn start(&mut self) {
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        self.present = self.uart.init(config).is_ok();
    }

    fn send(&mut self, mut bytes: &[u8]) {
        let mut spins = 0;
        while self.present && !bytes.is_empty() && spins < READY_SPINS_MAX {
            let sent = self.uart.send_bytes(bytes);
            bytes = bytes.get(sent..).unwrap_or_default();
            spins = if sent == 0 { spins + 1 } else { 0 };
        }
    }
}

impl fmt::Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.send(line.as_bytes());
                    self.send(b"\r\n");
                }
                None => self.send(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Sets the UART up. Before, and on a machine without one, writing does nothing.
pub fn start() {
    PORT.lock().start();
}

/// Writes without allocating, from any context.
pub fn write(text: fmt::Arguments<'_>) {
    for _ in 0..LOCK_SPINS_MAX {
        if let Some(mut port) = PORT.try_lock() {
            // `Port` never fails to write.
            let _ = fmt::Write::write_fmt(&mut *port, text);
            return;
        }
        core::hint::spin_loop();
    }
    let mut port = Port::new();
    port.start();
    let _ = fmt::Write::write_fmt(&mut port, text);
}
