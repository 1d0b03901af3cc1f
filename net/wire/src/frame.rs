//! One frame: a header of fixed layout and the fragment of a body behind it.
//!
//! Owns [`FrameHeader`] (the value) and [`Frame`] (a view of proven bytes). Everything is
//! little-endian at a fixed place, because the wire is hard to change later:
//!
//! ```text
//!  0 version   1 kind   2 flags   3 lane   4 link (2)   6 zero (2)
//!  8 length of the fragment (4)           12 epoch (4)
//! 16 sequence (8)                         24 acknowledgement (8)
//! 32 sender's incarnation (8)             40 receiver's incarnation (8)
//! 48 app (8)                              56 trace (8)
//! 64 credit (8)                           72 fragment
//! ```
//!
//! A frame travels only inside an encrypted record of craton-session, so the header carries no
//! checksum of its own.

use craton_abi::{AppId, Incarnation, Pid, TraceId, limit};

/// Lanes of a session. They share one connection and one sequence; each keeps its own order.
pub const LANES: usize = 16;

/// One of the ordered streams within a session.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Lane(u8);

impl Lane {
    /// For what nodes say to one another, and to their operator, outside any pair of processes.
    pub const CONTROL: Lane = Lane(0);

    /// The lane of all that `from` sends `to`: order holds within a pair, so the pair chooses.
    pub fn of_pair(from: Pid, to: Pid) -> Lane {
        let mix = |pid: Pid| {
            let place = ((pid.slot.shard().index() as u64) << 24) | pid.slot.index() as u64;
            place ^ (u64::from(pid.slot.generation()) << 32) ^ pid.node.get()
        };
        // Two odd multipliers keep (a, b) and (b, a) apart; the top bits are the best mixed.
        let sum = mix(from).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ mix(to).wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(29);
        let hash = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        Lane(1 + (hash % (LANES as u64 - 1)) as u8)
    }

    /// The lane with this index, if there is one.
    pub fn new(index: usize) -> Option<Lane> {
        (index < LANES).then_some(Lane(index as u8))
    }

    /// The lane's index, below [`LANES`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a frame is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame on a connection: the sender's number for the epoch it means and, as its
    /// fragment ([`Kind::OPEN_BYTES`], little-endian), the receiver's number for it as far as the
    /// sender knows: 0 if the sender would begin a new epoch.
    Open = 1,
    /// A fragment of a body.
    Data = 2,
    /// Acknowledgement and credit alone; also the heartbeat.
    Ack = 3,
    /// The sender has nothing under way and would close the connection.
    Idle = 4,
}

impl Kind {
    /// Length of the fragment of a [`Kind::Open`].
    pub const OPEN_BYTES: usize = 4;
}

/// Marks on a frame.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    /// The fragment is the first of its body.
    pub const FIRST: Flags = Flags(1);
    /// The fragment is the last of its body.
    pub const LAST: Flags = Flags(2);

    const KNOWN: u8 = 3;

    /// No mark.
    pub const NONE: Flags = Flags(0);

    /// Both sets of marks.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are there.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a frame says about itself.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// What it is for.
    pub kind: Kind,
    /// Marks.
    pub flags: Flags,
    /// Which of the session's streams a [`Kind::Data`] belongs to.
    pub lane: Lane,
    /// Which of the session's connections carries it: 0, until a session has several.
    pub link: u16,
    /// Length of the fragment behind the header, in bytes.
    pub length: u32,
    /// The sender's number for the session's epoch; each side counts its own, from 1.
    pub epoch: u32,
    /// Number of a [`Kind::Data`] frame within the epoch, from 1; 0 for other kinds.
    pub sequence: u64,
    /// The sender has received all data frames up to and with this one.
    pub acknowledgement: u64,
    /// The life of the sender that speaks.
    pub sender: Incarnation,
    /// The life of the receiver that is meant; another one refuses the frame.
    pub receiver: Incarnation,
    /// The app on whose behalf the body travels.
    pub app: AppId,
    /// The chain of causes the body belongs to.
    pub trace: TraceId,
    /// Bytes of data frames, headers included and counted from the start of the epoch, that the
    /// sender of this frame is ready to receive. Never shrinks.
    pub credit: u64,
}

