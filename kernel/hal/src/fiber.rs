//! Fibers: a call stack of its own, entered and left by switching stacks.
//!
//! Owns [`Fiber`]. A fiber leaves its stack in three ways: its body returns, it calls [`suspend`],
//! or an interrupt takes the CPU from it while it computes in registered module text
//! (`interrupt.rs`). It can be dropped in every one of them.
//!
//! ```text
//!            1 resume                  2 suspend
//!   ready ------------> running ---------------------> ready
//!                        |   |  3 interrupt in text, or a fault there without memory
//!                        |   +----------> preempted or starved -- 1 resume --> running
//!                        +-- 4 body returns ---------> finished
//! ```

use crate::cpu::current;
use crate::interrupt::{Context, CpuLocal, cpu};
use crate::memory::demand::{self, Stack};
use crate::memory::layout::PAGE_BYTES;
use crate::timer;
use alloc::boxed::Box;
use core::arch::naked_asm;
use core::ptr::{self, NonNull};
use craton_abi::Duration;

/// How long a fiber runs whose CPU was woken by another before it began: it makes progress, and
/// what the CPU was woken for does not wait long.
const WOKEN_SLICE: Duration = Duration::from_micros(50);

/// A call stack and what runs on it.
pub struct Fiber {
    /// Owned; a raw pointer because interrupts write through it while [`Fiber::resume`] runs.
    inner: NonNull<Inner>,
}

/// How a fiber gave the CPU back.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Left {
    /// It called [`suspend`].
    Suspended,
    /// An interrupt took the CPU from it.
    Preempted,
    /// There was no memory for its stack or for what it touched in module text: if there is some
    /// now it can be resumed.
    Starved,
    /// Its body returned.
    Finished,
}

/// What interrupts and switches know of a fiber.
#[repr(C, align(16))]
pub(crate) struct Inner {
    /// Every register of a fiber that an interrupt or a fault stopped. Valid in states `Preempted`
    /// and `Starved` only.
    pub(crate) context: Context,
    pub(crate) left: Left,
    /// Stack pointer of a fiber that left by [`suspend`] or has not run yet.
    stack_pointer: usize,
    /// See [`local_word`].
    word: *mut u8,
    stack: Stack,
    /// `None` in a fiber that waits for its next one.
    body: Option<Box<dyn FnMut()>>,
}

impl Fiber {
    /// A fiber that will call `body` on a stack of `stack_bytes`. `None` for want of memory.
    ///
    /// Its pages come as it grows. It has unmapped pages at both ends: running over it is a fault,
    /// never corruption.
    ///
    /// # Safety
    ///
    /// The fiber may be dropped while its body is suspended or preempted. `body` itself is dropped
    /// then, its call frames are not. So at every point where it may be suspended or preempted its
    /// frames own nothing that must be dropped, and nothing outside the fiber and `body` points
    /// into its stack. The body runs with interrupts as its resumer has them, on one CPU at a time,
    /// and does not unwind.
    pub unsafe fn new(stack_bytes: usize, body: Box<dyn FnMut()>) -> Option<Fiber> {
        let stack = Stack::new(stack_bytes).ok()?;
        let inner = Box::new(Inner {
            context: Context::EMPTY,
            left: Left::Finished,
            stack_pointer: 0,
            word: ptr::null_mut(),
            stack,
            body: None,
        });
        let mut fiber = Fiber { inner: NonNull::from(Box::leak(inner)) };
        // SAFETY: the caller promises it of `body`.
        unsafe { fiber.renew(body) };
        Some(fiber)
    }

    /// Bytes of its stack that it has touched, in whole pages.
    pub fn stack_bytes(&self) -> usize {
        // SAFETY: `self` owns `inner`; nobody changes this field, but for its atomics.
        let stack = unsafe { &(*self.inner.as_ptr()).stack };
        stack.mapped_pages() * PAGE_BYTES as usize
    }

    /// Bytes that its stack may have.
    pub fn stack_bytes_max(&self) -> usize {
        // SAFETY: as in `stack_bytes`.
        unsafe { Inner::stack_range(self.inner.as_ptr()) }.len()
    }

    /// Drops the body, as dropping the fiber does, and keeps the stack for another.
    pub fn clear(&mut self) {
        // SAFETY: `self` owns `inner`, which is not running while `self` is borrowed.
        let fiber = unsafe { self.inner.as_mut() };
        fiber.left = Left::Finished;
        fiber.body = None;
    }

