//! Names and groups on this node: how processes find one another.
//!
//! Owns thin typed forms of the host calls. A name has at most one owner, a group any number of
//! members; both are seen by the processes of the same app on the same node, and end with whoever
//! has them.

use crate::error::{Error, check};
use crate::message::{Message, send};
use crate::sys;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, Pid};

/// Members for which [`members`] makes room at its first try.
const MEMBERS_EXPECTED: usize = 16;

/// Makes the caller the owner of a name.
///
/// # Errors
///
/// `taken` if another process owns it, `limit: names`, `invalid` if it is not 1 to
/// [`NAME_BYTES_MAX`](craton_abi::limit::NAME_BYTES_MAX) bytes.
pub fn register(name: &str) -> Result<(), Error> {
    check(sys::name_register(name))
}

/// Gives a name up; whether it was the caller's.
///
/// # Errors
///
/// `invalid`, as [`register`].
pub fn unregister(name: &str) -> Result<bool, Error> {
    let answer = sys::name_unregister(name);
    check(answer).map(|()| answer > 0)
}

/// The owner of a name, if it has one.
///
/// # Errors
///
/// `invalid`, as [`register`].
pub fn find(name: &str) -> Result<Option<Pid>, Error> {
    let mut out = [0; Pid::BYTES];
    match check(sys::name_find(name, &mut out)) {
        Ok(()) => Ok(Some(Pid::from_bytes(&out))),
        Err(Error::Refused(ErrorCode::NoProcess)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends to the owner of a name.
///
/// # Errors
///
/// `no-process` if it has none, and as [`send`].
pub fn send_to<T: Message>(name: &str, message: &T) -> Result<(), Error> {
    match find(name)? {
        Some(pid) => send(&pid, message),
        None => Err(ErrorCode::NoProcess.into()),
    }
}

/// Makes the caller a member of a group.
///
/// # Errors
///
/// `limit: names`, `invalid`, as [`register`].
pub fn join(group: &str) -> Result<(), Error> {
    check(sys::group_join(group))
}

/// Leaves a group; whether the caller was in it.
///
/// # Errors
///
/// `invalid`, as [`register`].
pub fn leave(group: &str) -> Result<bool, Error> {
    let answer = sys::group_leave(group);
    check(answer).map(|()| answer > 0)
}

/// The members of a group.
///
/// # Errors
///
/// `invalid`, as [`register`].
pub fn members(group: &str) -> Result<Vec<Pid>, Error> {
    let mut pids = vec![[0; Pid::BYTES]; MEMBERS_EXPECTED];
    // More may join between two calls; each call says how much room it would have needed.
    loop {
        let answer = sys::group_members(group, &mut pids);
        check(answer)?;
        let count = usize::try_from(answer).unwrap_or(0);
        if count <= pids.len() {
            return Ok(pids[..count].iter().map(Pid::from_bytes).collect());
        }
        pids.resize(count, [0; Pid::BYTES]);
    }
}
