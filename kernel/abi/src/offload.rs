//! What a network stack leaves to a network card.
//!
//! Owns [`Offload`]. The stack knows no driver and a driver no stack; this word they share.

/// Work on a sent frame that is left to the device.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Offload {
    /// None: the frame is complete.
    None,
    /// Sum the bytes from `start` to the end and put the ones' complement at `start + offset`,
    /// where the sum over the pseudo-header already is.
    Checksum {
        /// First byte of the TCP or UDP header, counted from the start of the frame.
        start: u16,
        /// Where the checksum lies in that header.
        offset: u16,
    },
    /// Cut the frame's TCP payload into segments of `payload_bytes` (the last may be shorter), each
    /// with a copy of all headers, their lengths, sequence numbers and flags adjusted, and complete
    /// the checksum of each. The checksum field holds the sum over the pseudo-header of the whole.
    Segments {
        /// First byte of the TCP header, counted from the start of the frame.
        start: u16,
        /// Where the checksum lies in that header.
        offset: u16,
        /// Bytes of all headers, Ethernet to TCP with its options.
        header_bytes: u16,
        /// TCP payload of a segment.
        payload_bytes: u16,
        /// Over IPv6 rather than IPv4.
        ipv6: bool,
    },
}
