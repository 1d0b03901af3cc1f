//! The Noise handshake and the encrypted records after it.
//!
//! Owns [`Handshake`] and [`Transport`], and the primitives that snow runs on: X25519 with
//! randomness that the caller gives, ChaCha20-Poly1305 and BLAKE2s. The side that *accepted* the
//! connection speaks first, so that it shows its certificate last, and only to a peer whose own
//! certificate it believes:
//!
//! ```text
//! acceptor                                  dialler
//!    1 ── e, version ───────────────────────▶
//!    ◀─────── e, ee, s, es, its hello ─────── 2      the acceptor verifies
//!    3 ── s, se, its hello ─────────────────▶        the dialler verifies
//! ```
//!
//! A record on the wire is its length (2 bytes, little-endian) and a Noise message.

use crate::key::NoiseSecret;
use crate::limit::{HANDSHAKE_RECORD_MAX, TAG_BYTES};
use alloc::boxed::Box;
use alloc::vec::Vec;
use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, TransportState};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"craton session 1";

/// Which end of the TCP connection we are.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// We accepted it: speak first.
    Acceptor,
    /// We dialled it.
    Dialler,
}

/// A handshake under way.
pub(crate) struct Handshake(HandshakeState);

impl Handshake {
    /// A handshake that draws from `seed`. `None` if snow does not know our pattern, which the
    /// tests rule out.
    pub(crate) fn new(side: Side, secret: &NoiseSecret, seed: [u8; 32]) -> Option<Self> {
        let key = secret.to_bytes();
        let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Resolver { seed }))
            .local_private_key(&key)
            .and_then(|builder| builder.prologue(PROLOGUE))
            .ok()?;
        let state = match side {
            Side::Acceptor => builder.build_initiator(),
            Side::Dialler => builder.build_responder(),
        };
        state.ok().map(Handshake)
    }

    /// Appends the next record to `out`; `false` if it is not our turn.
    pub(crate) fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let mut message = [0; HANDSHAKE_RECORD_MAX];
        let Ok(length) = self.0.write_message(payload, &mut message) else { return false };
        out.extend_from_slice(&(length as u16).to_le_bytes());
        out.extend_from_slice(&message[..length]);
        true
    }

    /// The payload of the peer's record, or `None` if it is none that belongs here.
    pub(crate) fn read(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let mut payload = [0; HANDSHAKE_RECORD_MAX];
        let length = self.0.read_message(record, payload.get_mut(..record.len())?).ok()?;
        payload.get(..length).map(<[u8]>::to_vec)
    }

    /// The peer's static key, once it has shown it.
    pub(crate) fn peer_key(&self) -> Option<[u8; 32]> {
        self.0.get_remote_static()?.try_into().ok()
    }

    /// The records after the handshake; `None` before its end.
    pub(crate) fn finish(self) -> Option<Transport> {
        self.0.into_transport_mode().ok().map(Transport)
    }
}

/// Encrypted records.
pub(crate) struct Transport(TransportState);

impl Transport {
    /// Appends the record that holds `plain` to `out`; `false` if `plain` is longer than a record
    /// may be, or the nonces are used up.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let length = plain.len() + TAG_BYTES;
        let Ok(prefix) = u16::try_from(length) else { return false };
        out.extend_from_slice(&prefix.to_le_bytes());
        out.resize(start + 2 + length, 0);
        let sealed = self.0.write_message(plain, &mut out[start + 2..]).is_ok();
        if !sealed {
            out.truncate(start);
        }
        sealed
    }

    /// Replaces `plain` by the content of a record; `false` if the record was changed on the way.
    pub(crate) fn open(&mut self, record: &[u8], plain: &mut Vec<u8>) -> bool {
        // What is there is overwritten or, on failure, never looked at: no need to clear it.
        plain.resize(record.len().saturating_sub(TAG_BYTES), 0);
        self.0.read_message(record, plain).is_ok()
    }
}

struct Resolver {
    seed: [u8; 32],
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(ChaCha20Rng::from_seed(self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(Curve::default())),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => {
                Some(Box::new(ChaChaPoly(ChaCha20Poly1305::new(&[0; 32].into()))))
            }
            _ => None,
        }
    }
}

struct Drawn(ChaCha20Rng);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

#[derive(Default)]
struct Curve {
    secret: [u8; 32],
    public: [u8; 32],
}

impl Curve {
    fn hold(&mut self, secret: [u8; 32]) {
        self.secret = secret;
        self.public = NoiseSecret::from_bytes(&secret).public().0;
    }
}

