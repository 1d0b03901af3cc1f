//! Names for nodes, processes, monitors, requests, programs and apps.
//!
//! Owns every id of the system. A [`Pid`] carries the node's incarnation and the slot's
//! generation, so that a stale one never reaches a stranger. No arithmetic on ids happens outside
//! this module.

use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};

macro_rules! id_u64 {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(
            Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize,
        )]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The id with this value.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The id's value.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The id after this one. Ids are 64 bits wide and are never used again.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{:x}"), self.0)
            }
        }
    };
}

id_u64! {
    /// A node: derived from its certificate, the same across restarts.
    NodeId, "n"
}
id_u64! {
    /// One life of a node: random, drawn at boot and again whenever the node was declared dead.
    Incarnation, "i"
}
id_u64! {
    /// One monitor, unique within the watcher's node incarnation.
    MonitorId, "m"
}
id_u64! {
    /// One timer, unique among the timers and monitors of the owner's node incarnation.
    TimerId, "t"
}
id_u64! {
    /// One outstanding request, unique within the asking node's incarnation.
    RequestId, "r"
}
id_u64! {
    /// An app: the set of programs that may signal, kill and watch one another.
    AppId, "a"
}
id_u64! {
    /// Follows one chain of causes across processes and nodes; zero means untraced.
    TraceId, "t"
}

/// One CPU's shard of a node.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize,
)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard of CPU `index`.
    pub const fn new(index: u8) -> Self {
        ShardId(index)
    }

    /// The index of the shard's CPU.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A place in a shard's process table, and which of its successive tenants is meant.
#[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[repr(C)]
pub struct Slot {
    /// Shard in the top 8 bits, index in the table in the low 24.
    place: u32,
    generation: u32,
}

impl Slot {
    /// The largest index in a shard's table.
    pub const INDEX_MAX: u32 = (1 << 24) - 1;

    /// The slot `index` of `shard` in its `generation`. `None` if the index is above
    /// [`Slot::INDEX_MAX`].
    pub const fn new(shard: ShardId, index: u32, generation: u32) -> Option<Self> {
        if index > Self::INDEX_MAX {
            return None;
        }
        Some(Slot { place: ((shard.0 as u32) << 24) | index, generation })
    }

    /// The shard that holds the slot.
    pub const fn shard(self) -> ShardId {
        ShardId((self.place >> 24) as u8)
    }

    /// The index in the shard's table.
    pub const fn index(self) -> usize {
        (self.place & Self::INDEX_MAX) as usize
    }

    /// Which of the slot's successive tenants is meant.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.shard().0, self.index(), self.generation)
    }
}

/// A process, anywhere in the cluster, in one life of its node.
///
/// Guests see it as [`Pid::BYTES`] opaque bytes, which on a little-endian machine it is.
#[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[repr(C)]
pub struct Pid {
    /// The node that runs the process.
    pub node: NodeId,
    /// The life of that node.
    pub incarnation: Incarnation,
    /// The process's place on the node.
    pub slot: Slot,
}

const _: () = assert!(
    offset_of!(Pid, incarnation) == 8
        && offset_of!(Pid, slot) == 16
        && offset_of!(Slot, place) == 0
        && offset_of!(Slot, generation) == 4
        && size_of::<Pid>() == Pid::BYTES,
    "a pid lies in memory as `to_bytes` writes it"
);

impl Pid {
    /// Length of the encoded form that guests hold.
    pub const BYTES: usize = 24;

    /// The opaque form that guests hold: node, incarnation, place, generation, little-endian.
    #[inline]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.node.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.slot.place.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.slot.generation.to_le_bytes());
        bytes
    }

    /// Reads the opaque form back. Every bit pattern is a pid; whether a process answers to it is
    /// for its node to say.
    #[inline]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let [n0, n1, n2, n3, n4, n5, n6, n7, i0, i1, i2, i3, i4, i5, i6, i7, rest @ ..] = *bytes;
        let [p0, p1, p2, p3, g0, g1, g2, g3] = rest;
        Pid {
            node: NodeId(u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7])),
            incarnation: Incarnation(u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7])),
            slot: Slot {
                place: u32::from_le_bytes([p0, p1, p2, p3]),
                generation: u32::from_le_bytes([g0, g1, g2, g3]),
            },
        }
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Pid {
    /// `<node.incarnation.shard.index.generation>`, the ids shortened to what a person compares.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.0 & 0xffff;
        let incarnation = self.incarnation.0 & 0xffff;
        write!(f, "<{node:04x}.{incarnation:04x}.{}>", self.slot)
    }
}

/// A program: the BLAKE3 hash of its signed bundle.
#[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub struct ProgramId(pub [u8; 32]);

impl fmt::Debug for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProgramId {
    /// The first eight bytes in hexadecimal, enough to tell programs apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_survives_its_opaque_form() {
        let slot = Slot::new(ShardId::new(255), Slot::INDEX_MAX, u32::MAX).expect("in range");
        let pid = Pid { node: NodeId(u64::MAX - 1), incarnation: Incarnation(7), slot };
        assert_eq!(Pid::from_bytes(&pid.to_bytes()), pid);
        assert_eq!(pid.slot.shard().index(), 255);
        assert_eq!(pid.slot.index(), Slot::INDEX_MAX as usize);
    }

    #[test]
    fn slot_refuses_an_index_it_cannot_hold() {
        assert!(Slot::new(ShardId::new(0), Slot::INDEX_MAX + 1, 0).is_none());
    }
}
