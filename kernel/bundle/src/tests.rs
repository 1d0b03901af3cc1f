//! Bundles made, read back, and mutated in every way that a seed can think of.
//!
//! The promise under test: no byte of a bundle can change without the bundle being refused, and no
//! bytes whatever make the reader panic.

use super::*;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::limit;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const ENGINE: &str = "engine 1";

fn secret(byte: u8) -> CompilerSecret {
    CompilerSecret::from_bytes([byte; 32])
}

fn sample(secret: &CompilerSecret) -> Vec<u8> {
    let wasm: Vec<u8> = (0..500u32).map(|n| (n * 7) as u8).collect();
    let native: Vec<u8> = (0..900u32).map(|n| (n * 11) as u8).collect();
    let artifacts = [
        Artifact { engine: ENGINE, level: CpuLevel::V2, bytes: &native },
        Artifact { engine: "engine 2", level: CpuLevel::V2, bytes: &native[..10] },
    ];
    Contents { name: "sample", wasm: &wasm, artifacts: &artifacts }.sign(secret).expect("it fits")
}

fn check(bytes: &[u8], keys: &[CompilerKey]) -> Result<(), BundleError> {
    Bundle::parse(bytes)?.verify(keys).map(|_| ())
}

#[test]
fn a_signed_bundle_reads_back() {
    let secret = secret(1);
    let bytes = sample(&secret);
    let bundle = Bundle::parse(&bytes).expect("shape").verify(&[secret.key()]).expect("signed");
    assert_eq!(bundle.name(), "sample");
    assert_eq!(bundle.wasm().len(), 500);
    assert_eq!(bundle.signer(), secret.key());
    assert_eq!(bundle.artifact(ENGINE, CpuLevel::V2).map(<[u8]>::len), Ok(900));
    let wrong = BundleError::WrongEngine { has: Some(String::from(ENGINE)) };
    assert_eq!(bundle.artifact("engine 3", CpuLevel::V2), Err(wrong));
    assert_eq!(bytes, sample(&secret), "signing must be deterministic");
}

#[test]
fn each_refusal_has_its_reason() {
    let (ours, theirs) = (secret(1), secret(2));
    let keys = [ours.key()];
    let good = sample(&ours);
    assert_eq!(check(&good, &keys), Ok(()));
    assert_eq!(check(&good, &[]), Err(BundleError::UntrustedKey(ours.key())));
    assert_eq!(check(&sample(&theirs), &keys), Err(BundleError::UntrustedKey(theirs.key())));
    assert_eq!(check(&good[..good.len() - 1], &keys), Err(BundleError::Truncated));
    assert_eq!(check(&[&good[..], &[0]].concat(), &keys), Err(BundleError::TooLong));
    assert_eq!(check(b"\0asm\x01\0\0\0", &keys), Err(BundleError::NotABundle));
    assert_eq!(check(&vec![0; limit::BUNDLE_BYTES_MAX + 1], &keys), Err(BundleError::TooLong));
    let with = |offset: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[offset..offset + bytes.len()].copy_from_slice(bytes);
        check(&bad, &keys)
    };
    assert_eq!(with(7, &[2]), Err(BundleError::UnknownVersion(2)));
    assert_eq!(with(40, &[0; 64]), Err(BundleError::Unsigned));
    assert_eq!(with(40, &[1]), Err(BundleError::BadSignature));
    assert_eq!(with(108, &[0]), Err(BundleError::Malformed("name")));
    assert_eq!(with(110, b"A"), Err(BundleError::BadSignature));
    let last = good.len() - 1;
    assert_eq!(with(last, &[9]), Err(BundleError::HashMismatch(Part::Artifact(1))));
    let wasm = good.len() - 910 - 500;
    assert_eq!(with(wasm, &[9]), Err(BundleError::HashMismatch(Part::Wasm)));
}

#[test]
fn an_old_cpu_is_told_what_is_missing() {
    let secret = secret(1);
    let artifacts = [Artifact { engine: ENGINE, level: CpuLevel::V2, bytes: b"code" }];
    let contents = Contents { name: "n", wasm: b"w", artifacts: &artifacts };
    let mut bytes = contents.sign(&secret).expect("it fits");
    // Level 3 in place of level 2, signed again by hand: `CpuLevel` cannot be made outside.
    let level = 112 + 2 + 4 + 32 + 1 + 1 + ENGINE.len() - 4;
    assert_eq!(bytes[level], 2);
    bytes[level] = 3;
    let bundle = Bundle::parse(&bytes).expect("shape");
    assert_eq!(bundle.clone().verify(&[secret.key()]).err(), Some(BundleError::BadSignature));
}

#[test]
fn contents_that_do_not_fit_are_refused() {
    let secret = secret(1);
    let artifact = Artifact { engine: ENGINE, level: CpuLevel::V2, bytes: b"code" };
    let sign = |name: &str, artifacts: &[Artifact<'_>]| {
        Contents { name, wasm: b"", artifacts }.sign(&secret).err()
    };
    assert_eq!(sign("", &[artifact]), Some(SignError::Name));
    assert_eq!(sign(&"n".repeat(256), &[artifact]), Some(SignError::Name));
    assert_eq!(sign("n", &[]), Some(SignError::ArtifactCount));
    assert_eq!(sign("n", &[artifact; 9]), Some(SignError::ArtifactCount));
    assert_eq!(sign("n", &[Artifact { engine: "", ..artifact }]), Some(SignError::Engine));
    let long = vec![0; limit::BUNDLE_BYTES_MAX];
    assert_eq!(sign("n", &[Artifact { bytes: &long, ..artifact }]), Some(SignError::TooLong));
    assert_eq!(sign("n", &[artifact; 8]), None);
}

