//! What sessions tell their owner, and what they answer when they cannot do what was asked.
//!
//! Owns [`Event`], [`Peer`] and the reasons in them; no logic.

use crate::cert::CertificateError;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use craton_abi::{AppId, Incarnation, NodeId, TraceId};
use craton_wire::{Body, Role};

/// One TCP connection. Ids with the top bit set are made by `Sessions` when it dials; the owner
/// makes all others when it accepts.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// Set in the ids of connections that we dialled.
    pub const DIALLED: u64 = 1 << 63;

    /// Whether we dialled it.
    pub fn is_dialled(self) -> bool {
        self.0 & Self::DIALLED != 0
    }
}

/// One life of a peer. Several tools may use one operator's certificate at once; each draws its
/// own incarnation, so that their sessions do not meet.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct PeerKey {
    /// Who.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
}

/// A peer whose certificate was believed. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// What its certificate lets it be.
    pub role: Role,
    /// Its certificate's name for it.
    pub name: Arc<str>,
}

impl Peer {
    /// What tells this peer from all others.
    pub fn key(&self) -> PeerKey {
        PeerKey { node: self.node, incarnation: self.incarnation }
    }
}

/// What sessions tell their owner.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Open a TCP connection; answer with `connected` or `closed`.
    Dial {
        /// What to call it.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
    },
    /// Close this connection; nothing more is read from it. No answer is needed.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// There is something to `transmit` on this connection. Said once, until a `transmit` has
    /// returned less than it was allowed to.
    Ready {
        /// Which.
        conn: ConnId,
    },
    /// An epoch with this peer began: what is sent from now on arrives, in order and once, or
    /// `Lost` is said.
    Up {
        /// Who.
        peer: Peer,
    },
    /// The peer says something.
    Body {
        /// Who.
        peer: Peer,
        /// On behalf of which app.
        app: AppId,
        /// In which chain of causes.
        trace: TraceId,
        /// What.
        body: Body,
    },
    /// A full queue to this peer has room again: see [`SendError::Full`].
    Room {
        /// Who.
        node: NodeId,
    },
    /// The epoch with this peer ended: what was under way either way may or may not have arrived.
    /// Said exactly once for each `Up`.
    Lost {
        /// Who.
        node: NodeId,
        /// The life of the peer with which the epoch was; a later one may be alive.
        incarnation: Incarnation,
        /// Why.
        why: LostWhy,
    },
    /// Nobody was reached at the address of this node in time; what was queued for it is dropped.
    /// Treat it as `Lost` for all that was sent since the last `Lost`.
    Unreachable {
        /// Who.
        node: NodeId,
    },
    /// A connection ended before it carried a session.
    Refused {
        /// Which: of `dial_any`, of a redial, or accepted.
        conn: ConnId,
        /// Why.
        why: Refusal,
    },
}

/// Why an epoch ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum LostWhy {
    /// No connection came about within the time for replay.
    TimedOut,
    /// The owner declared the peer dead.
    Declared,
    /// The peer is in a new life.
    Restarted,
    /// The peer gave the epoch up before we did.
    PeerLost,
    /// The peer broke the protocol.
    Violation,
}

impl fmt::Display for LostWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostWhy::TimedOut => "no connection within the time for replay",
            LostWhy::Declared => "declared dead",
            LostWhy::Restarted => "the peer started anew",
            LostWhy::PeerLost => "the peer gave the session up",
            LostWhy::Violation => "the peer broke the protocol",
        })
    }
}

/// Why a connection never carried a session.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It could not be opened, or was closed by the other side; a peer that does not believe our
    /// certificate says nothing else.
    Closed,
    /// The handshake took too long.
    TimedOut,
    /// What came is no handshake of ours.
    Malformed,
    /// The peer speaks another version of the protocol.
    Version,
    /// The peer's certificate is not believed.
    Certificate(CertificateError),
    /// The peer's key is not the one in its certificate.
    KeyMismatch,
    /// Neither side is a node.
    Role,
    /// The peer is not the node that was dialled.
    WrongNode,
    /// The peer is ourselves.
    Ourselves,
    /// This life of the peer was declared dead.
    Dead,
    /// As many handshakes or peers as there may be.
    Crowded,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Closed => f.write_str("the connection was closed"),
            Refusal::TimedOut => f.write_str("the handshake took too long"),
            Refusal::Malformed => f.write_str("the peer does not speak Craton's protocol"),
            Refusal::Version => f.write_str("the peer speaks another version of the protocol"),
            Refusal::Certificate(error) => fmt::Display::fmt(error, f),
            Refusal::KeyMismatch => f.write_str("the peer's key is not its certificate's"),
            Refusal::Role => f.write_str("neither side is a node"),
            Refusal::WrongNode => f.write_str("another node answers at this address"),
            Refusal::Ourselves => f.write_str("the address is our own"),
            Refusal::Dead => f.write_str("this life of the peer was declared dead"),
            Refusal::Crowded => f.write_str("too many connections"),
        }
    }
}

/// Why something was not sent. Nothing changed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SendError {
    /// There is no session with this peer and no address to dial.
    Unknown,
    /// The peer's queue is full; [`Event::Room`] says when to try again.
    Full,
    /// The body is longer than a body may be.
    TooLong,
    /// As many peers as there may be.
    Crowded,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Unknown => "no session and no address",
            SendError::Full => "the peer's queue is full",
            SendError::TooLong => "the body is too long",
            SendError::Crowded => "too many peers",
        })
    }
}

impl core::error::Error for SendError {}
