//! Code in the first MiB, for CPUs that begin in real mode.
//!
//! Owns [`LowText`]: the one page that is ever mapped where it lies. It is filled while it is
//! writable, and from then on executable and nowhere writable, as all text is.

use super::layout::PAGE_BYTES;
use super::paging::{Cache, Protection};
use super::physical;
use super::vm::{alias_of, protect_for_all, with_space};
use core::ptr;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

/// A page of code in the first MiB, mapped where it lies, for CPUs that begin in real mode.
#[derive(Debug)]
pub(crate) struct LowText {
    frame: u64,
}

impl LowText {
    /// Has the page filled, told its address, and makes it executable. `None` if there is no frame.
    pub(crate) fn new(fill: impl FnOnce(&mut [u8], u32)) -> Option<Self> {
        let frame = physical::take_low()?;
        let bytes =
            ptr::slice_from_raw_parts_mut(physical::pointer(frame).as_ptr(), PAGE_BYTES as usize);
        // SAFETY: The frame was taken just now; the physical map shows it, writable.
        fill(unsafe { &mut *bytes }, u32::try_from(frame).ok()?);
        with_space(|space| {
            let alias = alias_of(frame);
            space.mapper.protect(alias, Protection::ReadOnly).ok()?;
            tlb::flush(VirtAddr::new_truncate(alias));
            space.mapper.map(frame, frame, Protection::ReadExecute, Cache::WriteBack).ok()
        })??;
        Some(LowText { frame })
    }

    /// Where it lies: the same address, physical and virtual.
    pub(crate) fn address(&self) -> u64 {
        self.frame
    }

    /// Takes the page away again. Nobody executes there any more.
    pub(crate) fn end(self) {
        let page = self.frame..self.frame + PAGE_BYTES;
        protect_for_all(page, Protection::ReadWrite).expect("the tables are there");
        with_space(|space| space.unmap_all(self.frame, 1));
    }
}
