//! What the network says: frames of all kinds, and the answers that a stack waits for.
//!
//! Owns the targets of `craton-net` and `craton-services`. A new stack reads each input, over a
//! link in memory and in virtual time. Headers that would stop everything else (an IPv4 checksum,
//! a transaction's number) are made right.

use crate::Target;
use craton_abi::{Duration, Instant};
use craton_net::memory::MemoryEnd;
use craton_net::{Address, AddressSource, Config, Event, Link, Owner, Segments, Stack};
use craton_services::{Enabled, Report, Services, Totals};
use std::net::Ipv4Addr;

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PORT: u16 = 7700;
const ETHERNET_BYTES: usize = 14;
const UDP_AT: usize = ETHERNET_BYTES + 20;
const PAYLOAD_AT: usize = UDP_AT + 8;
/// Rounds in which two stacks speak: as many milliseconds.
const ROUNDS: u32 = 24;

pub(crate) const FRAMES: Target = Target {
    name: "frames",
    about: "Ethernet frames one after another, each behind its length in two bytes",
    fuzz: |bytes| {
        let mut end = End::new(AddressSource::Static(address()));
        end.stack.listen(PORT).expect("it is free");
        let socket = end.stack.bind(PORT).expect("it is free");
        for frame in parts(bytes) {
            let mut frame = frame.to_vec();
            mend(&mut frame);
            end.hear(frame);
            end.step(1);
        }
        let mut scratch = Vec::new();
        let datagram = end.stack.receive_from(socket, &mut scratch).is_some();
        while let Some(event) = end.stack.poll_event() {
            if let Event::Readable { stream } = event {
                let _ = end.stack.read(stream, &mut scratch, 1 << 16);
            }
        }
        let (usage, counters) = (end.stack.usage(), end.stack.counters());
        assert!(usage.buffer_bytes < 4 << 20, "a few frames hold {} bytes", usage.buffer_bytes);
        let small = |number: usize| number.min(7) as u64;
        u64::from(datagram)
            | small(usage.streams) << 4
            | small(usage.handshakes) << 8
            | small(usage.fragmented) << 12
            | small(usage.time_waits) << 16
            | small(counters.frames_refused as usize) << 20
            | small(counters.frames_sent as usize) << 24
    },
    seeds: frames,
    words: &[&[8, 0], &[8, 6], &[0x86, 0xdd], &[0x45], &[0x20, 0], &[5, 0xb4], &[0, 0]],
    cost: 1,
};

