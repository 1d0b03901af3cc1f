//! Names: a server that answers, lies, is slow or silent.

use super::link::{GATEWAY, World, at, link};
use crate::{Address, AddressSource, Event, ResolveError, ResolveId};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::Duration;

const SERVER: u16 = 53;

/// A client (stack 0) and two machines that can be its name servers.
fn world(seed: u64) -> World {
    let mut world = World::new(0, seed);
    for index in 0..3 {
        let address = Address {
            address: super::link::ip(index),
            prefix: 24,
            gateway: Some(GATEWAY),
            name_servers: vec![super::link::ip(1), super::link::ip(2)],
        };
        world.add(link(index, false), AddressSource::Static(address));
    }
    world.step();
    world
}

/// The answer to a question: records of (name, kind, seconds, data), names by their place in the
/// message where they begin with 0xc0.
fn answer(question: &[u8], rcode: u8, records: &[(&[u8], u8, u32, &[u8])]) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2] |= 0x80;
    message[3] = rcode;
    message[7] = records.len() as u8;
    for (name, kind, secs, data) in records {
        message.extend_from_slice(name);
        message.extend([0, *kind, 0, 1]);
        message.extend(secs.to_be_bytes());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

/// The name in the question, by its place.
const ASKED: &[u8] = &[0xc0, 12];

fn outcome(world: &mut World, id: ResolveId) -> Option<Result<Vec<IpAddr>, ResolveError>> {
    world.pick(0, |event| match event {
        Event::Resolved { question, result } if *question == id => Some(result.clone()),
        _ => None,
    })
}

/// Resolves a name, with servers that say what `say` says (server, question); how long it took.
fn resolve(
    world: &mut World,
    name: &str,
    mut say: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>>,
) -> (Result<Vec<IpAddr>, ResolveError>, Duration) {
    let sockets: Vec<_> =
        (1..3).map(|index| world.stacks[index].bind(SERVER).expect("it is free")).collect();
    let id = world.stacks[0].resolve(name, world.now);
    let start = world.now;
    let mut found = None;
    world.run_until(Duration::from_secs(30), |world| {
        for index in 1..3 {
            let mut question = Vec::new();
            let socket = sockets[index - 1];
            while let Some(from) = world.stacks[index].receive_from(socket, &mut question) {
                for reply in say(index, &question) {
                    let sent = world.stacks[index].send_to(socket, from, &reply, world.now);
                    sent.expect("it can be sent");
                }
            }
        }
        found = outcome(world, id);
        found.is_some()
    });
    for index in 1..3 {
        world.stacks[index].unbind(sockets[index - 1]);
    }
    (found.expect("run_until returned because it was found"), world.now - start)
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

#[test]
fn a_name_is_resolved_through_its_alias_and_kept() {
    let mut world = world(1);
    let mut asked = 0;
    let alias: &[u8] = b"\x04real\xc0\x10";
    let mut say = |_, question: &[u8]| {
        asked += 1;
        // "www.example.org": the alias ends like the name, whose second label is at 16.
        vec![answer(
            question,
            0,
            &[
                (ASKED, 5, 300, alias),
                (b"\x04real\xc0\x10", 1, 60, &[192, 0, 2, 1]),
                (b"\x04real\xc0\x10", 1, 60, &[192, 0, 2, 2]),
                (b"\x03bad\xc0\x10", 1, 60, &[6, 6, 6, 6]),
            ],
        )]
    };
    let (found, took) = resolve(&mut world, "WWW.example.org.", &mut say);
    assert_eq!(found, Ok(vec![address(1), address(2)]));
    assert!(took < Duration::from_millis(5));
    let (found, took) = resolve(&mut world, "www.example.org", &mut say);
    assert_eq!((found.map(|all| all.len()), took), (Ok(2), Duration::from_nanos(0)));
    // After a minute it is asked again.
    world.run_for(Duration::from_secs(61));
    assert!(resolve(&mut world, "www.example.org", &mut say).0.is_ok());
    assert_eq!(asked, 2);
}

#[test]
fn the_next_server_is_asked_when_one_fails_or_is_silent() {
    let good = |question: &[u8]| answer(question, 0, &[(ASKED, 1, 60, &[192, 0, 2, 7])]);
    for (silent, longest) in [(true, Duration::from_secs(2)), (false, Duration::from_millis(10))] {
        let mut world = world(2);
        let say = |server, question: &[u8]| match server {
            1 if silent => vec![],
            1 => vec![answer(question, 2, &[])],
            _ => vec![good(question)],
        };
        let (found, took) = resolve(&mut world, "a.example", say);
        assert_eq!(found, Ok(vec![address(7)]));
        assert!(took < longest, "took {took}");
    }
}

#[test]
fn what_cannot_be_resolved_says_why() {
    let mut world = world(3);
    let (found, _) =
        resolve(&mut world, "none.example", |_, question| vec![answer(question, 3, &[])]);
    assert_eq!(found, Err(ResolveError::NoSuchName));
    let (found, took) = resolve(&mut world, "silent.example", |_, _| vec![]);
    assert_eq!(found, Err(ResolveError::TimedOut));
    assert!(took < Duration::from_secs(9), "took {took}");
    let (found, _) =
        resolve(&mut world, "fail.example", |_, question| vec![answer(question, 2, &[])]);
    assert_eq!(found, Err(ResolveError::ServerFailed));
    for bad in ["", "a..b", "sp ace.example", &"x".repeat(64), &"abc.".repeat(80)] {
        assert_eq!(resolve(&mut world, bad, |_, _| vec![]).0, Err(ResolveError::BadName));
    }
    assert_eq!(resolve(&mut world, "192.0.2.9", |_, _| vec![]).0, Ok(vec![address(9)]));
    let mut world = World::new(1, 4);
    let id = world.stacks[0].resolve("a.example", world.now);
    world.run_for(Duration::from_millis(1));
    assert_eq!(outcome(&mut world, id), Some(Err(ResolveError::NoServer)));
}

/// An answer counts if it is from the server that was asked, and to this very question.
#[test]
fn a_stranger_answers_in_vain() {
    let mut world = world(5);
    let forged = |question: &[u8], change: fn(&mut Vec<u8>)| {
        let mut reply = answer(question, 0, &[(ASKED, 1, 60, &[6, 6, 6, 6])]);
        change(&mut reply);
        reply
    };
    let (found, _) = resolve(&mut world, "a.example", |server, question| match server {
        1 => vec![
            forged(question, |reply| reply[0] ^= 1),
            forged(question, |reply| reply[2] &= 0x7f),
            forged(question, |reply| reply[13] = b'b'),
            forged(question, |reply| reply.truncate(20)),
            answer(question, 0, &[(ASKED, 1, 60, &[192, 0, 2, 7])]),
        ],
        _ => vec![],
    });
    assert_eq!(found, Ok(vec![address(7)]));
    // From another machine, to the right port with the right question.
    let socket = world.stacks[2].bind(SERVER).expect("it is free");
    let honest = world.stacks[1].bind(SERVER).expect("it is free");
    let id = world.stacks[0].resolve("b.example", world.now);
    let mut question = Vec::new();
    let mut client: Option<SocketAddr> = None;
    world.run_until(Duration::from_secs(1), |world| {
        client = world.stacks[1].receive_from(honest, &mut question);
        client.is_some()
    });
    let client = client.expect("it was asked");
    let reply = forged(&question, |_| {});
    world.stacks[2].send_to(socket, client, &reply, world.now).expect("it can be sent");
    world.run_for(Duration::from_millis(500));
    assert_eq!(outcome(&mut world, id), None);
    assert_ne!(client, at(0, SERVER));
}

/// Answers with bytes changed: whatever comes of it, nothing panics and the next question is
/// answered.
#[test]
fn mutated_answers_do_no_harm() {
    let mut world = world(6);
    let mut dice = 1_u64;
    for round in 0..400 {
        let name = alloc::format!("n{round}.example");
        let _ = resolve(&mut world, &name, |_, question| {
            let mut reply = answer(
                question,
                0,
                &[(ASKED, 5, 60, b"\x01x\xc0\x0c"), (ASKED, 1, 60, &[192, 0, 2, 7])],
            );
            for _ in 0..3 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let place = (dice >> 33) as usize % (reply.len() - 2) + 2;
                reply[place] = (dice >> 50) as u8;
            }
            vec![reply]
        });
    }
    let good = |_, question: &[u8]| vec![answer(question, 0, &[(ASKED, 1, 60, &[192, 0, 2, 7])])];
    assert_eq!(resolve(&mut world, "good.example", good).0, Ok(vec![address(7)]));
}
