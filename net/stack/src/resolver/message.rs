//! The messages of name servers (RFC 1035): one question out, one answer in.
//!
//! Owns names in their normal form and what an answer comes to. Reads through smoltcp's checked
//! views, whose names cannot lead in a circle.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use smoltcp::wire::{
    DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData,
    DnsRepr,
};

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Aliases that lead from the name to its addresses.
const ALIASES_MAX: usize = 8;
/// Records of an answer that are looked at.
const RECORDS_MAX: usize = 64;

/// What an answer comes to.
pub(super) enum Reply {
    /// These addresses, good for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name, or it has no such address.
    NoSuchName,
    /// This server cannot tell.
    Failed,
}

/// A name in lower case and without a final dot, if it is one.
pub(super) fn normal(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fit = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(inner)
    };
    let whole = name.len() <= NAME_BYTES_MAX && name.split('.').all(fit);
    whole.then(|| name.to_ascii_lowercase())
}

/// A question for a server.
pub(super) fn query(name: &str, ipv6: bool, id: u16) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        encoded.push(label.len() as u8);
        encoded.extend_from_slice(label.as_bytes());
    }
    encoded.push(0);
    let repr = DnsRepr {
        transaction_id: id,
        opcode: DnsOpcode::Query,
        flags: DnsFlags::RECURSION_DESIRED,
        question: DnsQuestion { name: &encoded, type_: kind(ipv6) },
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DnsPacket::new_unchecked(&mut bytes[..]));
    bytes
}

fn kind(ipv6: bool) -> DnsQueryType {
    if ipv6 { DnsQueryType::Aaaa } else { DnsQueryType::A }
}

/// What an answer comes to, if it is one to this question.
pub(super) fn reply(bytes: &[u8], id: u16, name: &str, ipv6: bool) -> Option<Reply> {
    let packet = DnsPacket::new_checked(bytes).ok()?;
    let ours = packet.transaction_id() == id
        && packet.flags().contains(DnsFlags::RESPONSE)
        && packet.opcode() == DnsOpcode::Query
        && packet.question_count() == 1;
    if !ours {
        return None;
    }
    let (rest, question) = DnsQuestion::parse(packet.payload()).ok()?;
    if question.type_ != kind(ipv6) || text(&packet, question.name)? != name {
        return None;
    }
    match packet.rcode() {
        DnsRcode::NoError => {}
        DnsRcode::NXDomain => return Some(Reply::NoSuchName),
        _ => return Some(Reply::Failed),
    }
    let records = records(&packet, rest);
    let (addresses, ttl) = follow(&records, name, ipv6);
    if !addresses.is_empty() {
        return Some(Reply::Addresses(addresses, ttl));
    }
    // A cut answer says nothing about what it lacks.
    let cut = packet.flags().contains(DnsFlags::TRUNCATED);
    Some(if cut { Reply::Failed } else { Reply::NoSuchName })
}

/// A record that matters: whose it is, what it says, for how long.
struct Record {
    name: String,
    says: Says,
    ttl: u32,
}

enum Says {
    Address(IpAddr),
    Alias(String),
}

fn records(packet: &DnsPacket<&[u8]>, mut rest: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..usize::from(packet.answer_record_count()).min(RECORDS_MAX) {
        let Ok((after, record)) = DnsRecord::parse(rest) else { break };
        rest = after;
        let says = match record.data {
            DnsRecordData::A(address) => Some(Says::Address(address.into())),
            DnsRecordData::Aaaa(address) => Some(Says::Address(address.into())),
            DnsRecordData::Cname(alias) => text(packet, alias).map(Says::Alias),
            DnsRecordData::Other(..) => None,
        };
        if let (Some(name), Some(says)) = (text(packet, record.name), says) {
            records.push(Record { name, says, ttl: record.ttl });
        }
    }
    records
}

/// The addresses of a name, through its aliases, and how long all of that is good for.
fn follow(records: &[Record], name: &str, ipv6: bool) -> (Vec<IpAddr>, u32) {
    let mut name = name;
    let mut ttl = u32::MAX;
    for _ in 0..=ALIASES_MAX {
        let own = || records.iter().filter(|record| record.name == name);
        let addresses: Vec<(IpAddr, u32)> = own()
            .filter_map(|record| match record.says {
                Says::Address(address) if address.is_ipv6() == ipv6 => Some((address, record.ttl)),
                _ => None,
            })
            .collect();
        if !addresses.is_empty() {
            let least = addresses.iter().map(|(_, ttl)| *ttl).fold(ttl, u32::min);
            return (addresses.into_iter().map(|(address, _)| address).collect(), least);
        }
        let alias = own().find_map(|record| match &record.says {
            Says::Alias(alias) => Some((alias, record.ttl)),
            Says::Address(_) => None,
        });
        let Some((alias, lasts)) = alias else { break };
        name = alias;
        ttl = ttl.min(lasts);
    }
    (Vec::new(), 0)
}

fn text(packet: &DnsPacket<&[u8]>, name: &[u8]) -> Option<String> {
    let mut text = String::new();
    for label in packet.parse_name(name) {
        let label = core::str::from_utf8(label.ok()?).ok()?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
    }
    text.make_ascii_lowercase();
    Some(text)
}
