//! Size classes: four to each doubling, so that rounding up wastes a fifth at most.
//!
//! Owns the arithmetic alone: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, … units. The heap
//! counts in units of 16 bytes, the allocator of virtual addresses in pages.

/// The class of the smallest size that holds `units`, which is not 0.
pub(crate) const fn class_of(units: usize) -> usize {
    if units <= 4 {
        return units.saturating_sub(1);
    }
    let last = units - 1;
    let exponent = last.ilog2() as usize - 2;
    let steps = last >> exponent; // 4 to 7
    4 + 4 * exponent + (steps - 4)
}

/// The units that a class holds.
pub(crate) const fn units_of(class: usize) -> usize {
    if class < 4 {
        return class + 1;
    }
    let (exponent, step) = ((class - 4) / 4, (class - 4) % 4);
    (step + 5) << exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_smallest_that_fits() {
        for units in 1..100_000 {
            let class = class_of(units);
            assert!(units_of(class) >= units, "{units}");
            assert!(class == 0 || units_of(class - 1) < units, "{units}");
        }
    }

    #[test]
    fn classes_rise_and_waste_little() {
        for class in 4..100 {
            let (this, next) = (units_of(class), units_of(class + 1));
            assert!(this < next && next * 4 <= this * 5, "class {class}");
        }
    }
}
