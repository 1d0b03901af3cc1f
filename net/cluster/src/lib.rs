//! Membership and failure detection.

#![no_std]
#![forbid(unsafe_code)]
