//! What the control and the shards of a node say to one another.
//!
//! Owns [`Mail`], the only thing that passes between CPUs, and [`Life`]. A piece of mail carries
//! the life of the node that it is of: a node that was declared dead begins anew while mail of its
//! former life is still under way, and neither life must hear of the other.

use alloc::vec::Vec;
use craton_abi::{Incarnation, NodeId, Pid, ProgramId, ShardId, SocketNote};
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
