//! What one process sends another, and what a spawn asks for.
//!
//! Owns [`Signal`] and [`SpawnOrder`]. All signals of one (sender, receiver) pair travel in one
//! ordered stream, across shards and nodes alike.

use crate::{
    AppId, ExitReason, MonitorId, NodeId, Pid, ProgramId, RequestId, ShardId, SocketId, TraceId,
    limit,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Bytes that one process hands another; moved, never shared.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Payload(pub Vec<u8>);

/// Whether messages under this tag are a channel's.
pub const fn is_channel_tag(tag: u64) -> bool {
    tag >> 62 == 1
}

/// Whether a receive by the tag `wanted` takes a message with this one. Besides its own it takes
/// any item of a channel: the sender has few of them under way until the program has dealt with
/// them, but while they lie in a mailbox they hold credit that others need. The system's own
/// protocols (bit 63) are for programs that may not know of channels.
pub const fn is_taken_by(tag: u64, wanted: u64) -> bool {
    tag == wanted || (is_channel_tag(tag) && wanted >> 63 == 0)
}

/// One thing that a process sends another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Who sent it; stamped by the sender's kernel.
    pub from: Pid,
    /// For whom it is.
    pub to: Pid,
    /// The sender's app; stamped by the sender's kernel.
    pub app: AppId,
    /// The chain of causes it belongs to.
    pub trace: TraceId,
    /// What it says.
    pub body: SignalBody,
}

/// What a signal says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SignalBody {
    /// A message for the mailbox. The sender held the receiver's credit for it.
    Message {
        /// What the receiver may select by.
        tag: u64,
        /// The message itself.
        payload: Payload,
    },
    /// End the receiver with [`ExitReason::Killed`].
    Kill,
    /// Ask the receiver, or the end of it, to tell the sender once how it ended.
    Monitor {
        /// The watcher's name for the monitor.
        id: MonitorId,
    },
    /// Take a monitor back.
    Demonitor {
        /// The monitor to take back.
        id: MonitorId,
    },
    /// Join sender and receiver: when one ends, the other hears of it or ends as well.
    Link,
    /// Take a link back.
    Unlink {
        /// Names it in the answer.
        id: RequestId,
    },
    /// The answer to an unlink: nothing of the link comes after it.
    Unlinked {
        /// Of the unlink.
        id: RequestId,
    },
    /// The sender ended, and the receiver was linked to it; or the answer to a link that cannot be.
    /// Holds no credit: there is one for each link.
    Exit {
        /// How the sender ended.
        reason: ExitReason,
    },
    /// The answer to a monitor. Holds no credit: its room was charged when the monitor was made.
    Down {
        /// The monitor that this answers.
        id: MonitorId,
        /// How the sender ended.
        reason: ExitReason,
    },
    /// A message for the mailbox whose sender waits for an answer, and is told the end of the
    /// receiver if that comes first: message and monitor in one. The sender held credit for it.
    Request {
        /// The asker's name for the request and for the monitor.
        id: MonitorId,
        /// What the receiver may select by.
        tag: u64,
        /// The message itself.
        payload: Payload,
    },
    /// The answer to a request. Holds no credit: its room was charged when the request was made.
    Answer {
        /// Of the request.
        id: MonitorId,
        /// The answer itself.
        payload: Payload,
    },
}

impl SignalBody {
    /// Bytes of the message or answer that it carries.
    pub fn payload_bytes(&self) -> usize {
        match self {
            SignalBody::Message { payload, .. }
            | SignalBody::Request { payload, .. }
            | SignalBody::Answer { payload, .. } => payload.0.len(),
            _ => 0,
        }
    }
}

/// Bounds that a process lives within.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Largest linear memory, in bytes.
    pub memory_bytes: u64,
    /// Most messages in the mailbox.
    pub mailbox_messages: u32,
    /// Most bytes of messages in the mailbox.
    pub mailbox_bytes: u32,
    /// Stack for its WebAssembly, in bytes.
    pub stack_bytes: u32,
    /// Its part of the CPU's time beside others that compute: see [`limit::CPU_SHARE`].
    pub cpu_share: u32,
}

impl ProcessLimits {
    /// Length of the byte form.
    pub const BYTES: usize = 24;

    /// The form that a spawn has of them: memory (`u64`), messages and bytes of the mailbox, bytes
    /// of stack, share of the CPU (`u32` each), little-endian. What is 0, or is left out at the
    /// end, is as usual. `None` if there is more than that, or what no process can have.
    pub fn from_bytes(given: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        match given.first_chunk() {
            // Most give all of them, and a copy of any length is a call.
            Some(all) if given.len() == Self::BYTES => bytes = *all,
            _ => bytes.get_mut(..given.len())?.copy_from_slice(given),
        }
        let (memory, rest) = bytes.split_first_chunk()?;
        let word = |index: usize, usual: u32| {
            let bytes = rest.get(4 * index..)?.first_chunk()?;
            Some(Some(u32::from_le_bytes(*bytes)).filter(|given| *given != 0).unwrap_or(usual))
        };
        let usual = ProcessLimits::default();
        let limits = ProcessLimits {
            memory_bytes: match u64::from_le_bytes(*memory) {
                0 => usual.memory_bytes,
                bytes => bytes,
            },
            mailbox_messages: word(0, usual.mailbox_messages)?,
            mailbox_bytes: word(1, usual.mailbox_bytes)?,
            stack_bytes: word(2, usual.stack_bytes)?,
            cpu_share: word(3, usual.cpu_share)?,
        };
        limits.are_possible().then_some(limits)
    }

