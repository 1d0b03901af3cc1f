//! A kernel of a few bytes for tests of the machine itself, see `probe.s`.
//!
//! Owns the bytes, and the memory file through which QEMU reads them: nothing is left on disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// `probe.s`, assembled.
const HEX: &str = "\
    02b0ad1b00000100fe4f51e40000100000001000000000000000000020001000bc00000800fcbecd\
    001000baf8030000ac84c07403eeebf8ba1005000066b8190066efe87400000089c54d786ce86a00\
    000089c3e86300000089c6bfd3001000b938000000ba1105000030e4ec84e4750f3a077404fec4eb\
    074784c07502b402e2ea80fc0275c389f0c1e8104a66ef30c985db74114bba11050000ecbaf80300\
    00ee88c1ebeb0fb6c1baf400000083f810740583f8117501eff4ebfdba11050000b904000000c1e0\
    08ece2fac3626f6f740a006f70742f637261746f6e2f636f6e66696700\
";

/// The kernel as a file that exists as long as this value.
pub struct Probe(File);

impl Probe {
    pub fn new() -> Probe {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("probe", flags).unwrap());
        let digits: Vec<u8> = HEX.bytes().collect();
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            file.write_all(&[u8::from_str_radix(pair, 16).unwrap()]).unwrap();
        }
        Probe(file)
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}
