//! A value and the fiber that works on it.
//!
//! Owns [`Seat`]. The value lies beside the fiber, not in it: so it can be looked at while the
//! fiber is at rest, is dropped whole wherever the fiber is, and can be worked on again.

use super::metal::new_fiber;
use super::{exchange, warm};
use crate::process::Exchange;
use alloc::boxed::Box;
use core::ptr::NonNull;
use craton_abi::Duration;
use craton_hal::fiber::{Fiber, Left};

/// A value and the fiber that works on it.
pub(crate) struct Seat<T: 'static> {
    /// `None` only while it is made or dropped.
    fiber: Option<Fiber>,
    /// Owned; a raw pointer because the fiber has it borrowed while it is not at rest.
    value: NonNull<T>,
    /// Whether the fiber has not begun or has finished: then it borrows nothing.
    at_rest: bool,
}

// SAFETY: it owns its value, and the fiber's body captured nothing else.
unsafe impl<T: Send> Send for Seat<T> {}

impl<T> Seat<T> {
    /// A seat whose fiber will call `work` with the value, on a stack of so many bytes. `None` for
    /// want of memory.
    pub(crate) fn new(value: T, stack_bytes: usize, work: fn(&mut T)) -> Option<Self> {
        let place = NonNull::from(Box::leak(Box::new(value)));
        let mut seat = Seat { fiber: None, value: place, at_rest: true };
        let body = Box::new(move || {
            let mut value = place;
            // SAFETY: the seat keeps the value for as long as its fiber can run, and touches it
            // only while the fiber is at rest.
            work(unsafe { value.as_mut() });
        });
        seat.fiber = Some(new_fiber(stack_bytes, body)?);
        Some(seat)
    }

    /// The value, if the fiber is at rest.
    pub(crate) fn at_rest(&mut self) -> Option<&mut T> {
        if !self.at_rest {
            return None;
        }
        // SAFETY: the seat owns the value, and a fiber at rest borrows it no more or not yet.
        Some(unsafe { self.value.as_mut() })
    }

    /// Lets the fiber work from the beginning again, if it has finished.
    pub(crate) fn rewind(&mut self) {
        if let Some(fiber) = self.fiber.as_mut().filter(|_| self.at_rest) {
            fiber.rewind();
        }
    }

    /// Bytes of its stack that it has touched, in whole pages.
    pub(crate) fn stack_bytes(&self) -> usize {
        self.fiber.as_ref().map_or(0, Fiber::stack_bytes)
    }

    /// Bytes that its stack may have.
    pub(crate) fn stack_bytes_max(&self) -> usize {
        self.fiber.as_ref().map_or(0, Fiber::stack_bytes_max)
    }

    /// Runs the fiber until it leaves its stack, for `slice` at most.
    pub(crate) fn run(&mut self, slice: Duration, exchange: &mut Exchange<'_>) -> Left {
        let Some(fiber) = self.fiber.as_mut() else { return Left::Finished };
        self.at_rest = false;
        let left = exchange::run(fiber, slice, exchange);
        self.at_rest = left == Left::Finished;
        left
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        // First the fiber, which may have the value borrowed; its frames are never returned to.
        if let Some(fiber) = self.fiber.take() {
            warm::keep_stack(fiber);
        }
        // SAFETY: `new` leaked this box, and the fiber was the only other one to know it.
        drop(unsafe { Box::from_raw(self.value.as_ptr()) });
    }
}
