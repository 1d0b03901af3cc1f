//! The layout pinned byte by byte, and everything that is no frame.

use super::*;
use alloc::vec;
use alloc::vec::Vec;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

fn header() -> FrameHeader {
    FrameHeader {
        kind: Kind::Data,
        flags: Flags::FIRST.with(Flags::LAST),
        lane: Lane(5),
        link: 0,
        length: 3,
        epoch: 0x0403_0201,
        sequence: 0x1817_1615_1413_1211,
        acknowledgement: 0x2827_2625_2423_2221,
        sender: Incarnation::new(0x3837_3635_3433_3231),
        receiver: Incarnation::new(0x4847_4645_4443_4241),
        app: AppId::new(0x5857_5655_5453_5251),
        trace: TraceId::new(0x6867_6665_6463_6261),
        credit: 0x7877_7675_7473_7271,
    }
}

fn encoded(header: &FrameHeader, fragment: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(fragment);
    bytes
}

#[test]
fn the_layout_is_pinned() {
    #[rustfmt::skip]
    let golden = [
        1, 2, 3, 5, 0, 0, 0, 0,
        3, 0, 0, 0, 0x01, 0x02, 0x03, 0x04,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,
        0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
        0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
        0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
        0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
    ];
    assert_eq!(header().to_bytes(), golden);
    assert_eq!(
        [Kind::Open as u8, Kind::Data as u8, Kind::Ack as u8, Kind::Idle as u8],
        [1, 2, 3, 4]
    );
}

#[test]
fn frames_follow_one_another() {
    let mut bytes = encoded(&header(), b"abc");
    bytes.extend_from_slice(&encoded(&FrameHeader { length: 0, ..header() }, b""));
    let (first, rest) = Frame::prove(&bytes).expect("sound");
    assert_eq!((first.header, first.fragment), (header(), &b"abc"[..]));
    let (second, rest) = Frame::prove(rest).expect("sound");
    assert_eq!((second.fragment, rest), (&b""[..], &b""[..]));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encoded(&header(), b"abc");
    for length in 0..bytes.len() {
        assert_eq!(Frame::prove(&bytes[..length]), Err(FrameError::Truncated), "{length}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refuse = |change: &dyn Fn(&mut FrameHeader), error| {
        let mut header = header();
        change(&mut header);
        let bytes = encoded(&header, &vec![0; header.length.min(100_000) as usize]);
        assert_eq!(Frame::prove(&bytes), Err(error), "{header:?}");
    };
    refuse(&|h| h.link = 1, FrameError::Link);
    refuse(&|h| h.lane = Lane(LANES as u8), FrameError::Lane);
    refuse(&|h| h.sequence = 0, FrameError::Sequence);
    refuse(&|h| h.length = limit::FRAGMENT_BYTES_MAX as u32 + 1, FrameError::Length);
    refuse(&|h| h.length = u32::MAX, FrameError::Length);
    refuse(&|h| h.flags = Flags(4), FrameError::Flags);
    let bare = |kind| FrameHeader { kind, sequence: 0, flags: Flags::NONE, length: 0, ..header() };
    for kind in [Kind::Ack, Kind::Idle] {
        assert!(Frame::prove(&encoded(&bare(kind), b"")).is_ok());
        let with = FrameHeader { length: 1, ..bare(kind) };
        assert_eq!(Frame::prove(&encoded(&with, b"x")), Err(FrameError::Length));
        let with = FrameHeader { sequence: 1, ..bare(kind) };
        assert_eq!(Frame::prove(&encoded(&with, b"")), Err(FrameError::Sequence));
        let with = FrameHeader { flags: Flags::LAST, ..bare(kind) };
        assert_eq!(Frame::prove(&encoded(&with, b"")), Err(FrameError::Flags));
    }
    let open = FrameHeader { length: 4, ..bare(Kind::Open) };
    assert!(Frame::prove(&encoded(&open, &[0; 4])).is_ok());
    assert_eq!(Frame::prove(&encoded(&bare(Kind::Open), b"")), Err(FrameError::Length));
    for (at, value, error) in [
        (0, 0, FrameError::Version),
        (0, 2, FrameError::Version),
        (1, 0, FrameError::Kind),
        (1, 5, FrameError::Kind),
        (6, 1, FrameError::Flags),
        (7, 0x80, FrameError::Flags),
    ] {
        let mut bytes = encoded(&header(), b"abc");
        bytes[at] = value;
        assert_eq!(Frame::prove(&bytes), Err(error), "byte {at}");
    }
}

#[test]
fn whatever_is_proven_means_exactly_its_bytes() {
    let sound = encoded(&header(), b"abc");
    let mut proven = 0;
    for seed in 0..100_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = sound.clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 3 {
                0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
                1 => bytes[at] = rng.next_u32() as u8,
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok((frame, rest)) = Frame::prove(&bytes) {
            proven += 1;
            let mut again = encoded(&frame.header, frame.fragment);
            again.extend_from_slice(rest);
            assert_eq!(again, bytes, "seed {seed}");
        }
    }
    assert!(proven > 10_000, "the test must reach frames that hold: {proven}");
}

#[test]
fn pairs_spread_over_all_lanes_but_the_first() {
    let mut used = [0; LANES];
    let pid = |index| Pid {
        node: craton_abi::NodeId::new(7),
        incarnation: Incarnation::new(9),
        slot: craton_abi::Slot::new(craton_abi::ShardId::new(0), index, 1).expect("in range"),
    };
    for from in 0..60 {
        for to in 0..60 {
            used[Lane::of_pair(pid(from), pid(to)).index()] += 1;
            assert_eq!(Lane::of_pair(pid(from), pid(to)), Lane::of_pair(pid(from), pid(to)));
        }
    }
    assert_eq!(used[0], 0);
    assert!(used[1..].iter().all(|count| (120..480).contains(count)), "{used:?}");
}
