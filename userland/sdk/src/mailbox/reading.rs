//! Reading the queue into the buffer.
//!
//! Owns what [`Mailbox`] does nearest to the system, and the way of those who want messages alone.

use super::{KIND_MESSAGE, Mailbox, Select, TIMEOUT_NEVER};
use crate::ahead::{self, Next};
use crate::error::{Error, check};
use crate::event::Envelope;
use crate::message::timeout_nanos;
use crate::sys;
use crate::system::now;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, Instant, is_channel_tag};

impl Mailbox {
    /// Waits for the next message, whatever its tag; notices are kept for the next receive. Where
    /// messages are all that matters this costs the least.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::next_event`].
    // This much becomes a part of the program's own code: every move through memory counts here.
    #[inline(always)]
    pub fn next_message(&mut self) -> Result<Envelope<'_>, Error> {
        let more = match sys::with_ahead(|ahead| ahead.take_plain(&mut self.buffer)) {
            Next::Message(head) => {
                let (from, tag, request) = (head.from, head.tag, head.id);
                let payload = self.buffer.get(..head.len).unwrap_or_default();
                return Ok(Envelope { from, tag, payload, request });
            }
            Next::Other => None,
            Next::Nothing => {
                let (buffer, header) = (&mut self.buffer, &mut self.header);
                Some(sys::receive_several(buffer, TIMEOUT_NEVER, header))
            }
        };
        if !(more == Some(0) && self.is_plain()) {
            self.await_message(more)?;
        }
        Ok(self.envelope())
    }

    /// Whether what was read is a message with which nothing more is to be done: most is.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.header.kind == KIND_MESSAGE && !is_channel_tag(self.header.tag)
    }

    /// Reads the next message; notices are kept. Something may have been read already.
    #[inline(never)]
    fn await_message(&mut self, more: Option<i32>) -> Result<(), Error> {
        let mut read = match more.and_then(|more| self.was_read(more)) {
            Some(read) => read,
            None => self.read(Select::Any, None),
        };
        loop {
            check(read)?;
            if self.is_plain() {
                return Ok(());
            }
            let taken = self.sort()?;
            self.keep(&taken)?;
            read = self.read(Select::Any, None);
        }
    }

    /// Reads what comes next into the buffer, which grows where it is too small. As a host call: 0,
    /// or the error that it is.
    pub(super) fn read(&mut self, select: Select, deadline: Option<Instant>) -> i32 {
        if ahead::read(select, &mut self.header, &mut self.buffer) {
            return 0;
        }
        loop {
            let timeout = deadline.map_or(TIMEOUT_NEVER, |at| timeout_nanos(at - now()));
            let (buffer, header) = (&mut self.buffer, &mut self.header);
            let more = match select {
                Select::Any => sys::receive_several(buffer, timeout, header),
                select => sys::receive(buffer, select, timeout, header),
            };
            if let Some(read) = self.was_read(more) {
                return read;
            }
        }
    }

    /// What the system answered to a receive, as [`Mailbox::read`] has it; `None` if it is to be
    /// asked again.
    fn was_read(&mut self, more: i32) -> Option<i32> {
        if more > 0 {
            ahead::keep_behind(&self.header, &self.buffer, more as usize);
            return Some(0);
        }
        (more != ErrorCode::TooLong.code() || !self.grow()).then_some(more)
    }

    /// Makes room for the message that did not fit; `false` if there was room.
    fn grow(&mut self) -> bool {
        let len = usize::try_from(self.header.len).unwrap_or(usize::MAX);
        let grows = len > self.buffer.len();
        if grows {
            self.buffer = Vec::new();
            self.buffer.resize(len.checked_next_power_of_two().unwrap_or(len), 0);
        }
        grows
    }
}
