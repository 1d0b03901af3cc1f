//! Registered names and groups of this node.
//!
//! Owns [`Registry`], the tables, and the control's answers to what processes ask of them. A name
//! has at most one owner, a group any number of members; both belong to an app, and nobody of
//! another sees them. A process's entries vanish with it, before anybody hears of its end.
//!
//! Who asks about a name that has an owner on another CPU, or a group with members there, may have
//! heard of their ends sooner than the control, since the two do not come by the same way. So the
//! control asks those CPUs to settle it: what they answer comes after everything that they said
//! before.

use crate::control::Control;
use crate::mail::{CONTROL, MailBody};
use crate::work::Work;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::limit::{NAMES_PER_NODE_MAX, NAMES_PER_PROCESS_MAX};
use craton_abi::{AppId, ErrorCode, Pid, ShardId, Slot};
use craton_shard::port::{HostReply, Input, NameCall};

type Key = (AppId, String);

/// What a process asks, while other CPUs settle who has what it asks about.
struct Question {
    call: NameCall,
    key: Key,
    /// CPUs that have not answered.
    left: usize,
}

/// What one process has.
#[derive(Default)]
struct Held {
    names: BTreeSet<Key>,
    groups: BTreeSet<Key>,
}

/// Names, groups, and who is in them.
#[derive(Default)]
pub(crate) struct Registry {
    names: BTreeMap<Key, Pid>,
    groups: BTreeMap<Key, BTreeSet<Pid>>,
    held: BTreeMap<Pid, Held>,
    entries: usize,
    /// Those that wait for other CPUs, at most one of each process.
    questions: BTreeMap<Pid, Question>,
}

impl Held {
    fn len(&self) -> usize {
        self.names.len() + self.groups.len()
    }
}

impl Registry {
    fn may_hold(&self, pid: Pid) -> bool {
        let held = self.held.get(&pid).map_or(0, Held::len);
        self.entries < NAMES_PER_NODE_MAX && held < NAMES_PER_PROCESS_MAX
    }

    fn register(&mut self, pid: Pid, key: &Key) -> Result<(), ErrorCode> {
        match self.names.get(key) {
            Some(&owner) if owner == pid => return Ok(()),
            Some(_) => return Err(ErrorCode::Taken),
            None if !self.may_hold(pid) => return Err(ErrorCode::LimitNames),
            None => {}
        }
        self.names.insert(key.clone(), pid);
        self.held.entry(pid).or_default().names.insert(key.clone());
        self.entries += 1;
        Ok(())
    }

    /// Whether it was the process's own.
    fn unregister(&mut self, pid: Pid, key: &Key) -> bool {
        if self.names.get(key) != Some(&pid) {
            return false;
        }
        self.names.remove(key);
        self.entries -= 1;
        self.let_go(pid, |held| held.names.remove(key));
        true
    }

    fn join(&mut self, pid: Pid, key: &Key) -> Result<(), ErrorCode> {
        if self.groups.get(key).is_some_and(|members| members.contains(&pid)) {
            return Ok(());
        }
        if !self.may_hold(pid) {
            return Err(ErrorCode::LimitNames);
        }
        self.groups.entry(key.clone()).or_default().insert(pid);
        self.held.entry(pid).or_default().groups.insert(key.clone());
        self.entries += 1;
        Ok(())
    }

    /// Whether the process was in it.
    fn leave(&mut self, pid: Pid, key: &Key) -> bool {
        let left = self.take_from_group(pid, key);
        if left {
            self.let_go(pid, |held| held.groups.remove(key));
        }
        left
    }

    fn take_from_group(&mut self, pid: Pid, key: &Key) -> bool {
        let Some(members) = self.groups.get_mut(key) else { return false };
        let left = members.remove(&pid);
        if members.is_empty() {
            self.groups.remove(key);
        }
        self.entries -= usize::from(left);
        left
    }

    fn let_go(&mut self, pid: Pid, remove: impl FnOnce(&mut Held) -> bool) {
        if let Some(held) = self.held.get_mut(&pid) {
            remove(held);
            if held.len() == 0 {
                self.held.remove(&pid);
            }
        }
    }

    /// A process ended.
    fn ended(&mut self, pid: Pid) {
        self.questions.remove(&pid);
        let Some(held) = self.held.remove(&pid) else { return };
        for key in held.names {
            self.names.remove(&key);
            self.entries -= 1;
        }
        for key in held.groups {
            self.take_from_group(pid, &key);
        }
    }

    /// The CPUs that may know better who has what is asked about, by a process of `shard`.
    fn unsettled(&self, call: NameCall, key: &Key, shard: ShardId) -> BTreeSet<ShardId> {
        let holders: &mut dyn Iterator<Item = &Pid> = match call {
            NameCall::Register | NameCall::Find => &mut self.names.get(key).into_iter(),
            NameCall::Members => &mut self.groups.get(key).into_iter().flatten(),
            NameCall::Unregister | NameCall::Join | NameCall::Leave => &mut core::iter::empty(),
        };
        holders.map(|pid| pid.slot.shard()).filter(|of| !is_settled(*of, shard)).collect()
    }

