//! What is read of a module is what it says, and of anything else nothing.

use super::*;
use alloc::vec;

/// A module of these sections.
fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut wasm = HEADER.to_vec();
    for (id, bytes) in sections {
        wasm.extend([*id, bytes.len() as u8]);
        wasm.extend_from_slice(bytes);
    }
    wasm
}

const MEMORY: &[u8] = &[1, 0, 2];

#[test]
fn active_data_are_found_where_they_begin() {
    let data =
        [&[3, 0, 0x41, 0x90, 0x01, 0x0b, 2][..], b"ab\x01\x02..", &[0, 0x41, 5, 0x0b, 0]].concat();
    let wasm = module(&[(0, b"\x01x"), (MEMORY_SECTION, MEMORY), (DATA_SECTION, &data)]);
    assert_eq!(data_of(&wasm), Some(vec![(144, &b"ab"[..]), (5, b"")]));
}

#[test]
fn data_that_are_not_simple_are_left_to_the_code() {
    let with = |memory: &[u8], data: &[u8]| {
        data_of(&module(&[(MEMORY_SECTION, memory), (DATA_SECTION, data)])).is_some()
    };
    assert!(with(MEMORY, &[1, 0, 0x41, 0, 0x0b, 1, 7]));
    assert!(with(&[1, 1, 2, 9], &[1, 0, 0x41, 0, 0x0b, 1, 7]), "a memory with a bound");
    let last = [0x41, 0xff, 0xff, 0x07, 0x0b];
    assert!(with(MEMORY, &[&[1, 0][..], &last, &[1, 7]].concat()), "its last byte");
    assert!(!with(MEMORY, &[&[1, 0][..], &last, &[2, 7, 7]].concat()), "one byte too far");
    assert!(!with(MEMORY, &[1, 0, 0x41, 0x7f, 0x0b, 1, 7]), "at -1, hence far beyond");
    assert!(!with(MEMORY, &[1, 0, 0x23, 0, 0x0b, 1, 7]), "at a global");
    assert!(!with(MEMORY, &[1, 2, 0, 0x41, 0, 0x0b, 1, 7]), "of a memory that is named");
    assert!(!with(MEMORY, &[1, 1, 1, 7]), "passive alone");
    assert!(!with(&[1, 3, 2, 2], &[1, 0, 0x41, 0, 0x0b, 1, 7]), "a shared memory");
    assert!(!with(MEMORY, &[2, 0, 0x41, 0, 0x0b, 1, 7]), "fewer than it says");
}

#[test]
fn anything_at_all_is_survived() {
    let data = [&[2, 0, 0x41, 0x90, 0x01, 0x0b, 2][..], b"ab\0\x41\x05\x0b\x03xyz"].concat();
    let wasm = module(&[(MEMORY_SECTION, MEMORY), (DATA_SECTION, &data)]);
    assert!(data_of(&wasm).is_some());
    for at in 0..wasm.len() {
        assert_eq!(data_of(&wasm[..at]).map_or(0, |data| data.len()), 0, "cut at {at}");
        for byte in 0..=u8::MAX {
            let mut changed = wasm.clone();
            changed[at] = byte;
            let within = |(start, bytes): &(u32, &[u8])| *start as usize + bytes.len() <= 2 << 24;
            assert!(data_of(&changed).is_none_or(|data| data.iter().all(within)));
        }
    }
}
