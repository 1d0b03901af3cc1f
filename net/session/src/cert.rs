//! Certificates: the authority's word on who a peer is and what it may be.
//!
//! Owns [`Certificate`] (proven in form) and its verification against the authorities that a node
//! trusts. The encoding is compact and has exactly one form for each certificate:
//!
//! ```text
//! version 1 | role 1 | authority key id 8 | serial 8 | not before 8 | not after 8 | Noise key 32
//! | name length 1, name | prefix length 1, prefix | ed25519 signature 64
//! ```
//!
//! The signature covers a fixed context string and everything before itself.

use crate::key::{AuthorityKey, AuthorityKeyId, AuthoritySecret, NoiseKey, from_hex, to_hex};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::NodeId;
use craton_wire::Role;

/// Longest name of a peer and longest prefix of app names, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Authority keys that may be valid at once.
pub const AUTHORITIES_MAX: usize = 2;
/// Longest encoded certificate.
pub const CERTIFICATE_BYTES_MAX: usize = FIXED_BYTES + 2 * (1 + NAME_BYTES_MAX) + SIGNATURE_BYTES;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 2 + 8 + 8 + 8 + 8 + 32;
const SIGNATURE_BYTES: usize = 64;
const CONTEXT: &[u8] = b"craton certificate 1\0";

/// What an authority is asked to certify.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What the holder may be.
    pub role: Role,
    /// The holder's name, for people: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The holder's Noise key.
    pub noise: NoiseKey,
    /// Valid from this second since 1970.
    pub not_before_secs: u64,
    /// Valid up to and with this second since 1970.
    pub not_after_secs: u64,
    /// Number that the authority gives it, for its records.
    pub serial: u64,
}

/// A certificate whose form is proven. Whether to believe it, [`Certificate::verify`] says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// What its holder may be.
    pub role: Role,
    /// Its holder's name.
    pub name: Arc<str>,
    /// Its holder's Noise key.
    pub noise: NoiseKey,
    /// Valid from this second since 1970.
    pub not_before_secs: u64,
    /// Valid up to and with this second since 1970.
    pub not_after_secs: u64,
    /// The authority's number for it.
    pub serial: u64,
    /// Which authority key signed it.
    pub authority: AuthorityKeyId,
    signature: [u8; SIGNATURE_BYTES],
}

/// Why a certificate is not believed, or none can be issued.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum CertificateError {
    /// The bytes are no certificate, or a newer kind.
    Malformed,
    /// A name or prefix is empty, too long, or holds other characters than it may.
    Name,
    /// It would end before it begins.
    Dates,
    /// No trusted authority has this key id.
    UnknownAuthority,
    /// The signature does not fit.
    Signature,
    /// Not valid yet.
    NotYetValid,
    /// No longer valid.
    Expired,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateError::Malformed => "the certificate is malformed",
            CertificateError::Name => "the certificate's name is not allowed",
            CertificateError::Dates => "the certificate ends before it begins",
            CertificateError::UnknownAuthority => "the certificate is of an unknown authority",
            CertificateError::Signature => "the certificate's signature is wrong",
            CertificateError::NotYetValid => "the certificate is not valid yet",
            CertificateError::Expired => "the certificate has expired",
        })
    }
}

impl core::error::Error for CertificateError {}

impl Certificate {
    /// Signs a certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Name`] or [`CertificateError::Dates`].
    pub fn issue(request: Request, by: &AuthoritySecret) -> Result<Self, CertificateError> {
        let mut certificate = Certificate {
            role: request.role,
            name: request.name.as_str().into(),
            noise: request.noise,
            not_before_secs: request.not_before_secs,
            not_after_secs: request.not_after_secs,
            serial: request.serial,
            authority: by.public().id(),
            signature: [0; SIGNATURE_BYTES],
        };
        certificate.check_form()?;
        certificate.signature = by.sign(&certificate.signed_bytes());
        Ok(certificate)
    }

    /// Whether to believe it. Without a known wall clock its dates are not looked at: a machine
    /// that cannot know the time must still be able to join.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says why not.
    pub fn verify(
        &self,
        authorities: &[AuthorityKey],
        wall_clock_secs: Option<u64>,
    ) -> Result<(), CertificateError> {
        let authority = authorities
            .iter()
            .find(|key| key.id() == self.authority)
            .ok_or(CertificateError::UnknownAuthority)?;
        if !authority.verify(&self.signed_bytes(), &self.signature) {
            return Err(CertificateError::Signature);
        }
        match wall_clock_secs {
            Some(now) if now < self.not_before_secs => Err(CertificateError::NotYetValid),
            Some(now) if now > self.not_after_secs => Err(CertificateError::Expired),
            _ => Ok(()),
        }
    }

