//! Sealed datagrams, for membership.
//!
//! Owns [`DiscoveryKey`] (anybody the authority gave the key to can open) and the pair
//! [`Sealer`] / [`Opener`] (only the two nodes can). A datagram names its sender, the sender's life
//! and a counter in the clear, all of it authenticated:
//!
//! ```text
//! version 1 | kind 1 | sender 8 | incarnation 8 | counter 8 | ciphertext | tag 16
//! ```
//!
//! The key depends on the sender's incarnation, which is random for every life, so counters may
//! start at zero in each life and no nonce is ever used twice. An [`Opener`] refuses a counter it
//! has seen and one that is too old to know. Discovery has no such memory: a replayed hello makes
//! a node answer, under a pair's key, to a machine that then has nothing to say.

use crate::event::PeerKey;
use crate::key::{NoiseKey, NoiseSecret};
use alloc::vec::Vec;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use craton_abi::{Incarnation, NodeId};

/// Bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// How far behind the newest datagram one may come and still be opened.
pub const WINDOW: u64 = 1024;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 26;
const TAG_BYTES: usize = 16;
const DISCOVERY_CONTEXT: &str = "craton 2026-11 discovery datagram";
const PAIR_CONTEXT: &str = "craton 2026-11 pair datagram";

/// How a datagram is sealed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum SealKind {
    /// Under the discovery key.
    Discovery = 1,
    /// Under the key of the sender and one receiver.
    Pair = 2,
}

/// What a datagram alleges about itself; proven only by opening it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// How it is sealed.
    pub kind: SealKind,
    /// Who says to have sent it.
    pub sender: PeerKey,
    counter: u64,
}

/// Why a datagram cannot be opened. Nothing was learnt from it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// No sealed datagram of this kind and sender.
    Malformed,
    /// Seen before, or too old to know.
    Replayed,
    /// Not sealed by who it says, or changed on the way.
    Forged,
}

impl Envelope {
    /// What `datagram` says about itself, if it has the form of a sealed datagram.
    pub fn read(datagram: &[u8]) -> Option<Envelope> {
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        if header[0] != VERSION || rest.len() < TAG_BYTES {
            return None;
        }
        let kind = match header[1] {
            1 => SealKind::Discovery,
            2 => SealKind::Pair,
            _ => return None,
        };
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let sender =
            PeerKey { node: NodeId::new(word(2)), incarnation: Incarnation::new(word(10)) };
        Some(Envelope { kind, sender, counter: word(18) })
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.kind as u8;
        bytes[2..10].copy_from_slice(&self.sender.node.get().to_le_bytes());
        bytes[10..18].copy_from_slice(&self.sender.incarnation.get().to_le_bytes());
        bytes[18..26].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    fn nonce(self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        nonce.into()
    }
}

/// Seals what one life of a node sends, either for all holders of the discovery key or for one
/// other node.
pub struct Sealer {
    cipher: ChaCha20Poly1305,
    next: Envelope,
}

impl Sealer {
    /// Seals for every holder of `key`. `me` must be a life that never sealed before.
    pub fn discovery(key: &DiscoveryKey, me: PeerKey) -> Self {
        let next = Envelope { kind: SealKind::Discovery, sender: me, counter: 0 };
        Sealer { cipher: key.cipher(me), next }
    }

    /// Seals for the holder of `peer` alone. `me` must be a life that never sealed for it before.
    /// `None` if `peer` is no sound key.
    pub fn pair(secret: &NoiseSecret, peer: &NoiseKey, me: PeerKey) -> Option<Self> {
        let cipher = pair_cipher(secret, peer, secret.public(), *peer, me)?;
        Some(Sealer { cipher, next: Envelope { kind: SealKind::Pair, sender: me, counter: 0 } })
    }

    /// Appends `plain`, sealed, to `out`.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let envelope = self.next;
        // 64 bits do not run out in the life of a machine.
        self.next.counter += 1;
        let header = envelope.to_bytes();
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(plain);
        let text = out[start..].as_mut().into();
        match self.cipher.encrypt_inout_detached(&envelope.nonce(), &header, text) {
            Ok(tag) => out.extend_from_slice(&tag),
            // Only a text of 256 GiB is refused; without a tag nobody opens it.
            Err(_) => out.truncate(start),
        }
    }
}

/// Opens what one life of a node seals for us, each datagram once.
pub struct Opener {
    cipher: ChaCha20Poly1305,
    sender: PeerKey,
    seen: ReplayWindow,
}

