//! What the control and the shards of a node say to one another.
//!
//! Owns [`Mail`], the only thing that passes between CPUs, and [`Life`]. A piece of mail carries
//! the life of the node that it is of: a node that was declared dead begins anew while mail of its
//! former life is still under way, and neither life must hear of the other.

use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{Duration, Incarnation, NodeId, Pid, ProgramId, ShardId, Slot, SocketNote};
use craton_shard::is_kept_back;
use craton_shard::port::{Amount, Effect, Input, Letter};
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
    /// Whether nobody can be waiting for it: credit for so little that it decides no send.
    pub fn can_wait(&self) -> bool {
        match &self.body {
            MailBody::Input(input) => match **input {
                Input::Credit { messages, bytes, .. } => is_kept_back(Amount { messages, bytes }),
                _ => false,
            },
            _ => false,
        }
    }
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Mail>();
const _: () = assert!(size_of::<Mail>() <= 96, "mail is copied from hand to hand");

#[derive(Clone, Debug)]
pub(crate) enum MailBody {
    /// For the shard: a message of another one. Most mail is this, and the rest is put into boxes
    /// where it would make this longer.
    Letter(Letter),
    /// For the shard: of another shard, or of the control.
    Input(Box<Input>),
    /// For the control: what a shard wants of its node.
    Effect(Box<Effect>),
    /// Of the network of the sender's CPU, for that of the other.
    Sockets(Box<SocketNote>),
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
