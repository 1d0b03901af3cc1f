//! Why there is no node.
//!
//! Owns [`NodeError`], the refusal of a configuration that no node can be made of.

use crate::config::ConfigError;
use crate::node::SHARDS_MAX;
use core::fmt;
use craton_session::CertificateError;

/// Why no node can be made of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeError {
    /// A key is missing or wrong.
    Config(ConfigError),
    /// The certificate is not the authority's, or no certificate.
    Certificate(CertificateError),
    /// The certificate is not a node's.
    Role,
    /// The noise key is not the certificate's.
    KeyMismatch,
    /// An authority's key is no key.
    Authority,
    /// A node has 1 to [`SHARDS_MAX`] shards.
    Shards,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::Config(error) => fmt::Display::fmt(error, f),
            NodeError::Certificate(error) => fmt::Display::fmt(error, f),
            NodeError::Role => f.write_str("the certificate is not a node's"),
            NodeError::KeyMismatch => f.write_str("the noise key is not the certificate's"),
            NodeError::Authority => f.write_str("an authority's key is no key"),
            NodeError::Shards => write!(f, "a node has 1 to {SHARDS_MAX} shards"),
        }
    }
}

impl core::error::Error for NodeError {}
