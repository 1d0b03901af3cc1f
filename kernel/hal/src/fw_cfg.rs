//! QEMU's configuration device: named files from whoever started the machine.
//!
//! Owns the two ports of `fw_cfg` (QEMU, docs/specs/fw_cfg) and the parsing of its directory. The
//! node's configuration is the file `opt/craton/config`; [`read`] gets any.

use alloc::vec::Vec;
use x86_64::instructions::port::Port;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const KEY_SIGNATURE: u16 = 0x00;
const KEY_DIRECTORY: u16 = 0x19;
const ENTRY_BYTES: usize = 64;
const NAME_BYTES: usize = 56;
/// Entries of the directory that are looked at.
const ENTRIES_MAX: u32 = 512;
/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Where a file is: proven to be no longer than [`FILE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    key: u16,
    bytes: usize,
}

/// The content of a file, or `None` if there is no such device, no such file, or too long a one.
pub fn read(name: &str) -> Option<Vec<u8>> {
    if name.len() >= NAME_BYTES {
        return None;
    }
    select(KEY_SIGNATURE);
    let mut signature = [0; 4];
    read_bytes(&mut signature);
    if &signature != b"QEMU" {
        return None;
    }
    select(KEY_DIRECTORY);
    let mut count = [0; 4];
    read_bytes(&mut count);
    let count = u32::from_be_bytes(count).min(ENTRIES_MAX);
    let file = (0..count).find_map(|_| {
        let mut entry = [0; ENTRY_BYTES];
        read_bytes(&mut entry);
        parse(&entry, name)
    })?;
    let mut content = alloc::vec![0; file.bytes];
    select(file.key);
    read_bytes(&mut content);
    Some(content)
}

/// An entry of the directory, if it is the file's: size and key big-endian, then the name.
fn parse(entry: &[u8; ENTRY_BYTES], name: &str) -> Option<File> {
    let [s0, s1, s2, s3, k0, k1, _, _, ref padded_name @ ..] = *entry;
    let len = padded_name.iter().position(|&byte| byte == 0)?;
    if padded_name.get(..len)? != name.as_bytes() {
        return None;
    }
    let bytes = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    let key = u16::from_be_bytes([k0, k1]);
    (bytes <= FILE_BYTES_MAX).then_some(File { key, bytes })
}

fn select(key: u16) {
    let mut port = Port::<u16>::new(SELECTOR);
    // SAFETY: The selector of the device, or nothing; it changes what the data port reads.
    unsafe { port.write(key) }
}

fn read_bytes(out: &mut [u8]) {
    let mut port = Port::<u8>::new(DATA);
    for byte in out {
        // SAFETY: Reads the next byte of what was selected.
        *byte = unsafe { port.read() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], bytes: u32, key: u16) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&bytes.to_be_bytes());
        entry[4..6].copy_from_slice(&key.to_be_bytes());
        entry[8..8 + name.len()].copy_from_slice(name);
        entry
    }

    #[test]
    fn an_entry_matches_by_its_whole_name() {
        let good = entry(b"opt/craton/config", 700, 0x31);
        assert_eq!(parse(&good, "opt/craton/config"), Some(File { key: 0x31, bytes: 700 }));
        assert_eq!(parse(&good, "opt/craton/conf"), None);
        assert_eq!(parse(&good, "opt/craton/config2"), None);
        assert_eq!(parse(&good, ""), None);
    }

    #[test]
    fn absurd_entries_are_refused() {
        assert_eq!(parse(&entry(b"a", FILE_BYTES_MAX as u32 + 1, 1), "a"), None);
        assert_eq!(parse(&[b'a'; ENTRY_BYTES], "a"), None, "a name without an end");
        assert_eq!(parse(&[0xff; ENTRY_BYTES], "a"), None);
    }
}