/// Why bytes are no frame.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// Fewer bytes than the header or than the length it claims.
    Truncated,
    /// Another version of the protocol.
    Version,
    /// No known kind.
    Kind,
    /// An unknown mark, a bit that must be zero, or marks that do not fit the kind.
    Flags,
    /// No such lane.
    Lane,
    /// No such connection of the session.
    Link,
    /// A fragment longer than allowed, or one where none belongs.
    Length,
    /// A sequence number where none belongs, or none where one does.
    Sequence,
}

impl FrameHeader {
    /// Version of the layout.
    pub const VERSION: u8 = 1;
    /// Length of the encoded header.
    pub const BYTES: usize = 72;

    /// The encoded header.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = Self::VERSION;
        bytes[1] = self.kind as u8;
        bytes[2] = self.flags.0;
        bytes[3] = self.lane.0;
        bytes[4..6].copy_from_slice(&self.link.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.acknowledgement.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sender.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.receiver.get().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.app.get().to_le_bytes());
        bytes[56..64].copy_from_slice(&self.trace.get().to_le_bytes());
        bytes[64..72].copy_from_slice(&self.credit.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, FrameError> {
        if bytes[0] != Self::VERSION {
            return Err(FrameError::Version);
        }
        let kind = match bytes[1] {
            1 => Kind::Open,
            2 => Kind::Data,
            3 => Kind::Ack,
            4 => Kind::Idle,
            _ => return Err(FrameError::Kind),
        };
        if bytes[2] & !Flags::KNOWN != 0 || bytes[6..8] != [0, 0] {
            return Err(FrameError::Flags);
        }
        Ok(FrameHeader {
            kind,
            flags: Flags(bytes[2]),
            lane: Lane::new(usize::from(bytes[3])).ok_or(FrameError::Lane)?,
            link: u16::from_le_bytes([bytes[4], bytes[5]]),
            length: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            epoch: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            sequence: read_u64(bytes, 16),
            acknowledgement: read_u64(bytes, 24),
            sender: Incarnation::new(read_u64(bytes, 32)),
            receiver: Incarnation::new(read_u64(bytes, 40)),
            app: AppId::new(read_u64(bytes, 48)),
            trace: TraceId::new(read_u64(bytes, 56)),
            credit: read_u64(bytes, 64),
        })
    }

    fn check(&self) -> Result<(), FrameError> {
        if self.link != 0 {
            return Err(FrameError::Link);
        }
        let is_data = self.kind == Kind::Data;
        if is_data == (self.sequence == 0) {
            return Err(FrameError::Sequence);
        }
        let length = self.length as usize;
        let fits = match self.kind {
            Kind::Data => length <= limit::FRAGMENT_BYTES_MAX,
            Kind::Open => length == Kind::OPEN_BYTES,
            Kind::Ack | Kind::Idle => length == 0,
        };
        if !fits {
            return Err(FrameError::Length);
        }
        if !is_data && self.flags != Flags::NONE {
            return Err(FrameError::Flags);
        }
        Ok(())
    }
}

fn read_u64(bytes: &[u8; FrameHeader::BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// A frame whose bytes have been proven: header and fragment.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The fragment; as long as the header says.
    pub fragment: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Proves the frame at the start of `bytes` and returns it with the bytes after it.
    ///
    /// # Errors
    ///
    /// [`FrameError`] says what the bytes violate; nothing was taken.
    pub fn prove(bytes: &'a [u8]) -> Result<(Frame<'a>, &'a [u8]), FrameError> {
        let (head, rest) = bytes.split_first_chunk().ok_or(FrameError::Truncated)?;
        let header = FrameHeader::parse(head)?;
        header.check()?;
        let (fragment, rest) =
            rest.split_at_checked(header.length as usize).ok_or(FrameError::Truncated)?;
        Ok((Frame { header, fragment }, rest))
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
