//! Which connection a packet belongs to, and which shard owns it.
//!
//! Owns [`Tuple`], the two ends of a connection, and [`Steer`], the keyed hash that spreads
//! connections over shards. The hash is SipHash under a secret key: nobody outside can choose
//! addresses and ports that all fall to one shard, or into one chain of a table.

use crate::sight::{self, Kind};
use alloc::sync::Arc;
use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use siphasher::sip::SipHasher13;

/// The two ends of a connection, as we see it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Who has to see a frame.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// This shard alone.
    Shard(u16),
    /// Every shard: it says where a neighbour is.
    Every,
}

/// Spreads frames over the shards of a node.
///
/// TCP goes by the hash of its two ends, and so does an ICMP error, by the packet that it is about.
/// What names a neighbour goes to every shard. All else (DHCP, echo, datagrams, fragments, router
/// advertisements, garbage) goes to shard 0. So does TCP to a port that shard 0 alone serves, see
/// [`Steer::except`].
#[derive(Clone)]
pub struct Steer {
    key: [u8; 16],
    shards: u16,
    /// The ports that shard 0 alone serves.
    alone: Option<Arc<[u16]>>,
}

impl Steer {
    /// Steering under a secret key, the same for all shards of a node. There is one shard at least.
    pub fn new(key: [u8; 16], shards: u16) -> Self {
        Steer { key, shards: shards.max(1), alone: None }
    }

    /// The same, where shard 0 alone serves these ports.
    pub fn except(self, ports: impl IntoIterator<Item = u16>) -> Self {
        Steer { alone: Some(ports.into_iter().collect()), ..self }
    }

    /// The shards that frames are spread over.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Who has to see this frame.
    pub fn frame(&self, frame: &[u8]) -> Target {
        match sight::look(frame).kind {
            Kind::Arp(_) | Kind::Advertised(_) => Target::Every,
            Kind::Tcp(segment, _) => Target::Shard(self.shard(&segment.tuple)),
            Kind::Unreachable(error) => Target::Shard(self.shard(&error.tuple)),
            _ => Target::Shard(0),
        }
    }

    /// The shard that owns a connection.
    pub(crate) fn shard(&self, tuple: &Tuple) -> u16 {
        let port = tuple.local.port();
        if self.shards == 1 || self.alone.as_ref().is_some_and(|alone| alone.contains(&port)) {
            return 0;
        }
        let hash = self.hash_one(tuple);
        // The high half of the product spreads evenly without a division (Lemire).
        (((hash >> 32) * u64::from(self.shards)) >> 32) as u16
    }

    /// A number that only we can tell from the tuple and `salt`.
    pub(crate) fn secret(&self, tuple: &Tuple, salt: &[u64]) -> u64 {
        let mut hasher = self.build_hasher();
        core::hash::Hash::hash(tuple, &mut hasher);
        for word in salt {
            hasher.write_u64(*word);
        }
        hasher.finish()
    }
}

/// Tables of connections hash as frames are steered.
impl BuildHasher for Steer {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.key)
    }
}
