//! A virtio device whose registers lie plainly in memory (VIRTIO 1.2, section 4.2), version 2.
//!
//! Owns [`MmioFace`], and [`Line`], its one interrupt: an edge through an I/O APIC, which the
//! device repeats only after it was told that the last one was seen.

use super::{Bell, Face, OpenError};
use crate::pci::take_pending;
use crate::registers::Registers;
use crate::virtio::spec::mmio;

/// One device's registers.
#[derive(Debug)]
pub(crate) struct MmioFace {
    registers: Registers,
    configuration: Registers,
    line: Option<Line>,
}

impl MmioFace {
    /// Takes a device's registers. `device_bytes` of its own configuration are used.
    ///
    /// # Errors
    ///
    /// If it is none of the version that we speak, or has fewer registers.
    pub(crate) fn open(registers: &Registers, device_bytes: usize) -> Result<Self, OpenError> {
        let own = registers.part(0, mmio::CONFIG).ok_or(OpenError::Malformed)?;
        let configuration = registers.part(mmio::CONFIG, device_bytes);
        let configuration = configuration.ok_or(OpenError::Malformed)?;
        if own.read_u32(mmio::MAGIC) != mmio::MAGIC_VALUE {
            return Err(OpenError::Malformed);
        }
        match own.read_u32(mmio::VERSION) {
            mmio::VERSION_MODERN => {}
            mmio::VERSION_LEGACY => return Err(OpenError::Legacy),
            _ => return Err(OpenError::Malformed),
        }
        let line = own.part(mmio::INTERRUPT_STATUS, mmio::INTERRUPT_BYTES).map(Line::new);
        Ok(MmioFace { registers: own, configuration, line })
    }

    fn write_u64(&mut self, offset: usize, value: u64) {
        self.registers.write_u32(offset, value as u32);
        self.registers.write_u32(offset + 4, (value >> 32) as u32);
    }
}

impl Face for MmioFace {
    fn status(&self) -> u8 {
        // Bits above are reserved.
        self.registers.read_u32(mmio::STATUS) as u8
    }

    fn set_status(&mut self, status: u8) {
        self.registers.write_u32(mmio::STATUS, u32::from(status));
    }

    fn offered(&mut self, half: u32) -> u32 {
        self.registers.write_u32(mmio::DEVICE_FEATURES_SELECT, half);
        self.registers.read_u32(mmio::DEVICE_FEATURES)
    }

    fn choose(&mut self, half: u32, features: u32) {
        self.registers.write_u32(mmio::DRIVER_FEATURES_SELECT, half);
        self.registers.write_u32(mmio::DRIVER_FEATURES, features);
    }

    fn select_queue(&mut self, number: u16) -> u32 {
        self.registers.write_u32(mmio::QUEUE_SELECT, u32::from(number));
        self.registers.read_u32(mmio::QUEUE_SIZE_MAX)
    }

    fn start_queue(&mut self, size: u16, [descriptors, driver, device]: [u64; 3]) {
        self.registers.write_u32(mmio::QUEUE_SIZE, u32::from(size));
        self.write_u64(mmio::QUEUE_DESC, descriptors);
        self.write_u64(mmio::QUEUE_DRIVER, driver);
        self.write_u64(mmio::QUEUE_DEVICE, device);
        self.registers.write_u32(mmio::QUEUE_READY, 1);
    }

    /// All queues share the line, and each says in its ring when it wants to use it.
    fn set_queue_interrupt(&mut self, _entry: Option<u16>) -> Result<(), OpenError> {
        Ok(())
    }

    fn bell(&mut self, number: u16) -> Result<Bell, OpenError> {
        let registers = self.registers.part(mmio::QUEUE_NOTIFY, 4).ok_or(OpenError::Malformed)?;
        Ok(Bell::new(registers, number, true))
    }

    fn generation(&self) -> u32 {
        self.registers.read_u32(mmio::CONFIG_GENERATION)
    }

    fn configuration(&self) -> &Registers {
        &self.configuration
    }

    fn take_line(&mut self) -> Option<Line> {
        self.line.take()
    }
}

/// The interrupt line of a device.
///
/// ```text
///          device is done             interrupt               acknowledge
///   low ───────────────────▶ high ─────────────────▶ noted ─────────────────▶ low
/// ```
///
/// The line stays high until it is acknowledged, so that only then another edge can come. An
/// interrupt that is under way and not noted yet needs no acknowledgement: it will be noted, and
/// whoever sleeps wakes by it.
#[derive(Debug)]
pub(crate) struct Line {
    registers: Registers,
}

impl Line {
    fn new(registers: Registers) -> Self {
        Line { registers }
    }

