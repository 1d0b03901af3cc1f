//! Entries: the functions at which a process of the program can begin.
//!
//! Owns [`Entry`] and the macro [`entries!`](crate::entries!). An entry is an export without
//! parameters and result (`docs/abi.md`); what comes between it and the program's function is here.

use crate::error::Error;
use crate::message::{decode, encoded};
use crate::process::{Child, SpawnOptions, exit};
use crate::sys;
use alloc::format;
use core::fmt;
use core::marker::PhantomData;
use craton_abi::ExitReason;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The entries of a program by name, for [`host`](crate::host).
pub type EntryTable = &'static [(&'static str, fn())];

/// An entry that takes an `A`.
pub struct Entry<A> {
    name: &'static str,
    argument: PhantomData<fn(A)>,
}

/// A value that an entry can take: anything that serde can read, and [`Run`](crate::Run).
pub trait EntryArgument: Sized {
    /// Reads the value.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    fn from_argument(bytes: &[u8]) -> Result<Self, Error>;
}

impl<T: DeserializeOwned> EntryArgument for T {
    fn from_argument(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

/// What an entry can return: nothing, or a result whose error becomes the exit reason.
pub trait EntryResult {
    /// Why the process ends, unless it ends normally.
    fn failure(self) -> Option<ExitReason>;
}

impl EntryResult for () {
    fn failure(self) -> Option<ExitReason> {
        None
    }
}

impl<E: fmt::Display> EntryResult for Result<(), E> {
    fn failure(self) -> Option<ExitReason> {
        self.err().map(|error| ExitReason::Error(format!("{error}").into_bytes()).bounded())
    }
}

impl<A> Entry<A> {
    /// The entry with this name; [`entries!`](crate::entries!) makes it.
    pub const fn new(name: &'static str) -> Self {
        Entry { name, argument: PhantomData }
    }

    /// The name of the export.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<A: Serialize> Entry<A> {
    /// Starts a process here.
    ///
    /// # Errors
    ///
    /// Whatever the child's node answers: a limit by name, `no-connection`, `no-program`.
    pub fn spawn(&self, argument: &A, options: SpawnOptions) -> Result<Child, Error> {
        encoded(argument, |bytes| options.spawn(self.name, bytes))
    }
}

/// Calls a program's function with the process's argument: the body of every entry.
pub fn start<A: EntryArgument, R: EntryResult>(function: fn(A) -> R) {
    let failure = match sys::with_argument(A::from_argument) {
        Ok(argument) => function(argument).failure(),
        Err(_) => Some(ExitReason::Error(b"the argument is not what the entry takes".to_vec())),
    };
    if let Some(reason) = failure {
        exit(&reason);
    }
}

/// Declares the program's entries; once in a program, at the top of its crate.
///
/// `CONSTANT: "export" = function as fn(Argument);` exports `function` and names it for
/// [`Entry::spawn`]. The entry `main` is where a run begins; it takes a [`Run`](crate::Run).
#[macro_export]
macro_rules! entries {
    ($($(#[$doc:meta])* $vis:vis $constant:ident: $name:literal = $function:path
        as fn($argument:ty);)+) => {
        $(
            $(#[$doc])*
            #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
            $vis const $constant: $crate::Entry<$argument> = $crate::Entry::new($name);

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                #[unsafe(export_name = $name)]
                extern "C" fn exported() {
                    $crate::start::<$argument, _>($function);
                }
            };
        )+

        /// The entries by name, for `craton::host`.
        #[cfg(not(target_arch = "wasm32"))]
        pub const ENTRIES: $crate::EntryTable =
            &[$(($name, || $crate::start::<$argument, _>($function))),+];
    };
}