    fn are_possible(&self) -> bool {
        let stacks = limit::PROCESS_STACK_BYTES_MIN..=limit::PROCESS_STACK_BYTES_MAX;
        self.mailbox_messages <= limit::MAILBOX_MESSAGES_MAX
            && self.mailbox_bytes <= limit::MAILBOX_BYTES_MAX
            && stacks.contains(&self.stack_bytes)
            && self.cpu_share <= limit::CPU_SHARE_MAX
    }
}

impl Default for ProcessLimits {
    fn default() -> Self {
        ProcessLimits {
            memory_bytes: limit::PROCESS_MEMORY_BYTES,
            mailbox_messages: limit::MAILBOX_MESSAGES,
            mailbox_bytes: limit::MAILBOX_BYTES,
            stack_bytes: limit::PROCESS_STACK_BYTES,
            cpu_share: limit::CPU_SHARE,
        }
    }
}

/// Where a process is to be spawned.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Place {
    /// On the spawner's node.
    Here,
    /// Wherever there is room: two candidates at random, the less loaded.
    Anywhere,
    /// On this node.
    Node(NodeId),
    /// On the node of this process, and on its shard.
    Near(Pid),
    /// On the spawner's node, and on the shard that has this socket of the spawner's.
    Socket(SocketId),
}

/// Everything a shard must know to bring a process to life.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SpawnOrder {
    /// The parent's name for this spawn, unique within the parent's node incarnation.
    pub request: RequestId,
    /// Who asked.
    pub parent: Pid,
    /// The parent watches the child from its first instant under this id.
    pub monitor: Option<MonitorId>,
    /// Parent and child are linked from the child's first instant.
    pub link: bool,
    /// The app of parent and child.
    pub app: AppId,
    /// The chain of causes it belongs to.
    pub trace: TraceId,
    /// The program to run.
    pub program: ProgramId,
    /// The exported function to call.
    pub entry: String,
    /// What the child reads as its argument.
    pub argument: Payload,
    /// The bounds of the child.
    pub limits: ProcessLimits,
    /// The shard that is to take it, if the node has so many.
    pub shard: Option<ShardId>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload(bytes)
    }
}

// By hand, because a derived `Vec<u8>` is coded byte by byte: many times slower for a long one.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
        Ok(Payload(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Payload, E> {
        Ok(Payload(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Payload, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Payload(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_signal_survives_its_coding() {
        let signal = Signal {
            from: Pid::default(),
            to: Pid::default(),
            app: AppId::new(3),
            trace: TraceId::new(4),
            body: SignalBody::Message { tag: u64::MAX, payload: Payload(vec![1, 2, 3]) },
        };
        let bytes = postcard::to_allocvec(&signal).expect("a signal can be coded");
        assert_eq!(postcard::from_bytes::<Signal>(&bytes), Ok(signal));
    }

    #[test]
    fn limits_that_are_left_out_are_the_usual_ones() {
        let usual = ProcessLimits::default();
        for given in [&[][..], &[0; 8], &[0; 16], &[0; 24], &[0]] {
            assert_eq!(ProcessLimits::from_bytes(given), Some(usual), "{given:?}");
        }
        let mut bytes = [0; ProcessLimits::BYTES];
        bytes[0] = 1;
        bytes[8..12].copy_from_slice(&limit::MAILBOX_MESSAGES_MAX.to_le_bytes());
        bytes[12] = 5;
        bytes[16..20].copy_from_slice(&limit::PROCESS_STACK_BYTES_MAX.to_le_bytes());
        bytes[20] = 1;
        let given = ProcessLimits {
            memory_bytes: 1,
            mailbox_messages: limit::MAILBOX_MESSAGES_MAX,
            mailbox_bytes: 5,
            stack_bytes: limit::PROCESS_STACK_BYTES_MAX,
            cpu_share: 1,
        };
        assert_eq!(ProcessLimits::from_bytes(&bytes), Some(given));
        // As programs say it that know of no more.
        let older =
            ProcessLimits { stack_bytes: usual.stack_bytes, cpu_share: usual.cpu_share, ..given };
        assert_eq!(ProcessLimits::from_bytes(&bytes[..16]), Some(older));
        assert_eq!(ProcessLimits::from_bytes(&bytes[..9]).map(|it| it.memory_bytes), Some(1));
    }

    #[test]
    fn limits_that_nobody_can_have_are_refused() {
        assert_eq!(ProcessLimits::from_bytes(&[0; ProcessLimits::BYTES + 1]), None);
        let impossible = [
            (8, limit::MAILBOX_MESSAGES_MAX + 1),
            (8, u32::MAX),
            (12, limit::MAILBOX_BYTES_MAX + 1),
            (16, limit::PROCESS_STACK_BYTES_MIN - 1),
            (16, limit::PROCESS_STACK_BYTES_MAX + 1),
            (20, limit::CPU_SHARE_MAX + 1),
            (20, u32::MAX),
        ];
        for (at, value) in impossible {
            let mut bytes = [0; ProcessLimits::BYTES];
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(ProcessLimits::from_bytes(&bytes), None, "{value} at {at}");
        }
    }

    #[test]
    fn a_payload_that_claims_too_much_is_refused() {
        assert!(postcard::from_bytes::<Payload>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).is_err());
    }
}