    /// Before the device is asked for another interrupt: tells it that the last one was seen, if
    /// there was one. Two exits to the host for each interrupt, none without.
    pub(crate) fn acknowledge(&mut self, vector: u8) {
        if take_pending(vector) {
            let status = self.registers.read_u32(0);
            let known = status & mmio::INTERRUPT_REASONS;
            self.registers.write_u32(mmio::INTERRUPT_ACK - mmio::INTERRUPT_STATUS, known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{DEVICE_VECTOR_LAST, note_interrupt};
    use crate::virtio::queue::QUEUE_BYTES;
    use crate::virtio::queue::tests::Leaked;
    use crate::virtio::transport::Transport;
    use alloc::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    const BYTES: usize = 0x200;
    /// No other test uses it.
    const VECTOR: u8 = DEVICE_VECTOR_LAST;

    /// Registers that hold what is written to them, and begin as these words say.
    fn registers(words: &[(usize, u32)]) -> Registers {
        let memory: &'static mut [u64] = Vec::leak(vec![0; BYTES / 8]);
        let mut registers = Registers::over(memory);
        for (offset, value) in words {
            registers.write_u32(*offset, *value);
        }
        registers
    }

    fn good() -> Registers {
        registers(&[
            (mmio::MAGIC, mmio::MAGIC_VALUE),
            (mmio::VERSION, mmio::VERSION_MODERN),
            // The same word is both halves here: version 1 is bit 32, and bit 0 beside it.
            (mmio::DEVICE_FEATURES, 1),
            (mmio::QUEUE_SIZE_MAX, 1024),
        ])
    }

    #[test]
    fn a_device_is_brought_up_in_its_registers() {
        let registers = good();
        let face = MmioFace::open(&registers, 12).expect("it is one");
        let mut transport = Transport::new(Box::new(face));
        assert_eq!(transport.negotiate(1, 0), Ok(1 << 32 | 1));
        let memory = Leaked::new(QUEUE_BYTES);
        let (queue, mut bell) = transport.queue(3, memory, true, Some(0)).expect("it has a queue");
        transport.start();
        assert_eq!(registers.read_u32(mmio::STATUS), 15, "acknowledged, driven, agreed, started");
        assert_eq!(registers.read_u32(mmio::QUEUE_SELECT), 3);
        assert_eq!(registers.read_u32(mmio::QUEUE_SIZE), 256, "no more than we have room for");
        assert_eq!(registers.read_u32(mmio::QUEUE_READY), 1);
        let address = |low: usize| {
            u64::from(registers.read_u32(low + 4)) << 32 | u64::from(registers.read_u32(low))
        };
        let places = [mmio::QUEUE_DESC, mmio::QUEUE_DRIVER, mmio::QUEUE_DEVICE];
        assert_eq!(places.map(address), queue.addresses());
        bell.ring();
        assert_eq!(registers.read_u32(mmio::QUEUE_NOTIFY), 3);
        transport.reset().expect("it answers");
        assert_eq!(registers.read_u32(mmio::STATUS), 0);
    }

    #[test]
    fn what_is_no_device_of_ours_is_refused() {
        let open = |words: &[(usize, u32)]| MmioFace::open(&registers(words), 0).map(|_| ());
        assert_eq!(open(&[]), Err(OpenError::Malformed));
        let magic = (mmio::MAGIC, mmio::MAGIC_VALUE);
        assert_eq!(open(&[magic]), Err(OpenError::Malformed));
        assert_eq!(open(&[magic, (mmio::VERSION, 1)]), Err(OpenError::Legacy));
        assert_eq!(open(&[magic, (mmio::VERSION, 3)]), Err(OpenError::Malformed));
        let short = good().part(0, 0x104).expect("it is longer");
        assert_eq!(MmioFace::open(&short, 12).map(|_| ()), Err(OpenError::Malformed));
    }

    #[test]
    fn registers_of_anything_at_all_give_a_queue_or_an_error() {
        let mut state = 11_u64;
        for _ in 0..10_000 {
            let mut registers = good();
            for offset in (mmio::DEVICE_FEATURES..BYTES).step_by(4) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if state >> 60 < 4 {
                    registers.write_u32(offset, (state >> 20) as u32);
                }
            }
            let face = MmioFace::open(&registers, 12).expect("its head is whole");
            let mut transport = Transport::new(Box::new(face));
            if transport.negotiate(u64::MAX, 0).is_ok() {
                let most = registers.read_u32(mmio::QUEUE_SIZE_MAX);
                let queue = transport.queue(0, Leaked::new(QUEUE_BYTES), true, None);
                let possible = most.is_power_of_two() && most <= 1 << 15;
                assert_eq!(queue.is_ok(), possible, "{most} descriptors");
            }
        }
    }

    #[test]
    fn an_interrupt_is_acknowledged_once_and_only_if_it_came() {
        let registers = registers(&[(mmio::INTERRUPT_STATUS, 0xffff_fff3)]);
        let part = registers.part(mmio::INTERRUPT_STATUS, mmio::INTERRUPT_BYTES);
        let mut line = Line::new(part.expect("it lies within"));
        line.acknowledge(VECTOR);
        assert_eq!(registers.read_u32(mmio::INTERRUPT_ACK), 0);
        note_interrupt(VECTOR);
        line.acknowledge(VECTOR);
        assert_eq!(registers.read_u32(mmio::INTERRUPT_ACK), 3, "the reasons that there are");
        assert!(!take_pending(VECTOR));
    }
}
