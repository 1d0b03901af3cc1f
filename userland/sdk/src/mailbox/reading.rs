//! Reading the queue into the buffer.
//!
//! Owns what [`Mailbox`] does nearest to the system, the way of those who want messages alone, and
//! that of events.

use super::{KIND_DOWN, KIND_MESSAGE, Mailbox, Select, TIMEOUT_NEVER, Taken};
use crate::ahead::{self, Next};
use crate::error::{Error, check};
use crate::event::{Down, Envelope, Event};
use crate::inbox;
use crate::message::timeout_nanos;
use crate::process::Monitor;
use crate::sys;
use crate::system::now;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, Instant, is_channel_tag};

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

    /// A message and the end of a process become events where they are read: whatever is moved
    /// once more costs a program as much as all else about it.
    #[inline]
    pub(super) fn next_before(&mut self, deadline: Option<Instant>) -> Result<Event<'_>, Error> {
        if !self.kept.is_empty() {
            return self.next_other(false, deadline);
        }
        check(self.read(Select::Any, deadline))?;
        if self.is_plain() {
            Ok(Event::Message(self.envelope()))
        } else if self.is_plain_end() {
            self.down().map(Event::Down)
        } else {
            self.next_other(true, deadline)
        }
    }

    /// As [`Mailbox::next_before`], of whatever it is; where nothing is kept it may have been read
    /// already.
    #[inline(never)]
    fn next_other(
        &mut self,
        mut is_read: bool,
        deadline: Option<Instant>,
    ) -> Result<Event<'_>, Error> {
        loop {
            let taken = match (is_read, self.kept.pop_front()) {
                (false, Some(notice)) => Taken::Notice(notice),
                (false, None) => self.take(Select::Any, deadline)?,
                (true, _) => self.sort()?,
            };
            if !matches!(taken, Taken::Channel(_) | Taken::Sent(_)) {
                return self.event(taken);
            }
            is_read = false;
        }
    }

    /// Whether what was read is the end of a process that is no concern of a channel.
    #[inline]
    pub(super) fn is_plain_end(&self) -> bool {
        self.header.kind == KIND_DOWN && !inbox::with(|inboxes| inboxes.awaits_ends())
    }

    /// What was read, which is the notice of a monitor.
    #[inline]
    pub(super) fn down(&self) -> Result<Down, Error> {
        let Envelope { from: pid, tag: id, payload, .. } = self.envelope();
        let reason = ExitReason::from_bytes(payload).map_err(|_| Error::Malformed)?;
        Ok(Down { pid, monitor: Monitor::from_id(id), reason })
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
            // Most of what is read alone fits.
            if more == 0 {
                return 0;
            }
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