    fn ask(&mut self, pid: Pid, call: NameCall, key: &Key) -> Result<HostReply, ErrorCode> {
        Ok(match call {
            NameCall::Register => self.register(pid, key).map(|()| HostReply::Done)?,
            NameCall::Unregister => HostReply::Flag(self.unregister(pid, key)),
            NameCall::Find => HostReply::Pids(self.names.get(key).copied().into_iter().collect()),
            NameCall::Join => self.join(pid, key).map(|()| HostReply::Done)?,
            NameCall::Leave => HostReply::Flag(self.leave(pid, key)),
            NameCall::Members => HostReply::Pids(self.members(key)),
        })
    }

    fn members(&self, key: &Key) -> Vec<Pid> {
        self.groups.get(key).map_or(Vec::new(), |members| members.iter().copied().collect())
    }
}

impl Control {
    /// A process of `shard` asks for, or of, a name or a group.
    pub(crate) fn ask_names(
        &mut self,
        slot: Slot,
        app: AppId,
        (call, name): (NameCall, String),
        work: &mut Work,
    ) {
        let (pid, key) = (Pid { slot, ..self.pid() }, (app, name));
        let shards = self.names.unsettled(call, &key, slot.shard());
        if shards.is_empty() {
            return self.answer_names(pid, call, &key, work);
        }
        self.names.questions.insert(pid, Question { call, key, left: shards.len() });
        for shard in shards {
            work.post(shard, MailBody::Settle(pid));
        }
    }

    /// A CPU has said all that it had to say when it was asked.
    pub(crate) fn names_settled(&mut self, asker: Pid, work: &mut Work) {
        let Some(question) = self.names.questions.get_mut(&asker) else { return };
        question.left -= 1;
        if question.left == 0
            && let Some(Question { call, key, .. }) = self.names.questions.remove(&asker)
        {
            self.answer_names(asker, call, &key, work);
        }
    }

    /// A process that asked for names or groups ended.
    pub(crate) fn names_ended(&mut self, pid: Pid) {
        self.names.ended(pid);
    }

    fn answer_names(&mut self, pid: Pid, call: NameCall, key: &Key, work: &mut Work) {
        let reply = self.names.ask(pid, call, key).unwrap_or_else(HostReply::Failed);
        work.input_for(pid.slot, Input::Names { slot: pid.slot, reply });
    }
}

/// Whether whatever a process of `shard` may know of an end on shard `of` the control knows too: it
/// hears of the ends on one shard in order, and of those beside it at once.
fn is_settled(of: ShardId, shard: ShardId) -> bool {
    [CONTROL, shard].contains(&of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn pid(index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(0), index, 1).expect("in range");
        Pid { slot, ..Pid::default() }
    }

    fn key(app: u64, name: &str) -> Key {
        (AppId::new(app), String::from(name))
    }

    #[test]
    fn a_name_has_one_owner_in_each_app_until_that_ends() {
        let mut registry = Registry::default();
        let name = key(1, "logger");
        assert_eq!(registry.register(pid(1), &name), Ok(()));
        assert_eq!(registry.register(pid(1), &name), Ok(()));
        assert_eq!(registry.register(pid(2), &name), Err(ErrorCode::Taken));
        assert_eq!(registry.register(pid(2), &key(2, "logger")), Ok(()), "another app's");
        assert!(!registry.unregister(pid(2), &name), "not its own");
        registry.ended(pid(1));
        assert_eq!(registry.register(pid(2), &name), Ok(()));
        assert!(registry.unregister(pid(2), &name));
        assert_eq!(registry.names.get(&name), None);
        registry.ended(pid(2));
        assert_eq!((registry.entries, registry.held.len()), (0, 0));
    }

    #[test]
    fn members_join_once_and_leave_by_themselves_or_with_their_end() {
        let mut registry = Registry::default();
        let room = key(1, "room");
        for index in [3, 1, 2, 3] {
            assert_eq!(registry.join(pid(index), &room), Ok(()));
        }
        assert_eq!(registry.members(&room), [pid(1), pid(2), pid(3)]);
        assert_eq!(registry.members(&key(2, "room")), []);
        assert!(registry.leave(pid(2), &room));
        assert!(!registry.leave(pid(2), &room));
        registry.ended(pid(3));
        assert_eq!(registry.members(&room), [pid(1)]);
        registry.ended(pid(1));
        assert!(registry.groups.is_empty() && registry.held.is_empty());
        assert_eq!(registry.entries, 0);
    }

    #[test]
    fn one_process_and_all_together_are_bounded() {
        let mut registry = Registry::default();
        let mut index = 0;
        while registry.entries < NAMES_PER_NODE_MAX {
            index += 1;
            for number in 0..NAMES_PER_PROCESS_MAX {
                let name = key(1, &format!("{index}.{number}"));
                assert_eq!(registry.register(pid(index), &name), Ok(()));
            }
            let another = registry.join(pid(index), &key(1, "room"));
            assert_eq!(another, Err(ErrorCode::LimitNames));
        }
        assert_eq!(registry.join(pid(index + 1), &key(1, "room")), Err(ErrorCode::LimitNames));
        registry.ended(pid(1));
        assert_eq!(registry.join(pid(index + 1), &key(1, "room")), Ok(()));
    }
}