impl Dh for Curve {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        // snow checks the length before it calls.
        if let Ok(secret) = privkey.try_into() {
            self.hold(secret);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; 32];
        rng.try_fill_bytes(&mut secret)?;
        self.hold(secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let peer = pubkey.first_chunk().ok_or(Error::Dh)?;
        let shared = NoiseSecret::from_bytes(&self.secret).shared_with(peer).ok_or(Error::Dh)?;
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(&shared);
        Ok(())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = core::mem::take(&mut self.0).finalize();
        out[..32].copy_from_slice(&digest);
    }
}

struct ChaChaPoly(ChaCha20Poly1305);

impl ChaChaPoly {
    fn nonce(counter: u64) -> Nonce {
        // Noise, section 12.3: 32 bits of zeros and the counter, little-endian.
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        nonce.into()
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = ChaCha20Poly1305::new(&(*key).into());
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        let Ok(buffer) = InOutBuf::new(plaintext, text) else { return 0 };
        // Refused is only a text of 256 GiB, and a record is at most 64 KiB.
        let tag = self.0.encrypt_inout_detached(&Self::nonce(nonce), authtext, buffer);
        if let Ok(tag) = tag {
            rest[..TAG_BYTES].copy_from_slice(&tag);
        }
        plaintext.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        let buffer = InOutBuf::new(text, out).map_err(|_| Error::Decrypt)?;
        self.0
            .decrypt_inout_detached(&Self::nonce(nonce), authtext, buffer, &Tag::from(*tag))
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Transport, Transport) {
        let (a, b) = (NoiseSecret::from_bytes(&[1; 32]), NoiseSecret::from_bytes(&[2; 32]));
        let mut acceptor = Handshake::new(Side::Acceptor, &a, [3; 32]).expect("a known pattern");
        let mut dialler = Handshake::new(Side::Dialler, &b, [4; 32]).expect("a known pattern");
        let mut wire = Vec::new();
        assert!(acceptor.write(&[1], &mut wire));
        assert_eq!(dialler.read(&wire[2..]).expect("first"), [1]);
        wire.clear();
        assert!(dialler.write(b"from the dialler", &mut wire));
        assert_eq!(acceptor.read(&wire[2..]).expect("second"), b"from the dialler");
        assert_eq!(acceptor.peer_key(), Some(b.public().0));
        wire.clear();
        assert!(acceptor.write(b"from the acceptor", &mut wire));
        assert_eq!(dialler.read(&wire[2..]).expect("third"), b"from the acceptor");
        assert_eq!(dialler.peer_key(), Some(a.public().0));
        (acceptor.finish().expect("done"), dialler.finish().expect("done"))
    }

    #[test]
    fn a_handshake_leads_to_records_of_any_length() {
        let (mut a, mut b) = pair();
        for length in [0, 1, 63, 64, 65, 4096, crate::limit::RECORD_PLAIN_MAX] {
            let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let (mut wire, mut out) = (Vec::new(), Vec::new());
            assert!(a.seal(&plain, &mut wire));
            assert_eq!(wire.len(), 2 + length + TAG_BYTES);
            assert!(b.open(&wire[2..], &mut out));
            assert_eq!(out, plain);
        }
        let mut wire = Vec::new();
        assert!(!a.seal(&[0; crate::limit::RECORD_PLAIN_MAX + 1], &mut wire));
        assert!(wire.is_empty());
    }

    #[test]
    fn a_changed_repeated_or_missing_record_is_refused() {
        let (mut a, mut b) = pair();
        let (mut first, mut second, mut out) = (Vec::new(), Vec::new(), Vec::new());
        assert!(a.seal(b"one", &mut first) && a.seal(b"two", &mut second));
        assert!(!b.open(&second[2..], &mut out), "out of order");
        for at in 2..first.len() {
            first[at] ^= 1;
            assert!(!b.open(&first[2..], &mut out), "byte {at}");
            first[at] ^= 1;
        }
        assert!(!b.open(&[], &mut out));
        assert!(b.open(&first[2..], &mut out));
        assert!(!b.open(&first[2..], &mut out), "a second time");
    }

    #[test]
    fn the_primitives_are_the_named_ones() {
        // RFC 7693, appendix B: BLAKE2s-256 of "abc".
        let mut hash = Blake2s(Blake2s256::new());
        hash.input(b"abc");
        let mut out = [0; 32];
        hash.result(&mut out);
        assert_eq!(
            crate::key::to_hex(&out),
            "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        );
    }
}
