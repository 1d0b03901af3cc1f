//! The little of ACPI that a machine needs: finding tables, switching off, resetting.
//!
//! Owns the way from the root pointer to a table ([`find`]) and to [`Power`]: RSDP, RSDT or XSDT,
//! FADT, and the `_S5` package in the DSDT (ACPI 6.5, chapters 4.8.3.7, 5 and 7.4.2.6). Firmware's
//! bytes are claims: every table is checked by length and sum before anything in it is read. Pure;
//! the caller fetches the bytes. The tables' users parse them: `ioapic/madt.rs`, `virtio/place.rs`.

/// Longest table that is looked at.
const TABLE_BYTES_MAX: usize = 1 << 20;
/// Tables that the root lists, at most.
const TABLES_MAX: usize = 64;
pub(crate) const HEADER_BYTES: usize = 36;
const RSDP_BYTES: usize = 20;
const RSDP_2_BYTES: usize = 36;
/// PM1 control: go to the state of SLP_TYP.
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u16 = 10;
/// The same in the sleep control register, of a byte, of hardware-reduced machines.
const REDUCED_SLEEP_ENABLE: u8 = 1 << 5;
const REDUCED_SLEEP_TYPE_SHIFT: u8 = 2;
/// FADT flags: the reset register exists; there is no PM1, but a sleep control register.
const RESET_SUPPORTED: u32 = 1 << 10;
const HARDWARE_REDUCED: u32 = 1 << 20;
/// Offsets of generic address structures in the FADT, and the address in one.
const RESET_REGISTER: usize = 116;
const SLEEP_CONTROL_REGISTER: usize = 244;
const ADDRESS: usize = 4;
/// Generic address structure: memory, I/O ports.
const SPACE_MEMORY: u8 = 0;
const SPACE_IO: u8 = 1;

/// Where a register of the tables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// An I/O port.
    Port(u16),
    /// A physical address below 4 GiB.
    Memory(u32),
}

/// What ends the machine when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Two bytes to a port.
    Word(u16, u16),
    /// A byte.
    Byte(Register, u8),
}

/// How to switch the machine off and reset it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Power {
    /// "Soft off".
    pub(crate) off: Write,
    /// The reset, if there is one.
    pub(crate) reset: Option<Write>,
}

/// Reads bytes of physical memory: so many from an address on.
pub(crate) trait Fetch<'m>: Fn(u64, usize) -> Option<&'m [u8]> + Copy {}

impl<'m, F: Fn(u64, usize) -> Option<&'m [u8]> + Copy> Fetch<'m> for F {}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

/// Whether bytes begin with a valid root pointer.
fn is_rsdp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ") && bytes.get(..RSDP_BYTES).is_some_and(sums_to_zero)
}

/// Looks for the root pointer where a BIOS leaves it (ACPI 6.5, 5.2.5.1): its offset in `area`.
pub(crate) fn find_rsdp(area: &[u8]) -> Option<usize> {
    (0..area.len()).step_by(16).find(|&at| area.get(at..).is_some_and(is_rsdp))
}

fn table<'m>(address: u64, fetch: impl Fetch<'m>) -> Option<&'m [u8]> {
    let header = fetch(address, HEADER_BYTES)?;
    let len = u32_at(header, 4)? as usize;
    if !(HEADER_BYTES..=TABLE_BYTES_MAX).contains(&len) {
        return None;
    }
    fetch(address, len).filter(|table| sums_to_zero(table))
}

/// The first table with this signature, of those that the root pointer at `rsdp` leads to.
pub(crate) fn find<'m>(rsdp: u64, signature: [u8; 4], fetch: impl Fetch<'m>) -> Option<&'m [u8]> {
    let root = fetch(rsdp, RSDP_BYTES).filter(|bytes| is_rsdp(bytes))?;
    let revision_2 = root.get(15).is_some_and(|&revision| revision >= 2);
    let extended = fetch(rsdp, RSDP_2_BYTES).filter(|bytes| revision_2 && sums_to_zero(bytes));
    let (address, entry_bytes) = match extended.and_then(|bytes| u64_at(bytes, 24)) {
        Some(xsdt) if xsdt != 0 => (xsdt, 8),
        _ => (u64::from(u32_at(root, 16)?), 4),
    };
    let entries = table(address, fetch)?.get(HEADER_BYTES..)?;
    entries.chunks_exact(entry_bytes).take(TABLES_MAX).find_map(|entry| {
        let address =
            if entry_bytes == 8 { u64_at(entry, 0) } else { u32_at(entry, 0).map(u64::from) };
        table(address?, fetch).filter(|table| table.starts_with(&signature))
    })
}

