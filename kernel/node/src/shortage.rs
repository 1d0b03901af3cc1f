//! A machine that runs out of memory: who must go.
//!
//! Adds to [`Node`] the choice of a process to end. What processes ask for is refused in time by
//! their engine; what comes for them from other nodes is not theirs to refuse, and an allocation of
//! the kernel that fails ends them all.

use crate::hosts::Host;
use crate::node::Node;
use crate::work::Work;
use alloc::format;
use craton_abi::{ExitReason, Instant, Pid, Resource};
use craton_shard::Shard;
use craton_shard::port::{Input, LogLevel};

impl Node {
    /// Ends the process that holds the most memory, messages that wait for it included. The node's
    /// own parts of a run are spared: they end with it.
    pub(crate) fn relieve(&mut self, now: Instant, work: &mut Work) {
        let Some((pid, bytes)) = self.largest() else { return };
        let text = format!("memory is short: {pid}, which held {bytes} bytes, must end");
        self.control.say(LogLevel::Warn, "memory", text, now, work);
        let reason = ExitReason::Limit(Resource::Memory);
        work.input_for(pid.slot, Input::End { slot: pid.slot, reason });
    }

    fn largest(&self) -> Option<(Pid, u64)> {
        let views = self.shards.iter().flat_map(Shard::processes);
        let held = views.filter_map(|view| {
            let hosted = self.control.hosts.get(view.pid.slot)?;
            let bytes = hosted.memory_bytes + u64::from(view.mailbox_bytes);
            (hosted.host == Host::Engine).then_some((view.pid, bytes))
        });
        held.max_by_key(|(_, bytes)| *bytes)
    }
}
