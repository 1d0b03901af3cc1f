//! The serial line: COM1 at 115200 baud, written from anywhere, and waited for by nobody.
//!
//! Owns the one UART, the ring of lines in front of it, and two ways to write:
//!
//! - [`queue`], for the log: the line goes into the ring, and from there into the transmitter as
//!   far as that has room. The transmitter's interrupt takes the rest, so a slow port stalls
//!   nobody; lines that find the ring full are dropped and counted.
//! - [`write`], for reports and the answers of tests: it waits, within bounds, until all that came
//!   before and the text itself are in the transmitter.
//!
//! Who cannot get the port within [`LOCK_SPINS_MAX`] turns (a panic in the middle of a line, say)
//! writes without it, since a garbled line is worth more than none. A transmitter that takes
//! nothing for [`READY_SPINS_MAX`] turns is not waited for again until it does. Nothing here
//! allocates.

use crate::interrupt::SERIAL_VECTOR;
use crate::lines::{Line, Lines};
use crate::{apic, interrupt, ioapic};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use spin::{Mutex, MutexGuard};
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550};

/// The first serial port of a PC, and its line to the interrupt controllers.
const COM1: u16 = 0x3f8;
const COM1_LINE: u8 = 4;
/// Lines that wait for the transmitter: 32 KiB of them.
const LINES_MAX: usize = 64;
/// Turns of waiting for the lock, some milliseconds.
const LOCK_SPINS_MAX: u32 = 1 << 20;
/// Turns of waiting for the transmitter to take more bytes: longer than sixteen take at any rate
/// above 1200 baud, since a turn reads a port, which no machine does in less than 100 ns or so.
const READY_SPINS_MAX: u32 = 1 << 20;

static LINES: Lines<LINES_MAX> = Lines::new();
static PORT: Mutex<Port<Com1>> = Mutex::new(Port::new(Com1::new()));
/// Set while a report is printed that nobody's lines should come between.
static HELD: AtomicBool = AtomicBool::new(false);
/// Set once the transmitter's interrupt is there to take what did not fit.
static INTERRUPTS: AtomicBool = AtomicBool::new(false);
/// Interrupts that came.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// What takes bytes at its own pace.
trait Transmitter {
    /// Takes some of the bytes, as many as it has room for now; returns how many.
    fn send(&mut self, bytes: &[u8]) -> usize;
    /// Whether all that it took has left it.
    fn is_idle(&mut self) -> bool;
    /// Asks for an interrupt when there is room, or for none.
    fn interrupt_on_room(&mut self, wanted: bool);
}

struct Com1 {
    uart: Uart16550<PioBackend>,
    /// Set at start if a UART answered.
    present: bool,
}

impl Com1 {
    const fn new() -> Self {
        // SAFETY: COM1 is a serial port on a PC or nothing at all; only this module drives it.
        let uart = unsafe { Uart16550::new_port(COM1) };
        match uart {
            Ok(uart) => Com1 { uart, present: false },
            Err(_) => panic!("COM1 leaves room for the registers"),
        }
    }

    fn start(&mut self) {
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        self.present = self.uart.init(config).is_ok();
    }
}

impl Transmitter for Com1 {
    fn send(&mut self, bytes: &[u8]) -> usize {
        // A machine without a UART swallows everything.
        if self.present { self.uart.send_bytes(bytes) } else { bytes.len() }
    }

    fn is_idle(&mut self) -> bool {
        !self.present || self.uart.lsr().contains(LSR::TRANSMITTER_EMPTY)
    }

    fn interrupt_on_room(&mut self, wanted: bool) {
        if !self.present {
            return;
        }
        // Off first: going on with room already there is what raises the interrupt anew.
        self.uart.disable_interrupts(IER::THR_EMPTY);
        if wanted {
            self.uart.enable_interrupts(IER::THR_EMPTY);
        }
    }
}

/// A transmitter, and how far the oldest line has got.
struct Port<T> {
    transmitter: T,
    /// What is sent before anything else: a note, or the rest of a line.
    current: Line,
    /// Bytes of it that were sent, the end of the line included; beyond its end if it is none.
    sent: usize,
    /// The transmitter took nothing when it was last waited for.
    stuck: bool,
}

const END_OF_LINE: &[u8] = b"\r\n";

impl<T: Transmitter> Port<T> {
    const fn new(transmitter: T) -> Self {
        Port { transmitter, current: Line::new(), sent: END_OF_LINE.len(), stuck: false }
    }

    /// Sends what the transmitter has room for. True if nothing is left.
    fn pump<const N: usize>(&mut self, lines: &Lines<N>) -> bool {
        loop {
            let text = self.current.bytes();
            let rest = match self.sent.checked_sub(text.len()) {
                None => &text[self.sent..],
                Some(of_end) => END_OF_LINE.get(of_end..).unwrap_or_default(),
            };
            if rest.is_empty() {
                if !self.next(lines) {
                    return true;
                }
                continue;
            }
            let sent = self.transmitter.send(rest);
            self.sent += sent;
            self.stuck &= sent == 0;
            if sent == 0 {
                return false;
            }
        }
    }

