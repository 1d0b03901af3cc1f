//! Every parser of bytes that come from outside, and what throws bytes at it.
//!
//! Owns [`TARGETS`], the list of parsers, and [`Campaign`], a seeded run against one of them. A
//! target is a plain function of bytes that says what they came to; bytes that come to something
//! new join the corpus, from which the next are made. That is coarser than coverage of branches,
//! which stable Rust does not give without code that is unsafe, and finds its way past checksums
//! and lengths since the targets mend those that would stop everything else.

mod campaign;
mod guests;
mod machine;
mod mutate;
mod net;
mod peers;
mod texts;

pub use campaign::{Campaign, Failure};

/// A parser.
#[derive(Copy, Clone)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Whose bytes it reads.
    pub about: &'static str,
    /// Reads bytes; says what they came to. Panics if that cannot be.
    pub fuzz: fn(&[u8]) -> u64,
    /// Bytes that mean something.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language.
    pub words: &'static [&'static [u8]],
    /// How many times longer than most it takes.
    pub cost: usize,
}

/// All of them.
pub const TARGETS: [Target; 20] = [
    net::FRAMES,
    net::DHCP,
    net::DNS,
    net::ROUTERS,
    net::HTTP,
    peers::FRAME,
    peers::BODY,
    peers::SESSION,
    peers::CERTIFICATE,
    peers::DATAGRAM,
    texts::BUNDLE,
    texts::COMMAND_LINE,
    texts::CONFIGURATION,
    guests::REQUEST,
    guests::RESPONSE,
    guests::URL,
    machine::ACPI,
    machine::PVH,
    machine::VIRTIO,
    machine::PCI,
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
