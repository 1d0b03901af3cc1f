//! What must hold of names and groups, as those who use them see it.
//!
//! Owns [`Named`], the checker's book of them, and adds to [`Checker`] its questions: a name has
//! one owner, who keeps it until he gives it up or ends; a group has exactly its members; nobody is
//! refused a name for one of whose end he has heard, nor finds him under it.
//!
//! The book knows when a process asked and when it was answered; the node decided in between. So of
//! each process it says what it surely has and what it may have had meanwhile.

use crate::checker::{Check, Checker, Violation};
use crate::machine::MAIL_MAX;
use craton_abi::{ErrorCode, ExitReason, Incarnation, Instant, NodeId, Pid};
use craton_shard::port::{HostReply, NameCall};
use std::collections::{BTreeMap, BTreeSet};

/// A name or a group of an app on a life of a node. The apps are told apart by their first
/// processes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    node: NodeId,
    incarnation: Incarnation,
    app: Pid,
    name: String,
}

impl Key {
    /// What a process of this app means by `name`.
    pub fn of(process: Pid, app: Pid, name: &str) -> Self {
        let name = name.to_string();
        Key { node: process.node, incarnation: process.incarnation, app, name }
    }
}

/// Names and groups, and who has to do with them.
#[derive(Debug, Default)]
pub(crate) struct Named {
    entries: BTreeMap<Key, BTreeMap<Pid, Has>>,
    /// Who was told of whose end.
    heard: BTreeSet<(Pid, Pid)>,
    /// Names and memberships that were given.
    pub(crate) granted: u64,
    /// Names that were refused, since they had an owner.
    pub(crate) taken: u64,
}

/// Whether a process is the owner of a name or a member of a group.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Has {
    /// It asked to be.
    Asked,
    /// It was told so, then.
    Surely(Instant),
    /// It asked not to be any longer.
    Leaving,
    /// It was told that it is not, then.
    Not(Instant),
}

/// A question about a name or group, and when it was asked.
#[derive(Clone, Debug)]
pub struct NameQuestion {
    /// Who asked.
    pub by: Pid,
    /// What.
    pub call: NameCall,
    /// Of which name or group.
    pub key: Key,
    /// When.
    pub at: Instant,
}

impl NameQuestion {
    fn broken(&self, what: String) -> Check {
        let NameQuestion { by, call, key, .. } = self;
        Err(Violation(format!("{by}: {call:?} '{}': {what}", key.name)))
    }
}

impl Checker {
    /// A process asks something about a name or group.
    pub fn name_asked(&mut self, question: &NameQuestion) {
        let claims = self.named.entries.entry(question.key.clone()).or_default();
        match question.call {
            NameCall::Register | NameCall::Join => {
                let has = claims.entry(question.by).or_insert(Has::Asked);
                if matches!(has, Has::Not(_)) {
                    *has = Has::Asked;
                }
            }
            NameCall::Unregister | NameCall::Leave => {
                if let Some(has @ Has::Surely(_)) = claims.get_mut(&question.by) {
                    *has = Has::Leaving;
                }
            }
            NameCall::Find | NameCall::Members => {}
        }
    }

    /// It was answered.
    pub fn name_answered(
        &mut self,
        question: &NameQuestion,
        reply: &HostReply,
        now: Instant,
    ) -> Check {
        match (question.call, reply) {
            (NameCall::Register, HostReply::Done) => {
                let others = self.others_surely(question);
                if let Some(owner) = others.first() {
                    return question.broken(format!("it has two owners, the other is {owner}"));
                }
                self.now_has(question, Has::Surely(now))
            }
            (NameCall::Join, HostReply::Done) => self.now_has(question, Has::Surely(now)),
            (NameCall::Register, HostReply::Failed(ErrorCode::Taken)) => {
                self.named.taken += 1;
                if !self
                    .claims(question)
                    .any(|(pid, has)| pid != question.by && self.may_have(question, pid, has))
                {
                    return question.broken("taken, but by nobody".into());
                }
                self.now_has(question, Has::Not(now))
            }
            (NameCall::Unregister | NameCall::Leave, HostReply::Flag(had)) => {
                let has = self.claims(question).find(|(pid, _)| *pid == question.by);
                if *had != matches!(has, Some((_, Has::Leaving))) {
                    return question.broken(format!("{had}, but it is {has:?}"));
                }
                if *had { self.now_has(question, Has::Not(now)) } else { Ok(()) }
            }
            (NameCall::Find, HostReply::Pids(found)) if found.len() > 1 => {
                question.broken(format!("{} owners", found.len()))
            }
            (NameCall::Find | NameCall::Members, HostReply::Pids(found)) => {
                self.name_found(question, found)
            }
            (_, reply) => question.broken(format!("answered with {reply:?}")),
        }
    }

    /// Who was found must have been there, and who surely was there must be found.
    fn name_found(&self, question: &NameQuestion, found: &[Pid]) -> Check {
        if !found.is_sorted_by(|a, b| a < b) {
            return question.broken("not in order, or twice".into());
        }
        for pid in found {
            let has = self.claims(question).find(|(claimer, _)| claimer == pid);
            if !has.is_some_and(|(pid, has)| self.may_have(question, pid, has)) {
                return question.broken(format!("found {pid}, which is {has:?}"));
            }
        }
        let surely = self.claims(question).filter(|&(pid, has)| {
            // Of what happens at one instant nobody can tell what came first.
            let since = |since| since < question.at;
            matches!(has, Has::Surely(at) if since(at)) && self.surely_lives(pid)
        });
        match surely.map(|(pid, _)| pid).find(|pid| !found.contains(pid)) {
            Some(missing) => question.broken(format!("{missing} is not found")),
            None => Ok(()),
        }
    }

