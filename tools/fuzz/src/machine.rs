//! What a machine's firmware and devices say: ACPI, the loader's start-info, virtio, PCI.
//!
//! Owns the targets of `craton-hal`. The sums of ACPI's tables are mended before they are read:
//! otherwise hardly any change would come further than to a wrong sum.

use crate::Target;
use craton_hal::fuzz;

/// Where the tables of the seeds lie, behind the root pointer.
const TABLES: [usize; 5] = [0x40, 0x80, 0x200, 0x300, 0x400];
const HEADER_BYTES: usize = 36;

pub(crate) const ACPI: Target = Target {
    name: "acpi",
    about: "tables of the firmware",
    fuzz: |bytes| {
        let mut memory = bytes.to_vec();
        // One in four is left as it is.
        if bytes.last().is_none_or(|last| last % 4 != 0) {
            mend(&mut memory);
        }
        fuzz::acpi_tables(&memory)
    },
    seeds: || vec![tables(4), tables(8)],
    words: &[
        b"FACP",
        b"APIC",
        b"DSDT",
        b"_S5_",
        b"LNRO0005",
        b"_CRS",
        &[0x0a, 0x05],
        &[0x12, 6, 4],
    ],
    cost: 1,
};

pub(crate) const PVH: Target = Target {
    name: "pvh",
    about: "what a loader leaves: start-info, memory map, command line",
    fuzz: fuzz::pvh_start,
    seeds: || {
        let mut info = vec![0; 56];
        info[..4].copy_from_slice(&0x336e_c578_u32.to_le_bytes());
        info[4] = 1;
        info[40..48].copy_from_slice(&0x9000_u64.to_le_bytes());
        info[48] = 3;
        let entries = [
            (0, 0x9_fc00, 1),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0000, 0x7f0_0000, 1),
            (0x30_0000, 0x1000, 2),
        ];
        for (start, bytes, kind) in entries {
            info.extend(u64::to_le_bytes(start));
            info.extend(u64::to_le_bytes(bytes));
            info.extend(u64::to_le_bytes(kind));
        }
        vec![info.clone(), [&info[..56], b"services=http name=\"a b\"\0"].concat()]
    },
    words: &[&1_u32.to_le_bytes(), &u64::MAX.to_le_bytes(), &[0x78, 0xc5, 0x6e, 0x33]],
    cost: 1,
};

pub(crate) const VIRTIO: Target = Target {
    name: "virtio",
    about: "where virtio devices are, by command line and DSDT",
    fuzz: fuzz::virtio_places,
    seeds: || {
        let line = b"virtio_mmio.device=4K@0xfeb00e00:12 virtio_mmio.device=512@1:2".to_vec();
        vec![line, device()]
    },
    words: &[b"virtio_mmio.device=", b"LNRO0005", b"_CRS", b"@0x", b"4K@", &[0x86, 9, 0], &[0x89]],
    cost: 1,
};

pub(crate) const PCI: Target = Target {
    name: "pci",
    about: "functions, bridges, addresses and capabilities of a bus",
    fuzz: fuzz::pci_bus,
    seeds: || {
        let mut card = vec![0; 256];
        card[..4].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
        // It has capabilities: two, the first at 0x40.
        card[6] = 0x10;
        card[0x34] = 0x40;
        card[0x40..0x44].copy_from_slice(&[0x11, 0x50, 3, 0]);
        card[0x50..0x54].copy_from_slice(&[0x09, 0, 0x10, 1]);
        card[0x10..0x18].copy_from_slice(&[0x0c, 0, 0, 0xe0, 0, 0, 0, 0]);
        card[0x90..0x98].copy_from_slice(&[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let mut bridge = card.clone();
        bridge[14] = 1;
        bridge[0x18..0x1c].copy_from_slice(&[0, 1, 1, 0]);
        vec![card.clone(), [&card[..], &card, &bridge, &card].concat()]
    },
    words: &[&[0xf4, 0x1a], &[0x09], &[0x11], &[0xff, 0xff, 0xff, 0xff]],
    cost: 1,
};

/// A virtio device as a hypervisor's DSDT has it.
fn device() -> Vec<u8> {
    let mut bytes = b"_HID\x0dLNRO0005\0_CRS\x11\x1a\x0a\x17".to_vec();
    bytes.extend([0x86, 9, 0, 1]);
    bytes.extend(0xfeb0_0e00_u32.to_le_bytes());
    bytes.extend(0x200_u32.to_le_bytes());
    bytes.extend([0x89, 6, 0, 1, 1]);
    bytes.extend(12_u32.to_le_bytes());
    bytes.extend([0x79, 0]);
    bytes
}

/// Root pointer, root table, FADT, DSDT and MADT, with addresses of so many bytes.
fn tables(address_bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; 0x500];
    let address = |table: usize| fuzz::RSDP + TABLES[table] as u64;
    memory[..8].copy_from_slice(b"RSD PTR ");
    memory[15] = if address_bytes == 8 { 2 } else { 0 };
    memory[16..20].copy_from_slice(&(address(0) as u32).to_le_bytes());
    memory[20] = 36;
    if address_bytes == 8 {
        memory[24..32].copy_from_slice(&address(0).to_le_bytes());
    }
    let entry = |table: usize| address(table).to_le_bytes()[..address_bytes].to_vec();
    put(&mut memory, 0, b"RSDT", &[entry(1), entry(3)].concat());
    let mut fadt = vec![0; 244 - HEADER_BYTES];
    fadt[40 - HEADER_BYTES..44 - HEADER_BYTES].copy_from_slice(&(address(2) as u32).to_le_bytes());
    fadt[64 - HEADER_BYTES] = 4;
    fadt[65 - HEADER_BYTES] = 6;
    fadt[113 - HEADER_BYTES] = 4;
    fadt[116 - HEADER_BYTES] = 1;
    fadt[120 - HEADER_BYTES..122 - HEADER_BYTES].copy_from_slice(&[0xf9, 0x0c]);
    put(&mut memory, 1, b"FACP", &fadt);
    let sleep = [b"xx_S5_".to_vec(), vec![0x12, 6, 4, 0x0a, 5, 0, 0], device()].concat();
    put(&mut memory, 2, b"DSDT", &sleep);
    let mut madt = vec![0; 8];
    madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    madt.extend([0, 8, 1, 1, 1, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    madt.extend([2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]);
    madt.extend([9, 16, 0, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    put(&mut memory, 3, b"APIC", &madt);
    // So that it is mended.
    memory.push(1);
    memory
}

fn put(memory: &mut [u8], table: usize, name: &[u8; 4], body: &[u8]) {
    let at = TABLES[table];
    memory[at..at + 4].copy_from_slice(name);
    let length = (HEADER_BYTES + body.len()) as u32;
    memory[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
    memory[at + HEADER_BYTES..at + HEADER_BYTES + body.len()].copy_from_slice(body);
}

/// Makes the sums of root pointer and tables right, as far as they are there.
fn mend(memory: &mut [u8]) {
    seal(memory, 0, 20, 8);
    seal(memory, 0, 36, 32);
    for at in TABLES {
        let length = memory.get(at + 4..at + 8).map(|bytes| {
            bytes.iter().rev().fold(0_usize, |length, byte| length << 8 | usize::from(*byte))
        });
        seal(memory, at, length.unwrap_or(0), 9);
    }
}

fn seal(memory: &mut [u8], at: usize, length: usize, sum_at: usize) {
    let Some(table) = at.checked_add(length).and_then(|end| memory.get_mut(at..end)) else {
        return;
    };
    if sum_at < table.len() {
        table[sum_at] = 0;
        table[sum_at] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    }
}
