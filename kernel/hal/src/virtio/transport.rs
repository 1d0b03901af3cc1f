//! How a device is brought up (VIRTIO 1.2, section 3.1.1), whatever bus it is on.
//!
//! Owns [`Transport`], the steps, and the trait [`Face`], the registers in which they are taken:
//! `transport/pci.rs` behind PCI, `transport/mmio.rs` plainly in memory. What the registers say is
//! checked here, for both.

pub(super) mod mmio;
pub(super) mod pci;

use super::Shared;
use super::queue::{QUEUE_SIZE_MAX, Queue};
use super::spec::{feature, status};
use crate::ioapic::RouteError;
use crate::pci::MsixError;
use crate::registers::Registers;
use alloc::boxed::Box;
use core::fmt;
use mmio::Line;

/// How often a status or a configuration is read again before the device is given up.
const RETRIES_MAX: usize = 100_000;

/// Why a device cannot be used.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// A structure that every modern device has is missing or lies outside the device's memory.
    Malformed,
    /// It speaks only the protocol from before version 1 (QEMU: `virtio-mmio.force-legacy=off`).
    Legacy,
    /// It lacks a feature that we cannot do without, or refused those that we chose.
    Features,
    /// It does not answer to a reset.
    NoReset,
    /// A queue is missing or has an impossible size.
    NoQueue,
    /// It accepted no interrupt for a queue.
    NoVector,
    /// It cannot send interrupts as messages.
    NoMessages(MsixError),
    /// Its interrupt line leads nowhere.
    NoLine(RouteError),
    /// No memory for its rings and buffers.
    NoMemory,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::Malformed => "its registers are not those of a virtio device",
            OpenError::Legacy => {
                "it speaks only the protocol from before version 1 \
                 (QEMU: -global virtio-mmio.force-legacy=off)"
            }
            OpenError::Features => "it lacks a feature that is needed, or refused ours",
            OpenError::NoReset => "it does not answer to a reset",
            OpenError::NoQueue => "a queue is missing or has an impossible size",
            OpenError::NoVector => "it accepted no interrupt for a queue",
            OpenError::NoMessages(error) => return write!(f, "it cannot interrupt: {error:?}"),
            OpenError::NoLine(error) => return write!(f, "its line leads nowhere: {error:?}"),
            OpenError::NoMemory => "no memory for its rings and buffers",
        })
    }
}

/// The registers of a device, on one kind of bus. What they read is the device's claim.
pub(super) trait Face: Send {
    /// The device status (2.1).
    fn status(&self) -> u8;
    /// Writes it; 0 resets the device.
    fn set_status(&mut self, status: u8);
    /// Features that it offers, the lower or the upper 32 of them.
    fn offered(&mut self, half: u32) -> u32;
    /// Chooses features, likewise.
    fn choose(&mut self, half: u32, features: u32);
    /// The queue that the following are about; the most descriptors that it can have.
    fn select_queue(&mut self, number: u16) -> u32;
    /// Gives the selected queue its size and the addresses of its three parts, and starts it.
    fn start_queue(&mut self, size: u16, addresses: [u64; 3]);
    /// Lets the selected queue interrupt by this entry of the device's table, or never.
    ///
    /// # Errors
    ///
    /// If the device does not accept that.
    fn set_queue_interrupt(&mut self, entry: Option<u16>) -> Result<(), OpenError>;
    /// Where the device is told of new buffers in the selected queue, which is this one.
    ///
    /// # Errors
    ///
    /// If that lies outside of its registers.
    fn bell(&mut self, number: u16) -> Result<Bell, OpenError>;
    /// A number that changes with the configuration.
    fn generation(&self) -> u32;
    /// The device's own configuration.
    fn configuration(&self) -> &Registers;
    /// Its interrupt line, if it has one in place of messages; once.
    fn take_line(&mut self) -> Option<Line>;
}

/// A device that is being brought up, and later stopped.
pub(super) struct Transport {
    face: Box<dyn Face>,
}

impl Transport {
    pub(super) fn new(face: Box<dyn Face>) -> Self {
        Transport { face }
    }

