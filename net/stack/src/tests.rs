//! Stacks that talk over a link in memory, in virtual time, under seeds.

mod dhcp;
mod flood;
mod garbage;
mod link;
mod many;
mod neighbours;
mod rest;
mod streams;