    fn claims(&self, question: &NameQuestion) -> impl Iterator<Item = (Pid, Has)> {
        let claims = self.named.entries.get(&question.key).into_iter().flatten();
        claims.map(|(pid, has)| (*pid, *has))
    }

    /// Others that live and have what was asked for.
    fn others_surely(&self, question: &NameQuestion) -> Vec<Pid> {
        let surely = self.claims(question).filter(|&(pid, has)| {
            pid != question.by && matches!(has, Has::Surely(_)) && self.surely_lives(pid)
        });
        surely.map(|(pid, _)| pid).collect()
    }

    /// Whether a process may have had it at some time since the question was asked. Word of an end
    /// takes a moment to where the names are, but not longer than to who asks.
    fn may_have(&self, question: &NameQuestion, pid: Pid, has: Has) -> bool {
        let ended = self.ended_at(pid).is_some_and(|end| end + MAIL_MAX < question.at);
        let knows = self.named.heard.contains(&(question.by, pid));
        !ended && !knows && !matches!(has, Has::Not(until) if until < question.at)
    }

    fn now_has(&mut self, question: &NameQuestion, has: Has) -> Check {
        let claims = self.named.entries.entry(question.key.clone()).or_default();
        let claim = claims.entry(question.by).or_insert(has);
        // Who asks again for what it has had it all the time.
        if !matches!((*claim, has), (Has::Surely(_), Has::Surely(_))) {
            *claim = has;
        }
        self.named.granted += u64::from(matches!(has, Has::Surely(_)));
        Ok(())
    }

    /// A process was told of the end of another.
    pub(crate) fn heard_of_end(&mut self, process: Pid, ended: Pid, reason: &ExitReason) {
        // For want of room or of a way nothing is said of whether it lives.
        if !matches!(reason, ExitReason::NoConnection | ExitReason::Limit(_)) {
            self.named.heard.insert((process, ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{ShardId, Slot};

    fn pid(index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(0), index, 0).expect("in range");
        Pid { node: NodeId::new(1), incarnation: Incarnation::new(1), slot }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// The process asks at a time and is answered a millisecond later.
    fn ask(checker: &mut Checker, by: Pid, call: NameCall, at_ms: u64, reply: HostReply) -> Check {
        let key = Key::of(by, pid(9), "name");
        let question = NameQuestion { by, call, key, at: at(at_ms) };
        checker.name_asked(&question);
        checker.name_answered(&question, &reply, at(at_ms + 1))
    }

    /// A has the name, from 2 ms on.
    fn owned() -> (Checker, Pid, Pid) {
        let (mut checker, a, b) = (Checker::default(), pid(1), pid(2));
        checker.born(a, None, true).expect("new");
        checker.born(b, None, true).expect("new");
        ask(&mut checker, a, NameCall::Register, 1, HostReply::Done).expect("it is free");
        (checker, a, b)
    }

    const TAKEN: HostReply = HostReply::Failed(ErrorCode::Taken);

    #[test]
    fn a_name_has_one_owner() {
        let (mut checker, a, b) = owned();
        assert_eq!(ask(&mut checker, a, NameCall::Register, 3, HostReply::Done), Ok(()), "again");
        assert_eq!(ask(&mut checker, b, NameCall::Register, 4, TAKEN), Ok(()));
        assert!(ask(&mut checker, b, NameCall::Register, 6, HostReply::Done).is_err(), "two");
        let (mut checker, a, b) = owned();
        let gave_up = ask(&mut checker, a, NameCall::Unregister, 5, HostReply::Flag(true));
        assert_eq!(gave_up, Ok(()));
        assert!(ask(&mut checker, b, NameCall::Register, 8, TAKEN).is_err(), "it is free");
        let not_its_own = ask(&mut checker, a, NameCall::Unregister, 9, HostReply::Flag(true));
        assert!(not_its_own.is_err());
        assert_eq!(ask(&mut checker, b, NameCall::Register, 11, HostReply::Done), Ok(()));
    }

    #[test]
    fn a_name_is_free_once_the_end_of_its_owner_is_known() {
        let (mut checker, a, b) = owned();
        checker.ended(a, at(10));
        assert_eq!(ask(&mut checker, b, NameCall::Register, 11, TAKEN), Ok(()), "on its way");
        checker.heard_of_end(b, a, &ExitReason::Normal);
        assert!(ask(&mut checker, b, NameCall::Register, 12, TAKEN).is_err(), "b knows");
        let found = HostReply::Pids(vec![a]);
        assert!(ask(&mut checker, b, NameCall::Find, 12, found).is_err(), "b knows");
        let (mut checker, a, b) = owned();
        checker.ended(a, at(10));
        assert!(ask(&mut checker, b, NameCall::Register, 20, TAKEN).is_err(), "long ago");
        assert_eq!(ask(&mut checker, b, NameCall::Register, 20, HostReply::Done), Ok(()));
    }

    #[test]
    fn who_is_there_is_found_and_nobody_else() {
        for call in [NameCall::Find, NameCall::Members] {
            let (mut checker, a, b) = owned();
            let nobody = || HostReply::Pids(Vec::new());
            assert_eq!(ask(&mut checker, b, call, 5, HostReply::Pids(vec![a])), Ok(()));
            assert!(ask(&mut checker, b, call, 5, HostReply::Pids(vec![b])).is_err());
            assert!(ask(&mut checker, b, call, 5, HostReply::Pids(vec![b, a])).is_err());
            assert!(ask(&mut checker, b, call, 5, nobody()).is_err(), "a is there");
            checker.ended(a, at(5));
            assert_eq!(ask(&mut checker, b, call, 5, nobody()), Ok(()));
        }
    }
}
