//! What the hosts of the model do beside running processes.

use super::*;

impl World {
    /// A shard is told that its neighbour has nothing to do, which need not be so.
    pub(super) fn lend(&mut self) {
        let member = self.random.below(FRAGILE);
        let neighbour = ShardId::new(1 - member as u8);
        let mut out = Vec::new();
        let _ = self.shards[member].has_spare(self.now);
        self.shards[member].lend(neighbour, &mut out);
        check(&self.shards[member]);
        out.into_iter().for_each(|effect| self.perform(member, effect));
        self.tell_owed(member);
    }

    /// A CPU is about to sleep, or so it seems to it.
    pub(super) fn tell_owed(&mut self, member: usize) {
        let mut out = Vec::new();
        self.shards[member].tell_owed(&mut out);
        out.into_iter().for_each(|effect| self.perform(member, effect));
    }

    /// Brings a message to another shard of the node, as its signals come there, if that is what a
    /// call asks for and there is credit for it.
    pub(super) fn send_across(&mut self, member: usize, slot: Slot, call: &HostCall) -> bool {
        let HostCall::Send { to, tag, payload, .. } = call else { return false };
        let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
        let message: (&[u8], _) = (&payload.0, &mut make as _);
        let Some(letter) = self.shards[member].send_across(slot, to, *tag, message) else {
            return false;
        };
        assert_eq!((letter.from, letter.to), (slot, to.slot));
        let lane = (slot.index() + to.slot.index()) as u64 % LANES_OF_PAIRS;
        match at(to.node, to.slot.shard()) {
            Some(there) => self.push(member, there, lane, Input::Letter(letter)),
            None => self.push(member, member, LANE_OTHER, Input::Gone { pid: *to }),
        }
        true
    }
}
