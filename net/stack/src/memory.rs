//! A link that is nothing but memory, for tests of what stands above the stack.
//!
//! Owns [`MemoryEnd`], one end of it. What one sends waits until its owner carries it to the other,
//! so that a test decides when, and may look at it, lose it or put its own in. Links
//! with faults of their own are in the stack's tests and in the simulator.

use crate::{FrameDevice, FrameReceiver, FrameTransmitter, Offload};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Frames that wait to be carried before an end takes no more.
const UNCARRIED_MAX: usize = 1_024;

/// One end of a link, which vouches for every checksum and completes none.
#[derive(Debug, Default)]
pub struct MemoryEnd {
    inbox: Inbox,
    outbox: Outbox,
}

/// What an end has to receive.
#[derive(Debug, Default)]
pub struct Inbox(VecDeque<Vec<u8>>);

/// What it has sent.
#[derive(Debug, Default)]
pub struct Outbox(Vec<Vec<u8>>);

impl MemoryEnd {
    /// Puts a frame in, to be received after those that are there.
    pub fn hear(&mut self, frame: Vec<u8>) {
        self.inbox.0.push_back(frame);
    }

    /// What was sent and not taken yet, in its order.
    pub fn sent(&self) -> &[Vec<u8>] {
        &self.outbox.0
    }

    /// Takes that, to carry it to the other end or not.
    #[must_use]
    pub fn take_sent(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.outbox.0)
    }
}

impl FrameDevice for MemoryEnd {
    type Receiver<'a> = &'a mut Inbox;
    type Transmitter<'a> = &'a mut Outbox;

    fn halves(&mut self) -> (&mut Inbox, &mut Outbox) {
        (&mut self.inbox, &mut self.outbox)
    }
}

impl FrameReceiver for Inbox {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        self.0.pop_front().map(|frame| handle(&frame, true))
    }
}

impl FrameTransmitter for Outbox {
    fn ready(&mut self) -> bool {
        self.0.len() < UNCARRIED_MAX
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut frame = vec![0; length];
        let (result, _) = fill(&mut frame);
        if self.ready() {
            self.0.push(frame);
        }
        result
    }

    fn flush(&mut self) {}
}