    /// Takes the next line, or the note about those before it that were dropped. False if there is
    /// none.
    fn next<const N: usize>(&mut self, lines: &Lines<N>) -> bool {
        let next = lines.peek(|line, dropped| (*line, dropped));
        let (line, dropped) = match next {
            Some((line, dropped)) => {
                lines.pop();
                (Some(line), dropped)
            }
            None => (None, lines.take_dropped()),
        };
        self.sent = 0;
        match (line, dropped) {
            (Some(line), 0) => self.current = line,
            (None, 0) => {
                self.sent = self.current.bytes().len() + END_OF_LINE.len();
                return false;
            }
            (line, dropped) => {
                let mut note = Line::new();
                // Both are cut where they do not fit into one.
                let lines = if dropped == 1 { "line" } else { "lines" };
                let _ = write!(note, "{dropped} {lines} dropped");
                if let Some(line) = line {
                    let _ = write!(note, " before: {}", line.as_str());
                }
                self.current = note;
            }
        }
        true
    }

    /// Pumps until nothing is left or the transmitter is stuck.
    fn flush<const N: usize>(&mut self, lines: &Lines<N>) {
        let mut spins = 0;
        let mut at = self.sent;
        while !self.pump(lines) {
            spins = if self.sent == at { spins + 1 } else { 0 };
            at = self.sent;
            if self.stuck || spins > READY_SPINS_MAX {
                self.stuck = true;
                return;
            }
        }
    }

    /// Sends bytes, waiting for room unless the transmitter is stuck.
    fn send_all(&mut self, mut bytes: &[u8]) {
        let mut spins = 0;
        while !bytes.is_empty() {
            let sent = self.transmitter.send(bytes);
            bytes = bytes.get(sent..).unwrap_or_default();
            spins = if sent == 0 { spins + 1 } else { 0 };
            self.stuck &= sent == 0;
            if spins > 0 && (self.stuck || spins > READY_SPINS_MAX) {
                self.stuck = true;
                return;
            }
        }
    }

    /// Waits until all bytes have left the transmitter, unless it is stuck.
    fn wait_idle(&mut self) {
        for _ in 0..READY_SPINS_MAX {
            if self.stuck || self.transmitter.is_idle() {
                return;
            }
        }
    }
}

impl<T: Transmitter> Write for Port<T> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.send_all(line.as_bytes());
                    self.send_all(END_OF_LINE);
                }
                None => self.send_all(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Sets the UART up. Before, and on a machine without one, writing does nothing.
pub fn start() {
    PORT.lock().transmitter.start();
}

/// Lets the transmitter's interrupt take what does not fit into the transmitter, from now on, on
/// this CPU. Before, and where the machine cannot route it, [`queue`] waits for the port instead.
pub fn start_interrupts() {
    interrupt::set_handler(SERIAL_VECTOR, |_vector| {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        drain();
    });
    // Ids beyond a byte exist only with x2APIC, whose boot CPU has a small one all the same.
    let apic_id = u8::try_from(apic::id()).unwrap_or(0);
    let routed = ioapic::route_isa(COM1_LINE, SERIAL_VECTOR, apic_id);
    INTERRUPTS.store(routed.is_ok(), Ordering::Release);
}

/// Asks the port for an interrupt, as it has room now. How many came before; `None` if none come.
#[cfg(feature = "metal")]
pub(crate) fn provoke_interrupt() -> Option<u32> {
    let before = interrupts_taken();
    let arrive = INTERRUPTS.load(Ordering::Acquire);
    x86_64::instructions::interrupts::without_interrupts(|| {
        PORT.lock().transmitter.interrupt_on_room(true);
    });
    arrive.then_some(before)
}

/// Interrupts of the port since the start.
#[cfg(feature = "metal")]
pub(crate) fn interrupts_taken() -> u32 {
    TAKEN.load(Ordering::Relaxed)
}

/// Queues a line, from any context, without waiting for the port; it may be dropped.
pub(crate) fn queue(line: &Line) {
    LINES.push(line);
    drain();
}

/// Sends queued lines as far as the port has room. Whoever holds the port already does the same
/// before and after it lets go, so that no line waits for the next one to come.
pub fn drain() {
    while !HELD.load(Ordering::Acquire) {
        let Some(mut port) = PORT.try_lock() else { return };
        if !INTERRUPTS.load(Ordering::Acquire) {
            // Nothing would send the rest later.
            port.flush(&LINES);
            port.transmitter.interrupt_on_room(false);
        } else {
            let all = port.pump(&LINES);
            port.transmitter.interrupt_on_room(!all);
            if !all {
                return;
            }
        }
        let stuck = port.stuck;
        drop(port);
        if stuck || LINES.peek(|_, _| ()).is_none() {
            return;
        }
    }
}

/// From now on only [`write`] reaches the port: what it prints is not to be torn apart. For a
/// machine that is about to end.
pub fn hold() {
    HELD.store(true, Ordering::Release);
}

fn port() -> Option<MutexGuard<'static, Port<Com1>>> {
    for _ in 0..LOCK_SPINS_MAX {
        if let Some(port) = PORT.try_lock() {
            return Some(port);
        }
        core::hint::spin_loop();
    }
    None
}

/// Writes without allocating, from any context, behind all that is queued. Waits for the port, but
/// not for ever.
pub fn write(text: fmt::Arguments<'_>) {
    if let Some(mut port) = port() {
        port.flush(&LINES);
        // `Port` never fails to write.
        let _ = port.write_fmt(text);
        return;
    }
    let mut port = Port::new(Com1::new());
    port.transmitter.start();
    let _ = port.write_fmt(text);
}

/// Waits until all that was written has left the machine, but not for ever: a machine that is
/// switched off takes what is still in the transmitter with it.
pub fn flush() {
    if let Some(mut port) = port() {
        port.flush(&LINES);
        port.wait_idle();
    }
}

#[cfg(test)]
#[path = "serial_tests.rs"]
mod tests;
