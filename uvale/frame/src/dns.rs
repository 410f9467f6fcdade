//! What follows a DNS header: the question, and addresses that are answered.

use std::net::{Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QTYPE, Question, ResourceRecord, TYPE};

use crate::kind::Value;
use crate::table::Record;

/// How long an answer holds if nobody says, in seconds.
const TTL: u32 = 60;

/// Is this a message of DNS?
pub fn parses(message: &[u8]) -> bool {
    Packet::parse(message).is_ok()
}

/// What of the message's question or answers.
pub fn values(message: &[u8], record: Record) -> Vec<Value> {
    let Ok(packet) = Packet::parse(message) else {
        return Vec::new();
    };
    let bits = |value: u128| Value::Bits(value);
    let questions = packet.questions.iter();
    let answers = packet.answers.iter();
    match record {
        Record::QueryName => questions
            .map(|asked| Value::Bytes(asked.qname.to_string().into_bytes()))
            .collect(),
        Record::QueryType => questions
            .map(|asked| bits(u16::from(asked.qtype).into()))
            .collect(),
        Record::A => answers
            .filter_map(|answer| match &answer.rdata {
                RData::A(a) => Some(bits(a.address.into())),
                _ => None,
            })
            .collect(),
        Record::Aaaa => answers
            .filter_map(|answer| match &answer.rdata {
                RData::AAAA(a) => Some(bits(a.address)),
                _ => None,
            })
            .collect(),
        Record::Ttl => answers.map(|answer| bits(answer.ttl.into())).collect(),
    }
}

/// The message with other values of its question or answers.
pub fn with(message: &[u8], record: Record, values: &[Value]) -> Result<Vec<u8>, String> {
    let mut packet =
        Packet::parse(message).map_err(|e| format!("the message does not read: {e}"))?;
    let number = |value: &Value| match value {
        Value::Bits(n) => *n,
        Value::Bytes(_) => 0,
    };
    let first = values.first().map_or(0, number);
    match record {
        Record::QueryName => {
            let name = match values.first() {
                Some(Value::Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            let name = Name::new(&name)
                .map_err(|e| format!("is no name: {e}"))?
                .into_owned();
            let old = packet.questions.first().map(|asked| asked.qname.clone());
            for answer in &mut packet.answers {
                if Some(&answer.name) == old.as_ref() {
                    answer.name = name.clone();
                }
            }
            question(&mut packet).qname = name;
        }
        Record::QueryType => {
            let kind = u16::try_from(first)
                .ok()
                .and_then(|n| QTYPE::try_from(n).ok());
            question(&mut packet).qtype = kind.ok_or("is no type of DNS")?;
        }
        Record::A => {
            let made = values
                .iter()
                .map(|value| Ipv4Addr::from_bits(number(value) as u32));
            answers(&mut packet, TYPE::A, made.map(|ip| RData::A(ip.into())));
        }
        Record::Aaaa => {
            let made = values
                .iter()
                .map(|value| Ipv6Addr::from_bits(number(value)));
            answers(
                &mut packet,
                TYPE::AAAA,
                made.map(|ip| RData::AAAA(ip.into())),
            );
        }
        Record::Ttl if packet.answers.is_empty() => return Err("there are no answers".to_owned()),
        Record::Ttl => {
            for (index, answer) in packet.answers.iter_mut().enumerate() {
                answer.ttl = values.get(index).map_or(first, number) as u32;
            }
        }
    }
    let mut made = packet
        .build_bytes_vec_compressed()
        .map_err(|e| e.to_string())?;
    // the crate keeps what it knows of the flags: they stay as they are
    if let (Some(to), Some(from)) = (made.get_mut(..4), message.get(..4)) {
        to.copy_from_slice(from);
    }
    Ok(made)
}

/// The message's first question, made if there is none.
fn question<'a, 'b>(packet: &'b mut Packet<'a>) -> &'b mut Question<'a> {
    if packet.questions.is_empty() {
        let name = Name::new_unchecked("");
        let asked = Question::new(name, TYPE::A.into(), CLASS::IN.into(), false);
        packet.questions.push(asked);
    }
    &mut packet.questions[0]
}

/// Gives the answers of this kind these values, one each. Those that are there keep their places.
fn answers<'a>(packet: &mut Packet<'a>, kind: TYPE, made: impl Iterator<Item = RData<'a>>) {
    let asked = packet.questions.first().map(|asked| asked.qname.clone());
    let name = asked.unwrap_or(Name::new_unchecked(""));
    let ttl = packet.answers.first().map_or(TTL, |answer| answer.ttl);
    let mut made = made.fuse();
    packet.answers.retain_mut(|answer| {
        if answer.rdata.type_code() != kind {
            return true;
        }
        let next = made.next();
        let is_kept = next.is_some();
        next.into_iter().for_each(|data| answer.rdata = data);
        is_kept
    });
    let more = made.map(|data| ResourceRecord::new(name.clone(), CLASS::IN, ttl, data));
    packet.answers.extend(more);
}
