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
    }
}
