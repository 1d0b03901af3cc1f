//! The interrupt descriptor table, and which stack each vector runs on.
//!
//! Owns the table shared by all CPUs, its encoding, and [`Ist`]. Prebuilt `core` uses the red zone
//! below the stack pointer, so *every* gate names an interrupt stack. [`crate::trap`] fills all 256
//! gates at start; [`crate::interrupt`] then takes over its vectors with [`set_gate`].

use core::cell::UnsafeCell;
use x86_64::VirtAddr;
use x86_64::structures::DescriptorTablePointer;

/// The kernel's code segment, the first entry of [`crate::cpu`]'s table after null.
const CODE_SELECTOR: u16 = 8;
/// Gates of the table.
pub const VECTORS: usize = 256;

/// The interrupt stacks of a CPU, numbered as a gate does, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ist {
    /// Exceptions without a stack of their own.
    Fault = 1,
    /// #DF: what led to it may have been a bad stack.
    DoubleFault = 2,
    /// NMI: arrives at any time, also inside of the others.
    Nmi = 3,
    /// #MC.
    MachineCheck = 4,
    /// Vectors 32 to 255; interrupts stay off while one is served, so they share it.
    Interrupt = 5,
    /// #DB, apart from the others because it preempts processes (see [`crate::interrupt`]).
    Debug = 6,
}

impl Ist {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// The stack for the gate of a vector.
    pub const fn of(vector: u8) -> Ist {
        match vector {
            1 => Ist::Debug,
            2 => Ist::Nmi,
            8 => Ist::DoubleFault,
            18 => Ist::MachineCheck,
            32.. => Ist::Interrupt,
            _ => Ist::Fault,
        }
    }
}

/// A 64-bit interrupt gate (Intel SDM vol. 3, 6.14.1): present, ring 0, interrupts off on entry.
const fn gate(handler: u64, ist: Ist) -> u128 {
    const TYPE_INTERRUPT_GATE: u128 = 0xe;
    const PRESENT: u128 = 1 << 7;
    let handler = handler as u128;
    (handler & 0xffff)
        | (CODE_SELECTOR as u128) << 16
        | (ist as u128) << 32
        | (TYPE_INTERRUPT_GATE | PRESENT) << 40
        | (handler >> 16 & 0xffff) << 48
        | (handler >> 32) << 64
}

#[repr(C, align(16))]
struct Table(UnsafeCell<[u128; VECTORS]>);

// SAFETY: Gates are replaced whole, with interrupts off, before what they serve is switched on.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; VECTORS]));

fn write_gate(vector: u8, gate: u128) {
    x86_64::instructions::interrupts::without_interrupts(|| {
        let first: *mut u128 = TABLE.0.get().cast();
        // SAFETY: A vector is below the length of the table.
        let place = unsafe { first.add(usize::from(vector)) };
        // SAFETY: In bounds and aligned; the CPU reads gates only when it takes an interrupt.
        unsafe { place.write_volatile(gate) };
    });
}

/// Lets `handler` serve `vector` on the stack that [`Ist::of`] names.
///
/// # Safety
/// `handler` is the address of code that saves every register it touches (the vector registers
/// included), leaves the direction flag clear before it runs Rust, keeps the stack 16-aligned at
/// calls into Rust, and ends with `iretq` or by leaving the interrupt stack for good.
pub unsafe fn set_gate(vector: u8, handler: u64) {
    write_gate(vector, gate(handler, Ist::of(vector)));
}

/// Takes the handler of a vector away, so that the CPU raises #NP in its place: for tests that need
/// a double fault.
pub fn clear_gate(vector: u8) {
    write_gate(vector, 0);
}

/// Makes this CPU use the table.
pub(crate) fn load() {
    let pointer = DescriptorTablePointer {
        limit: (VECTORS * size_of::<u128>() - 1) as u16,
        base: VirtAddr::from_ptr(TABLE.0.get()),
    };
    // SAFETY: The table lives for ever and holds gates with valid handlers or none.
    unsafe { x86_64::instructions::tables::lidt(&pointer) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_encoded_as_the_manual_says() {
        let gate = gate(0xfedc_ba98_7654_3210, Ist::Interrupt);
        let (low, high) = (gate as u64, (gate >> 64) as u64);
        assert_eq!(low & 0xffff, 0x3210, "offset 15:0");
        assert_eq!(low >> 16 & 0xffff, 8, "code segment");
        assert_eq!(low >> 32 & 7, 5, "IST");
        assert_eq!(low >> 35 & 0x1f, 0, "reserved");
        assert_eq!(low >> 40 & 0xff, 0x8e, "present, ring 0, interrupt gate");
        assert_eq!(low >> 48, 0x7654, "offset 31:16");
        assert_eq!(high, 0xfedc_ba98, "offset 63:32, the rest reserved");
    }

    #[test]
    fn every_vector_has_a_stack_and_the_dangerous_ones_their_own() {
        for vector in 0..=255 {
            let ist = Ist::of(vector);
            assert!((1..=Ist::COUNT).contains(&(ist as usize)));
            let alone = [1, 2, 8, 18].contains(&vector);
            let sharers = (0..=255).filter(|&other| Ist::of(other) == ist).count();
            assert_eq!(sharers == 1, alone, "vector {vector}");
        }
    }
}
