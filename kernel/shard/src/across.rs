//! Messages to and from other shards of the node, by a short way.
//!
//! Most of what passes between two shards of a node is messages to processes that wait for them. A
//! [`Letter`] is made where its sender runs and taken in by the receiver's shard, and no effect or
//! input is made of it on the way. The rules are those of all messages (`message`): it holds credit
//! of its shard's window, and the receiver's shard gives that back. Of that little is kept back
//! ([`Owed`](craton_process::Owed)), so that most messages cause no letter in return.

use crate::port::{Effect, Letter, Make, Received, Source};
use crate::process::{State, Tenant};
use crate::shard::{Shard, may_signal};
use alloc::vec::Vec;
use craton_abi::{Instant, Payload, Pid, ShardId, Slot, limit};
use craton_process::{Amount, Due, Message};

impl Shard {
    /// Makes a letter of a message of the process that runs to another shard of this node, if there
    /// is credit for it: its host brings it there before the process computes on. What must be kept
    /// of the message `make` makes. `None`, with nothing done, if it is to come as a
    /// [`HostCall`](crate::port::HostCall).
    #[inline]
    pub fn send_across(
        &mut self,
        slot: Slot,
        to: &Pid,
        tag: u64,
        (message, make): (&[u8], Make<'_>),
    ) -> Option<Letter> {
        let config = &self.config;
        if (to.node, to.incarnation) != (config.node, config.incarnation)
            || to.slot.shard() == config.shard
            || message.len() > limit::MESSAGE_BYTES_MAX
        {
            return None;
        }
        let app = match self.live(slot) {
            Some(process) if matches!(process.state, State::Running) => process.app,
            _ => return None,
        };
        self.windows.draw(*to, Amount::of_message(message.len())).ok()?;
        Some(Letter::new((slot, to.slot), app, tag, message, make))
    }

    /// Takes a letter of another shard of this node in. A process that waits for it has it at once,
    /// as [`Shard::send_at_once`] has it; `make` makes what is kept of a short one for that.
    #[inline]
    pub fn take_letter(
        &mut self,
        letter: Letter,
        now: Instant,
        make: Make<'_>,
        out: &mut Vec<Effect>,
    ) {
        self.now = self.now.max(now);
        let (from, to, tag, len) = (letter.from, letter.to, letter.tag, letter.bytes().len());
        let sender = self.pid(from);
        let Some(target) = self.processes.get_mut(to).and_then(Tenant::live_mut) else {
            let pid = self.pid(to);
            return out.push(Effect::Gone { to: Source::of(sender), pid });
        };
        let amount = Amount::of_message(len);
        if !may_signal(letter.app, target.app) {
            self.owe(from.shard(), to, amount, out);
            return self.refuse(self.pid(to), "a message of another app", sender, out);
        }
        match target.state {
            State::Receiving { want, capacity, deadline }
                if want.takes(tag) && len <= capacity && !target.is_lent() =>
            {
                self.timers.cancel(deadline, to);
                let payload = letter.into_payload(make);
                let received = Received::Message { from: sender, tag, payload };
                target.wake_with(to, received, &mut self.run_queue);
                self.runnable += 1;
                self.owe(from.shard(), to, amount, out);
            }
            _ => self.keep_letter(letter, sender, make, out),
        }
    }

    /// Puts a letter into a mailbox.
    fn keep_letter(&mut self, letter: Letter, from: Pid, make: Make<'_>, out: &mut Vec<Effect>) {
        let (to, tag) = (letter.to, letter.tag);
        let Some(target) = self.live_mut(to) else { return };
        let kept = match letter.into_short() {
            Ok(short) => target.mailbox.push_credited_copy(from, tag, short.bytes(), make),
            Err(payload) => {
                let message = Message { from, tag, payload, request: None };
                target.mailbox.push_credited(message)
            }
        };
        let receives = matches!(target.state, State::Receiving { .. });
        if kept.is_err() {
            // Its shard broke the rules of credit: it gets none back for this.
            return self.refuse(self.pid(to), "a message without credit", from, out);
        }
        if receives {
            self.arrived(to, out);
            self.settle(out);
        }
    }

    /// Owes another shard of this node credit.
    #[inline]
    pub(crate) fn owe(
        &mut self,
        to: ShardId,
        mailbox: Slot,
        amount: Amount,
        out: &mut Vec<Effect>,
    ) {
        if let Some(due) = self.owed.add(Due { to, mailbox, amount }) {
            out.push(self.credit_of(due));
        }
    }

    /// Tells what is kept back of the credit that others are owed: to be asked for before a CPU
    /// sleeps.
    pub fn tell_owed(&mut self, out: &mut Vec<Effect>) {
        if !self.owed.is_empty() {
            let mut owed = core::mem::take(&mut self.owed);
            out.extend(owed.take_all().map(|due| self.credit_of(due)));
            self.owed = owed;
        }
    }

    fn credit_of(&self, due: Due) -> Effect {
        let Due { to, mailbox, amount: Amount { messages, bytes } } = due;
        let to = Source { shard: to, ..Source::of(self.pid(mailbox)) };
        Effect::Credit { to, mailbox: self.pid(mailbox), messages, bytes }
    }

    /// Whether a shard is another one of this node, in this life of it.
    pub(crate) fn is_neighbour(&self, source: Source) -> bool {
        let config = &self.config;
        (source.node, source.incarnation) == (config.node, config.incarnation)
    }
}

/// What is kept of a message where nobody keeps vectors for it.
pub(crate) fn copy(message: &[u8]) -> Payload {
    Payload(message.to_vec())
}