/// The table that describes the machine's fixed devices.
pub(crate) fn dsdt<'m>(rsdp: u64, fetch: impl Fetch<'m>) -> Option<&'m [u8]> {
    dsdt_of(find(rsdp, *b"FACP", fetch)?, fetch)
}

fn dsdt_of<'m>(fadt: &[u8], fetch: impl Fetch<'m>) -> Option<&'m [u8]> {
    let address = u64_at(fadt, 140).filter(|&address| address != 0);
    table(address.or(u32_at(fadt, 40).map(u64::from))?, fetch)
}

/// How the machine is switched off, as the tables from the root pointer at `rsdp` have it.
pub(crate) fn power<'m>(rsdp: u64, fetch: impl Fetch<'m>) -> Option<Power> {
    let fadt = find(rsdp, *b"FACP", fetch)?;
    let dsdt = dsdt_of(fadt, fetch)?;
    Some(Power { off: off(fadt, sleep_type(dsdt)?)?, reset: reset(fadt) })
}

fn off(fadt: &[u8], sleep_type: u8) -> Option<Write> {
    if u32_at(fadt, 112)? & HARDWARE_REDUCED != 0 {
        let value = sleep_type << REDUCED_SLEEP_TYPE_SHIFT | REDUCED_SLEEP_ENABLE;
        return Some(Write::Byte(register(fadt, SLEEP_CONTROL_REGISTER)?, value));
    }
    let port = u16::try_from(u32_at(fadt, 64)?).ok().filter(|&port| port != 0)?;
    Some(Write::Word(port, u16::from(sleep_type) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE))
}

fn reset(fadt: &[u8]) -> Option<Write> {
    let supported = u32_at(fadt, 112)? & RESET_SUPPORTED != 0;
    let write = Write::Byte(register(fadt, RESET_REGISTER)?, *fadt.get(128)?);
    supported.then_some(write)
}

/// The register that the generic address structure (ACPI 6.5, 5.2.3.2) at this offset means.
fn register(fadt: &[u8], at: usize) -> Option<Register> {
    let address = u64_at(fadt, at + ADDRESS).filter(|&address| address != 0)?;
    match *fadt.get(at)? {
        SPACE_IO => u16::try_from(address).ok().map(Register::Port),
        SPACE_MEMORY => u32::try_from(address).ok().map(Register::Memory),
        _ => None,
    }
}

