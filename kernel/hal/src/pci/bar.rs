//! Base addresses: how large a function's memory is, where it lies, where it could lie.
//!
//! Owns [`Bar`] and [`Window`], the physical addresses from which those get one that the firmware
//! left at 0.

use super::spec::{self, BarBits, Command};
use super::{Config, Function, Place};

/// A function answers at addresses of either kind.
const ANSWERS: u32 = Command::MEMORY | Command::PORTS;

/// Memory of a function.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Bar {
    /// Physical address; 0 if it has none yet.
    pub address: u64,
    /// Bytes, a power of two.
    pub bytes: u64,
    /// Its register holds 64 bits.
    wide: bool,
}

/// Physical addresses that are nobody's.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// The first.
    pub start: u64,
    /// The first after the last.
    pub end: u64,
}

impl Window {
    /// Below the I/O APIC and above the memory of every machine that boots without a firmware that
    /// assigns addresses: QEMU's boards keep 3.5 GiB to 4 GiB for devices whatever their memory.
    pub const BELOW_4G: Window = Window { start: 0xe000_0000, end: 0xfe00_0000 };
}

/// Reads the memory registers of a function, sizes included.
pub(super) fn read<C: Config>(config: &mut C, place: Place) -> [Option<Bar>; spec::BARS] {
    let mut bars = [None; spec::BARS];
    // While a register is asked for its size it must not answer anywhere.
    let command = silence(config, place);
    let mut index = 0;
    while index < spec::BARS {
        let low = config.read(place, register(index));
        let wide = low & (BarBits::PORTS | BarBits::WIDTH) == BarBits::WIDTH_64;
        if low & BarBits::PORTS == 0 && !(wide && index + 1 == spec::BARS) {
            bars[index] = measure(config, place, index, wide);
        }
        index += if wide { 2 } else { 1 };
    }
    restore(config, place, command);
    bars
}

/// Takes a function off its addresses; gives the command register as it was.
fn silence<C: Config>(config: &mut C, place: Place) -> u32 {
    let command = config.read(place, spec::COMMAND) & spec::COMMAND_MASK;
    if command & ANSWERS != 0 {
        config.write(place, spec::COMMAND, command & !ANSWERS);
    }
    command
}

fn restore<C: Config>(config: &mut C, place: Place, command: u32) {
    if command & ANSWERS != 0 {
        config.write(place, spec::COMMAND, command);
    }
}

fn register(index: usize) -> u8 {
    // At most five registers after the first.
    spec::BAR_FIRST + (index % spec::BARS) as u8 * 4
}

/// Asks a register for its size by writing ones (6.2.5.1), and puts back what it held.
fn measure<C: Config>(config: &mut C, place: Place, index: usize, wide: bool) -> Option<Bar> {
    let (low, mask_low) = ask(config, place, register(index));
    let (high, mask_high) =
        if wide { ask(config, place, register(index + 1)) } else { (0, u32::MAX) };
    let mask = u64::from(mask_high) << 32 | u64::from(mask_low & !BarBits::FLAGS);
    let bytes = (!mask).checked_add(1)?;
    let real = mask_low & !BarBits::FLAGS != 0 || (wide && mask_high != 0);
    if !real || !bytes.is_power_of_two() {
        return None;
    }
    let address = u64::from(high) << 32 | u64::from(low & !BarBits::FLAGS);
    Some(Bar { address, bytes, wide })
}

fn ask<C: Config>(config: &mut C, place: Place, register: u8) -> (u32, u32) {
    let held = config.read(place, register);
    config.write(place, register, u32::MAX);
    let mask = config.read(place, register);
    config.write(place, register, held);
    (held, mask)
}

/// Gives addresses to all that have none, apart from each other and from those that have.
pub(super) fn assign<C: Config>(config: &mut C, functions: &mut [Function], window: Window) {
    for number in 0..functions.len() {
        for index in 0..spec::BARS {
            let Some(bar) = functions[number].bars[index] else { continue };
            if bar.address != 0 {
                continue;
            }
            let Some(address) = find_room(functions, window, bar.bytes) else { continue };
            write(config, functions[number].place, index, bar, address);
            functions[number].bars[index] = Some(Bar { address, ..bar });
        }
    }
}

/// The lowest place in the window for `bytes` bytes, aligned to their number.
fn find_room(functions: &[Function], window: Window, bytes: u64) -> Option<u64> {
    let taken =
        || functions.iter().flat_map(|f| f.bars.iter().flatten()).filter(|b| b.address != 0);
    let mut at = window.start;
    // Each round passes at least one that is in the way.
    for _ in 0..=functions.len() * spec::BARS {
        at = at.checked_next_multiple_of(bytes)?;
        let end = at.checked_add(bytes).filter(|end| *end <= window.end)?;
        match taken().find(|bar| bar.address < end && at < bar.address + bar.bytes) {
            Some(bar) => at = bar.address + bar.bytes,
            None => return Some(at),
        }
    }
    None
}

fn write<C: Config>(config: &mut C, place: Place, index: usize, bar: Bar, address: u64) {
    let command = silence(config, place);
    config.write(place, register(index), address as u32);
    if bar.wide {
        config.write(place, register(index + 1), (address >> 32) as u32);
    }
    restore(config, place, command);
}