    /// Resets the device and agrees with it on features: of `wanted` those that it has. All of
    /// `needed` must be among them.
    ///
    /// # Errors
    ///
    /// If it does not answer, lacks a needed feature or refuses the choice.
    pub(super) fn negotiate(&mut self, wanted: u64, needed: u64) -> Result<u64, OpenError> {
        self.negotiate_by(needed, |offered| offered & wanted)
    }

    /// As [`Transport::negotiate`], for features that depend on each other: `wanted` chooses among
    /// those that are offered.
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn negotiate_by(
        &mut self,
        needed: u64,
        wanted: impl FnOnce(u64) -> u64,
    ) -> Result<u64, OpenError> {
        self.reset()?;
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let needed = needed | feature::VERSION_1;
        let offered = u64::from(self.face.offered(1)) << 32 | u64::from(self.face.offered(0));
        let chosen = offered & (wanted(offered) | needed);
        if chosen & needed != needed {
            self.add_status(status::FAILED);
            return Err(OpenError::Features);
        }
        self.face.choose(0, chosen as u32);
        self.face.choose(1, (chosen >> 32) as u32);
        self.add_status(status::FEATURES_OK);
        if self.face.status() & status::FEATURES_OK == 0 {
            self.add_status(status::FAILED);
            return Err(OpenError::Features);
        }
        Ok(chosen)
    }

    /// Sets a queue up in `memory`; it interrupts by entry `entry` of the device's table, or never.
    /// On a bus without a table all queues share one line.
    ///
    /// # Errors
    ///
    /// If there is no such queue or it does not accept that.
    pub(super) fn queue<M: Shared>(
        &mut self,
        number: u16,
        memory: M,
        event_index: bool,
        entry: Option<u16>,
    ) -> Result<(Queue<M>, Bell), OpenError> {
        let most = self.face.select_queue(number);
        let most = u16::try_from(most).ok().filter(|most| most.is_power_of_two());
        let size = most.ok_or(OpenError::NoQueue)?.min(QUEUE_SIZE_MAX);
        self.face.set_queue_interrupt(entry)?;
        let bell = self.face.bell(number)?;
        let queue = Queue::new(memory, size, event_index);
        self.face.start_queue(size, queue.addresses());
        Ok((queue, bell))
    }

    /// Everything is set up: the device may begin.
    pub(super) fn start(&mut self) {
        self.add_status(status::DRIVER_OK);
    }

    /// Stops the device: afterwards it touches no memory of ours.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub(super) fn reset(&mut self) -> Result<(), OpenError> {
        self.face.set_status(0);
        for _ in 0..RETRIES_MAX {
            if self.face.status() == 0 {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(OpenError::NoReset)
    }

    /// Reads the device's own configuration by `read`, again if the device changed it meanwhile.
    pub(super) fn configuration<T>(&mut self, read: impl Fn(&Registers) -> T) -> T {
        let mut before = self.face.generation();
        let mut value = read(self.face.configuration());
        for _ in 0..RETRIES_MAX {
            let after = self.face.generation();
            if after == before {
                break;
            }
            before = after;
            value = read(self.face.configuration());
        }
        value
    }

    /// The device's interrupt line, if it has one in place of messages; once.
    pub(super) fn take_line(&mut self) -> Option<Line> {
        self.face.take_line()
    }

    fn add_status(&mut self, bit: u8) {
        let status = self.face.status();
        self.face.set_status(status | bit);
    }
}

/// Where the device is told of new buffers in one queue.
#[derive(Debug)]
pub(crate) struct Bell {
    registers: Registers,
    number: u16,
    /// The register has 32 bits, not 16.
    wide: bool,
}

impl Bell {
    /// A bell at the first of these registers.
    pub(super) fn new(registers: Registers, number: u16, wide: bool) -> Self {
        Bell { registers, number, wide }
    }

    /// Tells the device. Under emulation this is the dearest thing that a driver does.
    pub(crate) fn ring(&mut self) {
        if self.wide {
            self.registers.write_u32(0, u32::from(self.number));
        } else {
            self.registers.write_u16(0, self.number);
        }
    }
}