    /// The node or tool that the certificate names.
    pub fn node(&self) -> NodeId {
        self.noise.node()
    }

    /// The encoded certificate.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CERTIFICATE_BYTES_MAX);
        self.encode_unsigned(&mut bytes);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Proves that `bytes` have the form of a certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertificateError> {
        let mut reader = Reader(bytes);
        let malformed = CertificateError::Malformed;
        let [version, role] = reader.take().ok_or(malformed)?;
        if version != VERSION {
            return Err(malformed);
        }
        let authority = AuthorityKeyId(reader.take().ok_or(malformed)?);
        let serial = u64::from_le_bytes(reader.take().ok_or(malformed)?);
        let not_before_secs = u64::from_le_bytes(reader.take().ok_or(malformed)?);
        let not_after_secs = u64::from_le_bytes(reader.take().ok_or(malformed)?);
        let noise = NoiseKey(reader.take().ok_or(malformed)?);
        let name = reader.text().ok_or(malformed)?;
        let prefix = reader.text().ok_or(malformed)?;
        let signature = reader.take().ok_or(malformed)?;
        let role = match (role, prefix) {
            (0, "") => Role::Node,
            (1, "") => Role::Operator,
            (2, prefix) => Role::Deploy { prefix: prefix.into() },
            (3, "") => Role::ReadOnly,
            _ => return Err(malformed),
        };
        if !reader.0.is_empty() {
            return Err(malformed);
        }
        let certificate = Certificate {
            role,
            name: name.into(),
            noise,
            not_before_secs,
            not_after_secs,
            serial,
            authority,
            signature,
        };
        certificate.check_form()?;
        Ok(certificate)
    }

    /// The text form: the encoded certificate in hexadecimal digits.
    pub fn to_hex(&self) -> String {
        to_hex(&self.to_bytes())
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says what is wrong with it.
    pub fn from_hex(text: &str) -> Result<Self, CertificateError> {
        Self::from_bytes(&from_hex(text).ok_or(CertificateError::Malformed)?)
    }

    fn check_form(&self) -> Result<(), CertificateError> {
        let prefix_fits = match &self.role {
            Role::Deploy { prefix } => is_name(prefix),
            _ => true,
        };
        if !prefix_fits || !is_name(&self.name) {
            return Err(CertificateError::Name);
        }
        if self.not_before_secs > self.not_after_secs {
            return Err(CertificateError::Dates);
        }
        Ok(())
    }

    fn encode_unsigned(&self, bytes: &mut Vec<u8>) {
        let (role, prefix) = match &self.role {
            Role::Node => (0, ""),
            Role::Operator => (1, ""),
            Role::Deploy { prefix } => (2, &**prefix),
            Role::ReadOnly => (3, ""),
        };
        bytes.extend_from_slice(&[VERSION, role]);
        bytes.extend_from_slice(&self.authority.0);
        for number in [self.serial, self.not_before_secs, self.not_after_secs] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.noise.0);
        for text in [&*self.name, prefix] {
            // A name is at most NAME_BYTES_MAX long: `check_form` saw to it.
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CONTEXT.len() + CERTIFICATE_BYTES_MAX);
        bytes.extend_from_slice(CONTEXT);
        self.encode_unsigned(&mut bytes);
        bytes
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(allowed)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let [length] = self.take()?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        core::str::from_utf8(text).ok()
    }
}

/// A certificate and the secret key that belongs to it: who we are.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: Certificate,
    secret: crate::key::NoiseSecret,
}

/// The secret key does not belong to the certificate.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct KeyMismatch;

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the secret key does not belong to the certificate")
    }
}

impl core::error::Error for KeyMismatch {}

impl Identity {
    /// Joins the two.
    ///
    /// # Errors
    ///
    /// [`KeyMismatch`].
    pub fn new(
        certificate: Certificate,
        secret: crate::key::NoiseSecret,
    ) -> Result<Self, KeyMismatch> {
        if secret.public() == certificate.noise {
            Ok(Identity { certificate, secret })
        } else {
            Err(KeyMismatch)
        }
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The secret key.
    pub fn secret(&self) -> &crate::key::NoiseSecret {
        &self.secret
    }

    /// The node or tool that this is.
    pub fn node(&self) -> NodeId {
        self.certificate.node()
    }
}

#[cfg(test)]
#[path = "cert_tests.rs"]
mod tests;
