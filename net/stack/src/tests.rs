//! Stacks that talk over a link in memory, in virtual time, under seeds.

mod dhcp;
mod flood;
mod garbage;
mod handles;
mod ipv6;
mod lanes;
mod link;
mod malformed;
mod many;
mod names;
mod neighbours;
mod rest;
mod shards;
mod streams;
