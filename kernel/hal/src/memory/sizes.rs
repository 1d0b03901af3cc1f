//! The size classes of the heap: which class a layout gets, and how many of it move at once.
//!
//! Owns the arithmetic alone, on top of [`super::classes`]. A *piece* is neighbouring granules of a
//! chunk that [`super::slabs`] cuts into objects of one class; a *batch* is what moves at once
//! between a CPU's own objects ([`super::magazines`]) and the pieces.

use super::classes::{class_of, units_of};
use core::alloc::Layout;

/// The unit of the size classes, and the least alignment of an object.
const UNIT_BYTES: usize = 16;
/// Objects above this size are whole pages.
pub const SMALL_BYTES_MAX: usize = 4096;
/// How many classes there are.
pub(super) const CLASSES: usize = class_of(SMALL_BYTES_MAX / UNIT_BYTES) + 1;
/// Pieces are multiples of this, and aligned to it.
pub(super) const GRANULE_BYTES: usize = 2048;
/// A batch is about so many bytes.
const BATCH_BYTES: usize = 8192;
/// A batch has at most so many objects.
const BATCH_MAX: usize = 64;
/// A piece has at least so many objects.
const PIECE_OBJECTS_MIN: usize = 4;

const _: () = assert!(object_bytes(CLASSES - 1) == SMALL_BYTES_MAX, "the last class fits");
const _: () = assert!(SMALL_BYTES_MAX.is_multiple_of(UNIT_BYTES), "classes count in units");

/// Bytes of each object of a class.
pub(super) const fn object_bytes(class: usize) -> usize {
    units_of(class) * UNIT_BYTES
}

/// Objects of a class lie one behind the other from a granule's start: all are aligned to the
/// largest power of two that divides their size, up to a granule.
const fn class_align(class: usize) -> usize {
    let align = 1 << object_bytes(class).trailing_zeros();
    if align > GRANULE_BYTES { GRANULE_BYTES } else { align }
}

/// The class for a layout: large enough, and all of its objects aligned well enough. `None` if it
/// is for whole pages.
#[inline]
pub(super) fn class_for(layout: Layout) -> Option<usize> {
    let units = layout.size().div_ceil(UNIT_BYTES);
    if layout.align() <= UNIT_BYTES {
        // Every object is aligned to a unit.
        return CLASS_OF_UNITS.get(units).map(|&class| usize::from(class));
    }
    (class_of(units.max(1))..CLASSES).find(|&class| class_align(class) >= layout.align())
}

/// The class of so many units: looked up at every allocation.
static CLASS_OF_UNITS: [u8; SMALL_BYTES_MAX / UNIT_BYTES + 1] = {
    let mut classes = [0; SMALL_BYTES_MAX / UNIT_BYTES + 1];
    let mut units = 1;
    while units < classes.len() {
        classes[units] = class_of(units) as u8;
        units += 1;
    }
    classes
};

const _: () = assert!(CLASSES <= u8::MAX as usize, "a class fits a byte");

/// Objects that move at once.
pub(super) const fn batch(class: usize) -> usize {
    let fitting = BATCH_BYTES / object_bytes(class);
    if fitting > BATCH_MAX { BATCH_MAX } else { fitting }
}

/// Granules of a piece of the class: the fewest that hold [`PIECE_OBJECTS_MIN`] objects and leave
/// an eighth unused at most.
pub(super) const fn piece_granules(class: usize) -> usize {
    let mut granules = 1;
    loop {
        let bytes = granules * GRANULE_BYTES;
        let wasted = bytes % object_bytes(class);
        if bytes / object_bytes(class) >= PIECE_OBJECTS_MIN && wasted * 8 <= bytes {
            return granules;
        }
        granules += 1;
    }
}

/// Objects of a piece of the class.
pub(super) const fn piece_objects(class: usize) -> usize {
    piece_granules(class) * GRANULE_BYTES / object_bytes(class)
}

const _: () = {
    let mut class = 0;
    while class < CLASSES {
        assert!(piece_objects(class) <= u128::BITS as usize, "a bit for each object of a piece");
        assert!(batch(class) > 0, "a batch is something");
        class += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_layouts() {
        for size in 1..=SMALL_BYTES_MAX {
            for align in (0..12).map(|bit| 1 << bit) {
                let layout = Layout::from_size_align(size, align).expect("small");
                let class = class_for(layout).expect("small objects have classes");
                assert!(object_bytes(class) >= size, "{layout:?}");
                assert!(class_align(class) >= align, "{layout:?}");
                // Every object of a piece is aligned, not only the first.
                assert!(object_bytes(class).is_multiple_of(align), "{layout:?}");
            }
        }
    }

    #[test]
    fn large_and_strongly_aligned_layouts_have_none() {
        for (size, align) in [(SMALL_BYTES_MAX + 1, 1), (8, 4096), (1 << 20, 16)] {
            assert_eq!(class_for(Layout::from_size_align(size, align).expect("valid")), None);
        }
    }

    #[test]
    fn pieces_and_batches_are_small_and_waste_little() {
        for class in 0..CLASSES {
            let (granules, objects) = (piece_granules(class), piece_objects(class));
            assert!(granules <= 8 && objects >= PIECE_OBJECTS_MIN, "class {class}");
            assert!(objects * object_bytes(class) * 8 >= granules * GRANULE_BYTES * 7);
            assert!((2..=BATCH_MAX).contains(&batch(class)), "class {class}");
            assert!(batch(class) * object_bytes(class) <= BATCH_BYTES, "class {class}");
        }
    }
}
