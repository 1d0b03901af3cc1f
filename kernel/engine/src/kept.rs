//! Instances that are kept for the next processes of their programs.
//!
//! Owns [`Kept`], within bounds of number and bytes. What is in it is as good as new
//! (`instance.rs`).

use crate::instance::Instance;
use crate::platform;
use crate::programs::Program;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::ProgramId;

/// Most instances that are kept.
const WARM_MAX: usize = 32;

/// An instance and the stack that it runs on.
pub(crate) type Seat = platform::Seat<Instance>;

/// One that is kept.
pub(crate) struct Warm {
    pub(crate) seat: Seat,
    pub(crate) program: Arc<Program>,
    /// Mapped for its memory.
    pub(crate) bytes: usize,
}

/// Instances whose process has ended.
#[derive(Default)]
pub(crate) struct Kept {
    /// The one used last at the end.
    list: Vec<Warm>,
    /// Of all of them.
    bytes: usize,
}

impl Kept {
    /// The instance of a program that was used last.
    pub(crate) fn take(&mut self, program: ProgramId) -> Option<Warm> {
        let place = self.list.iter().rposition(|warm| warm.program.id == program)?;
        let warm = self.list.remove(place);
        self.bytes -= warm.bytes;
        Some(warm)
    }

    /// Keeps an instance, and drops those that were used least lately where it is too many.
    pub(crate) fn keep(&mut self, warm: Warm) {
        self.bytes += warm.bytes;
        self.list.push(warm);
        while self.list.len() > WARM_MAX || self.bytes > platform::WARM_BYTES_MAX {
            self.bytes -= self.list.remove(0).bytes;
        }
    }

    /// Drops those of programs that were unloaded.
    pub(crate) fn forget_unloaded(&mut self) {
        self.list.retain(|warm| !warm.program.is_unloaded());
        self.bytes = self.list.iter().map(|warm| warm.bytes).sum();
    }

    /// Drops the one that was used least lately. False if there was none.
    pub(crate) fn give_back_one(&mut self) -> bool {
        if self.list.is_empty() {
            return false;
        }
        self.bytes -= self.list.remove(0).bytes;
        if self.list.is_empty() {
            self.list = Vec::new();
        }
        true
    }
}
