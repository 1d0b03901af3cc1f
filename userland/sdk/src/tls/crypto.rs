//! The cryptography that `rustls` asks for, from the RustCrypto and dalek crates.
//!
//! Owns the joints alone: which suites and groups are offered, and how one crate's types become
//! another's. TLS 1.3 with ChaCha20-Poly1305 or AES-128-GCM, over X25519 or P-256; all of it runs
//! in constant time in WebAssembly, where a CPU's instructions for AES are out of reach. What is
//! signed is in `verify`.

use super::verify;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use core::marker::PhantomData;
use curve25519_dalek::MontgomeryPoint;
use hmac::{Hmac, Mac};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup, hash, hmac as keyed,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, NamedGroup,
    PeerMisbehaved, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
};
use sha2::{Digest, Sha256};

/// Bytes of a tag, of either cipher.
const TAG_BYTES: usize = 16;
/// Records of one key; the first as `rustls` advises for AES-GCM (2^60 to one).
const AES_RECORDS_MAX: u64 = 1 << 24;

static CHACHA20_POLY1305: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &Sha256Hash,
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &Aead::<chacha20poly1305::ChaCha20Poly1305>(PhantomData),
    quic: None,
};

static AES_128_GCM: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &Sha256Hash,
        confidentiality_limit: AES_RECORDS_MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &Aead::<aes_gcm::Aes128Gcm>(PhantomData),
    quic: None,
};

/// All that a client needs.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&CHACHA20_POLY1305),
            SupportedCipherSuite::Tls13(&AES_128_GCM),
        ],
        kx_groups: vec![&X25519, &P256],
        signature_verification_algorithms: verify::ALGORITHMS,
        secure_random: &Node,
        key_provider: &Node,
    }
}

/// The node's randomness, and no keys.
#[derive(Debug)]
struct Node;

impl SecureRandom for Node {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        crate::random(bytes);
        Ok(())
    }
}

impl KeyProvider for Node {
    fn load_private_key(&self, _key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("clients have no keys here".into()))
    }
}

struct Sha256Hash;

impl hash::Hash for Sha256Hash {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Running(Sha256::new()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        hash::Output::new(&Sha256::digest(data))
    }

    fn output_len(&self) -> usize {
        Sha256::output_size()
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        hash::HashAlgorithm::SHA256
    }
}

struct Running(Sha256);

impl hash::Context for Running {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Running(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }
}

struct HmacSha256;

impl keyed::Hmac for HmacSha256 {
    fn with_key(&self, key: &[u8]) -> Box<dyn keyed::Key> {
        // A key of any length will do.
        Box::new(Keyed(Hmac::new_from_slice(key).expect("HMAC takes any key")))
    }

    fn hash_output_len(&self) -> usize {
        Sha256::output_size()
    }
}

struct Keyed(Hmac<Sha256>);

impl keyed::Key for Keyed {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> keyed::Tag {
        let mut mac = self.0.clone();
        mac.update(first);
        middle.iter().for_each(|part| mac.update(part));
        mac.update(last);
        keyed::Tag::new(&mac.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        Sha256::output_size()
    }
}

struct Aead<A>(PhantomData<fn() -> A>);

impl<A: AeadInOut + KeyInit + Send + Sync + 'static> Tls13AeadAlgorithm for Aead<A> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Sealed::<A>::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Sealed::<A>::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        A::key_size()
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// One direction of a connection.
struct Sealed<A> {
    aead: A,
    iv: Iv,
}

impl<A: AeadInOut + KeyInit> Sealed<A> {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        let aead = A::new_from_slice(key.as_ref()).expect("a key has the length that was asked");
        Sealed { aead, iv }
    }

    fn nonce(&self, sequence: u64) -> Result<chacha20poly1305::aead::Nonce<A>, Error> {
        let Nonce(bytes) = Nonce::new(&self.iv, sequence);
        bytes.as_slice().try_into().map_err(|_| Error::EncryptError)
    }
}

impl<A: AeadInOut + KeyInit + Send + Sync> MessageEncrypter for Sealed<A> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let (nonce, aad) = (self.nonce(sequence)?, make_tls13_aad(len));
        let tag = self.aead.encrypt_inout_detached(&nonce, &aad, payload.as_mut().into());
        payload.extend_from_slice(&tag.map_err(|_| Error::EncryptError)?);
        let (kind, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        Ok(OutboundOpaqueMessage::new(kind, version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        // The kind of the record goes with it.
        payload_len + 1 + TAG_BYTES
    }
}

impl<A: AeadInOut + KeyInit + Send + Sync> MessageDecrypter for Sealed<A> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let (nonce, aad) = (self.nonce(sequence)?, make_tls13_aad(message.payload.len()));
        let len = message.payload.len().checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let (text, tag) = message.payload.split_at_mut(len);
        let tag = (&*tag).try_into().map_err(|_| Error::DecryptError)?;
        self.aead
            .decrypt_inout_detached(&nonce, &aad, text.into(), &tag)
            .map_err(|_| Error::DecryptError)?;
        message.payload.truncate(len);
        message.into_tls13_unpadded_message()
    }
}

#[derive(Debug)]
struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        crate::random(&mut secret);
        let public = MontgomeryPoint::mul_base_clamped(secret).to_bytes();
        Ok(Box::new(X25519Secret { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct X25519Secret {
    secret: [u8; 32],
    public: [u8; 32],
}

impl ActiveKeyExchange for X25519Secret {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = peer.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = MontgomeryPoint(peer).mul_clamped(self.secret).to_bytes();
        // A point of small order would make it a secret that everybody knows (RFC 8446, 7.4.2).
        if shared == [0; 32] {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(shared.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[derive(Debug)]
struct P256;

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        // A random number is no scalar of the curve once in 2^32.
        let secret = loop {
            let mut bytes = [0; 32];
            crate::random(&mut bytes);
            if let Ok(secret) = p256::SecretKey::from_slice(&bytes) {
                break secret;
            }
        };
        let public = secret.public_key().to_sec1_bytes().into_vec();
        Ok(Box::new(P256Secret { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

struct P256Secret {
    secret: p256::SecretKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for P256Secret {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let wrong = |_| PeerMisbehaved::InvalidKeyShare;
        let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(wrong)?;
        let shared = self.secret.diffie_hellman(&peer);
        Ok(SharedSecret::from(shared.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}
