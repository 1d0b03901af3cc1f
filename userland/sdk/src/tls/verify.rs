//! Signatures of certificates and servers, as `rustls` and its `webpki` ask for them.
//!
//! Owns [`ALGORITHMS`]: ECDSA over P-256 and P-384, Ed25519, and RSA of 2,048 to 8,192 bits. What
//! they mean for a name, a chain and a time is decided there, not here.

use core::marker::PhantomData;
use core::ops::RangeInclusive;
use digest::Digest;
use digest::const_oid::AssociatedOid;
use ed25519_dalek::Verifier;
use rsa::PublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::signature::hazmat::PrehashVerifier;
use rsa::traits::PublicKeyParts;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Sha256, Sha384, Sha512};

/// Each of them, and which the schemes of TLS are.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        &P256_SHA256,
        &P256_SHA384,
        &P384_SHA256,
        &P384_SHA384,
        &ED25519,
        &RSA_SHA256,
        &RSA_SHA384,
        &RSA_SHA512,
        &PSS_SHA256,
        &PSS_SHA384,
        &PSS_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[&P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[&P384_SHA384]),
        (SignatureScheme::ED25519, &[&ED25519]),
        (SignatureScheme::RSA_PSS_SHA256, &[&PSS_SHA256]),
        (SignatureScheme::RSA_PSS_SHA384, &[&PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA512, &[&PSS_SHA512]),
        // For certificates alone: TLS 1.3 itself takes no signature of these.
        (SignatureScheme::RSA_PKCS1_SHA256, &[&RSA_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[&RSA_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[&RSA_SHA512]),
    ],
};

static P256_SHA256: Ecdsa<P256, Sha256> = Ecdsa::new(alg_id::ECDSA_P256, alg_id::ECDSA_SHA256);
static P256_SHA384: Ecdsa<P256, Sha384> = Ecdsa::new(alg_id::ECDSA_P256, alg_id::ECDSA_SHA384);
static P384_SHA256: Ecdsa<P384, Sha256> = Ecdsa::new(alg_id::ECDSA_P384, alg_id::ECDSA_SHA256);
static P384_SHA384: Ecdsa<P384, Sha384> = Ecdsa::new(alg_id::ECDSA_P384, alg_id::ECDSA_SHA384);
static ED25519: Ed25519 = Ed25519;
static RSA_SHA256: Rsa<Sha256> = Rsa::new(alg_id::RSA_PKCS1_SHA256, false);
static RSA_SHA384: Rsa<Sha384> = Rsa::new(alg_id::RSA_PKCS1_SHA384, false);
static RSA_SHA512: Rsa<Sha512> = Rsa::new(alg_id::RSA_PKCS1_SHA512, false);
static PSS_SHA256: Rsa<Sha256> = Rsa::new(alg_id::RSA_PSS_SHA256, true);
static PSS_SHA384: Rsa<Sha384> = Rsa::new(alg_id::RSA_PSS_SHA384, true);
static PSS_SHA512: Rsa<Sha512> = Rsa::new(alg_id::RSA_PSS_SHA512, true);

/// How long a key of RSA may be, as the browsers have it (CA/Browser Forum, Baseline
/// Requirements, section 6.1.5): a shorter one can be broken, a longer one only costs time.
const RSA_BITS: RangeInclusive<u32> = 2048..=8192;

fn wrong<E>(_: E) -> InvalidSignature {
    InvalidSignature
}

/// A curve: whether a signature over this hash is its key's.
trait Curve {
    fn verify(key: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), InvalidSignature>;
}

/// Makes a [`Curve`] of the crate of that name, each of which has types of its own.
macro_rules! curve {
    ($name:ident, $of:ident) => {
        #[derive(Debug)]
        struct $name;

        impl Curve for $name {
            fn verify(key: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
                let key = $of::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(wrong)?;
                let signature = $of::ecdsa::DerSignature::from_bytes(signature).map_err(wrong)?;
                key.verify_prehash(hash, &signature).map_err(wrong)
            }
        }
    };
}

curve!(P256, p256);
curve!(P384, p384);

#[derive(Debug)]
struct Ecdsa<C, D> {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    kind: PhantomData<fn() -> (C, D)>,
}

impl<C, D> Ecdsa<C, D> {
    const fn new(key: AlgorithmIdentifier, signature: AlgorithmIdentifier) -> Self {
        Ecdsa { key, signature, kind: PhantomData }
    }
}

impl<C: Curve + core::fmt::Debug, D: Digest + core::fmt::Debug> SignatureVerificationAlgorithm
    for Ecdsa<C, D>
{
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        C::verify(key, &D::digest(message), signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[derive(Debug)]
struct Ed25519;

impl SignatureVerificationAlgorithm for Ed25519 {
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = key.try_into().map_err(wrong)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(wrong)?;
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(wrong)?;
        key.verify(message, &signature).map_err(wrong)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

#[derive(Debug)]
struct Rsa<D> {
    signature: AlgorithmIdentifier,
    /// RSASSA-PSS with a salt as long as the hash, else PKCS #1 v1.5.
    pss: bool,
    hash: PhantomData<fn() -> D>,
}

impl<D> Rsa<D> {
    const fn new(signature: AlgorithmIdentifier, pss: bool) -> Self {
        Rsa { signature, pss, hash: PhantomData }
    }
}

/// The key, if it is long enough.
fn rsa_key(der: &[u8]) -> Result<PublicKey, InvalidSignature> {
    let key = PublicKey::from_pkcs1_der(der).map_err(wrong)?;
    if RSA_BITS.contains(&key.n().bit_width()) { Ok(key) } else { Err(InvalidSignature) }
}

impl<D> SignatureVerificationAlgorithm for Rsa<D>
where
    D: Digest + AssociatedOid + digest::FixedOutputReset + core::fmt::Debug,
{
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = rsa_key(key)?;
        let hash = D::digest(message);
        if self.pss {
            let signature = rsa::pss::Signature::try_from(signature).map_err(wrong)?;
            rsa::pss::VerifyingKey::<D>::new(key).verify_prehash(&hash, &signature)
        } else {
            let signature = rsa::pkcs1v15::Signature::try_from(signature).map_err(wrong)?;
            rsa::pkcs1v15::VerifyingKey::<D>::new(key).verify_prehash(&hash, &signature)
        }
        .map_err(wrong)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A key whose modulus has so many bytes, the first of them this one.
    fn der(first: u8, len: u16) -> Vec<u8> {
        let long = |tag: u8, len: u16| [&[tag, 0x82][..], &len.to_be_bytes()].concat();
        let mut modulus = [&[0, first][..], &Vec::from_iter((2..len).map(|_| 0)), &[1]].concat();
        if first < 0x80 {
            modulus.remove(0);
        }
        let modulus = [long(2, modulus.len() as u16), modulus, [2, 3, 1, 0, 1].into()].concat();
        [long(0x30, modulus.len() as u16), modulus].concat()
    }

    #[test]
    fn keys_of_rsa_are_long_enough_and_not_too_long() {
        for (first, len, is_good) in [
            (0x80, 128, false),
            (0x80, 255, false),
            (0x7f, 256, false),
            (0x80, 256, true),
            (0x80, 512, true),
            (0xff, 1024, true),
            (0x01, 1025, false),
        ] {
            assert_eq!(rsa_key(&der(first, len)).is_ok(), is_good, "{first:#x}, {len} bytes");
        }
    }
}
