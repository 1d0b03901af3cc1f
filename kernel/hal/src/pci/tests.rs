//! A bus made of arrays, honest and not.

use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Functions of a pretended machine: 64 registers each, with the writable bits of each.
#[derive(Default)]
struct Fake {
    functions: BTreeMap<Place, ([u32; 64], [u32; 64])>,
}

impl Fake {
    fn add(&mut self, place: Place, id: u32) -> &mut ([u32; 64], [u32; 64]) {
        let function = self.functions.entry(place).or_insert(([0; 64], [0; 64]));
        function.0[0] = id;
        function.1[1] = 0xffff;
        function
    }

    /// A memory register of `bytes` bytes at `address`.
    fn bar(&mut self, place: Place, index: usize, bytes: u64, address: u64, wide: bool) {
        let (values, masks) = self.functions.get_mut(&place).expect("added before");
        let flags = if wide { BarBits::WIDTH_64 } else { 0 };
        values[4 + index] = address as u32 | flags;
        masks[4 + index] = !(bytes - 1) as u32;
        if wide {
            values[5 + index] = (address >> 32) as u32;
            masks[5 + index] = (!(bytes - 1) >> 32) as u32;
        }
    }
}

use super::spec::BarBits;

impl Config for Fake {
    fn read(&mut self, place: Place, offset: u8) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.functions.get(&place).map_or(u32::MAX, |f| f.0[usize::from(offset / 4)])
    }

    fn write(&mut self, place: Place, offset: u8, value: u32) {
        assert!(offset.is_multiple_of(4));
        if let Some((values, masks)) = self.functions.get_mut(&place) {
            let index = usize::from(offset / 4);
            values[index] = values[index] & !masks[index] | value & masks[index];
        }
    }
}

fn place(bus: u8, device: u8, function: u8) -> Place {
    Place { bus, device, function }
}

const WINDOW: Window = Window { start: 0xe000_0000, end: 0xe100_0000 };

#[test]
fn functions_behind_bridges_are_found_once() {
    let mut fake = Fake::default();
    fake.add(place(0, 0, 0), 0x1111_1af4);
    fake.add(place(0, 3, 0), 0x2222_1af4).0[3] = 0x80 << 16;
    fake.add(place(0, 3, 5), 0x3333_1af4);
    // Function 2 of a device that says it has only one.
    fake.add(place(0, 0, 2), 0x4444_1af4);
    let bridge = fake.add(place(0, 7, 0), 0x5555_1af4);
    bridge.0[3] = 1 << 16;
    bridge.0[6] = 0x00_02_02_00;
    fake.add(place(2, 1, 0), 0x6666_1af4);
    // A bridge that leads back to where we came from.
    let bridge = fake.add(place(2, 2, 0), 0x7777_1af4);
    bridge.0[3] = 1 << 16;
    bridge.0[6] = 0x00_02_00_02;
    let bus = Bus::scan(fake, WINDOW);
    let found: Vec<u16> = bus.functions().iter().map(|function| function.device).collect();
    assert_eq!(found, [0x1111, 0x2222, 0x3333, 0x5555, 0x6666, 0x7777]);
}

#[test]
fn missing_addresses_are_given_apart_and_the_others_kept() {
    let mut fake = Fake::default();
    let (a, b) = (place(0, 1, 0), place(0, 2, 0));
    fake.add(a, 0x1041_1af4);
    fake.bar(a, 1, 0x1000, 0, false);
    fake.bar(a, 4, 0x4000, 0, true);
    fake.add(b, 0x1041_1af4);
    fake.bar(b, 0, 0x1000, 0xe000_0000, false);
    fake.bar(b, 2, 0x4000, 0x40_0000_0000, true);
    let mut bus = Bus::scan(fake, WINDOW);
    let [first, second] = bus.functions() else { panic!("two functions") };
    let bars = [first.bar(1), first.bar(4), second.bar(0), second.bar(2)];
    let addresses = bars.map(|bar| bar.expect("it has memory").address);
    assert_eq!(addresses, [0xe000_1000, 0xe000_4000, 0xe000_0000, 0x40_0000_0000]);
    assert_eq!(first.bar(5), None, "the upper half is no register of its own");
    assert_eq!(first.memory(4, 0x3000, 0x1000), Some(0xe000_7000));
    assert_eq!(first.memory(4, 0x3000, 0x1001), None);
    assert_eq!(first.memory(4, u64::MAX, 2), None);
    assert_eq!(first.memory(6, 0, 1), None);
    let first = first.clone();
    assert_eq!(bus.config.read(a, 0x14), 0xe000_1000, "and written");
    bus.enable(&first);
    assert_eq!(bus.config.read(a, 4), 0x406);
}

#[test]
fn a_window_too_small_leaves_the_rest_without() {
    let mut fake = Fake::default();
    for device in 0..5 {
        fake.add(place(0, device, 0), 0x1041_1af4);
        fake.bar(place(0, device, 0), 0, 0x40_0000, 0, false);
    }
    let bus = Bus::scan(fake, WINDOW);
    let given = bus.functions().iter().filter(|f| f.bar(0).is_some_and(|bar| bar.address != 0));
    assert_eq!(given.count(), 4);
}

#[test]
fn a_capability_list_that_bites_its_tail_ends() {
    let mut fake = Fake::default();
    let function = fake.add(place(0, 1, 0), 0x1041_1af4);
    function.0[1] = 1 << 20;
    function.0[13] = 0x40;
    function.0[16] = 0x5009;
    function.0[20] = 0x4011;
    let mut bus = Bus::scan(fake, WINDOW);
    let function = bus.functions()[0].clone();
    let capabilities = bus.capabilities(&function);
    assert_eq!(capabilities.len(), CAPABILITIES_MAX);
    assert_eq!(capabilities[1], Capability { id: 0x11, offset: 0x50 });
    let last = Capability { id: 0, offset: 0xfc };
    assert_eq!(bus.capability_word(&function, last, 1), None);
}

#[test]
fn registers_of_nonsense_are_no_memory() {
    let mut fake = Fake::default();
    let at = place(0, 1, 0);
    let function = fake.add(at, 0x1041_1af4);
    // All ones, holes in the size, and a wide one without an upper half.
    function.0[4] = 0xffff_fff0;
    function.1[5] = 0xff0f_f000;
    function.0[9] = BarBits::WIDTH_64;
    function.1[9] = 0xffff_0000;
    let bus = Bus::scan(fake, WINDOW);
    assert!((1..6).all(|index| bus.functions()[0].bar(index).is_none()));
}
