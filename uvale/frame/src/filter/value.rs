//! What fields are compared with.

use super::{Op, Operand, Target};
use crate::fields::fits;
use crate::kind::{Kind, Value, shortened};

/// A value, or the addresses of a network.
#[derive(Clone, Debug)]
pub struct Test {
    /// the value
    pub value: Value,
    /// which of its bits count; all of them if there is none
    pub mask: Option<u128>,
}

/// What values the operand has.
pub fn kind_of(operand: &Operand) -> Kind {
    match operand.of {
        _ if operand.slice.is_some() => Kind::Bytes,
        Target::Proto(_) => Kind::Bytes,
        Target::Field(field) => match field.kind {
            // compared by number
            Kind::Hex(_) | Kind::Named(..) | Kind::Units(_) | Kind::Flags => Kind::Number,
            Kind::Text => Kind::Bytes,
            kind => kind,
        },
    }
}

impl Operand {
    /// What it can be compared with, for a sentence.
    pub fn takes(&self) -> String {
        match (kind_of(self), self.of) {
            (Kind::Bytes, _) => "text in quotes, or bytes like 68:65:6c".to_owned(),
            (Kind::Name, _) => "text in quotes".to_owned(),
            (_, Target::Field(field)) => field.kind.takes(),
            (kind, Target::Proto(_)) => kind.takes(),
        }
    }

    /// Does this operator make sense?
    pub fn allows(&self, op: Op) -> Result<(), &'static str> {
        let kind = kind_of(self);
        match op {
            Op::Contains if !matches!(kind, Kind::Bytes | Kind::Name | Kind::Mac) => {
                Err("contains is for text and bytes; this is compared by == and the like")
            }
            Op::Bits if kind != Kind::Number => Err("& is for numbers"),
            _ => Ok(()),
        }
    }

    /// Are there bytes to take some of?
    pub fn sliceable(&self) -> Result<(), &'static str> {
        match kind_of(self) {
            Kind::Number | Kind::Bool => Err("numbers have no bytes to take some of; & takes bits"),
            _ => Ok(()),
        }
    }
}

impl Test {
    /// What the operand is compared with; else a sentence.
    pub fn parse(left: &Operand, text: &str, is_quoted: bool) -> Result<Test, String> {
        let wrong = || format!("expected {}, not '{}'", left.takes(), shortened(text));
        let whole = |value| Test { value, mask: None };
        match (kind_of(left), is_quoted) {
            (Kind::Bytes | Kind::Name | Kind::Mac, true) if !is_mac(left, text) => {
                return Ok(whole(Value::Bytes(text.as_bytes().to_vec())));
            }
            (Kind::Name, false) => return Err(wrong()),
            (Kind::Bytes, false) => {
                let value = Kind::Bytes.parse(text).map_err(|_| wrong())?;
                return match &value {
                    Value::Bytes(bytes) if bytes.is_empty() => Err(wrong()),
                    _ => Ok(whole(value)),
                };
            }
            _ => {}
        }
        let Target::Field(field) = left.of else {
            return Err(wrong());
        };
        if let (Kind::Ipv4 | Kind::Ipv6, Some((address, bits))) = (field.kind, text.split_once('/'))
        {
            let width: u32 = if field.kind == Kind::Ipv4 { 32 } else { 128 };
            let length: Option<u32> = bits.parse().ok().filter(|length| *length <= width);
            let length = length
                .ok_or_else(|| format!("expected /0 to /{width}, not '/{}'", shortened(bits)))?;
            let value = field.kind.parse(address).map_err(|_| wrong())?;
            let mask = match width - length {
                128 => 0,
                free => u128::MAX << free,
            };
            let mask = Some(mask);
            return Ok(Test { value, mask });
        }
        if field.kind == Kind::Mac && !is_mac(left, text) {
            // some bytes of an address
            let value = Kind::Bytes.parse(text).map_err(|_| wrong())?;
            return Ok(whole(value));
        }
        let value = field
            .kind
            .parse(text)
            .map_err(|why| format!("{}: {why}", field.name))?;
        fits(field, value)
            .map(whole)
            .map_err(|why| format!("{}: {why}", field.name))
    }
}

fn is_mac(left: &Operand, text: &str) -> bool {
    kind_of(left) == Kind::Mac && Kind::Mac.parse(text).is_ok()
}

/// Bytes of a value: `[from:length]`, `[from-to]`, `[at]`, `[:length]`, `[from:]`.
pub fn parse_slice(text: &str) -> Result<(usize, Option<usize>), String> {
    let wrong = || {
        format!(
            "expected bytes like [0:3], [2-5] or [4], not [{}]",
            shortened(text)
        )
    };
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .map(usize::from)
            .map_err(|_| wrong())
    };
    if let Some((from, len)) = text.split_once(':') {
        let from = if from.trim().is_empty() {
            0
        } else {
            number(from)?
        };
        return match len.trim() {
            "" => Ok((from, None)),
            len => Ok((from, Some(number(len)?))),
        };
    }
    if let Some((from, to)) = text.split_once('-') {
        let (from, to) = (number(from)?, number(to)?);
        let len = (to + 1)
            .checked_sub(from)
            .filter(|len| *len > 0)
            .ok_or_else(wrong)?;
        return Ok((from, Some(len)));
    }
    Ok((number(text)?, Some(1)))
}
