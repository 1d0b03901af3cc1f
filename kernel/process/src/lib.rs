//! Process table, mailboxes and monitors as pure state.

#![no_std]
#![forbid(unsafe_code)]
