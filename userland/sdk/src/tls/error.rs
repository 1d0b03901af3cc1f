//! Why there is no connection by TLS, or none any more.
//!
//! Owns [`TlsError`] and [`CertificateFault`], which are made of what `rustls` says.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use craton_abi::ErrorCode;
use rustls::CertificateError;

/// What went wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsError {
    /// The connection below it.
    Network(ErrorCode),
    /// The server's proof of its name.
    Certificate(CertificateFault),
    /// The server speaks no TLS 1.3, or wrongly; it may be somebody in between.
    Peer(String),
    /// The connection ended and the peer did not say that it would: something may be missing.
    Truncated,
    /// The node does not know the time of day, by which certificates are valid.
    Clock,
    /// The host's name is neither a DNS name nor an address.
    Name,
    /// The authorities to be trusted are no certificates.
    Roots,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It is another server's.
    Name,
    /// It is valid no longer.
    Expired,
    /// It is not valid yet.
    Early,
    /// No authority that is trusted has signed it.
    Authority,
    /// Anything else.
    Other(String),
}

impl From<ErrorCode> for TlsError {
    fn from(code: ErrorCode) -> Self {
        TlsError::Network(code)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => TlsError::Certificate(error.into()),
            rustls::Error::FailedToGetCurrentTime => TlsError::Clock,
            other => TlsError::Peer(other.to_string()),
        }
    }
}

impl From<CertificateError> for CertificateFault {
    fn from(error: CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::NotValidForName | E::NotValidForNameContext { .. } => CertificateFault::Name,
            E::Expired | E::ExpiredContext { .. } => CertificateFault::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => CertificateFault::Early,
            E::UnknownIssuer => CertificateFault::Authority,
            other => CertificateFault::Other(format!("{other:?}")),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Network(code) => write!(f, "{code}"),
            TlsError::Certificate(fault) => write!(f, "the server's certificate {fault}"),
            TlsError::Peer(why) => {
                write!(f, "the server does not speak TLS 1.3 as it should: {why}")
            }
            TlsError::Truncated => f.write_str("the connection was cut off"),
            TlsError::Clock => f.write_str("the node does not know the time of day"),
            TlsError::Name => f.write_str("the host's name is neither a DNS name nor an address"),
            TlsError::Roots => f.write_str("the authorities to trust are no certificates"),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateFault::Name => f.write_str("is for another name"),
            CertificateFault::Expired => f.write_str("has expired"),
            CertificateFault::Early => f.write_str("is not valid yet"),
            CertificateFault::Authority => f.write_str("is signed by no authority that is trusted"),
            CertificateFault::Other(why) => write!(f, "is not valid: {why}"),
        }
    }
}

impl core::error::Error for TlsError {}
