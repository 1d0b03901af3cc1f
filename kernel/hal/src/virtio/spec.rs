//! Registers, bits and layouts: VIRTIO 1.2, by its sections.
//!
//! Owns every offset and bit that the driver uses, and no logic; `transport.rs`, `queue.rs`,
//! `net.rs` and `rng.rs` give them meaning.

/// PCI vendor of all virtio devices (4.1.2).
pub(crate) const PCI_VENDOR: u16 = 0x1af4;
/// PCI device id of a modern device, less the device's number (4.1.2).
pub(crate) const PCI_DEVICE_MODERN: u16 = 0x1040;

/// A kind of device.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Kind {
    /// Its number (5).
    pub(crate) number: u16,
    /// Its PCI device id where it also speaks the old protocol (4.1.2.1).
    pub(crate) pci_transitional: u16,
}

impl Kind {
    pub(crate) const NET: Kind = Kind { number: 1, pci_transitional: 0x1000 };
    pub(crate) const RNG: Kind = Kind { number: 4, pci_transitional: 0x1005 };
}

/// The registers of a device in memory (4.2.2).
pub(crate) mod mmio {
    pub(crate) const MAGIC: usize = 0x000;
    /// "virt".
    pub(crate) const MAGIC_VALUE: u32 = 0x7472_6976;
    pub(crate) const VERSION: usize = 0x004;
    pub(crate) const VERSION_LEGACY: u32 = 1;
    pub(crate) const VERSION_MODERN: u32 = 2;
    /// The kind of device; 0 where none is plugged in.
    pub(crate) const DEVICE_ID: usize = 0x008;
    pub(crate) const DEVICE_FEATURES: usize = 0x010;
    pub(crate) const DEVICE_FEATURES_SELECT: usize = 0x014;
    pub(crate) const DRIVER_FEATURES: usize = 0x020;
    pub(crate) const DRIVER_FEATURES_SELECT: usize = 0x024;
    pub(crate) const QUEUE_SELECT: usize = 0x030;
    pub(crate) const QUEUE_SIZE_MAX: usize = 0x034;
    pub(crate) const QUEUE_SIZE: usize = 0x038;
    pub(crate) const QUEUE_READY: usize = 0x044;
    pub(crate) const QUEUE_NOTIFY: usize = 0x050;
    /// Why it interrupted, and the register that takes the same bits back.
    pub(crate) const INTERRUPT_STATUS: usize = 0x060;
    pub(crate) const INTERRUPT_ACK: usize = 0x064;
    /// Both.
    pub(crate) const INTERRUPT_BYTES: usize = 8;
    /// A used buffer, a change of the configuration.
    pub(crate) const INTERRUPT_REASONS: u32 = 3;
    pub(crate) const STATUS: usize = 0x070;
    pub(crate) const QUEUE_DESC: usize = 0x080;
    pub(crate) const QUEUE_DRIVER: usize = 0x090;
    pub(crate) const QUEUE_DEVICE: usize = 0x0a0;
    pub(crate) const CONFIG_GENERATION: usize = 0x0fc;
    /// Where the device's own configuration begins.
    pub(crate) const CONFIG: usize = 0x100;
}

/// Kinds of structures that vendor capabilities point at (4.1.4).
pub(crate) mod capability {
    /// Id of a vendor's capability.
    pub(crate) const VENDOR: u8 = 0x09;
    /// The common configuration.
    pub(crate) const COMMON: u8 = 1;
    /// Where the driver tells of new buffers.
    pub(crate) const NOTIFY: u8 = 2;
    /// The device's own configuration.
    pub(crate) const DEVICE: u8 = 4;
}

/// The common configuration (4.1.4.3).
pub(crate) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(crate) const DEVICE_FEATURE: usize = 0x04;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(crate) const DRIVER_FEATURE: usize = 0x0c;
    pub(crate) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(crate) const DEVICE_STATUS: usize = 0x14;
    pub(crate) const CONFIG_GENERATION: usize = 0x15;
    pub(crate) const QUEUE_SELECT: usize = 0x16;
    pub(crate) const QUEUE_SIZE: usize = 0x18;
    pub(crate) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(crate) const QUEUE_ENABLE: usize = 0x1c;
    pub(crate) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(crate) const QUEUE_DESC: usize = 0x20;
    pub(crate) const QUEUE_DRIVER: usize = 0x28;
    pub(crate) const QUEUE_DEVICE: usize = 0x30;
    /// Bytes of the structure.
    pub(crate) const BYTES: usize = 0x38;
    /// No interrupt (4.1.5.1.2).
    pub(crate) const NO_VECTOR: u16 = 0xffff;
}

/// Bits of the device status (2.1).
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const FAILED: u8 = 128;
}

