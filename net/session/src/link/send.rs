//! What a session says: frames for the attached connection, in records.
//!
//! Owns the order of what is said: `Open` first, then what must be said again, then the lanes in
//! turn as far as credit and the replay buffer allow. Acknowledgement and credit ride on all of it.

use super::{HEADER_BYTES, Link, Sent};
use crate::limit::{RECORD_PLAIN_MAX, REPLAY_BYTES_MAX};
use alloc::vec::Vec;
use craton_abi::{AppId, Incarnation, Instant, TraceId};
use craton_wire::{Flags, FrameHeader, Kind, Lane};

impl Link {
    /// Whether [`Link::fill`] would add anything.
    pub(crate) fn has_output(&self) -> bool {
        let Some(attached) = &self.attached else { return false };
        attached.open_due
            || (attached.open
                && (attached.ack_due
                    || attached.idle_due
                    || self.cursor < self.replay.len()
                    || (!self.queue.is_empty() && self.budget() > HEADER_BYTES)))
    }

    /// Bytes of new data frames that credit and the replay buffer allow.
    fn budget(&self) -> u64 {
        let credit = self.credit.saturating_sub(self.sent_bytes);
        credit.min(REPLAY_BYTES_MAX.saturating_sub(self.replay_bytes))
    }

    /// Appends as many frames as a record holds to `plain`; `false` if there was nothing to say.
    pub(crate) fn fill(&mut self, plain: &mut Vec<u8>, now: Instant) -> bool {
        let Some(attached) = &mut self.attached else { return false };
        let start = plain.len();
        let is_open = attached.open;
        let ack_due = core::mem::take(&mut attached.ack_due);
        let idle_due = core::mem::take(&mut attached.idle_due);
        if core::mem::take(&mut attached.open_due) {
            self.push_open(plain);
        }
        if is_open {
            let before = plain.len();
            while self.push_data(plain) {}
            self.note_sent(plain.len() > before, idle_due && self.is_drained(), now);
            if idle_due && self.is_drained() {
                self.push_bare(plain, Kind::Idle);
            } else if ack_due && plain.len() == start {
                self.push_bare(plain, Kind::Ack);
            }
        }
        let spoke = plain.len() > start;
        if spoke {
            self.unacknowledged_bytes = 0;
            if let Some(attached) = &mut self.attached {
                attached.spoke_at = now;
                attached.ack_at = None;
            }
        }
        spoke
    }

    fn note_sent(&mut self, data: bool, idle: bool, now: Instant) {
        if let Some(attached) = &mut self.attached {
            attached.idle_sent = idle || (attached.idle_sent && !data);
            attached.idle_heard &= !data;
            if data {
                attached.used_at = now;
            }
        }
    }

    fn push_data(&mut self, plain: &mut Vec<u8>) -> bool {
        let room = (RECORD_PLAIN_MAX - plain.len().min(RECORD_PLAIN_MAX)) as u64;
        if self.cursor == self.replay.len() {
            let Some(length_max) = self.budget().min(room).checked_sub(HEADER_BYTES) else {
                return false;
            };
            let Some(fragment) = self.queue.next(length_max as usize) else { return false };
            let cost = HEADER_BYTES + fragment.bytes().len() as u64;
            self.sent += 1;
            self.sent_bytes += cost;
            self.replay_bytes += cost;
            self.replay.push_back(Sent { sequence: self.sent, fragment });
        }
        let Some(next) = self.replay.get(self.cursor) else { return false };
        let (sequence, fragment) = (next.sequence, next.fragment.clone());
        if HEADER_BYTES + fragment.bytes().len() as u64 > room {
            return false;
        }
        let mut header = self.header(Kind::Data, fragment.bytes().len());
        header.flags = fragment.flags;
        header.lane = fragment.lane;
        header.sequence = sequence;
        header.app = fragment.app;
        header.trace = fragment.trace;
        plain.extend_from_slice(&header.to_bytes());
        plain.extend_from_slice(fragment.bytes());
        self.cursor += 1;
        true
    }

    fn push_open(&mut self, plain: &mut Vec<u8>) {
        let header = self.header(Kind::Open, Kind::OPEN_BYTES);
        plain.extend_from_slice(&header.to_bytes());
        plain.extend_from_slice(&self.peer_epoch.to_le_bytes());
    }

    fn push_bare(&mut self, plain: &mut Vec<u8>, kind: Kind) {
        let header = self.header(kind, 0);
        plain.extend_from_slice(&header.to_bytes());
    }

    fn header(&mut self, kind: Kind, length: usize) -> FrameHeader {
        self.granted = self.grant();
        FrameHeader {
            kind,
            flags: Flags::NONE,
            lane: Lane::CONTROL,
            link: 0,
            length: length as u32,
            epoch: self.epoch,
            sequence: 0,
            acknowledgement: self.received,
            sender: self.me,
            receiver: self.peer.as_ref().map_or(Incarnation::new(0), |peer| peer.incarnation),
            app: AppId::new(0),
            trace: TraceId::new(0),
            credit: self.granted,
        }
    }
}
