//! Ethernet frames on a byte stream: a length in four bytes, big-endian, then the frame.
//!
//! Owns the framing that QEMU's `socket` network backend speaks, and [`Mac`]. Neighbours: `switch`
//! decides where a frame goes, `lan` and the gateway read and write the streams.

use std::fmt;
use std::io::{self, Read};

/// Bytes of the length in front of each frame.
pub(crate) const HEADER_BYTES: usize = 4;
/// The longest frame taken; QEMU's own limit is `NET_BUFSIZE`, 68 KiB.
pub(crate) const FRAME_BYTES_MAX: usize = 68 * 1024;
/// Room for a read: at least one whole frame, and many of the usual 1,514 bytes.
const BUFFER_BYTES: usize = 256 * 1024;

const _: () = assert!(BUFFER_BYTES >= FRAME_BYTES_MAX + HEADER_BYTES, "else it never fits");

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Broadcast and multicast addresses: they name no single card.
    pub fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The frame's destination and source, or `None` where it is too short to be one.
pub(crate) fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let destination = frame.first_chunk::<6>()?;
    let source = frame.get(6..14)?.first_chunk::<6>()?;
    Some((Mac(*destination), Mac(*source)))
}

/// Appends the frame with its length. Frames longer than [`FRAME_BYTES_MAX`] are not made here.
pub(crate) fn append(frame: &[u8], stream: &mut Vec<u8>) {
    stream.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    stream.extend_from_slice(frame);
}

/// Takes frames out of a byte stream that arrives in pieces.
pub(crate) struct FrameReader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub(crate) fn new() -> FrameReader {
        FrameReader { buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0 }
    }

    /// One read from the source into the buffer. Call it after [`FrameReader::next`] gave `None`.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = read_uninterrupted(source, &mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// The next whole frame; `None` when more bytes are needed.
    /// An impossible length is an error, after which the stream has lost its sense.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let bytes = &self.buffer[self.start..self.end];
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > FRAME_BYTES_MAX {
            let text = format!("a frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.start += HEADER_BYTES + length;
        Ok(rest.get(..length))
    }
}

/// A signal that the process handles is no reason to stop reading.
pub(crate) fn read_uninterrupted(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let frames: Vec<Vec<u8>> =
            [0, 1, 60, 1514, FRAME_BYTES_MAX].iter().map(|&size| vec![size as u8; size]).collect();
        let mut stream = Vec::new();
        frames.iter().for_each(|frame| append(frame, &mut stream));
        for piece in [1, 3, 4, 1500, 1 << 20] {
            let (mut reader, mut source) = (FrameReader::new(), Pieces(&stream, piece));
            let mut seen: Vec<Vec<u8>> = Vec::new();
            while reader.fill(&mut source).unwrap() > 0 {
                while let Some(frame) = reader.next().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            assert!(seen == frames, "pieces of {piece}");
        }
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        let mut stream = Vec::new();
        append(b"good", &mut stream);
        stream.extend_from_slice(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes());
        let mut reader = FrameReader::new();
        reader.fill(&mut &stream[..]).unwrap();
        assert_eq!(reader.next().unwrap(), Some(&b"good"[..]));
        assert!(reader.next().is_err());
    }

    #[test]
    fn a_frame_too_short_for_its_header_has_no_addresses() {
        let frame: Vec<u8> = (0..14).collect();
        assert!(addresses(&frame[..13]).is_none());
        let (to, from) = addresses(&frame).unwrap();
        assert_eq!((to.0, from.0), ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]));
    }
}
