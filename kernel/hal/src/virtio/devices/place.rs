//! Where virtio devices in memory are: as ACPI says, as the command line says.
//!
//! Owns [`MmioPlace`] and its two readers. Both read claims: what is not whole or makes no sense is
//! left out, and whether a device answers there is for the caller to see.

use super::super::spec::mmio;
use alloc::vec::Vec;

/// The word of the command line: `virtio_mmio.device=SIZE@ADDRESS:INTERRUPT[:ID]`, as Linux has it
/// and so QEMU's microvm and Firecracker write it.
const KEY: &str = "virtio_mmio.device=";
/// The hardware id of such a device in ACPI.
const HARDWARE_ID: &[u8] = b"LNRO0005";
/// Its resources.
const RESOURCES: &[u8] = b"_CRS";
/// A buffer in ACPI's machine language (ACPI 6.5, 20.2.5.4), a byte constant in it (20.2.3).
const BUFFER: u8 = 0x11;
const BYTE_PREFIX: u8 = 0x0a;
/// Resource descriptors (6.4.3): a fixed range of memory, an interrupt, and the end (6.4.2.9).
const MEMORY_FIXED: u8 = 0x86;
const INTERRUPT: u8 = 0x89;
const END: u8 = 0x79;
const LARGE: u8 = 0x80;
/// A device's description is shorter than this.
const DEVICE_BYTES_MAX: usize = 256;
/// Descriptors of one device that are looked at.
const DESCRIPTORS_MAX: usize = 8;
/// The most registers that are mapped.
const REGISTERS_BYTES_MAX: u64 = 4096;
/// The fewest that a device has: those before its own configuration.
const REGISTERS_BYTES_MIN: u64 = mmio::CONFIG as u64;

/// Where a device may be.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct MmioPlace {
    /// Physical address of its registers.
    pub(super) address: u64,
    /// Bytes of them.
    pub(super) bytes: usize,
    /// The input of the I/O APICs that its line leads to.
    pub(super) input: u32,
}

impl MmioPlace {
    fn new(address: u64, bytes: u64, input: u32) -> Option<Self> {
        let sound = address != 0 && address.is_multiple_of(4) && bytes >= REGISTERS_BYTES_MIN;
        // Registers beyond a page are none of any device that we drive.
        let bytes = bytes.min(REGISTERS_BYTES_MAX) as usize;
        sound.then_some(MmioPlace { address, bytes, input })
    }
}

/// Reads the words of a command line.
pub(crate) fn of_command_line(line: &str) -> Vec<MmioPlace> {
    line.split_whitespace().filter_map(|word| of_word(word.strip_prefix(KEY)?)).collect()
}

fn of_word(value: &str) -> Option<MmioPlace> {
    let (bytes, rest) = value.split_once('@')?;
    let (address, rest) = rest.split_once(':')?;
    let input = rest.split(':').next()?;
    MmioPlace::new(number(address)?, size(bytes)?, u32::try_from(number(input)?).ok()?)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A number of bytes, with K or M behind it or not.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 1 << 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 1 << 20),
        _ => (text, 1),
    };
    number(digits)?.checked_mul(unit)
}

/// Reads the DSDT. There is no interpreter here: hypervisors write each device with its resources
/// as a constant behind its hardware id, and only such are found.
pub(crate) fn of_dsdt(dsdt: &[u8]) -> Vec<MmioPlace> {
    let ids = dsdt.windows(HARDWARE_ID.len()).enumerate();
    ids.filter(|(_, window)| *window == HARDWARE_ID)
        .filter_map(|(at, _)| {
            let device = dsdt.get(at + HARDWARE_ID.len()..)?;
            of_device(device.get(..DEVICE_BYTES_MAX).unwrap_or(device))
        })
        .collect()
}

fn of_device(device: &[u8]) -> Option<MmioPlace> {
    let at = device.windows(RESOURCES.len()).position(|window| window == RESOURCES)?;
    if device.windows(HARDWARE_ID.len()).take(at).any(|window| window == HARDWARE_ID) {
        // They are the next device's.
        return None;
    }
    let buffer = device.get(at + RESOURCES.len()..)?;
    if *buffer.first()? != BUFFER {
        return None;
    }
    // The top two bits of the length say how many more bytes it has (20.2.4); a size follows.
    let length_bytes = 1 + usize::from(*buffer.get(1)? >> 6);
    let size = buffer.get(1 + length_bytes..)?;
    let descriptors = size.get(if *size.first()? == BYTE_PREFIX { 2 } else { 1 }..)?;
    of_descriptors(descriptors)
}

