//! Values of fields in a frame: read, written.

use crate::Wrong;
use crate::dns;
use crate::draft::{Draft, read, write};
use crate::kind::Value;
use crate::shape::{Part, Shape};
use crate::sums;
use crate::table::{self, Field, Place, Proto};

/// Shortest frame on a wire, without its checksum.
pub const SHORTEST: usize = 60;

/// All values of a field in a frame.
pub fn values(field: &'static Field, frame: &[u8], shape: &Shape) -> Vec<Value> {
    match field.place {
        Place::FrameLen => vec![Value::Bits(frame.len() as u128)],
        Place::Either(names) => {
            let fields = names.iter().filter_map(|name| table::find(name));
            fields
                .flat_map(|field| values(field, frame, shape))
                .collect()
        }
        _ => {
            let parts = shape.all(field.proto);
            parts
                .flat_map(|part| values_in(field, frame, shape, part))
                .collect()
        }
    }
}

/// The values of a field in one header of its protocol.
pub fn values_in(field: &'static Field, frame: &[u8], shape: &Shape, part: &Part) -> Vec<Value> {
    let header = &frame[part.at.clone()];
    if field.when.is_some_and(|has| !has(header)) {
        return Vec::new();
    }
    match field.place {
        Place::Bits { at, len } => read(header, at, len).map(Value::Bits).into_iter().collect(),
        Place::HeaderFrom(at) => match header.get(at..) {
            Some(rest) if !rest.is_empty() => vec![Value::Bytes(rest.to_vec())],
            _ => Vec::new(),
        },
        Place::Payload => vec![Value::Bytes(header.to_vec())],
        Place::PayloadLen => vec![Value::Bits(header.len() as u128)],
        Place::Dns(record) => dns::values(header, record),
        Place::Sum => sums::status(frame, shape, field.proto)
            .map(|status| Value::Bits(status as u128))
            .into_iter()
            .collect(),
        Place::FrameLen | Place::Either(_) => values(field, frame, shape),
    }
}

impl Draft {
    /// Gives a field its values: one for all headers of its protocol, or one for each.
    pub fn set(&mut self, field: &'static Field, values: &[Value]) -> Result<(), Wrong> {
        let Some(first) = values.first() else {
            return Err(Wrong::new(field.name, "takes at least one value"));
        };
        if field.place == Place::Sum {
            let why = "is asked for only: it follows from the checksum and its contents";
            return Err(Wrong::new(field.name, why));
        }
        // nothing is written anew that is so already: a message of DNS can be written in several ways
        if self::values(field, &self.frame, &self.shape) == values {
            return Ok(());
        }
        match (field.place, first) {
            (Place::Bits { at, len }, _) => self.set_bits(field, at, len, values),
            (Place::FrameLen, Value::Bits(len)) => self.set_len(field, *len),
            (Place::Payload, Value::Bytes(data)) => self.set_payload(field, data),
            (Place::PayloadLen, Value::Bits(len)) => {
                let len = usize::try_from(*len).unwrap_or(MOST);
                let mut data = self.frame[self.shape.payload.clone()].to_vec();
                data.resize(len, 0);
                self.set_payload(field, &data)
            }
            (Place::HeaderFrom(from), Value::Bytes(bytes)) => self.set_rest(field, from, bytes),
            (Place::Dns(record), _) => {
                let message = self.shape.first(Proto::Dns).cloned();
                let message = message.ok_or_else(|| missing(field))?;
                let made = dns::with(&self.frame[message.at.clone()], record, values)
                    .map_err(|why| Wrong::new(field.name, why))?;
                self.set_payload(field, &made)
            }
            (Place::Either([a, b]), _) => {
                let why = format!("means either of two fields; name {a} or {b}");
                Err(Wrong::new(field.name, why))
            }
            _ => Err(Wrong::new(
                field.name,
                format!("takes {}", field.kind.takes()),
            )),
        }
    }

