//! A virtio device behind PCI (VIRTIO 1.2, section 4.1), modern interface only.
//!
//! Owns [`PciFace`]: the structures that the device's capabilities point at, found and mapped.

use super::mmio::Line;
use super::{Bell, Face, OpenError};
use crate::pci::{Bus, Capability, Config, Function};
use crate::registers::Registers;
use crate::virtio::spec::{capability, common};

/// The word of a capability after the part that all kinds have.
const NOTIFY_MULTIPLIER_WORD: u8 = 4;
/// Larger structures are mapped as far as this: doorbells of many queues, a page each.
const STRUCTURE_BYTES_MAX: u64 = 1 << 16;

/// One device's registers.
#[derive(Debug)]
pub(crate) struct PciFace {
    common: Registers,
    notify: Registers,
    notify_multiplier: usize,
    device: Registers,
}

impl PciFace {
    /// Finds and maps the structures of a device. `device_bytes` of its own configuration are used.
    ///
    /// # Errors
    ///
    /// If one is missing or lies outside the device's memory.
    pub(crate) fn open<C: Config>(
        bus: &mut Bus<C>,
        function: &Function,
        device_bytes: usize,
    ) -> Result<Self, OpenError> {
        bus.enable(function);
        let (common, _) = map(bus, function, capability::COMMON, common::BYTES)?;
        let device = match device_bytes {
            // A kind of device without a configuration need not have a structure for it.
            0 => common.part(0, 0).ok_or(OpenError::Malformed)?,
            bytes => map(bus, function, capability::DEVICE, bytes)?.0,
        };
        let (notify, found) = map(bus, function, capability::NOTIFY, 2)?;
        let multiplier = bus
            .capability_word(function, found, NOTIFY_MULTIPLIER_WORD)
            .ok_or(OpenError::Malformed)?;
        let notify_multiplier = usize::try_from(multiplier).map_err(|_| OpenError::Malformed)?;
        Ok(PciFace { common, notify, notify_multiplier, device })
    }

    /// 64-bit registers may be written as two halves (4.1.3.1).
    fn write_u64(&mut self, offset: usize, value: u64) {
        self.common.write_u32(offset, value as u32);
        self.common.write_u32(offset + 4, (value >> 32) as u32);
    }
}

impl Face for PciFace {
    fn status(&self) -> u8 {
        self.common.read_u8(common::DEVICE_STATUS)
    }

    fn set_status(&mut self, status: u8) {
        self.common.write_u8(common::DEVICE_STATUS, status);
    }

    fn offered(&mut self, half: u32) -> u32 {
        self.common.write_u32(common::DEVICE_FEATURE_SELECT, half);
        self.common.read_u32(common::DEVICE_FEATURE)
    }

    fn choose(&mut self, half: u32, features: u32) {
        self.common.write_u32(common::DRIVER_FEATURE_SELECT, half);
        self.common.write_u32(common::DRIVER_FEATURE, features);
    }

    fn select_queue(&mut self, number: u16) -> u32 {
        self.common.write_u16(common::QUEUE_SELECT, number);
        u32::from(self.common.read_u16(common::QUEUE_SIZE))
    }

    fn start_queue(&mut self, size: u16, [descriptors, driver, device]: [u64; 3]) {
        self.common.write_u16(common::QUEUE_SIZE, size);
        self.write_u64(common::QUEUE_DESC, descriptors);
        self.write_u64(common::QUEUE_DRIVER, driver);
        self.write_u64(common::QUEUE_DEVICE, device);
        self.common.write_u16(common::QUEUE_ENABLE, 1);
    }

    fn set_queue_interrupt(&mut self, entry: Option<u16>) -> Result<(), OpenError> {
        let entry = entry.unwrap_or(common::NO_VECTOR);
        // A change of the configuration interrupts nobody: it is read at the start.
        self.common.write_u16(common::CONFIG_MSIX_VECTOR, common::NO_VECTOR);
        self.common.write_u16(common::QUEUE_MSIX_VECTOR, entry);
        let accepted = self.common.read_u16(common::QUEUE_MSIX_VECTOR) == entry;
        accepted.then_some(()).ok_or(OpenError::NoVector)
    }