fn of_descriptors(mut rest: &[u8]) -> Option<MmioPlace> {
    let (mut memory, mut input) = (None, None);
    for _ in 0..DESCRIPTORS_MAX {
        let kind = *rest.first()?;
        if kind == END || kind & LARGE == 0 {
            break;
        }
        let length = usize::from(u16::from_le_bytes([*rest.get(1)?, *rest.get(2)?]));
        let body = rest.get(3..3 + length)?;
        match kind {
            MEMORY_FIXED => memory = Some((word(body, 1)?, word(body, 5)?)),
            // Flags, how many, the first.
            INTERRUPT => input = Some(word(body, 2)?),
            _ => {}
        }
        rest = rest.get(3 + length..)?;
    }
    let ((address, bytes), input) = (memory?, input?);
    MmioPlace::new(u64::from(address), u64::from(bytes), input)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn place(address: u64, bytes: usize, input: u32) -> MmioPlace {
        MmioPlace { address, bytes, input }
    }

    #[test]
    fn words_of_the_command_line_are_read() {
        let line =
            "name=a virtio_mmio.device=512@0xfeb00e00:12 x virtio_mmio.device=4K@0xd0000000:5:7";
        let expected = [place(0xfeb0_0e00, 512, 12), place(0xd000_0000, 4096, 5)];
        assert_eq!(of_command_line(line), expected);
        assert_eq!(of_word("1M@4096:0x10"), Some(place(4096, 4096, 16)));
    }

    #[test]
    fn words_of_nonsense_are_left_out() {
        for value in [
            "",
            "@:",
            "512",
            "512@0x1000",
            "512@:5",
            "512@0x1000:",
            "512@0x1000:x",
            "-1@0x1000:5",
            "K@0x1000:5",
            "8@0x1000:5",
            "512@0:5",
            "512@0x1001:5",
            "512@0x1000:4294967296",
            "18446744073709551615M@0x1000:5",
            "é@0x1000:5",
        ] {
            assert_eq!(of_word(value), None, "{value}");
        }
    }

    /// A device as QEMU writes it.
    fn device(number: u8, address: u32, input: u32) -> Vec<u8> {
        let memory = [&[MEMORY_FIXED, 9, 0, 1][..], &address.to_le_bytes(), &512_u32.to_le_bytes()];
        let line = [&[INTERRUPT, 6, 0, 1, 1][..], &input.to_le_bytes()];
        let resources = [memory.concat(), line.concat(), vec![END, 0]].concat();
        let buffer = [&[BUFFER, resources.len() as u8 + 3, BYTE_PREFIX, resources.len() as u8]];
        [
            b"\x5b\x82\x3cVR00\x08_HID\x0dLNRO0005\0\x08_UID\x0a".as_slice(),
            &[number],
            b"\x08_CCA\x01\x08_CRS",
            buffer[0],
            &resources,
        ]
        .concat()
    }

    #[test]
    fn devices_of_a_dsdt_are_found() {
        let dsdt = [
            b"DSDT".to_vec(),
            device(0, 0xfeb0_0000, 24),
            b"\x5b\x82\x05COM1".to_vec(),
            device(1, 0xfeb0_0200, 25),
        ];
        let expected = [place(0xfeb0_0000, 512, 24), place(0xfeb0_0200, 512, 25)];
        assert_eq!(of_dsdt(&dsdt.concat()), expected);
    }

    #[test]
    fn a_device_without_resources_does_not_get_its_neighbours() {
        let mut broken = device(0, 0xfeb0_0000, 24);
        let at = broken.windows(4).position(|window| window == RESOURCES).expect("it has them");
        broken.truncate(at);
        let dsdt = [broken, device(1, 0xfeb0_0200, 25)].concat();
        assert_eq!(of_dsdt(&dsdt), [place(0xfeb0_0200, 512, 25)]);
    }

    #[test]
    fn every_cut_and_corrupt_byte_is_survived() {
        let good = device(0, 0xfeb0_0000, 24);
        for end in 0..good.len() {
            assert!(of_dsdt(&good[..end]).len() <= 1);
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                assert!(of_dsdt(&bad).len() <= 1);
            }
        }
    }
}
