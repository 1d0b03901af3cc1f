//! A virtio device behind PCI (VIRTIO 1.2, section 4.1), modern interface only.
//!
//! Owns [`Transport`]: the registers that all devices share, and the steps in which a device is
//! brought up (3.1.1).

use super::Shared;
use super::queue::{QUEUE_SIZE_MAX, Queue};
use super::spec::{capability, common, feature, status};
use crate::pci::{Bus, Capability, Config, Function};
use crate::registers::Registers;

/// How often a status or a configuration is read again before the device is given up.
const RETRIES_MAX: usize = 100_000;
/// Bytes of a capability before the part that depends on its kind, in words.
const NOTIFY_MULTIPLIER_WORD: u8 = 4;

/// Why a device cannot be used.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// A structure that every modern device has is missing or lies outside the device's memory.
    Malformed,
    /// It lacks a feature that we cannot do without, or refused those that we chose.
    Features,
    /// It does not answer to a reset.
    NoReset,
    /// A queue is missing or has an impossible size.
    NoQueue,
    /// It accepted no interrupt for a queue.
    NoVector,
    /// It cannot send interrupts as messages.
    NoMessages(crate::pci::MsixError),
    /// No memory for its rings and buffers.
    NoMemory,
}

/// Larger structures are mapped as far as this: doorbells of many queues, a page each.
const STRUCTURE_BYTES_MAX: u64 = 1 << 16;

/// One device's registers.
#[derive(Debug)]
pub struct Transport {
    common: Registers,
    notify: Registers,
    notify_multiplier: usize,
    device: Registers,
}

impl Transport {
    /// Finds and maps the structures of a device. `device_bytes` of its own configuration are used.
    ///
    /// # Errors
    ///
    /// If one is missing or lies outside the device's memory.
    pub fn open<C: Config>(
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
        Ok(Transport { common, notify, notify_multiplier, device })
    }

    /// Resets the device and agrees with it on features: of `wanted` those that it has. All of
    /// `needed` must be among them.
    ///
    /// # Errors
    ///
    /// If it does not answer, lacks a needed feature or refuses the choice.
    pub fn negotiate(&mut self, wanted: u64, needed: u64) -> Result<u64, OpenError> {
        self.reset()?;
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let needed = needed | feature::VERSION_1;
        let chosen = self.offered() & (wanted | needed);
        if chosen & needed != needed {
            self.fail();
            return Err(OpenError::Features);
        }
        for half in 0..2 {
            self.common.write_u32(common::DRIVER_FEATURE_SELECT, half);
            self.common.write_u32(common::DRIVER_FEATURE, (chosen >> (32 * half)) as u32);
        }
        self.add_status(status::FEATURES_OK);
        if self.common.read_u8(common::DEVICE_STATUS) & status::FEATURES_OK == 0 {
            self.fail();
            return Err(OpenError::Features);
        }
        self.common.write_u16(common::CONFIG_MSIX_VECTOR, common::NO_VECTOR);
        Ok(chosen)
    }

    /// Sets a queue up in `memory`; it interrupts by entry `msix_entry` of the table, or never.
    pub(crate) fn queue<M: Shared>(
        &mut self,
        number: u16,
        memory: M,
        event_index: bool,
        msix_entry: Option<u16>,
    ) -> Result<(Queue<M>, Bell), OpenError> {
        self.common.write_u16(common::QUEUE_SELECT, number);
        let most = self.common.read_u16(common::QUEUE_SIZE);
        if !most.is_power_of_two() {
            return Err(OpenError::NoQueue);
        }
        let size = most.min(QUEUE_SIZE_MAX);
        self.common.write_u16(common::QUEUE_SIZE, size);
        let entry = msix_entry.unwrap_or(common::NO_VECTOR);
        self.common.write_u16(common::QUEUE_MSIX_VECTOR, entry);
        if self.common.read_u16(common::QUEUE_MSIX_VECTOR) != entry {
            return Err(OpenError::NoVector);
        }
        let queue = Queue::new(memory, size, event_index);
        let [descriptors, driver, device] = queue.addresses();
        self.write_u64(common::QUEUE_DESC, descriptors);
        self.write_u64(common::QUEUE_DRIVER, driver);
        self.write_u64(common::QUEUE_DEVICE, device);
        let bell = self.bell(number)?;
        self.common.write_u16(common::QUEUE_ENABLE, 1);
        Ok((queue, bell))
    }

    /// Where the device is told of new buffers in the selected queue.
    fn bell(&mut self, number: u16) -> Result<Bell, OpenError> {
        let offset = usize::from(self.common.read_u16(common::QUEUE_NOTIFY_OFF));
        let offset = offset.checked_mul(self.notify_multiplier).ok_or(OpenError::Malformed)?;
        let registers = self.notify.part(offset, 2).filter(|_| offset.is_multiple_of(2));
        let registers = registers.ok_or(OpenError::Malformed)?;
        Ok(Bell { registers, number })
    }

    /// Everything is set up: the device may begin.
    pub fn start(&mut self) {
        self.add_status(status::DRIVER_OK);
    }

    /// Stops the device: afterwards it touches no memory of ours.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn reset(&mut self) -> Result<(), OpenError> {
        self.common.write_u8(common::DEVICE_STATUS, 0);
        for _ in 0..RETRIES_MAX {
            if self.common.read_u8(common::DEVICE_STATUS) == 0 {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(OpenError::NoReset)
    }

    /// Reads the device's own configuration by `read`, again if the device changed it meanwhile.
    pub fn configuration<T>(&mut self, read: impl Fn(&Registers) -> T) -> T {
        let mut before = self.common.read_u8(common::CONFIG_GENERATION);
        let mut value = read(&self.device);
        for _ in 0..RETRIES_MAX {
            let after = self.common.read_u8(common::CONFIG_GENERATION);
            if after == before {
                break;
            }
            before = after;
            value = read(&self.device);
        }
        value
    }

    fn offered(&mut self) -> u64 {
        let mut offered = 0;
        for half in 0..2 {
            self.common.write_u32(common::DEVICE_FEATURE_SELECT, half);
            offered |= u64::from(self.common.read_u32(common::DEVICE_FEATURE)) << (32 * half);
        }
        offered
    }

    fn add_status(&mut self, bit: u8) {
        let status = self.common.read_u8(common::DEVICE_STATUS);
        self.common.write_u8(common::DEVICE_STATUS, status | bit);
    }

    fn fail(&mut self) {
        self.add_status(status::FAILED);
    }

    /// 64-bit registers may be written as two halves (4.1.3.1).
    fn write_u64(&mut self, offset: usize, value: u64) {
        self.common.write_u32(offset, value as u32);
        self.common.write_u32(offset + 4, (value >> 32) as u32);
    }
}

/// Where the device is told of new buffers in one queue.
#[derive(Debug)]
pub(crate) struct Bell {
    registers: Registers,
    number: u16,
}

impl Bell {
    /// A bell that a test listens to.
    #[cfg(test)]
    pub(super) fn over(registers: Registers, number: u16) -> Self {
        Bell { registers, number }
    }

    /// Tells the device. Under emulation this is the dearest thing that a driver does.
    pub(crate) fn ring(&mut self) {
        self.registers.write_u16(0, self.number);
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