/// Features, as bits of 64 (6, and 5.1.3 for network devices).
pub(crate) mod feature {
    /// Network: the device completes checksums of what we send.
    pub(crate) const NET_CSUM: u64 = 1 << 0;
    /// Network: we take frames whose checksum is not complete.
    pub(crate) const NET_GUEST_CSUM: u64 = 1 << 1;
    /// Network: the device names the longest packet.
    pub(crate) const NET_MTU: u64 = 1 << 3;
    /// Network: the device has an address.
    pub(crate) const NET_MAC: u64 = 1 << 5;
    /// Network: we take TCP segments of IPv4 and of IPv6 that were put together.
    pub(crate) const NET_GUEST_TSO4: u64 = 1 << 7;
    pub(crate) const NET_GUEST_TSO6: u64 = 1 << 8;
    /// Network: the device cuts TCP segments of IPv4 and of IPv6.
    pub(crate) const NET_HOST_TSO4: u64 = 1 << 11;
    pub(crate) const NET_HOST_TSO6: u64 = 1 << 12;
    /// Network: we take frames spread over several buffers.
    pub(crate) const NET_MERGEABLE: u64 = 1 << 15;
    /// Network: the device says whether the link is up.
    pub(crate) const NET_STATUS: u64 = 1 << 16;
    /// Network: the device has a queue for commands.
    pub(crate) const NET_CONTROL: u64 = 1 << 17;
    /// Network: the device has several pairs of queues.
    pub(crate) const NET_MULTIQUEUE: u64 = 1 << 22;
    /// Each side says at which index it wants to be told.
    pub(crate) const EVENT_INDEX: u64 = 1 << 29;
    /// The device speaks version 1 of the protocol.
    pub(crate) const VERSION_1: u64 = 1 << 32;
    /// Addresses go through the platform's translation; without an IOMMU they are physical.
    pub(crate) const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// The split ring (2.7).
pub(crate) mod ring {
    /// Bytes of a descriptor: address, length, flags, next.
    pub(crate) const DESCRIPTOR_BYTES: usize = 16;
    /// Another descriptor of the same buffer follows.
    pub(crate) const FOLLOWED: u16 = 1;
    /// The device writes to the buffer.
    pub(crate) const DEVICE_WRITES: u16 = 2;
    /// Flag of the driver's ring: do not interrupt.
    pub(crate) const NO_INTERRUPT: u16 = 1;
    /// Flag of the device's ring: need not be told.
    pub(crate) const NO_NOTIFY: u16 = 1;
    /// Where flags, index and entries lie in either ring.
    pub(crate) const FLAGS: usize = 0;
    pub(crate) const INDEX: usize = 2;
    pub(crate) const ENTRIES: usize = 4;
    /// Bytes of an entry of the driver's and the device's ring.
    pub(crate) const DRIVER_ENTRY_BYTES: usize = 2;
    pub(crate) const DEVICE_ENTRY_BYTES: usize = 8;
}

/// The network device (5.1).
pub(crate) mod net {
    /// The receiving and sending ring of a pair (5.1.2).
    pub(crate) const fn receive_queue(pair: u16) -> u16 {
        2 * pair
    }
    pub(crate) const fn transmit_queue(pair: u16) -> u16 {
        2 * pair + 1
    }
    /// The ring of commands, behind those of the most pairs that the device has.
    pub(crate) const fn control_queue(pairs_max: u16) -> u16 {
        2 * pairs_max
    }
    /// Pairs that a device may have.
    pub(crate) const PAIRS_MAX: u16 = 0x8000;
    /// Its configuration (5.1.4).
    pub(crate) const CONFIG_MAC: usize = 0;
    pub(crate) const CONFIG_STATUS: usize = 6;
    pub(crate) const CONFIG_PAIRS_MAX: usize = 8;
    pub(crate) const CONFIG_MTU: usize = 10;
    /// Bytes of it that are used here.
    pub(crate) const CONFIG_BYTES: usize = 12;
    /// The link is up.
    pub(crate) const STATUS_LINK_UP: u16 = 1;
    /// The header before each frame (5.1.6), little-endian: flags, kind of segmentation, length of
    /// headers, segment, start of the checksum, its offset, number of buffers.
    pub(crate) const HEADER_BYTES: usize = 12;
    pub(crate) const HEADER_FLAGS: usize = 0;
    pub(crate) const HEADER_SEGMENTATION: usize = 1;
    pub(crate) const HEADER_LENGTH: usize = 2;
    pub(crate) const HEADER_SEGMENT_BYTES: usize = 4;
    pub(crate) const HEADER_CHECKSUM_START: usize = 6;
    pub(crate) const HEADER_CHECKSUM_OFFSET: usize = 8;
    pub(crate) const HEADER_BUFFERS: usize = 10;
    /// The checksum is to be completed.
    pub(crate) const NEEDS_CHECKSUM: u8 = 1;
    /// The checksum was checked.
    pub(crate) const CHECKSUM_VALID: u8 = 2;
    /// The frame is whole.
    pub(crate) const SEGMENTATION_NONE: u8 = 0;
    /// It is, or is to be cut into, segments of TCP over IPv4, or IPv6.
    pub(crate) const SEGMENTATION_TCP4: u8 = 1;
    pub(crate) const SEGMENTATION_TCP6: u8 = 4;
    /// The command that sets the number of pairs (5.1.6.5.6): class, command, a number of 16 bits.
    pub(crate) const COMMAND_MULTIQUEUE: u8 = 4;
    pub(crate) const COMMAND_SET_PAIRS: u8 = 0;
    /// The byte with which the device says that a command was done.
    pub(crate) const COMMAND_DONE: u8 = 0;
}

/// The entropy device (5.4).
pub(crate) mod rng {
    /// Its one queue.
    pub(crate) const REQUEST_QUEUE: u16 = 0;
    /// It has no configuration (5.4.4).
    pub(crate) const CONFIG_BYTES: usize = 0;
}
