//! One TCP connection: records in, records out, and how far it has come.
//!
//! Owns [`Conn`]. It knows bytes and keys; what frames mean is `link`'s, and whom to believe is
//! `sessions`'.

use crate::event::{Peer, Refusal};
use crate::limit::{HANDSHAKE_RECORD_MAX, HANDSHAKE_TIME, RECORD_BYTES_MAX, TAG_BYTES};
use crate::noise::{Handshake, Transport};
use crate::sessions::LinkKey;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{Instant, NodeId};

/// Why there is a connection.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Somebody dialled us.
    Accepted,
    /// We dialled this node.
    Node(NodeId),
    /// We dialled an address, whoever is there.
    Anybody(SocketAddr),
}

/// How far a connection has come.
pub(crate) enum Phase {
    /// Not connected yet.
    Dialling,
    /// In the handshake.
    Shaking(Box<Handshake>),
    /// The peer is believed. It carries the session once that is attached to it.
    Secure {
        /// The keys.
        transport: Box<Transport>,
        /// The session it is for.
        link: LinkKey,
        /// The peer.
        peer: Peer,
    },
}

/// Why a connection cannot go on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// It never carried a session.
    Refused(Refusal),
    /// Its bytes were changed, or it is not the chosen one: the session lives on.
    Broken,
    /// The peer broke the protocol: the session ends with it.
    Violation,
}

const PREFIX_BYTES: usize = 2;

/// One TCP connection.
pub(crate) struct Conn {
    pub(crate) purpose: Purpose,
    pub(crate) phase: Phase,
    /// When it must carry a session; `None` once it does.
    pub(crate) deadline: Option<Instant>,
    /// Whether `Ready` was said and not answered in full.
    pub(crate) ready_said: bool,
    /// The beginning of a record that is not whole yet.
    rx: Vec<u8>,
    /// Finished records that the connection had no room for.
    tx: Vec<u8>,
    tx_at: usize,
}

impl Conn {
    pub(crate) fn new(purpose: Purpose, phase: Phase, now: Instant) -> Self {
        Conn {
            purpose,
            phase,
            deadline: Some(now + HANDSHAKE_TIME),
            ready_said: false,
            rx: Vec::new(),
            tx: Vec::new(),
            tx_at: 0,
        }
    }

    /// Where finished records are put.
    pub(crate) fn tx(&mut self) -> &mut Vec<u8> {
        &mut self.tx
    }

    pub(crate) fn has_tx(&self) -> bool {
        self.tx_at < self.tx.len()
    }

    /// Moves at most `bytes_max` of the finished records to `out`.
    pub(crate) fn drain_tx(&mut self, bytes_max: usize, out: &mut Vec<u8>) {
        let length = bytes_max.min(self.tx.len() - self.tx_at);
        out.extend_from_slice(&self.tx[self.tx_at..self.tx_at + length]);
        self.tx_at += length;
        if !self.has_tx() {
            self.tx.clear();
            self.tx_at = 0;
        }
    }

    /// Takes the bytes of a record that began earlier, for [`Conn::next_record`].
    pub(crate) fn take_rx(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.rx)
    }

    /// Gives back the buffer of [`Conn::take_rx`] with what is left over.
    pub(crate) fn put_rx(&mut self, rx: Vec<u8>) {
        self.rx = rx;
    }

    fn record_bytes(&self, prefix: [u8; PREFIX_BYTES]) -> Result<usize, Failure> {
        let length = usize::from(u16::from_le_bytes(prefix));
        match self.phase {
            Phase::Secure { .. } if length >= TAG_BYTES => Ok(length),
            Phase::Secure { .. } => Err(Failure::Broken),
            _ if length <= HANDSHAKE_RECORD_MAX => Ok(length),
            _ => Err(Failure::Refused(Refusal::Malformed)),
        }
    }

    /// The next whole record out of `rx` (what was left over) followed by `input`. What is used up
    /// is taken off `input`; a whole record that began in `rx` is left there for the caller to
    /// read and clear. `None` if there is none, and then `input` is used up.
    pub(crate) fn next_record<'r, 'input: 'r>(
        &self,
        rx: &'r mut Vec<u8>,
        input: &mut &'input [u8],
    ) -> Result<Option<&'r [u8]>, Failure> {
        if rx.is_empty()
            && let Some((prefix, rest)) = input.split_first_chunk()
        {
            let length = self.record_bytes(*prefix)?;
            if let Some((record, rest)) = rest.split_at_checked(length) {
                // The common case: the record is read where it lies.
                *input = rest;
                return Ok(Some(record));
            }
        }
        let moved = move_bytes(rx, input, PREFIX_BYTES);
        let Some(prefix) = moved.then(|| rx.first_chunk()).flatten() else { return Ok(None) };
        let whole = PREFIX_BYTES + self.record_bytes(*prefix)?;
        if rx.capacity() < whole {
            rx.reserve_exact(RECORD_BYTES_MAX.min(whole) + PREFIX_BYTES - rx.len());
        }
        Ok(move_bytes(rx, input, whole).then(|| &rx[PREFIX_BYTES..whole]))
    }
}

/// Moves bytes from `input` to `rx` until that holds `wanted`; whether it does now.
fn move_bytes(rx: &mut Vec<u8>, input: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(rx.len());
    let (head, rest) = input.split_at(missing.min(input.len()));
    rx.extend_from_slice(head);
    *input = rest;
    rx.len() >= wanted
}
