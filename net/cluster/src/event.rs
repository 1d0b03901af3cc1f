//! What membership is made from, and what it tells its owner.
//!
//! Owns [`Config`] and [`Event`]; no logic. [`crate::Membership`] makes the events.

use crate::member::Member;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{Incarnation, NodeId};

/// What membership is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Greater than every birth of this node that it remembers; 0 after a boot.
    pub birth: u64,
    /// Where other nodes reach it.
    pub address: SocketAddr,
    /// Its name.
    pub name: String,
    /// How many shards it has.
    pub shards: u8,
    /// Where to look for others, besides the local network.
    pub seeds: Vec<SocketAddr>,
    /// Randomness for everything that is drawn.
    pub seed: [u8; 32],
}

/// What membership tells its owner.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Send this datagram. To 255.255.255.255 it is a broadcast.
    Datagram {
        /// To whom.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// A node is alive in this life. Its former life was reported down before.
    NodeUp(Member),
    /// That life of a node ended, as far as the cluster is concerned, for good.
    NodeDown {
        /// Which node.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// The cluster has declared this life of this node dead. Its owner ends everything and begins
    /// again with a new `Membership`: another incarnation, a greater birth.
    Fenced,
}
