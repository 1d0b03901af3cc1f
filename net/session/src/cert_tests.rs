//! Certificates that hold, and every way in which one does not.

use super::*;
use crate::key::NoiseSecret;
use alloc::string::ToString;
use alloc::vec;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

fn authority() -> AuthoritySecret {
    AuthoritySecret::from_bytes(&[1; 32])
}

fn request(role: Role) -> Request {
    Request {
        role,
        name: "node-1".to_string(),
        noise: NoiseSecret::from_bytes(&[2; 32]).public(),
        not_before_secs: 100,
        not_after_secs: 200,
        serial: 7,
    }
}

fn roles() -> [Role; 4] {
    [Role::Node, Role::Operator, Role::Deploy { prefix: "shop".into() }, Role::ReadOnly]
}

#[test]
fn every_role_survives_both_forms_and_is_believed() {
    for role in roles() {
        let issued = Certificate::issue(request(role), &authority()).expect("a sound request");
        assert!(issued.to_bytes().len() <= CERTIFICATE_BYTES_MAX);
        assert_eq!(Certificate::from_bytes(&issued.to_bytes()), Ok(issued.clone()));
        assert_eq!(Certificate::from_hex(&issued.to_hex()), Ok(issued.clone()));
        assert_eq!(issued.verify(&[authority().public()], Some(150)), Ok(()));
    }
}

#[test]
fn dates_count_where_the_time_is_known() {
    let issued = Certificate::issue(request(Role::Node), &authority()).expect("sound");
    let keys = [authority().public()];
    for (now, expected) in [
        (Some(99), Err(CertificateError::NotYetValid)),
        (Some(100), Ok(())),
        (Some(200), Ok(())),
        (Some(201), Err(CertificateError::Expired)),
        (None, Ok(())),
    ] {
        assert_eq!(issued.verify(&keys, now), expected, "{now:?}");
    }
}

#[test]
fn only_a_trusted_authority_is_believed_and_two_may_be() {
    let issued = Certificate::issue(request(Role::Node), &authority()).expect("sound");
    let other = AuthoritySecret::from_bytes(&[9; 32]);
    let unknown = Err(CertificateError::UnknownAuthority);
    assert_eq!(issued.verify(&[], None), unknown);
    assert_eq!(issued.verify(&[other.public()], None), unknown);
    assert_eq!(issued.verify(&[other.public(), authority().public()], None), Ok(()));
    // A stranger who uses the authority's key id is not believed either.
    let mut forged = Certificate::issue(request(Role::Operator), &other).expect("sound");
    forged.authority = authority().public().id();
    assert_eq!(forged.verify(&[authority().public()], None), Err(CertificateError::Signature));
}

#[test]
fn no_changed_bit_is_believed_and_no_cut_is_read() {
    for role in roles() {
        let issued = Certificate::issue(request(role), &authority()).expect("sound");
        let keys = [authority().public()];
        let mut bytes = issued.to_bytes();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let believed =
                Certificate::from_bytes(&bytes).and_then(|read| read.verify(&keys, None));
            assert!(believed.is_err(), "bit {bit} of {:?}", issued.role);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert!(Certificate::from_bytes(&bytes[..length]).is_err());
        }
        bytes.push(0);
        assert_eq!(Certificate::from_bytes(&bytes), Err(CertificateError::Malformed));
    }
}

#[test]
fn what_is_read_has_one_form() {
    let issued = Certificate::issue(request(Role::Node), &authority()).expect("sound").to_bytes();
    let mut read = 0;
    for seed in 0..50_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = issued.clone();
        for _ in 0..1 + rng.next_u32() % 3 {
            let at = rng.next_u32() as usize % bytes.len();
            bytes[at] = rng.next_u32() as u8;
        }
        if let Ok(certificate) = Certificate::from_bytes(&bytes) {
            read += 1;
            assert_eq!(certificate.to_bytes(), bytes, "seed {seed}");
        }
    }
    assert!(read > 1_000, "the test must reach certificates: {read}");
}

#[test]
fn unsound_requests_are_refused() {
    let refuse = |change: &dyn Fn(&mut Request), error| {
        let mut request = request(Role::Node);
        change(&mut request);
        assert_eq!(Certificate::issue(request, &authority()), Err(error));
    };
    for name in ["", "a b", "a/b", "é", &"x".repeat(NAME_BYTES_MAX + 1)] {
        refuse(&|request| request.name = name.to_string(), CertificateError::Name);
        let role = Role::Deploy { prefix: name.into() };
        refuse(&|request| request.role = role.clone(), CertificateError::Name);
    }
    refuse(&|request| request.not_before_secs = 201, CertificateError::Dates);
}

#[test]
fn an_identity_needs_its_own_key() {
    let issued = Certificate::issue(request(Role::Node), &authority()).expect("sound");
    assert!(Identity::new(issued.clone(), NoiseSecret::from_bytes(&[2; 32])).is_ok());
    let other = NoiseSecret::from_bytes(&[3; 32]);
    assert_eq!(Identity::new(issued, other).err(), Some(KeyMismatch));
    assert!(Certificate::from_bytes(&vec![0; 1 << 20]).is_err());
}
