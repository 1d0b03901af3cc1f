//! What smoltcp says and hears less of than it should.
//!
//! Owns [`Highest`], what a stream has sent and acknowledged, learnt from its frames on their way.
//!
//! smoltcp forgets what it sent when it sends again from the start, and its bare acknowledgements
//! then carry a number that the peer has long passed. Such a segment is outside the peer's window,
//! so what it acknowledges is not heard; and when both ends are in that state, each waits for the
//! other until they time out. RFC 9293 (3.10.7.4) has the highest number sent instead, which is put
//! in here on the way out.

use crate::adapter::ETHERNET_BYTES;
use crate::emit::Bare;
use crate::sight::Segment;
use crate::tuple::Tuple;
use smoltcp::wire::{TcpControl, TcpPacket, TcpSeqNumber};

/// What a stream sent.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Highest {
    /// The number after the last byte that it ever sent.
    next: Option<u32>,
    /// The number that it acknowledged last.
    acknowledged: Option<u32>,
    /// Segments that it sent again, since that was last taken.
    repeated: u32,
}

impl Highest {
    /// Learns from a frame that is about to be sent, or lifts its number.
    pub(crate) fn apply(&mut self, frame: &mut [u8]) {
        let header_bytes = match frame.get(ETHERNET_BYTES) {
            Some(byte) if byte >> 4 == 4 => usize::from(byte & 0xf) * 4,
            Some(_) => 40,
            None => return,
        };
        let Some(bytes) = frame.get_mut(ETHERNET_BYTES + header_bytes..) else { return };
        let Ok(mut tcp) = TcpPacket::new_checked(bytes) else { return };
        if tcp.rst() {
            return;
        }
        if tcp.ack() {
            self.acknowledged = Some(tcp.ack_number().0 as u32);
        }
        let (start, length) = (tcp.seq_number().0 as u32, tcp.segment_len() as u32);
        let ahead = |number: u32| (number.wrapping_sub(start) as i32) > 0;
        let end = start.wrapping_add(length);
        match self.next {
            Some(next) if length == 0 && ahead(next) => {
                tcp.set_seq_number(TcpSeqNumber(next as i32));
            }
            Some(next) if (end.wrapping_sub(next) as i32) <= 0 => {
                // The last byte alone is how an idle peer is probed.
                let probe = length == 1 && end == next;
                self.repeated += u32::from(length > 0 && !probe);
            }
            _ => self.next = Some(end),
        }
    }

    /// A bare acknowledgement that says what the probe of an idle peer says, if that is what the
    /// segment is.
    pub(crate) fn heard(&self, segment: &Segment) -> Option<Bare> {
        let probe = !segment.syn
            && !segment.fin
            && !segment.reset
            && segment.payload_bytes <= 1
            && self.acknowledged == Some(segment.sequence.wrapping_add(1));
        let Tuple { local, remote } = segment.tuple;
        probe.then_some(Bare {
            tuple: Tuple { local: remote, remote: local },
            control: TcpControl::None,
            sequence: segment.sequence.wrapping_add(1),
            acknowledges: Some(segment.acknowledges?),
            window: segment.window,
            segment_bytes_max: None,
            window_scale: None,
            selective: false,
        })
    }

    /// Segments sent again since this was last asked.
    pub(crate) fn take_repeated(&mut self) -> u64 {
        core::mem::take(&mut self.repeated).into()
    }
}
