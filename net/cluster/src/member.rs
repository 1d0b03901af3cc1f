//! One life of a node, as the members of a cluster know it.
//!
//! Owns [`Member`], the identity that foca spreads.

use alloc::string::String;
use core::net::SocketAddr;
use craton_abi::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// One life of a node.
///
/// Two members are the same if node, incarnation and birth are; the rest describes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Orders the lives of one node, which random incarnations cannot: the later is greater. A
    /// node that boots without memory of its former births is told of them when it says hello.
    pub birth: u64,
    /// Where it takes datagrams and sessions.
    pub address: SocketAddr,
    /// Its name, for people.
    pub name: String,
    /// How many shards it has.
    pub shards: u8,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        (self.node, self.incarnation, self.birth) == (other.node, other.incarnation, other.birth)
    }
}

impl Eq for Member {}

impl foca::Identity for Member {
    type Addr = NodeId;

    /// Never: a node that was declared dead ends its processes before it may come back, and then
    /// it is another incarnation.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.birth, self.incarnation) > (adversary.birth, adversary.incarnation)
    }
}
