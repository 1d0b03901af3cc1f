//! Certified, encrypted, ordered links between peers.

#![no_std]
#![forbid(unsafe_code)]
