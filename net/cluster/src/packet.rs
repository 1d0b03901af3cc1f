//! What membership puts into datagrams, and how it wants them sealed.
//!
//! Owns [`Sealing`], the port to certificates and keys, and the two kinds of packet: a hello, which
//! everybody of the cluster can open, and a letter, which one receiver in one life can open.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};
use core::net::SocketAddr;
use craton_abi::{Incarnation, NodeId, Payload};
use serde::{Deserialize, Serialize};

/// Longest datagram that is taken or sent: fits an Ethernet frame with IPv6 and UDP headers.
pub const DATAGRAM_BYTES_MAX: usize = 1440;
/// Longest packet that foca makes; the rest is for the seal.
pub(crate) const FOCA_BYTES_MAX: usize = 1200;

/// Whom a certificate names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certified {
    /// The node.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
}

/// Seals and opens datagrams. Opening refuses what is forged, replayed or meant for another life.
pub trait Sealing {
    /// Seals a hello under the cluster's discovery key, with this node's certificate in it.
    fn seal_hello(&mut self, plain: &[u8]) -> Vec<u8>;

    /// Opens a hello and proves its certificate to be a node's, and remembers it for letters.
    fn open_hello(&mut self, sealed: &[u8]) -> Option<(Certified, Vec<u8>)>;

    /// Seals a letter that only `to` in this life can open. `None` if its certificate is unknown.
    fn seal(&mut self, to: NodeId, incarnation: Incarnation, plain: &[u8]) -> Option<Vec<u8>>;

    /// Opens a letter for this node in its present life: who sent it, and in which life.
    fn open(&mut self, sealed: &[u8]) -> Option<(NodeId, Incarnation, Vec<u8>)>;
}

/// The first byte of a datagram.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(crate) enum Kind {
    Hello = 1,
    Letter = 2,
}

/// "I am here"; whoever hears it knows where to send letters.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Whether an answer is wanted, of those at least that do not know the sender.
    pub(crate) ask: bool,
    /// Whether an answer is wanted in any case.
    pub(crate) urgent: bool,
    pub(crate) incarnation: Incarnation,
    pub(crate) birth: u64,
    pub(crate) address: SocketAddr,
    pub(crate) shards: u8,
    /// In an answer: another life of the asker that the answerer has heard of.
    pub(crate) known: Option<KnownLife>,
}

/// A life that the asker may have forgotten.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownLife {
    pub(crate) incarnation: Incarnation,
    pub(crate) birth: u64,
}

/// What is inside a letter.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum Letter {
    /// A packet of foca's.
    Swim(Payload),
    /// The receiver was declared dead.
    Verdict(Verdict),
}

/// "You were declared dead", with the weight of the side that says so.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Which life of the receiver.
    pub(crate) incarnation: Incarnation,
    /// Nodes alive on the sender's side, itself among them.
    pub(crate) alive: u32,
    /// The least id among them.
    pub(crate) least: NodeId,
}

impl Verdict {
    /// Whether a side that weighs this much gives way to `other`: the larger side lives on, of two
    /// equal ones that with the least id, and in doubt the one that is `first`.
    pub(crate) fn gives_way_to(&self, other: &Verdict, first: bool) -> bool {
        let weight = |verdict: &Verdict| (verdict.alive, Reverse(verdict.least));
        match weight(self).cmp(&weight(other)) {
            Ordering::Less => true,
            Ordering::Equal => !first,
            Ordering::Greater => false,
        }
    }
}

/// Decodes the whole of `bytes`, or nothing.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// Puts the kind before what was sealed. `None` if that is too long for a datagram.
pub(crate) fn framed(kind: Kind, sealed: &[u8]) -> Option<Vec<u8>> {
    if sealed.len() >= DATAGRAM_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(1 + sealed.len());
    bytes.push(kind as u8);
    bytes.extend_from_slice(sealed);
    Some(bytes)
}

/// Splits a datagram. `None` if it is none of ours.
pub(crate) fn unframed(bytes: &[u8]) -> Option<(Kind, &[u8])> {
    if bytes.len() > DATAGRAM_BYTES_MAX {
        return None;
    }
    match bytes.split_first()? {
        (1, sealed) => Some((Kind::Hello, sealed)),
        (2, sealed) => Some((Kind::Letter, sealed)),
        _ => None,
    }
}