    fn bell(&mut self, number: u16) -> Result<Bell, OpenError> {
        let offset = usize::from(self.common.read_u16(common::QUEUE_NOTIFY_OFF));
        let offset = offset.checked_mul(self.notify_multiplier).ok_or(OpenError::Malformed)?;
        let registers = self.notify.part(offset, 2).filter(|_| offset.is_multiple_of(2));
        Ok(Bell::new(registers.ok_or(OpenError::Malformed)?, number, false))
    }

    fn generation(&self) -> u32 {
        u32::from(self.common.read_u8(common::CONFIG_GENERATION))
    }

    fn configuration(&self) -> &Registers {
        &self.device
    }

    fn take_line(&mut self) -> Option<Line> {
        None
    }
}

/// Maps the first structure of a kind that has at least `bytes` bytes; all of it, if it has more.
fn map<C: Config>(
    bus: &mut Bus<C>,
    function: &Function,
    kind: u8,
    bytes: usize,
) -> Result<(Registers, Capability), OpenError> {
    for found in bus.capabilities(function) {
        if found.id != capability::VENDOR {
            continue;
        }
        let Some(words) = words(bus, function, found) else { continue };
        let [header, bar, offset, length] = words;
        let length = u64::from(length).min(STRUCTURE_BYTES_MAX);
        // Registers are aligned if the structure is (4.1.4.3, 4.1.4.4).
        let aligned = offset.is_multiple_of(4);
        if (header >> 24) as u8 != kind || length < bytes as u64 || !aligned {
            continue;
        }
        let address = function.memory((bar & 0xff) as usize, u64::from(offset), length);
        let Some(address) = address.filter(|address| *address != 0) else { continue };
        let registers = Registers::map(address, length as usize).ok_or(OpenError::NoMemory)?;
        return Ok((registers, found));
    }
    Err(OpenError::Malformed)
}

/// Header, register of the address, offset and length of a structure (4.1.4).
fn words<C: Config>(bus: &mut Bus<C>, function: &Function, at: Capability) -> Option<[u32; 4]> {
    let mut words = [0; 4];
    for (index, word) in words.iter_mut().enumerate() {
        *word = bus.capability_word(function, at, index as u8)?;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{MsixTable, Place, Window};

    /// One function whose registers hold anything at all, and what is written to them.
    struct Nonsense([u32; 64]);

    impl Config for Nonsense {
        fn read(&mut self, place: Place, offset: u8) -> u32 {
            let first = place == Place { bus: 0, device: 0, function: 0 };
            if first { self.0[usize::from(offset / 4)] } else { u32::MAX }
        }

        fn write(&mut self, place: Place, offset: u8, value: u32) {
            if place != (Place { bus: 0, device: 0, function: 0 }) {
                return;
            }
            let index = usize::from(offset / 4);
            // The status is not for us to write; base addresses keep low bits, to have sizes.
            self.0[index] = match index {
                1 => self.0[1] & 0xffff_0000 | value & 0xffff,
                4..10 => value & 0xffff_c000,
                _ => value,
            };
        }
    }

    /// On the host nothing can be mapped, so the best end is that there is no memory for it: every
    /// number on the way there came from the device.
    #[test]
    fn capabilities_of_anything_at_all_are_survived() {
        let mut state = 3_u64;
        let mut found = 0;
        for _ in 0..20_000 {
            let mut registers = [0_u32; 64];
            for register in &mut registers {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *register = (state >> 32) as u32 >> (state >> 24 & 31);
            }
            registers[0] = 0x1041_1af4;
            registers[1] = 1 << 20;
            registers[3] = 0;
            registers[13] = 0x40;
            // Half of them begin as the common configuration does.
            if state >> 63 == 0 {
                registers[16..20].copy_from_slice(&[0x0110_5009, 4, 0, 0x38]);
            }
            let mut bus = Bus::scan(Nonsense(registers), Window::BELOW_4G);
            let function = bus.functions()[0].clone();
            let opened = PciFace::open(&mut bus, &function, 12).map(|_| ());
            assert!(matches!(opened, Err(OpenError::Malformed | OpenError::NoMemory)));
            found += u32::from(opened == Err(OpenError::NoMemory));
            assert!(MsixTable::open(&mut bus, &function).is_err());
        }
        assert!(found > 1000, "{found} had a structure in its memory");
    }
}