/// The sleep type of "soft off" for PM1a: the first element of the package `_S5`.
fn sleep_type(dsdt: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"_S5_";
    const PACKAGE: u8 = 0x12;
    const BYTE_PREFIX: u8 = 0x0a;
    let at = dsdt.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let package = dsdt.get(at..)?;
    if *package.first()? != PACKAGE {
        return None;
    }
    // The top two bits of the length say how many more bytes it has (ACPI 6.5, 20.2.4).
    let length_bytes = 1 + usize::from(*package.get(1)? >> 6);
    let element = package.get(1 + length_bytes + 1..)?;
    let kind = match *element.first()? {
        BYTE_PREFIX => *element.get(1)?,
        constant @ (0 | 1) => constant,
        _ => return None,
    };
    (kind < 8).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const RSDP: u64 = 0x1_0000;
    const RSDT: u64 = 0x1_1000;
    const FADT: u64 = 0x1_2000;
    const DSDT: u64 = 0x1_3000;

    std::thread_local! {
        static MEMORY: core::cell::Cell<&'static [u8]> = const { core::cell::Cell::new(&[]) };
    }

    fn fetch(address: u64, len: usize) -> Option<&'static [u8]> {
        let at = address.checked_sub(RSDP)? as usize;
        MEMORY.get().get(at..at.checked_add(len)?)
    }

    fn set(memory: &mut [u8], address: u64, bytes: &[u8]) {
        let at = (address - RSDP) as usize;
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn seal(memory: &mut [u8], address: u64, len: usize, sum_at: usize) {
        let table = &mut memory[(address - RSDP) as usize..][..len];
        table[sum_at] = 0;
        table[sum_at] = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    }

    fn put_table(memory: &mut [u8], address: u64, name: &[u8; 4], body: &[u8]) {
        let len = HEADER_BYTES + body.len();
        set(memory, address, name);
        set(memory, address + 4, &(len as u32).to_le_bytes());
        set(memory, address + HEADER_BYTES as u64, body);
        seal(memory, address, len, 9);
    }

    /// A machine such as QEMU's q35.
    fn machine(s5: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; 0x4000];
        set(&mut memory, RSDP, b"RSD PTR ");
        set(&mut memory, RSDP + 16, &(RSDT as u32).to_le_bytes());
        seal(&mut memory, RSDP, RSDP_BYTES, 8);
        put_table(&mut memory, RSDT, b"RSDT", &(FADT as u32).to_le_bytes());
        let mut fadt = vec![0; 244 - HEADER_BYTES];
        fadt[40 - 36..44 - 36].copy_from_slice(&(DSDT as u32).to_le_bytes());
        fadt[64 - 36..68 - 36].copy_from_slice(&0x604_u32.to_le_bytes());
        fadt[112 - 36..116 - 36].copy_from_slice(&RESET_SUPPORTED.to_le_bytes());
        fadt[116 - 36] = SPACE_IO;
        fadt[120 - 36..122 - 36].copy_from_slice(&0xcf9_u16.to_le_bytes());
        fadt[128 - 36] = 0x0f;
        put_table(&mut memory, FADT, b"FACP", &fadt);
        put_table(&mut memory, DSDT, b"DSDT", &[b"xx_S5_", s5].concat());
        memory
    }

    fn found(memory: Vec<u8>) -> Option<Power> {
        MEMORY.set(Vec::leak(memory));
        power(RSDP, fetch)
    }

    #[test]
    fn a_good_machine_can_be_switched_off() {
        let reset = Some(Write::Byte(Register::Port(0xcf9), 0x0f));
        let expected = Power { off: Write::Word(0x604, 0x3400), reset };
        let package = [0x12, 0x06, 0x04, 0x0a, 0x05, 0x00, 0x00, 0x00];
        assert_eq!(found(machine(&package)), Some(expected));
        let zero = found(machine(&[0x12, 0x06, 0x04, 0x00, 0x00, 0x00, 0x00]));
        assert_eq!(
            zero.map(|power| power.off),
            Some(Write::Word(0x604, 0x2000)),
            "the constant Zero"
        );
        let long = found(machine(&[0x12, 0x47, 0x00, 0x04, 0x01, 0x00]));
        let off = Some(Write::Word(0x604, 0x2400));
        assert_eq!(long.map(|power| power.off), off, "a length of two bytes");
    }

    /// A machine such as QEMU's microvm, which has no PM1.
    #[test]
    fn a_machine_of_reduced_hardware_is_switched_off_by_its_own_registers() {
        let mut memory = machine(&[0x12, 0x06, 0x04, 0x0a, 0x05]);
        let mut fadt = vec![0; 268 - HEADER_BYTES];
        fadt[40 - 36..44 - 36].copy_from_slice(&(DSDT as u32).to_le_bytes());
        let flags = RESET_SUPPORTED | HARDWARE_REDUCED;
        fadt[112 - 36..116 - 36].copy_from_slice(&flags.to_le_bytes());
        fadt[120 - 36..124 - 36].copy_from_slice(&0xfea0_0202_u32.to_le_bytes());
        fadt[128 - 36] = 0x42;
        fadt[248 - 36..252 - 36].copy_from_slice(&0xfea0_0200_u32.to_le_bytes());
        put_table(&mut memory, FADT, b"FACP", &fadt);
        let byte = |address, value| Write::Byte(Register::Memory(address), value);
        let expected = Power { off: byte(0xfea0_0200, 0x34), reset: Some(byte(0xfea0_0202, 0x42)) };
        assert_eq!(found(memory), Some(expected));
    }

    #[test]
    fn every_corrupt_byte_is_survived() {
        let good = machine(&[0x12, 0x06, 0x04, 0x0a, 0x05]);
        for at in (0..good.len()).filter(|at| good[*at] != 0) {
            for value in [0, 0xff, good[at] ^ 0x40] {
                let mut bad = good.clone();
                bad[at] = value;
                let power = found(bad);
                assert!(power.is_none() || value == good[at] || at < 0x1000, "byte {at:#x}");
            }
        }
    }

    #[test]
    fn a_package_that_is_none_is_refused() {
        for s5 in [
            &[0x13, 6, 4, 0][..],
            &[0x12],
            &[0x12, 0xc0],
            &[0x12, 6, 4, 0x0a],
            &[0x12, 6, 4, 0x0a, 9],
        ] {
            assert_eq!(found(machine(s5)), None, "{s5:?}");
        }
    }

    #[test]
    fn the_root_pointer_is_found_in_an_area() {
        let mut area = vec![0; 256];
        assert_eq!(find_rsdp(&area), None);
        area[64..72].copy_from_slice(b"RSD PTR ");
        assert_eq!(find_rsdp(&area), None, "its sum is wrong");
        area[72] = area[64..84].iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
        assert_eq!(find_rsdp(&area), Some(64));
    }
}
