//! What the control and the shards of a node say to one another.
//!
//! Owns [`Mail`], the only thing that passes between CPUs, and [`Life`]. A piece of mail carries
//! the life of the node that it is of: a node that was declared dead begins anew while mail of its
//! former life is still under way, and neither life must hear of the other.

use alloc::vec::Vec;
use craton_abi::{Duration, Incarnation, NodeId, Pid, ProgramId, ShardId, Slot, SocketNote};
use craton_shard::is_held_back;
use craton_shard::port::{Effect, Input};
use craton_wire::ProcessInfo;

/// The control's address, and that of the shard beside it.
pub(crate) const CONTROL: ShardId = ShardId::new(0);

/// Counts the lives of this node since it was made. Unlike incarnations, which are random, lives
/// can be told earlier from later.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Life(u64);

/// Something that one CPU of a node tells another. Opaque to the host, which carries it.
#[derive(Clone, Debug)]
pub struct Mail {
    pub(crate) life: Life,
    pub(crate) from: ShardId,
    pub(crate) body: MailBody,
}

impl Mail {
    /// Whether nobody can be waiting for it: credit for so little that it decides no send, as long
    /// as what is held back of it is told as one letter ([`Mail::join`]).
    pub fn can_wait(&self) -> bool {
        match self.body {
            MailBody::Input(Input::Credit { messages, bytes, .. }) => is_held_back(messages, bytes),
            _ => false,
        }
    }

    /// Takes a later letter in, if both are credit for the same mailbox; false, with nothing
    /// changed, if not.
    #[must_use]
    pub fn join(&mut self, later: &Mail) -> bool {
        let &Mail { life, from, ref body } = later;
        let (
            MailBody::Input(Input::Credit { mailbox, messages, bytes }),
            &MailBody::Input(Input::Credit { mailbox: of, messages: more, bytes: longer }),
        ) = (&mut self.body, body)
        else {
            return false;
        };
        if (self.life, self.from, *mailbox) != (life, from, of) {
            return false;
        }
        *messages = messages.saturating_add(more);
        *bytes = bytes.saturating_add(longer);
        true
    }
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Mail>();

#[derive(Clone, Debug)]
pub(crate) enum MailBody {
    /// For the shard: of another shard, or of the control.
    Input(Input),
    /// For the control: what a shard wants of its node.
    Effect(Effect),
    /// Of the network of the sender's CPU, for that of the other.
    Sockets(SocketNote),
    /// To a worker: this life begins, all others are over.
    Restart(Incarnation),
    /// From a worker: nothing is left of the life before.
    Restarted,
    /// From a worker: its shard was told that this life of a node is lost, and all that it said
    /// before is under way already.
    LostHeard(NodeId, Incarnation),
    /// To the home of a process, from the shard that runs it: the memory that it holds, and the CPU
    /// time that it used since this was told last.
    Holds(Slot, u64, Duration),
    /// From a worker: how many processes it has.
    Tally(Tally),
    /// From a worker: no process of this program is left.
    Unused(ProgramId, Tally),
    /// To a worker: answer when everything that you have to say of names is said. For this asker.
    Settle(Pid),
    /// From a worker: the answer.
    Settled(Pid),
    /// To a worker: a question that all of them are asked.
    Ask(SurveyId, Survey),
    /// From a worker: its part of the answer.
    Listing(SurveyId, Vec<ProcessInfo>),
    /// From a worker: the process that holds the most memory, and how much that is.
    Largest(SurveyId, Option<(Pid, u64)>),
}

/// What a worker has, as of its last order.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Processes that have, or are being given, an instance.
    pub(crate) processes: usize,
    /// Orders to bring a process to life that have come, in this life of the node.
    pub(crate) orders: u64,
}

/// Which question an answer belongs to.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct SurveyId(pub(crate) u64);

/// What all workers can be asked.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Survey {
    /// Their processes.
    Listing,
    /// Their largest process.
    Largest,
}

impl Life {
    /// The life after this one.
    #[must_use]
    pub(crate) fn next(self) -> Self {
        Life(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::limit::WINDOW_MESSAGES;

    fn credit(index: u32, messages: u32) -> Mail {
        let slot = craton_abi::Slot::new(ShardId::new(1), index, 1).expect("in range");
        let mailbox = Pid { slot, ..Pid::default() };
        let input = Input::Credit { mailbox, messages, bytes: 8 * messages };
        Mail { life: Life::default(), from: ShardId::new(1), body: MailBody::Input(input) }
    }

    #[test]
    fn little_credit_waits_until_together_it_is_a_batch() {
        let mut kept = credit(1, 1);
        assert!(kept.can_wait());
        assert!(!kept.join(&credit(2, 1)), "of another mailbox");
        let mut letters = 1;
        while kept.can_wait() {
            assert!(kept.join(&credit(1, 1)));
            letters += 1;
        }
        assert!((2..WINDOW_MESSAGES).contains(&letters));
        let MailBody::Input(Input::Credit { messages, bytes, .. }) = kept.body else {
            panic!("it is credit still")
        };
        assert_eq!((messages, bytes), (letters, 8 * letters));
    }

    #[test]
    fn mail_of_two_lives_stays_two() {
        let mut kept = credit(1, 1);
        let later = Mail { life: Life::default().next(), ..credit(1, 1) };
        assert!(!kept.join(&later));
        let settle = Mail { body: MailBody::Settle(Pid::default()), ..credit(1, 1) };
        assert!(!settle.can_wait());
        assert!(!kept.join(&settle));
    }
}
