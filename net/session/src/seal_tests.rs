//! Seals that hold, replays and forgeries that do not pass.

use super::*;
use alloc::collections::BTreeSet;
use alloc::vec;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

fn keys() -> (NoiseSecret, NoiseSecret) {
    (NoiseSecret::from_bytes(&[1; 32]), NoiseSecret::from_bytes(&[2; 32]))
}

fn life(secret: &NoiseSecret, incarnation: u64) -> PeerKey {
    PeerKey { node: secret.public().node(), incarnation: Incarnation::new(incarnation) }
}

#[test]
fn a_pair_understands_each_other_and_nobody_else_does() {
    let (a, b) = keys();
    let me = life(&a, 7);
    let mut sealer = Sealer::pair(&a, &b.public(), me).expect("sound keys");
    let mut opener = Opener::pair(&b, &a.public(), me).expect("sound keys");
    let (mut datagram, mut text) = (vec![], vec![]);
    sealer.seal(b"hello", &mut datagram);
    assert_eq!(datagram.len(), 5 + OVERHEAD_BYTES);
    assert_eq!(Envelope::read(&datagram).expect("sealed").sender, me);
    assert_eq!(opener.open(&datagram, &mut text), Ok(()));
    assert_eq!(text, b"hello");
    assert_eq!(opener.open(&datagram, &mut text), Err(OpenError::Replayed));
    // A third node, the sender itself, and the receiver of another life cannot open it.
    let c = NoiseSecret::from_bytes(&[3; 32]);
    let mut third = Opener::pair(&c, &a.public(), me).expect("sound keys");
    assert_eq!(third.open(&datagram, &mut text), Err(OpenError::Forged));
    let mut mirrored = Opener::pair(&a, &b.public(), me).expect("sound keys");
    assert_eq!(mirrored.open(&datagram, &mut text), Err(OpenError::Forged));
    let mut other_life = Opener::pair(&b, &a.public(), life(&a, 8)).expect("sound keys");
    assert_eq!(other_life.open(&datagram, &mut text), Err(OpenError::Malformed));
    assert_eq!(text, b"hello", "a refused datagram leaves nothing behind");
    assert!(Sealer::pair(&a, &NoiseKey([0; 32]), me).is_none());
}

#[test]
fn discovery_opens_for_every_holder_of_the_key() {
    let (a, _) = keys();
    let key = DiscoveryKey([9; 32]);
    let mut sealer = Sealer::discovery(&key, life(&a, 1));
    let mut datagram = vec![];
    sealer.seal(b"here", &mut datagram);
    let mut text = vec![];
    assert_eq!(key.open(&datagram, &mut text), Ok(life(&a, 1)));
    assert_eq!(text, b"here");
    assert_eq!(DiscoveryKey([8; 32]).open(&datagram, &mut text), Err(OpenError::Forged));
}

#[test]
fn every_changed_bit_and_every_cut_is_refused() {
    let (a, b) = keys();
    let me = life(&a, 7);
    let mut sealer = Sealer::pair(&a, &b.public(), me).expect("sound keys");
    let mut opener = Opener::pair(&b, &a.public(), me).expect("sound keys");
    let (mut datagram, mut text) = (vec![], vec![]);
    sealer.seal(b"attack at dawn", &mut datagram);
    for bit in 0..datagram.len() * 8 {
        datagram[bit / 8] ^= 1 << (bit % 8);
        assert!(opener.open(&datagram, &mut text).is_err(), "bit {bit}");
        datagram[bit / 8] ^= 1 << (bit % 8);
    }
    for cut in 0..datagram.len() {
        assert!(opener.open(&datagram[..cut], &mut text).is_err(), "cut {cut}");
    }
    assert!(text.is_empty());
    assert_eq!(opener.open(&datagram, &mut text), Ok(()));
}

#[test]
fn the_window_agrees_with_a_plain_set() {
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut window = ReplayWindow::default();
        let mut seen = BTreeSet::new();
        let mut newest: Option<u64> = None;
        let mut base = 0u64;
        for _ in 0..3_000 {
            base += match rng.next_u32() % 50 {
                0 => u64::from(rng.next_u32() % 5_000),
                _ => u64::from(rng.next_u32() % 3),
            };
            let counter = base.saturating_sub(u64::from(rng.next_u32() % 1_500));
            let too_old = newest.is_some_and(|newest| counter + WINDOW <= newest);
            let expected = !too_old && !seen.contains(&counter);
            assert_eq!(window.is_new(counter), expected, "seed {seed} counter {counter}");
            if expected {
                window.mark(counter);
                seen.insert(counter);
                newest = newest.max(Some(counter));
            }
        }
    }
}

#[test]
fn garbage_opens_nothing() {
    let (a, b) = keys();
    let mut opener = Opener::pair(&b, &a.public(), life(&a, 7)).expect("sound keys");
    let key = DiscoveryKey([9; 32]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut text = vec![];
    for _ in 0..20_000 {
        let mut datagram = vec![0; (rng.next_u32() % 80) as usize];
        rng.fill_bytes(&mut datagram);
        if datagram.len() > 2 {
            datagram[0] = VERSION;
            datagram[1] = 1 + (datagram[1] & 1);
        }
        assert!(opener.open(&datagram, &mut text).is_err());
        assert!(key.open(&datagram, &mut text).is_err());
    }
    assert!(opener.seen.is_new(u64::MAX - 1) && !opener.seen.is_new(u64::MAX));
}
