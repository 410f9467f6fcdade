//! Values: as text, as JSON, as bits.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value as Json;
use uvale_tools::mac::{Mac, parse_mac};

/// What values a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// a number
    Number,
    /// a number that is shown with so many hexadecimal digits
    Hex(usize),
    /// a number of bytes that is kept in units of so many
    Units(u128),
    /// a number that may be given by a name; shown with so many hexadecimal digits, or in decimal if none
    Named(usize, &'static [(&'static str, u128)]),
    /// yes or no
    Bool,
    /// TCP's flags
    Flags,
    /// an Ethernet address
    Mac,
    /// an IPv4 address
    Ipv4,
    /// an IPv6 address
    Ipv6,
    /// a name of DNS
    Name,
    /// text
    Text,
    /// bytes
    Bytes,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// of a fixed number of bits
    Bits(u128),
    /// of any length
    Bytes(Vec<u8>),
}

/// TCP's flags from the lowest bit on: a name, and the letter that stands for it.
const FLAGS: [(&str, char); 9] = [
    ("FIN", 'F'),
    ("SYN", 'S'),
    ("RST", 'R'),
    ("PSH", 'P'),
    ("ACK", 'A'),
    ("URG", 'U'),
    ("ECE", 'E'),
    ("CWR", 'C'),
    ("AE", 'N'),
];

impl Kind {
    /// What the field takes, as the end of a sentence.
    pub fn takes(self) -> String {
        match self {
            Kind::Number | Kind::Hex(_) | Kind::Units(_) => "a number, like 10 or 0x0a".to_owned(),
            Kind::Named(_, names) => {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                format!("a number, or one of: {}", names.join(", "))
            }
            Kind::Bool => "true or false".to_owned(),
            Kind::Flags => "flags, like SYN,ACK or SA or 0x12".to_owned(),
            Kind::Mac => "a MAC address, like 02:00:00:00:00:01".to_owned(),
            Kind::Ipv4 => "an IPv4 address, like 10.0.0.1".to_owned(),
            Kind::Ipv6 => "an IPv6 address, like 2001:db8::1".to_owned(),
            Kind::Name => "a host name, like www.example.com".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Bytes => "bytes in hex, like 68656c6c6f".to_owned(),
        }
    }

    /// A value that is written as text; else what the field takes.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let wrong = || format!("takes {}, not '{}'", self.takes(), shortened(text));
        let bits = match self {
            Kind::Number | Kind::Hex(_) => number(text),
            Kind::Units(unit) => match number(text) {
                Some(n) if n % unit != 0 => {
                    return Err(format!("takes a multiple of {unit}, not {n}"));
                }
                n => n.map(|n| n / unit),
            },
            Kind::Named(_, names) => names
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(text))
                .map(|(_, n)| *n)
                .or_else(|| number(text)),
            Kind::Bool => match text {
                "0" | "false" | "False" | "FALSE" => Some(0),
                "1" | "true" | "True" | "TRUE" => Some(1),
                _ => None,
            },
            Kind::Flags => flags(text),
            Kind::Mac => mac(text),
            Kind::Ipv4 => text.parse().ok().map(|ip: Ipv4Addr| ip.to_bits().into()),
            Kind::Ipv6 => text.parse().ok().map(|ip: Ipv6Addr| ip.to_bits()),
            Kind::Name => return name(text).map(Value::Bytes).ok_or_else(wrong),
            Kind::Text => return Ok(Value::Bytes(text.as_bytes().to_vec())),
            Kind::Bytes => return hex(text).map(Value::Bytes).ok_or_else(wrong),
        };
        bits.map(Value::Bits).ok_or_else(wrong)
    }

    /// A value of JSON; else what the field takes.
    pub fn of_json(self, json: &Json) -> Result<Value, String> {
        match json {
            Json::String(text) => self.parse(text),
            Json::Number(n) if !matches!(self, Kind::Text | Kind::Bytes | Kind::Name) => {
                self.parse(&n.to_string())
            }
            Json::Bool(is) if self == Kind::Bool => Ok(Value::Bits((*is).into())),
            other => Err(format!(
                "takes {}, not {}",
                self.takes(),
                shortened(&other.to_string())
            )),
        }
    }

    /// The value as text.
    pub fn text(self, value: &Value) -> String {
        match (self, value) {
            (Kind::Bytes, Value::Bytes(bytes)) => {
                bytes.iter().map(|b| format!("{b:02x}")).collect()
            }
            (_, Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            (Kind::Hex(digits), Value::Bits(n)) => format!("0x{n:0digits$x}"),
            (Kind::Named(digits, _), Value::Bits(n)) if digits > 0 => format!("0x{n:0digits$x}"),
            (Kind::Units(unit), Value::Bits(n)) => n.saturating_mul(unit).to_string(),
            (Kind::Flags, Value::Bits(n)) => flags_text(*n),
            (Kind::Mac, Value::Bits(n)) => {
                let [_, _, bytes @ ..] = (*n as u64).to_be_bytes();
                Mac(bytes).to_string()
            }
            (Kind::Ipv4, Value::Bits(n)) => Ipv4Addr::from_bits(*n as u32).to_string(),
            (Kind::Ipv6, Value::Bits(n)) => Ipv6Addr::from_bits(*n).to_string(),
            (_, Value::Bits(n)) => n.to_string(),
        }
    }

    /// The value as text, with the name that it has.
    pub fn explained(self, value: &Value) -> String {
        let text = self.text(value);
        match (self, value) {
            (Kind::Named(_, names), Value::Bits(n)) => {
                match names.iter().find(|(_, number)| number == n) {
                    Some((name, _)) => format!("{text} ({name})"),
                    None => text,
                }
            }
            _ => text,
        }
    }
}