    /// Makes the fiber a new one, with another body on the same stack. What the last body left on
    /// the stack stays there: compiled code reads of its stack only what it has written.
    ///
    /// # Safety
    ///
    /// As for [`Fiber::new`].
    pub unsafe fn renew(&mut self, body: Box<dyn FnMut()>) {
        self.clear();
        // SAFETY: as in `clear`.
        unsafe { self.inner.as_mut() }.body = Some(body);
        self.rewind();
    }

    /// Lets a fiber that has finished call its body once more, from the beginning.
    ///
    /// # Panics
    ///
    /// If it has no body. A fiber that has not finished stays as it is.
    pub fn rewind(&mut self) {
        let inner = self.inner;
        // SAFETY: `self` owns what it points to.
        let top = unsafe { Inner::stack_range(inner.as_ptr()) }.end;
        // SAFETY: as in `clear`.
        let fiber = unsafe { self.inner.as_mut() };
        if fiber.left != Left::Finished {
            return;
        }
        assert!(fiber.body.is_some(), "a fiber calls a body");
        fiber.left = Left::Suspended;
        fiber.word = ptr::null_mut();
        fiber.stack_pointer = top - size_of::<FirstFrame>();
        let frame = FirstFrame {
            r15_r14: [0; 2],
            r13: fiber_main as *const () as usize,
            r12: inner.as_ptr() as usize,
            rbx_rbp: [0; 2],
            return_address: first_entry as *const () as usize,
            above: [0; 2],
        };
        // SAFETY: the frame lies in the stack's first page, which is mapped, below its 16-byte
        // aligned top.
        unsafe { ptr::write(fiber.stack_pointer as *mut FirstFrame, frame) };
    }

    /// Runs the fiber on this CPU until it leaves its stack: for `slice` at most and, if nothing
    /// interrupts, a quarter of it at least. Interrupts must be on, or nothing ends the slice.
    /// Takes over this CPU's timer and leaves it armed: a tick that finds no fiber is forgotten,
    /// and who halts arms it anew.
    ///
    /// # Panics
    ///
    /// If it has finished, or if the caller runs on a fiber itself.
    pub fn resume(&mut self, slice: Duration) -> Left {
        let cpu = cpu();
        assert!(cpu.fiber().is_null(), "a fiber cannot resume a fiber");
        let inner = self.inner.as_ptr();
        // SAFETY: `self` owns `inner`, which is not running: nobody else touches this field now.
        let left = unsafe { (*inner).left };
        // SAFETY: as above.
        let stack_pointer = unsafe { (*inner).stack_pointer };
        // SAFETY: as above.
        let word = unsafe { (*inner).word };
        assert!(left != Left::Finished, "a finished fiber cannot run");
        // SAFETY: as above; nobody changes the field while the fiber lives, but for its atomics.
        let stack = unsafe { &(*inner).stack };
        if !demand::suffices(stack) {
            return Left::Starved;
        }
        cpu.set_stack(ptr::from_ref(stack) as u64);
        let outer_word = cpu.replace_word(word);
        cpu.set_held(false);
        cpu.enter(inner);
        // Not before: a tick that finds no fiber is forgotten, one that finds this fiber not yet on
        // its stack comes again.
        timer::arm_about(slice);
        let activity = &current().activity;
        if activity.begin_run() {
            timer::arm(slice.min(WOKEN_SLICE));
        }
        match left {
            Left::Preempted | Left::Starved => {
                // SAFETY: `self` owns `inner`; no reference is made.
                let context = unsafe { &raw const (*inner).context };
                // SAFETY: the context was saved whole by the interrupt or fault that stopped the
                // fiber, and its stack is as it was.
                unsafe { switch_to_context(cpu.scheduler_stack_pointer(), context) }
            }
            // SAFETY: the stack pointer was saved by `switch` in `suspend`, or made by `new`.
            _ => unsafe { switch(cpu.scheduler_stack_pointer(), stack_pointer) },
        }
        cpu.set_stack(0);
        demand::prepare();
        activity.end_run();
        cpu.cancel_return_points();
        let word = cpu.replace_word(outer_word);
        // SAFETY: the fiber left its stack: `self` alone has it again, all but what its body, which
        // may be suspended, has borrowed.
        unsafe { (*inner).word = word };
        // SAFETY: as above.
        unsafe { (*inner).left }
    }
}