pub(crate) const DHCP: Target = Target {
    name: "dhcp",
    about: "answers of DHCP servers, each behind its length in two bytes",
    fuzz: |bytes| {
        let mut end = End::new(AddressSource::Dhcp);
        for part in parts(bytes) {
            end.step(1);
            let asked = end.link.sent().iter().rev().find(|frame| {
                frame.len() > PAYLOAD_AT + 8 && frame[UDP_AT + 2..UDP_AT + 4] == [0, 67]
            });
            let Some(transaction) =
                asked.and_then(|frame| frame.get(PAYLOAD_AT + 4..PAYLOAD_AT + 8))
            else {
                return 1;
            };
            let mut answer = part.to_vec();
            for (at, bytes) in [(0, &[2][..]), (4, transaction), (28, &OUR_MAC)] {
                if let Some(place) = answer.get_mut(at..at + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
            end.hear(udp([PEER, Ipv4Addr::BROADCAST], [67, 68], &answer));
        }
        end.step(2);
        match end.stack.address() {
            None => 2 + end.link.sent().len().min(7) as u64,
            Some(own) => {
                let fit = !own.address.is_unspecified() && !own.address.is_broadcast();
                assert!(fit && own.prefix <= 32, "{own:?} is no address");
                16 + own.name_servers.len() as u64 + 8 * u64::from(own.gateway.is_some())
            }
        }
    },
    seeds: || {
        let both = [lease(2), lease(5)].iter().flat_map(|part| with_length(part)).collect();
        vec![both, with_length(&lease(6)), with_length(&lease(2))]
    },
    words: &[
        &[53, 1, 5],
        &[53, 1, 6],
        &[1, 4],
        &[3, 4],
        &[6, 4],
        &[51, 4],
        &[54, 4],
        &[255],
        &[52, 1, 3],
    ],
    cost: 1,
};

pub(crate) const DNS: Target = Target {
    name: "dns",
    about: "answers of name servers",
    fuzz: |bytes| {
        let mut end = End::new(AddressSource::Static(address()));
        end.step(1);
        let question = end.stack.resolve("www.example.org", end.now);
        end.step(1);
        end.hear(arp_reply());
        end.step(1);
        let Some(query) =
            end.link.sent().iter().rev().find(|frame| {
                frame.len() > PAYLOAD_AT + 2 && frame[UDP_AT + 2..UDP_AT + 4] == [0, 53]
            })
        else {
            panic!("no question was sent")
        };
        let port = u16::from_be_bytes([query[UDP_AT], query[UDP_AT + 1]]);
        let mut answer = bytes.to_vec();
        answer.iter_mut().zip(&query[PAYLOAD_AT..PAYLOAD_AT + 2]).for_each(|(to, id)| *to = *id);
        end.hear(udp([PEER, US], [53, port], &answer));
        end.step(1);
        while let Some(event) = end.stack.poll_event() {
            if let Event::Resolved { question: answered, result } = event {
                assert_eq!(answered, question);
                return match result {
                    Ok(addresses) => {
                        assert!(!addresses.is_empty(), "an answer without an address");
                        16 + addresses.len() as u64
                    }
                    Err(error) => crate::texts::outcome(&error),
                };
            }
        }
        1
    },
    seeds: || vec![dns_answer(&[A]), dns_answer(&[ALIAS, A, A]), dns_answer(&[])],
    words: &[
        &[0xc0, 0x0c],
        &[0, 1, 0, 1],
        &[0, 5, 0, 1],
        &[0, 28, 0, 1],
        &[0x81, 0x83],
        b"\x03www",
    ],
    cost: 1,
};

pub(crate) const ROUTERS: Target = Target {
    name: "routers",
    about: "what IPv6 routers announce",
    fuzz: |bytes| {
        let mut end = End::new(AddressSource::Static(address()));
        end.step(1);
        end.hear(advertisement(bytes));
        end.step(2);
        let announced = end.stack.announced();
        let servers = announced.name_servers.len().min(15) as u64;
        u64::from(announced.address.is_some())
            | u64::from(announced.gateway.is_some()) << 1
            | servers << 2
            | end.stack.counters().frames_refused.min(3) << 8
    },
    seeds: || {
        let mut body = vec![64, 0, 0x07, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend([3, 4, 64, 0xc0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0, 0, 0]);
        body.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([1, 1, 2, 0, 0, 0, 0, 2]);
        body.extend([25, 3, 0, 0, 0, 0, 1, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        vec![body]
    },
    words: &[&[3, 4, 64, 0xc0], &[25, 3], &[1, 1], &[5, 1], &[0xff; 4], &[0; 4], &[31]],
    cost: 1,
};

pub(crate) const HTTP: Target = Target {
    name: "http",
    about: "requests to the HTTP service, in one stream",
    fuzz: |bytes| {
        let mut client = End::new(AddressSource::Static(Address { address: PEER, ..address() }));
        let mut node = End::new(AddressSource::Static(address()));
        let mut services = Services::new(Enabled::parse("http").expect("it is known"), Owner(1));
        services.open(&mut node.stack).expect("the port is free");
        let stream = client.stack.dial((US, 80).into(), client.now).expect("there is room");
        let (mut left, mut heard) = (bytes, Vec::new());
        for _ in 0..ROUNDS {
            for frame in client.link.take_sent() {
                node.hear(frame);
            }
            node.step(1);
            while let Some(event) = node.stack.poll_event() {
                services.take(&event, &mut node.stack, &Nothing, node.now);
            }
            for frame in node.link.take_sent() {
                client.hear(frame);
            }
            let sent = client.stack.write(stream, left).unwrap_or(0);
            left = &left[sent..];
            client.step(1);
            let _ = client.stack.read(stream, &mut heard, 1 << 20);
        }
        assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.1 "), "no answer of HTTP");
        let status = |answer: &[u8]| answer.get(..3).map_or(0, |code| u64::from(code[0] + code[2]));
        let answers = heard.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
        let first = heard.get(9..12).map_or(0, status);
        first << 8 | answers.min(15) as u64
    },
    seeds: || {
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET /x HTTP/1.0\r\n\r\n",
            "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ];
        requests.map(|request| request.as_bytes().to_vec()).to_vec()
    },
    words: &[
        b"GET ",
        b"HEAD ",
        b"POST ",
        b" HTTP/1.1\r\n",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"18446744073709551616",
        b"-1",
        b"/hello",
        b"/metrics",
    ],
    cost: 8,
};

/// One stack and its end of a link, which vouches for every checksum, so that changes come further.
struct End {
    stack: Stack,
    link: MemoryEnd,
    now: Instant,
}

struct Nothing;

impl Report for Nothing {
    fn status(&self, out: &mut String) {
        out.push_str("a node\n");
    }

    fn metrics(&self, _: &Totals, _: &mut String) {}
}

impl End {
    fn new(source: AddressSource) -> Self {
        let mac = match &source {
            AddressSource::Static(own) if own.address == PEER => PEER_MAC,
            _ => OUR_MAC,
        };
        let link = Link {
            mac,
            mtu: 1500,
            checksum_transmit: false,
            segments_bytes_max: Segments::default(),
        };
        let now = Instant::from_nanos(1_000_000_000);
        let stack = Stack::new(Config::new(link, [mac[5]; 32], source), now);
        End { stack, link: MemoryEnd::default(), now }
    }

    fn hear(&mut self, frame: Vec<u8>) {
        self.link.hear(frame);
    }

    /// Lets so many milliseconds pass.
    fn step(&mut self, millis: u32) {
        for _ in 0..millis {
            let _ = self.stack.poll(&mut self.link, self.now);
            self.now += Duration::from_millis(1);
        }
    }
}

fn address() -> Address {
    Address { address: US, prefix: 24, gateway: None, name_servers: vec![PEER] }
}

/// What stands behind lengths of two bytes; the last may be shorter.
fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        bytes = after;
    }
    parts.truncate(32);
    parts
}

fn with_length(part: &[u8]) -> Vec<u8> {
    [&(part.len() as u16).to_be_bytes()[..], part].concat()
}

/// Makes the checksums right that no card vouches for: of an IPv4 header, and of ICMP for IPv6.
fn mend(frame: &mut [u8]) {
    let Some((head, packet)) = frame.split_at_mut_checked(ETHERNET_BYTES) else { return };
    if head[12..] == [0x86, 0xdd] {
        if packet.len() < 44 || packet[6] != 58 {
            return;
        }
        packet[42..44].fill(0);
        let length = (packet.len() - 40) as u32;
        let pseudo = [&packet[8..40], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
        let checksum = checksum(pseudo.chunks(2).chain(packet[40..].chunks(2)));
        packet[42..44].copy_from_slice(&checksum);
        return;
    }
    let length = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let header = packet.get_mut(..length).filter(|header| header.len() >= 20);
    if let Some(header) = header {
        header[10..12].fill(0);
        let checksum = checksum(header.chunks(2));
        header[10..12].copy_from_slice(&checksum);
    }
}

/// The Internet's checksum (RFC 1071) of words, the last of which may be half of one.
fn checksum<'a>(words: impl Iterator<Item = &'a [u8]>) -> [u8; 2] {
    let value =
        |word: &[u8]| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = words.map(value).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}

/// Two stacks do everything once; what the other says to us is what the seeds are.
fn frames() -> Vec<Vec<u8>> {
    let mut us = End::new(AddressSource::Static(address()));
    let mut peer = End::new(AddressSource::Static(Address { address: PEER, ..address() }));
    us.stack.listen(PORT).expect("it is free");
    let socket = peer.stack.bind(PORT).expect("it is free");
    let stream = peer.stack.dial((US, PORT).into(), peer.now).expect("there is room");
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        if round == 4 {
            peer.stack.write(stream, b"hello").expect("it lives");
            peer.stack.send_to(socket, (US, PORT).into(), &[7; 90], peer.now).expect("it fits");
        } else if round == 10 {
            peer.stack.close(stream, peer.now);
        }
        peer.step(1);
        for frame in peer.link.take_sent() {
            said.push(with_length(&frame));
            us.hear(frame);
        }
        us.step(1);
        for frame in us.link.take_sent() {
            peer.hear(frame);
        }
    }
    let mut fragments = udp([PEER, US], [9, PORT], &[1; 64]);
    fragments[ETHERNET_BYTES + 6] = 0x20;
    said.extend([with_length(&fragments), with_length(&echo())]);
    // All of it, and the first and the last of it.
    let all = said.concat();
    let half = said.len() / 2;
    vec![all, said[..half].concat(), said[half..].concat()]
}

/// A packet of IPv4 in a frame to us.
fn ipv4([from, to]: [Ipv4Addr; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let everybody = to == Ipv4Addr::BROADCAST;
    let mut frame = if everybody { vec![0xff; 6] } else { OUR_MAC.to_vec() };
    frame.extend(PEER_MAC);
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(payload);
    mend(&mut frame);
    frame
}

fn udp(ends: [Ipv4Addr; 2], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports.map(u16::to_be_bytes).concat();
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    ipv4(ends, 17, &datagram)
}

fn echo() -> Vec<u8> {
    ipv4([PEER, US], 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0])
}

fn arp_reply() -> Vec<u8> {
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(PEER_MAC);
    frame.extend(PEER.octets());
    frame.extend(OUR_MAC);
    frame.extend(US.octets());
    frame
}

/// A server's word, of this kind (RFC 2132, 9.6).
fn lease(kind: u8) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[16..20].copy_from_slice(&US.octets());
    message.extend([99, 130, 83, 99, 53, 1, kind, 54, 4, 10, 0, 0, 2, 51, 4, 0, 0, 14, 16]);
    message.extend([1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 2, 6, 8, 10, 0, 0, 2, 10, 0, 0, 3]);
    message.extend([255, 0, 0, 0]);
    message
}

/// Records of an answer, behind a pointer to the name that was asked for.
const A: &[u8] = &[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 8, 7];
const ALIAS: &[u8] = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10";

fn dns_answer(records: &[&[u8]]) -> Vec<u8> {
    let mut answer = vec![0, 0, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    answer.extend(b"\x03www\x07example\x03org\0\0\x01\0\x01");
    answer.extend(records.concat());
    answer
}

/// A router's advertisement with this body behind its first four bytes (RFC 4861, 4.2).
fn advertisement(body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(PEER_MAC);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((4 + body.len() as u16).to_be_bytes());
    frame.extend([58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([134, 0, 0, 0]);
    frame.extend(body);
    mend(&mut frame);
    frame
}
