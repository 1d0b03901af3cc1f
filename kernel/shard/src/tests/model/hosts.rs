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

/// What a host does with a call: the answer, or how the process leaves its stack.
pub(super) fn at_once(
    shard: &mut Shard,
    slot: Slot,
    call: HostCall,
    effects: &mut Vec<Effect>,
) -> Result<HostReply, Outcome> {
    match call {
        HostCall::Send { to, tag, payload, timeout } => {
            let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
            if shard.send_at_once(slot, &to, tag, (&payload.0, &mut make), effects) {
                return Ok(HostReply::Done);
            }
            Err(Outcome::Call(HostCall::Send { to, tag, payload, timeout }))
        }
        HostCall::Receive { tag, timeout, capacity } => {
            let mut seen = Vec::new();
            let mut sink = |message: MessageView<'_>| {
                seen.push(Received::from(message));
                None
            };
            match shard.receive_at_once(slot, (tag, timeout), capacity, &mut sink, effects) {
                ReceiveAtOnce::Taken => {
                    assert_eq!(seen.len(), 1);
                    Ok(HostReply::Received(seen.remove(0)))
                }
                ReceiveAtOnce::Reply(reply) => Ok(reply),
                ReceiveAtOnce::Waits => Err(Outcome::Waiting),
                ReceiveAtOnce::Later => Err(Outcome::Call(call)),
            }
        }
        HostCall::Spawn(mut call) => {
            let spawned = shard.spawn_at_once(slot, &mut call, UNBORN_MAX);
            spawned.ok_or(Outcome::Call(HostCall::Spawn(call)))
        }
        other => shard.answer_at_once(slot, other, effects).map_err(Outcome::Call),
    }
}
