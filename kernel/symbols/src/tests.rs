//! Every address finds its function; a damaged table finds a wrong one at worst.

use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;

const BASE: u64 = 0x20_0000;

/// SplitMix64 (Steele and others 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// `count` functions at increasing addresses, and the end of the last.
fn functions(seed: u64, count: usize) -> (Vec<(u64, String)>, u32) {
    let mut random = Random(seed);
    let mut address = BASE + 0x40;
    let mut made = Vec::new();
    for number in 0..count {
        let path = ["core::fmt", "craton_hal::fault", "a"][(random.next() % 3) as usize];
        made.push((address, format!("{path}::function{number}")));
        address += 1 + random.next() % 3000;
    }
    (made, (address - BASE) as u32)
}

fn table(functions: &[(u64, String)], text_bytes: u32) -> Vec<u8> {
    let borrowed: Vec<_> = functions.iter().map(|(at, name)| (*at, name.as_str())).collect();
    encode(BASE, text_bytes, &borrowed, NAME_BYTES_MAX)
}

fn found(bytes: &[u8], address: u64) -> Option<(String, u64)> {
    let (name, offset) = Table::parse(bytes)?.find(address)?;
    Some((String::from(name.as_str()), offset))
}

#[test]
fn every_address_finds_its_function() {
    for (seed, count) in [(1, 1), (2, 15), (3, 16), (4, 17), (5, 1000)] {
        let (functions, text_bytes) = functions(seed, count);
        let bytes = table(&functions, text_bytes);
        let ends = functions.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain([BASE + u64::from(text_bytes)]);
        for ((start, name), end) in functions.iter().zip(ends) {
            for address in [*start, (start + end) / 2, end - 1] {
                let expected = Some((name.clone(), address - start));
                assert_eq!(found(&bytes, address), expected, "seed {seed}, {address:#x}");
            }
        }
        let end = BASE + u64::from(text_bytes);
        for outside in [0, BASE - 1, BASE, BASE + 0x3f, end, u64::MAX] {
            assert_eq!(found(&bytes, outside), None, "seed {seed}, {outside:#x}");
        }
    }
}

#[test]
fn long_names_are_cut_at_a_character_and_doubles_left_out() {
    let long = "é".repeat(200);
    let functions = [(BASE, "first"), (BASE, "second"), (BASE + 8, &long), (BASE + 99, "outside")];
    let bytes = encode(BASE, 16, &functions, 99);
    assert_eq!(found(&bytes, BASE + 7), Some(("first".into(), 7)));
    assert_eq!(found(&bytes, BASE + 8), Some(("é".repeat(49), 0)));
    assert_eq!(found(&bytes, BASE + 99), None);
}

#[test]
fn no_table_is_none() {
    for bytes in [&[][..], &[0; 4096], b"CRTNSYM1", &MAGIC[..7]] {
        assert!(Table::parse(bytes).is_none());
    }
    let empty = encode(BASE, 100, &[], 10);
    assert_eq!(found(&empty, BASE + 1), None);
}

#[test]
fn a_damaged_table_neither_panics_nor_hangs() {
    let (functions, text_bytes) = functions(7, 100);
    let whole = table(&functions, text_bytes);
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        for _ in 0..1 + random.next() % 8 {
            let at = random.next() as usize % bytes.len();
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(random.next() as usize % (bytes.len() + 1));
        for _ in 0..20 {
            let _ = found(&bytes, BASE + random.next() % u64::from(text_bytes));
        }
    }
    let mut garbage = vec![0xff; 300];
    garbage[..8].copy_from_slice(MAGIC);
    assert_eq!(found(&garbage, BASE), None);
}
