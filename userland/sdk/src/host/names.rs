//! Names and groups of each node of a run on threads.
//!
//! Adds to [`World`] what `craton::names` asks of it.

use super::world::World;
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, NodeId, Pid, limit};

/// The names and groups of all nodes.
#[derive(Default)]
pub(super) struct Names {
    owners: BTreeMap<(NodeId, String), Pid>,
    groups: BTreeSet<((NodeId, String), Pid)>,
}

impl Names {
    fn may_hold(&self, pid: Pid) -> Result<(), ErrorCode> {
        let names = self.owners.values().filter(|owner| **owner == pid).count();
        let groups = self.groups.iter().filter(|(_, member)| *member == pid).count();
        if names + groups < limit::NAMES_PER_PROCESS_MAX {
            Ok(())
        } else {
            Err(ErrorCode::LimitNames)
        }
    }

    pub(super) fn ended(&mut self, pid: Pid) {
        self.owners.retain(|_, owner| *owner != pid);
        self.groups.retain(|(_, member)| *member != pid);
    }
}

fn key(pid: Pid, name: &str) -> (NodeId, String) {
    (pid.node, name.to_owned())
}

impl World {
    pub(super) fn register(&mut self, pid: Pid, name: &str) -> Result<(), ErrorCode> {
        match self.names.owners.get(&key(pid, name)) {
            Some(owner) if *owner == pid => return Ok(()),
            Some(_) => return Err(ErrorCode::Taken),
            None => self.names.may_hold(pid)?,
        }
        self.names.owners.insert(key(pid, name), pid);
        Ok(())
    }

    pub(super) fn unregister(&mut self, pid: Pid, name: &str) -> bool {
        let own = self.owner(pid, name) == Some(pid);
        own && self.names.owners.remove(&key(pid, name)).is_some()
    }

    pub(super) fn owner(&self, pid: Pid, name: &str) -> Option<Pid> {
        self.names.owners.get(&key(pid, name)).copied()
    }

    pub(super) fn join(&mut self, pid: Pid, name: &str) -> Result<(), ErrorCode> {
        if !self.names.groups.contains(&(key(pid, name), pid)) {
            self.names.may_hold(pid)?;
            self.names.groups.insert((key(pid, name), pid));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, pid: Pid, name: &str) -> bool {
        self.names.groups.remove(&(key(pid, name), pid))
    }

    pub(super) fn members(&self, pid: Pid, name: &str) -> Vec<Pid> {
        let group = key(pid, name);
        let members = self.names.groups.iter().filter(|(of, _)| *of == group);
        members.map(|(_, member)| *member).collect()
    }
}
