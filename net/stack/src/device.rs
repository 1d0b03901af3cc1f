//! What a network device must do for the stack.
//!
//! Owns the trait [`FrameDevice`] and its two halves, which are borrowed apart so that an answer
//! can be built while the frame that caused it is still being read. Drivers implement it (the
//! kernel's virtio-net, a test's link); nothing here knows smoltcp. What is left to the device is
//! said in [`Offload`], a word that drivers and stack share.

use core::num::NonZeroUsize;

pub use craton_abi::Offload;

/// What a network device is, fixed for its life.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest IP packet that it carries, in bytes.
    pub mtu: usize,
    /// The device completes TCP and UDP checksums of frames sent with [`Offload::Checksum`].
    pub checksum_transmit: bool,
    /// Longest frame, in bytes and with its Ethernet header, that the device cuts into TCP segments
    /// when it is sent with [`Offload::Segments`], over IPv4 and over IPv6 each; none if it cuts
    /// none. Only of use if the device completes checksums too.
    pub segments_bytes_max: Segments,
}

/// How long a frame may be that the device cuts into TCP segments; `None`: it does not.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Segments {
    /// Over IPv4.
    pub ipv4: Option<NonZeroUsize>,
    /// Over IPv6.
    pub ipv6: Option<NonZeroUsize>,
}

/// A device that carries Ethernet frames.
pub trait FrameDevice {
    /// The half that frames come from.
    type Receiver<'a>: FrameReceiver
    where
        Self: 'a;
    /// The half that frames go to.
    type Transmitter<'a>: FrameTransmitter
    where
        Self: 'a;

    /// Both halves at once.
    fn halves(&mut self) -> (Self::Receiver<'_>, Self::Transmitter<'_>);
}

/// Where frames come from.
pub trait FrameReceiver {
    /// Gives the next frame, if there is one, to `handle`, with whether the device vouches for its
    /// TCP or UDP checksum; if not, the stack checks it. Afterwards the frame is gone.
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R>;
}

/// Where frames go to.
pub trait FrameTransmitter {
    /// Whether a frame can be sent now.
    fn ready(&mut self) -> bool;

    /// Sends a frame of `length` bytes, at most the link's MTU and the Ethernet header (or
    /// [`Link::segments_bytes_max`] if `fill` says [`Offload::Segments`]), which `fill` writes
    /// whole. A device that is not ready, or that cannot take so long a frame, lets
    /// `fill` write into the void.
    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R;

    /// Lets the hardware begin: called once after a batch of frames, since telling it is dear.
    fn flush(&mut self);
}

impl<T: FrameReceiver> FrameReceiver for &mut T {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        T::receive(self, handle)
    }
}

impl<T: FrameTransmitter> FrameTransmitter for &mut T {
    fn ready(&mut self) -> bool {
        T::ready(self)
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        T::transmit(self, length, fill)
    }

    fn flush(&mut self) {
        T::flush(self);
    }
}
