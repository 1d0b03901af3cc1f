//! What the author of a Craton program sees: processes, messages, ends, timers, a run's streams.
//!
//! A program is a library for wasm32 that declares its entries with [`entries!`]. A process is one
//! call of an entry, with a memory of its own; it spawns others with [`Entry::spawn`], sends with
//! [`send`], receives with a [`Mailbox`] and watches with a [`Monitor`]. The host calls below all
//! this are in `docs/abi.md`. Off wasm32 the same code runs against [`host`], which plays the
//! processes of a program as threads, so that a program's tests are ordinary `cargo test`.
//!
//! ```
//! use craton::{Mailbox, Run, SpawnOptions, Pid};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greeting(String);
//! craton::message!(Greeting = "example.greeting");
//!
//! fn main_entry(run: Run) -> Result<(), craton::Error> {
//!     let child = GREETER.spawn(&craton::me(), SpawnOptions::anywhere().monitored())?;
//!     let (from, greeting) = Mailbox::new().receive::<Greeting>()?.message()?;
//!     assert_eq!(from, child.pid);
//!     run.stdout().line(&greeting.0)
//! }
//!
//! fn greeter(parent: Pid) -> Result<(), craton::Error> {
//!     craton::send(&parent, &Greeting("hello".into()))
//! }
//!
//! craton::entries! {
//!     /// Where a run begins.
//!     pub MAIN: "main" = main_entry as fn(Run);
//!     /// Greets its parent.
//!     pub GREETER: "greeter" = greeter as fn(Pid);
//! }
//! # let outcome = craton::host::run(ENTRIES, craton::host::Scenario::default());
//! # assert_eq!(outcome.stdout, b"hello\n");
//! ```

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(not(target_arch = "wasm32"))]
extern crate std;

mod ahead;
mod channel;
mod entry;
mod error;
mod event;
#[cfg(not(target_arch = "wasm32"))]
pub mod host;
#[cfg(feature = "http")]
pub mod http;
mod inbox;
mod mailbox;
mod message;
pub mod names;
pub mod net;
mod process;
mod run;
// With `std` a program has both from there.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod runtime;
pub mod select;
mod supervisor;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)] // docs/decisions/0005-unsafe-in-the-sdk.md
mod sys;
mod system;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;
mod together;

#[cfg(not(target_arch = "wasm32"))]
use host::calls as sys;

pub use channel::{CHANNEL_BYTES, CHANNEL_ITEMS, Receiver, ReceiverEnd, Sender, SenderEnd};
pub use craton_abi::limit;
pub use craton_abi::{
    Duration, ErrorCode, ExitReason, Instant, NodeId, Payload, Pid, Place, ProgramId, Resource,
    TrapKind,
};
pub use entry::{Entry, EntryArgument, EntryResult, EntryTable, start};
pub use error::Error;
pub use event::{Answer, Down, Envelope, Event, Exit, Pending, Received};
pub use mailbox::{Mailbox, ask};
pub use message::{Asker, Message, Request, TAG_MAX, send, send_bytes, send_within, tag_of_name};
pub use process::{
    Child, Monitor, SpawnOptions, exit, kill, link, me, trap_exits, unlink, yield_now,
};
pub use run::{Output, Run, Stdin};
pub use supervisor::{ChildSpec, Restart, Shutdown, Strategy, Supervisor, SupervisorError};
pub use system::{Level, WallTime, log, nodes, now, random, random_u64, shards, wall_time};
pub use timer::Timer;
pub use together::{Member, Seat, SpawnSet};