    fn set_bits(
        &mut self,
        field: &Field,
        at: usize,
        len: usize,
        values: &[Value],
    ) -> Result<(), Wrong> {
        let parts: Vec<_> = self
            .shape
            .all(field.proto)
            .map(|part| part.at.clone())
            .collect();
        if parts.is_empty() {
            return Err(missing(field));
        }
        if values.len() > 1 && values.len() != parts.len() {
            let why = format!(
                "has {} values, for {} of {}",
                values.len(),
                parts.len(),
                field.proto.name()
            );
            return Err(Wrong::new(field.name, why));
        }
        for (index, part) in parts.iter().enumerate() {
            let value = values.get(index).or(values.first());
            let Some(Value::Bits(value)) = value else {
                return Err(Wrong::new(
                    field.name,
                    format!("takes {}", field.kind.takes()),
                ));
            };
            let header = self.header(part);
            if field.when.is_some_and(|has| !has(header)) || header.len() * 8 < at + len {
                let why = format!("this {} header has no such field", field.proto.name());
                return Err(Wrong::new(field.name, why));
            }
            write(header, at, len, *value);
        }
        Ok(())
    }

    /// The payload, of another length perhaps. Padding follows.
    fn set_payload(&mut self, field: &Field, data: &[u8]) -> Result<(), Wrong> {
        if self.shape.first(Proto::Arp).is_some() || self.shape.parts.is_empty() {
            return Err(Wrong::new(
                field.name,
                "a frame of this kind carries no data",
            ));
        }
        let at = self.shape.payload.clone();
        let was_padded = at.end < self.frame.len() && self.frame.len() == SHORTEST;
        if was_padded {
            self.frame.truncate(at.end);
        }
        self.frame.splice(at.clone(), data.iter().copied());
        if was_padded && self.frame.len() < SHORTEST {
            self.frame.resize(SHORTEST, 0);
        }
        if self.frame.len() > MOST {
            return Err(Wrong::new(
                field.name,
                format!("the frame would be longer than {MOST} bytes"),
            ));
        }
        let payload = at.start..at.start + data.len();
        let is_last = |proto| matches!(proto, Proto::Dns | Proto::Data);
        let mut proto = Proto::Data;
        self.shape.parts.retain(|part| {
            if part.proto == Proto::Dns {
                proto = Proto::Dns;
            }
            !is_last(part.proto)
        });
        if !payload.is_empty() {
            let at = payload.clone();
            self.shape.parts.push(Part { proto, at });
        }
        self.shape.payload = payload;
        Ok(())
    }

    /// The part of a header behind its fixed fields, of another length perhaps.
    fn set_rest(&mut self, field: &Field, from: usize, bytes: &[u8]) -> Result<(), Wrong> {
        let index = self
            .shape
            .parts
            .iter()
            .position(|part| part.proto == field.proto);
        let Some(index) = index else {
            return Err(missing(field));
        };
        let most = 40;
        if bytes.len() > most || !bytes.len().is_multiple_of(4) {
            let why = format!(
                "takes a multiple of 4 bytes, {most} at most, not {}",
                bytes.len()
            );
            return Err(Wrong::new(field.name, why));
        }
        let at = self.shape.parts[index].at.clone();
        let rest = (at.start + from).min(at.end)..at.end;
        self.frame.splice(rest.clone(), bytes.iter().copied());
        let moved = |place: usize| place - rest.len() + bytes.len();
        self.shape.parts[index].at.end = moved(at.end);
        for part in &mut self.shape.parts[index + 1..] {
            part.at = moved(part.at.start)..moved(part.at.end);
        }
        let payload = &mut self.shape.payload;
        *payload = moved(payload.start)..moved(payload.end);
        Ok(())
    }

    /// The frame's length: zeroes are added, or padding is taken away.
    fn set_len(&mut self, field: &Field, len: u128) -> Result<(), Wrong> {
        let end = self.shape.parts.last().map_or(0, |part| part.at.end);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if !(end..=MOST).contains(&len) {
            let why = format!("this frame takes {end} bytes at least, {MOST} at most, not {len}");
            return Err(Wrong::new(field.name, why));
        }
        self.frame.resize(len, 0);
        Ok(())
    }
}

/// Longest frame.
pub const MOST: usize = 65_535;

fn missing(field: &Field) -> Wrong {
    Wrong::new(
        field.name,
        format!("the frame has no {}", field.proto.name()),
    )
}
