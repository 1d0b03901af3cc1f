//! The keys of a compiler: whose native code a node trusts.
//!
//! Owns [`CompilerKey`], which nodes are configured with, and [`CompilerSecret`], which stays with
//! the tool. Both are written as 64 hexadecimal digits. Ed25519 (RFC 8032); no randomness is drawn
//! here: a secret is made of 32 bytes that the caller drew.

use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// A text that is no key.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MalformedKey;

/// The public half: who may sign bundles for a node.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct CompilerKey([u8; 32]);

/// The secret half: signs bundles.
#[derive(Clone)]
pub struct CompilerSecret(SigningKey);

impl CompilerKey {
    /// Length of the encoded form.
    pub const BYTES: usize = 32;

    /// The key with this encoding. Whether it is a point of the curve shows at the first signature.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        CompilerKey(bytes)
    }

    /// The key's encoding.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// Whether `signature` is this key's over `message`. Weak keys and malleable signatures are
    /// refused.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .is_ok()
    }
}

impl CompilerSecret {
    /// The secret made of 32 bytes that nobody else knows.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        CompilerSecret(SigningKey::from_bytes(&bytes))
    }

    /// The bytes it was made of.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn key(&self) -> CompilerKey {
        CompilerKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl FromStr for CompilerKey {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        read_hex(text).map(CompilerKey)
    }
}

impl FromStr for CompilerSecret {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        read_hex(text).map(CompilerSecret::from_bytes)
    }
}

impl fmt::Display for CompilerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CompilerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for CompilerSecret {
    /// Names the public half only, so that no log shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompilerSecret of {}", self.key())
    }
}

impl fmt::Display for MalformedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a compiler key is 64 hexadecimal digits")
    }
}

impl core::error::Error for MalformedKey {}

fn read_hex(text: &str) -> Result<[u8; 32], MalformedKey> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(MalformedKey);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16).ok_or(MalformedKey)?;
        let low = char::from(pair[1]).to_digit(16).ok_or(MalformedKey)?;
        *byte = (high << 4 | low) as u8;
    }
    Ok(bytes)
}