// SAFETY: a fiber is moved between CPUs only while it does not run; what its body captured is for
// the caller of `new` to answer for, who promises that it runs on one CPU at a time.
unsafe impl Send for Fiber {}

impl Drop for Fiber {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and `self` alone has it; a running fiber is borrowed by
        // `resume`, so this one does not run.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

impl Inner {
    /// Addresses of the stack.
    ///
    /// # Safety
    /// `fiber` is alive, and its stack is not being changed; its other fields may be in use.
    pub(crate) unsafe fn stack_range(fiber: *const Inner) -> core::ops::Range<usize> {
        // SAFETY: the caller's promise, of the one field that is borrowed.
        let stack = unsafe { &(*fiber).stack };
        stack.range()
    }
}

/// Gives the CPU back to whoever resumed the running fiber; returns when it is resumed again.
///
/// # Panics
///
/// If the caller does not run on a fiber.
pub fn suspend() {
    let cpu = cpu();
    let inner = cpu.fiber();
    assert!(!inner.is_null(), "only a fiber can suspend");
    leave(cpu, inner, Left::Suspended);
}

/// One word that belongs to the running fiber, or to the scheduler where no fiber runs: what a
/// library with a thread-local variable needs.
pub fn local_word() -> *mut u8 {
    cpu().word()
}

/// Sets the word that [`local_word`] reads.
pub fn set_local_word(word: *mut u8) {
    cpu().replace_word(word);
}

/// Keeps the CPU for the running fiber, whatever interrupts come, until [`allow_preemption`] or
/// until it leaves its stack by itself. For the moments in which its frames own something in module
/// text.
pub fn hold_preemption() {
    cpu().set_held(true);
}

/// Ends [`hold_preemption`].
pub fn allow_preemption() {
    cpu().set_held(false);
}

fn leave(cpu: CpuLocal, inner: *mut Inner, left: Left) {
    let scheduler = cpu.leave();
    // SAFETY: the running fiber's record is touched by this CPU alone, and interrupts no longer see
    // it since `cpu.leave()`. Its body has its own field borrowed, and no other.
    unsafe { (*inner).left = left };
    // SAFETY: as above; no reference is made.
    let save = unsafe { &raw mut (*inner).stack_pointer };
    // SAFETY: the scheduler's stack pointer was saved by `resume` on this CPU, which waits there.
    unsafe { switch(save, scheduler) };
}

/// The first function on a fiber's stack.
extern "C" fn fiber_main(inner: *mut Inner) -> ! {
    // SAFETY: `resume` keeps the record alive; the body is called nowhere else.
    let body = unsafe { &mut (*inner).body };
    body.as_mut().expect("`resume` refuses a fiber without a body")();
    leave(cpu(), inner, Left::Finished);
    unreachable!("`resume` refuses a finished fiber")
}

/// What [`switch`] pops when a fiber runs for the first time. 72 bytes, so that the stack is
/// 16-byte aligned at the call in [`first_entry`].
#[repr(C)]
struct FirstFrame {
    r15_r14: [usize; 2],
    r13: usize,
    r12: usize,
    rbx_rbp: [usize; 2],
    return_address: usize,
    above: [usize; 2],
}

/// Calls the function in r13 with the argument in r12. Reached by the `ret` of [`switch`] only.
///
/// # Safety
/// Never called: [`Fiber::new`] lays its address under the registers that [`switch`] pops.
#[unsafe(naked)]
unsafe extern "C" fn first_entry() -> ! {
    naked_asm!("mov rdi, r12", "call r13", "ud2")
}

/// Saves what the ABI lets a callee keep, and the stack pointer in `save`; goes on at `to`.
///
/// # Safety
/// `save` may be written. `to` is what an earlier switch saved, or a stack that [`Fiber::new`] laid
/// out, and nothing has gone on from it since.
#[unsafe(naked)]
unsafe extern "C" fn switch(save: *mut usize, to: usize) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// As [`switch`], to a context that an interrupt saved. The interrupt flag comes with its flags.
///
/// # Safety
/// As [`switch`], where `to` is a context that an interrupt saved on the fiber to go on.
#[unsafe(naked)]
unsafe extern "C" fn switch_to_context(save: *mut usize, to: *const Context) {
    naked_asm!(
        "push rbp", "push rbx", "push r12", "push r13", "push r14", "push r15",
        "mov [rdi], rsp",
        "cli",
        "mov rsp, rsi",
        "jmp {restore}",
        restore = sym crate::interrupt::restore,
    )
}