#[test]
fn keys_survive_their_text() {
    use alloc::string::ToString;
    let secret = secret(7);
    assert_eq!(secret.key().to_string().parse(), Ok(secret.key()));
    assert_eq!("00".parse::<CompilerKey>(), Err(MalformedKey));
    assert_eq!("g0".repeat(32).parse::<CompilerKey>(), Err(MalformedKey));
    assert_eq!("é".repeat(32).parse::<CompilerKey>(), Err(MalformedKey));
}

/// One change to a bundle; may leave it as it was, which the caller checks.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let mut below = |bound: usize| (rng.next_u64() % bound as u64) as usize;
    let at = if below(2) == 0 { below(bytes.len().min(320)) } else { below(bytes.len()) };
    match below(8) {
        0 | 1 => bytes[at] ^= 1 << below(8),
        2 => bytes[at] = below(256) as u8,
        3 => bytes.truncate(at),
        4 => bytes.insert(at, below(256) as u8),
        5 => drop(bytes.remove(at)),
        6 => {
            let len = below(64).min(bytes.len() - at).min(other.len() - at.min(other.len()));
            bytes[at..at + len].copy_from_slice(&other[at..at + len]);
        }
        _ => {
            let len = 4.min(bytes.len() - at);
            bytes[at..at + len].fill([0, 0xff][below(2)]);
        }
    }
}

#[test]
fn ten_thousand_mutations_are_refused() {
    let secret = secret(1);
    let keys = [secret.key()];
    let good = sample(&secret);
    let other = sample(&self::secret(2));
    let mut tried = 0;
    for seed in 0.. {
        if tried == 10_000 {
            break;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bad = good.clone();
        for _ in 0..1 + rng.next_u32() % 3 {
            if !bad.is_empty() {
                mutate(&mut bad, &other, &mut rng);
            }
        }
        if bad == good {
            continue;
        }
        tried += 1;
        assert!(check(&bad, &keys).is_err(), "seed {seed}: a mutated bundle was accepted");
    }
}

/// What is wrong with a bundle in which one bit of this byte is not what was signed; the table
/// after the signature may be malformed too, whatever it says then.
fn reason_of_a_flip(at: usize, good: &[u8], bad: &[u8], given: &BundleError) -> bool {
    let artifacts = good.len() - 910;
    match at {
        0..7 => *given == BundleError::NotABundle,
        7 => *given == BundleError::UnknownVersion(bad[7]),
        8..40 => {
            matches!(given, BundleError::UntrustedKey(key) if key.to_bytes()[..] == bad[8..40])
        }
        40..104 => *given == BundleError::BadSignature,
        _ if at < artifacts - 500 => matches!(
            given,
            BundleError::BadSignature
                | BundleError::Malformed(_)
                | BundleError::Truncated
                | BundleError::TooLong
        ),
        _ if at < artifacts => *given == BundleError::HashMismatch(Part::Wasm),
        _ if at < good.len() - 10 => *given == BundleError::HashMismatch(Part::Artifact(0)),
        _ => *given == BundleError::HashMismatch(Part::Artifact(1)),
    }
}

#[test]
fn ten_thousand_bad_bundles_each_have_their_reason() {
    let (ours, theirs) = (secret(1), secret(2));
    let keys = [ours.key()];
    let (good, stranger) = (sample(&ours), sample(&theirs));
    for seed in 0..10_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |bound: usize| (rng.next_u64() % bound as u64) as usize;
        let mut bad = good.clone();
        let at = below(good.len());
        let (kind, bit) = (below(5), 1 << below(8));
        let fits: &dyn Fn(&BundleError, &[u8]) -> bool = match kind {
            0 => {
                bad.truncate(at);
                // Of what is shorter than the head nothing can be told but that.
                &|given, bad| {
                    let is_short = bad.len() < 8 && *given == BundleError::NotABundle;
                    *given == BundleError::Truncated || is_short
                }
            }
            1 => {
                bad[40..104].fill(0);
                &|given, _| *given == BundleError::Unsigned
            }
            2 => {
                bad = stranger.clone();
                &|given, _| *given == BundleError::UntrustedKey(theirs.key())
            }
            3 => {
                bad[7] = bad[7].wrapping_add(1 + (at % 255) as u8);
                &|given, bad| *given == BundleError::UnknownVersion(bad[7])
            }
            _ => {
                bad[at] ^= bit;
                &|given, bad| reason_of_a_flip(at, &good, bad, given)
            }
        };
        let given = check(&bad, &keys).expect_err("it is not what was signed");
        assert!(fits(&given, &bad), "seed {seed}, kind {kind} at {at}: {given:?}");
    }
}

#[test]
fn noise_is_refused() {
    for seed in 0..2_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; (rng.next_u32() % 400) as usize];
        rng.fill_bytes(&mut bytes);
        let head = b"CRATON\0\x01";
        let shaped = bytes.len().min(head.len());
        bytes[..shaped].copy_from_slice(&head[..shaped]);
        assert!(check(&bytes, &[secret(1).key()]).is_err(), "seed {seed}");
    }
}
