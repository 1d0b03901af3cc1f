//! What the author of a Craton program sees.

#![no_std]
#![forbid(unsafe_code)]