/// The beginning of what somebody wrote, for a sentence.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", text[..at].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// A number in decimal, or in hex after 0x. A leading 0 would be octal in Wireshark, and is refused.
fn number(text: &str) -> Option<u128> {
    let digits = |text: &str, radix| {
        let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        all.then(|| u128::from_str_radix(text, radix).ok())?
    };
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => None,
        None => digits(text, 10),
    }
}

/// Names with commas or bars between them, letters, or a number.
fn flags(text: &str) -> Option<u128> {
    if let Some(n) = number(text) {
        return Some(n);
    }
    if text.is_empty() || text.eq_ignore_ascii_case("none") {
        return Some(0);
    }
    let bit = |index: usize| 1 << index;
    let named = |word: &str| {
        let at = FLAGS
            .iter()
            .position(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
        at.map(bit)
    };
    let lettered = |letter: char| {
        let letter = letter.to_ascii_uppercase();
        FLAGS.iter().position(|(_, of)| *of == letter).map(bit)
    };
    let or = |all: Option<u128>, one: Option<u128>| Some(all? | one?);
    let by_name = text.split([',', '|', ' ']).map(named).fold(Some(0), or);
    by_name.or_else(|| text.chars().map(lettered).fold(Some(0), or))
}

fn flags_text(n: u128) -> String {
    let known = FLAGS.iter().enumerate();
    let mut set: Vec<_> = known
        .filter(|(index, _)| n >> index & 1 == 1)
        .map(|(_, (name, _))| (*name).to_owned())
        .collect();
    let rest = n >> FLAGS.len() << FLAGS.len();
    if rest != 0 {
        return format!("0x{n:03x}");
    }
    if set.is_empty() {
        set.push("none".to_owned());
    }
    set.join(",")
}

fn mac(text: &str) -> Option<u128> {
    let mac = parse_mac(&text.replace(['-', '.'], ":")).ok()?;
    Some(mac.0.iter().fold(0, |all, b| all << 8 | u128::from(*b)))
}

/// A name of DNS without its last dot.
fn name(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.is_ascii();
    let fits = text.len() <= 253 && text.split('.').all(is_label);
    fits.then(|| text.as_bytes().to_vec())
}

/// Bytes in hex, with blanks, colons, dashes or dots between them or not.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for word in text.split(|c: char| c.is_whitespace() || ":-.".contains(c)) {
        let digits = word.as_bytes();
        if digits.len() % 2 != 0 {
            return None;
        }
        for pair in digits.chunks(2) {
            let digit = |b: u8| char::from(b).to_digit(16);
            bytes.push((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
        }
    }
    Some(bytes)
}