impl Opener {
    /// Opens what `sender`, who holds `peer`, seals for the holder of `secret`. `None` if `peer`
    /// is no sound key.
    pub fn pair(secret: &NoiseSecret, peer: &NoiseKey, sender: PeerKey) -> Option<Self> {
        let cipher = pair_cipher(secret, peer, *peer, secret.public(), sender)?;
        Some(Opener { cipher, sender, seen: ReplayWindow::default() })
    }

    /// Appends the opened text to `out`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; `out` is as it was.
    pub fn open(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let envelope = Envelope::read(datagram).ok_or(OpenError::Malformed)?;
        if envelope.kind != SealKind::Pair || envelope.sender != self.sender {
            return Err(OpenError::Malformed);
        }
        if !self.seen.is_new(envelope.counter) {
            return Err(OpenError::Replayed);
        }
        open_with(&self.cipher, envelope, datagram, out)?;
        self.seen.mark(envelope.counter);
        Ok(())
    }
}

/// The key that an authority gives its machines, so that they find one another.
#[derive(Clone)]
pub struct DiscoveryKey(pub [u8; 32]);

impl DiscoveryKey {
    /// Opens a datagram of any sender, appends the text to `out`, and says who sent it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; `out` is as it was.
    pub fn open(&self, datagram: &[u8], out: &mut Vec<u8>) -> Result<PeerKey, OpenError> {
        let envelope = Envelope::read(datagram).ok_or(OpenError::Malformed)?;
        if envelope.kind != SealKind::Discovery {
            return Err(OpenError::Malformed);
        }
        open_with(&self.cipher(envelope.sender), envelope, datagram, out)?;
        Ok(envelope.sender)
    }

    fn cipher(&self, sender: PeerKey) -> ChaCha20Poly1305 {
        derive(DISCOVERY_CONTEXT, &[&self.0], sender)
    }
}

impl core::fmt::Debug for DiscoveryKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DiscoveryKey(…)")
    }
}

fn pair_cipher(
    secret: &NoiseSecret,
    peer: &NoiseKey,
    from: NoiseKey,
    to: NoiseKey,
    sender: PeerKey,
) -> Option<ChaCha20Poly1305> {
    let shared = secret.shared_with(&peer.0)?;
    Some(derive(PAIR_CONTEXT, &[&shared, &from.0, &to.0], sender))
}

fn derive(context: &str, parts: &[&[u8; 32]], sender: PeerKey) -> ChaCha20Poly1305 {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(*part);
    }
    hasher.update(&sender.node.get().to_le_bytes());
    hasher.update(&sender.incarnation.get().to_le_bytes());
    ChaCha20Poly1305::new(&(*hasher.finalize().as_bytes()).into())
}

fn open_with(
    cipher: &ChaCha20Poly1305,
    envelope: Envelope,
    datagram: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let (header, sealed) = datagram.split_at_checked(HEADER_BYTES).ok_or(OpenError::Malformed)?;
    let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(OpenError::Malformed)?;
    let start = out.len();
    out.extend_from_slice(text);
    let opened = cipher.decrypt_inout_detached(
        &envelope.nonce(),
        header,
        out[start..].as_mut().into(),
        &Tag::from(*tag),
    );
    opened.map_err(|_| {
        out.truncate(start);
        OpenError::Forged
    })
}

/// Which of the last [`WINDOW`] counters were seen.
struct ReplayWindow {
    /// One more than the largest counter seen.
    end: u64,
    /// Bit `counter % WINDOW`; meaningful for the `WINDOW` counters before `end`.
    bits: [u64; (WINDOW / 64) as usize],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow { end: 0, bits: [0; (WINDOW / 64) as usize] }
    }
}

impl ReplayWindow {
    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn is_new(&self, counter: u64) -> bool {
        if counter >= self.end {
            // The last number has no successor to remember it by.
            return counter != u64::MAX;
        }
        let (word, bit) = Self::place(counter);
        self.end - counter <= WINDOW && self.bits[word] & bit == 0
    }

    fn mark(&mut self, counter: u64) {
        if counter >= self.end {
            // At most WINDOW bits are stale, however far the counter jumped.
            for stale in (self.end..counter).rev().take(WINDOW as usize) {
                let (word, bit) = Self::place(stale);
                self.bits[word] &= !bit;
            }
            self.end = counter + 1;
        }
        let (word, bit) = Self::place(counter);
        self.bits[word] |= bit;
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
