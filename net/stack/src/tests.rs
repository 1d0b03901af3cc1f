//! Stacks that talk over a link in memory, in virtual time, under seeds.

mod dhcp;
mod garbage;
mod link;
mod neighbours;
mod streams;
