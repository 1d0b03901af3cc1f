//! Bundles that nobody trusted signed, or that were changed: refused with a reason, and not run.

use crate::bed::{Bed, guest_for, run_quiet, run_well};
use crate::peer::Peer;
use crate::random::Random;
use craton_abi::{Payload, Place, RequestId};
use craton_tool::keys::Keys;
use craton_wire::{Answer, Body, Question};

/// Where a bundle's signature lies (`kernel/bundle`).
const SIGNATURE: std::ops::Range<usize> = 40..104;
const MUTATIONS: u64 = 200;
const PART_BYTES: usize = 32 << 10;

/// One change: a bit, a stretch, something in or out.
fn mutate(bundle: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bundle.to_vec();
    let at = random.below(bytes.len());
    match random.below(8) {
        // The table and the signature more often than their length is worth.
        0..=2 => bytes[random.below(300)] ^= 1 << random.below(8),
        3 => bytes[at] ^= 1 << random.below(8),
        4 => bytes.truncate(at),
        5 => bytes.insert(at, random.next() as u8),
        6 => drop(bytes.remove(at)),
        _ => {
            let end = bytes.len().min(at + 1 + random.below(64));
            let noise = random.bytes(end - at);
            bytes[at..end].copy_from_slice(&noise);
        }
    }
    bytes
}

#[test]
fn what_no_trusted_compiler_signed_is_refused_and_does_not_run() {
    let bed = Bed::boot(1);
    let good = bed.guest("nothing");
    let mut client = bed.client(0);
    let mut refused = |bundle: &[u8], what: &str| {
        let error = match run_quiet(&mut client, bundle, &[]) {
            Err(error) => error.to_string(),
            Ok(ran) => panic!("{what}: ran, {}", ran.reason),
        };
        let reason = error.strip_prefix("could not do that on the node: no-program: ");
        assert!(reason.is_some_and(|reason| reason.len() > 10), "{what}: {error}");
        error
    };
    let mut unsigned = good.clone();
    unsigned[SIGNATURE].fill(0);
    let error = refused(&unsigned, "unsigned");
    assert!(error.contains("signed"), "{error}");
    let others = Keys::generate("stranger").unwrap();
    let error = refused(&guest_for("nothing", &others), "signed by a stranger");
    assert!(error.contains("no compiler key of this node"), "{error}");
    refused(b"\0asm\x01\0\0\0", "no bundle");
    let mut count = 3;
    for seed in 0..MUTATIONS {
        let bundle = mutate(&good, &mut Random::new(seed));
        if bundle != good && !bundle.is_empty() {
            refused(&bundle, &format!("mutation {seed}"));
            count += 1;
        }
    }
    // The serial line may be behind the network.
    bed.eventually("each refusal is logged", || {
        (bed.count_lines(0, " refused: ") == count).then_some(())
    });
    assert_eq!(bed.count_lines(0, "loaded program"), 0);
    run_well(&mut client, &good, &[]);
    bed.settled(0);
}

#[test]
fn an_upload_that_breaks_off_or_is_not_what_was_named_harms_nobody() {
    let bed = Bed::boot(1);
    let good = bed.program("hello");
    let program = craton_bundle::program_id(&good);
    let ask = |peer: &mut Peer, request: u64| {
        let question = Question::Run { program, arguments: Vec::new(), place: Place::Here };
        peer.say(Body::Ask { request: RequestId::new(request), question });
        assert_eq!(peer.answer(), Answer::ProgramWanted);
    };
    let send = |peer: &mut Peer, bytes: &[u8], parts: usize| {
        for (index, part) in bytes.chunks(PART_BYTES).take(parts).enumerate() {
            let (offset, total) = ((index * PART_BYTES) as u32, bytes.len() as u32);
            let part = Payload(part.to_vec());
            peer.say(Body::ProgramPart { program, offset, total, part });
        }
    };
    // It breaks off.
    let mut peer = Peer::connect(bed.nodes[0].session, &bed.keys);
    ask(&mut peer, 1);
    send(&mut peer, &good, 2);
    drop(peer);
    // Other bytes than those named.
    let mut peer = Peer::connect(bed.nodes[0].session, &bed.keys);
    bed.eventually("the node forgets the half upload", || {
        let question = Question::Run { program, arguments: Vec::new(), place: Place::Here };
        peer.say(Body::Ask { request: RequestId::new(2), question });
        Some(peer.answer()).filter(|answer| *answer == Answer::ProgramWanted)
    });
    let mut wrong = good.clone();
    wrong[good.len() / 2] ^= 1;
    send(&mut peer, &wrong, usize::MAX);
    let answer = peer.answer();
    assert!(matches!(answer, Answer::Failed { .. }), "{answer:?}");
    // Parts out of their order.
    ask(&mut peer, 3);
    let part = Payload(good[PART_BYTES..2 * PART_BYTES].to_vec());
    let (offset, total) = (PART_BYTES as u32, good.len() as u32);
    peer.say(Body::ProgramPart { program, offset, total, part });
    let answer = peer.answer();
    assert!(matches!(answer, Answer::Failed { .. }), "{answer:?}");
    assert_eq!(bed.count_lines(0, "loaded program"), 0);
    let said = run_well(&mut bed.client(0), &good, &[]);
    assert!(!said.is_empty());
    bed.settled(0);
}
