//! What the sockets of all CPUs of a node count together.
//!
//! Owns [`Shared`]: how many sockets there are, which ports are listened on, how many bytes wait to
//! be written. Each is a number that one instruction changes, so nobody waits for anybody.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use craton_abi::limit;

/// Bytes of writes that wait for room, of all processes together; beyond, a write takes what it can
/// or waits with little.
const PARKED_BYTES_MAX: usize = 8 << 20;

/// Counted by all CPUs of a node.
#[derive(Debug)]
pub struct Shared {
    pub(crate) shards: u8,
    sockets: AtomicUsize,
    parked_bytes: AtomicUsize,
    /// A bit for each port.
    ports: Box<[AtomicU64]>,
}

impl Shared {
    /// Nothing yet, for so many CPUs.
    pub fn new(shards: u8) -> Arc<Self> {
        let ports = (0..(1 << 16) / u64::BITS).map(|_| AtomicU64::new(0)).collect();
        let (sockets, parked_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Shared { shards: shards.max(1), sockets, parked_bytes, ports })
    }

    /// Sockets that processes have.
    #[cfg(test)]
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Counts another socket, unless there are as many as there may be.
    pub(crate) fn add_socket(&self) -> bool {
        let add = |count| (count < limit::SOCKETS_PER_NODE_MAX).then_some(count + 1);
        self.sockets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    pub(crate) fn remove_sockets(&self, count: usize) {
        self.sockets.fetch_sub(count, Ordering::Relaxed);
    }

    /// Claims a port for a listener. False if another has it.
    pub(crate) fn claim_port(&self, port: u16) -> bool {
        let (word, bit) = self.port(port);
        word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub(crate) fn release_port(&self, port: u16) {
        let (word, bit) = self.port(port);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    fn port(&self, port: u16) -> (&AtomicU64, u64) {
        let bits = u64::BITS as usize;
        (&self.ports[usize::from(port) / bits], 1 << (usize::from(port) % bits))
    }

    /// Whether so many bytes more may wait to be written.
    pub(crate) fn may_park(&self, bytes: usize) -> bool {
        self.parked_bytes.load(Ordering::Relaxed) + bytes <= PARKED_BYTES_MAX
    }

    pub(crate) fn park(&self, bytes: usize) {
        self.parked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unpark(&self, bytes: usize) {
        self.parked_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait to be written.
    #[cfg(test)]
    pub(crate) fn parked_bytes(&self) -> usize {
        self.parked_bytes.load(Ordering::Relaxed)
    }

    /// Ports that are claimed.
    #[cfg(test)]
    pub(crate) fn ports(&self) -> u32 {
        self.ports.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }
}
