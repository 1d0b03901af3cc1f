//! Keys: the authority's for signing, a peer's for the handshake, and their text forms.
//!
//! Owns [`AuthoritySecret`], [`AuthorityKey`], [`NoiseSecret`], [`NoiseKey`]. Secrets are made from
//! randomness that the caller gives; their `Debug` shows nothing of them. The text form of every
//! key is 64 lower-case hexadecimal digits.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::NodeId;
use curve25519_dalek::constants::X25519_BASEPOINT;
use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Text that is no key.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MalformedKey;

impl fmt::Display for MalformedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a key: 64 hexadecimal digits are expected")
    }
}

impl core::error::Error for MalformedKey {}

/// Bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// The bytes that hexadecimal digits name; `None` if the text is anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}

fn key_from_hex(text: &str) -> Result<[u8; 32], MalformedKey> {
    from_hex(text).and_then(|bytes| bytes.try_into().ok()).ok_or(MalformedKey)
}

/// Names an authority key in a certificate: the first eight bytes of the key's BLAKE3 hash.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct AuthorityKeyId(pub [u8; 8]);

/// The public key of a cluster's authority. Two may be valid at once, for rotation.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct AuthorityKey(VerifyingKey);

impl AuthorityKey {
    /// The key with these bytes.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`] if they are no point on the curve, or a weak one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, MalformedKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| MalformedKey)?;
        if key.is_weak() { Err(MalformedKey) } else { Ok(AuthorityKey(key)) }
    }

    /// The key's bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`].
    pub fn from_hex(text: &str) -> Result<Self, MalformedKey> {
        Self::from_bytes(&key_from_hex(text)?)
    }

    /// The text form.
    pub fn to_hex(self) -> String {
        to_hex(&self.to_bytes())
    }

    /// What certificates call this key.
    pub fn id(self) -> AuthorityKeyId {
        AuthorityKeyId(first_eight(&blake3::hash(&self.to_bytes())))
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// The secret key of a cluster's authority: who holds it decides who belongs.
#[derive(Clone)]
pub struct AuthoritySecret(SigningKey);

impl AuthoritySecret {
    /// The key made from 32 random bytes, which are also its stored form.
    pub fn from_bytes(random: &[u8; 32]) -> Self {
        AuthoritySecret(SigningKey::from_bytes(random))
    }

    /// The stored form.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`].
    pub fn from_hex(text: &str) -> Result<Self, MalformedKey> {
        Ok(Self::from_bytes(&key_from_hex(text)?))
    }

    /// The text form.
    pub fn to_hex(&self) -> String {
        to_hex(&self.to_bytes())
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> AuthorityKey {
        AuthorityKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for AuthoritySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthoritySecret(…)")
    }
}

/// A peer's public X25519 key: its lasting identity.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct NoiseKey(pub [u8; 32]);

impl NoiseKey {
    /// The node that this key makes: the first eight bytes of its BLAKE3 hash, little-endian.
    pub fn node(self) -> NodeId {
        NodeId::new(u64::from_le_bytes(first_eight(&blake3::hash(&self.0))))
    }
}

/// A peer's secret X25519 key.
#[derive(Clone)]
pub struct NoiseSecret([u8; 32]);

impl NoiseSecret {
    /// The key made from 32 random bytes, which are also its stored form.
    pub fn from_bytes(random: &[u8; 32]) -> Self {
        NoiseSecret(*random)
    }

    /// The stored form.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`].
    pub fn from_hex(text: &str) -> Result<Self, MalformedKey> {
        Ok(NoiseSecret(key_from_hex(text)?))
    }

    /// The text form.
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> NoiseKey {
        // By the ladder that handshakes go: a way of its own would be code that runs cold, once.
        NoiseKey(X25519_BASEPOINT.mul_clamped(self.0).to_bytes())
    }

    /// The secret shared with the holder of `peer`. `None` if `peer` is one of the few keys that
    /// make the same secret with everybody.
    pub(crate) fn shared_with(&self, peer: &[u8; 32]) -> Option<[u8; 32]> {
        let shared = MontgomeryPoint(*peer).mul_clamped(self.0).to_bytes();
        (shared != [0; 32]).then_some(shared)
    }
}

impl fmt::Debug for NoiseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseSecret(…)")
    }
}

fn first_eight(hash: &blake3::Hash) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_survive() {
        let authority = AuthoritySecret::from_bytes(&[7; 32]);
        let read = AuthoritySecret::from_hex(&authority.to_hex()).expect("its own form");
        assert_eq!(read.public(), authority.public());
        let public = authority.public();
        assert_eq!(AuthorityKey::from_hex(&public.to_hex()), Ok(public));
        let noise = NoiseSecret::from_bytes(&[9; 32]);
        let read = NoiseSecret::from_hex(&noise.to_hex()).expect("its own form");
        assert_eq!(read.public(), noise.public());
    }

    #[test]
    fn malformed_text_is_refused() {
        let good = to_hex(&[5; 32]);
        for bad in ["", "0", "zz", &good[1..], &good[2..], &good.replace('5', "g"), "é"] {
            assert!(NoiseSecret::from_hex(bad).is_err(), "{bad:?}");
        }
        // The neutral point is on the curve and signs anything.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(AuthorityKey::from_bytes(&neutral), Err(MalformedKey));
    }

    #[test]
    fn both_ends_share_one_secret_and_weak_keys_make_none() {
        let (a, b) = (NoiseSecret::from_bytes(&[1; 32]), NoiseSecret::from_bytes(&[2; 32]));
        let shared = a.shared_with(&b.public().0);
        assert!(shared.is_some());
        assert_eq!(shared, b.shared_with(&a.public().0));
        assert_eq!(a.shared_with(&[0; 32]), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = alloc::format!(
            "{:?} {:?}",
            NoiseSecret([0xab; 32]),
            AuthoritySecret::from_bytes(&[0xab; 32])
        );
        assert!(!text.contains("171") && !text.contains("ab, "), "{text}");
    }
}
