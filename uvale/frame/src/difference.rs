//! How two frames differ, layer by layer.

use std::ops::Range;

use crate::kind::{Kind, Value};
use crate::shape::{self, Part, Shape};
use crate::sums::{self, SUMS, Sum};
use crate::table::{Field, Place, Proto, fields_of};
use crate::{kind, place};

/// Most bytes of a payload, or characters of a text, that are shown of each.
const WINDOW: usize = 16;

/// The differences, a line each. There is one at least if the frames are not the same.
pub fn lines(expected: &[u8], got: &[u8]) -> String {
    let sides = [expected, got].map(|frame| Side {
        frame,
        shape: shape::of(frame),
    });
    let [expected, got] = &sides;
    let mut lines = Vec::new();
    let names = |side: &Side<'_>| {
        let names: Vec<_> = side
            .shape
            .parts
            .iter()
            .map(|part| part.proto.name())
            .collect();
        names.join(" ")
    };
    if names(expected) != names(got) {
        lines.push(format!(
            "layers: expected {}, got {}",
            names(expected),
            names(got)
        ));
    }
    let pairs = expected.shape.parts.iter().zip(&got.shape.parts);
    for (one, two) in pairs.take_while(|(one, two)| one.proto == two.proto) {
        layer(&sides, one, two, &mut lines);
    }
    if expected.frame.len() != got.frame.len() {
        let (len, got) = (expected.frame.len(), got.frame.len());
        lines.push(format!("frame.len: expected {len}, got {got}"));
    }
    if lines.is_empty() {
        lines.extend(bytes("frame", expected.frame, got.frame));
    }
    lines.join("\n")
}

/// One of the two frames.
struct Side<'a> {
    frame: &'a [u8],
    shape: Shape,
}

impl Side<'_> {
    fn values(&self, field: &'static Field, part: &Part) -> Vec<Value> {
        place::values_in(field, self.frame, &self.shape, part)
    }

    fn bytes(&self, at: Range<usize>) -> &[u8] {
        self.frame.get(at).unwrap_or_default()
    }
}

/// Differences of one header, or of the data.
fn layer([expected, got]: &[Side<'_>; 2], one: &Part, two: &Part, lines: &mut Vec<String>) {
    let [old, new] = [expected.bytes(one.at.clone()), got.bytes(two.at.clone())];
    if one.proto == Proto::Data {
        if old != new {
            lines.extend(bytes("data", old, new));
        }
        return;
    }
    let mut sum = None;
    let before = lines.len();
    for field in fields_of(one.proto).filter(|field| field.is_shown) {
        let [wanted, found] = [expected.values(field, one), got.values(field, two)];
        if wanted == found {
            continue;
        }
        let line = match field.kind {
            Kind::Bytes => bytes(field.name, raw(&wanted), raw(&found)).unwrap_or_default(),
            _ => {
                let [wanted, found] = [wanted, found].map(|values| text(field, &values));
                format!("{}: expected {wanted}, got {found}", field.name)
            }
        };
        match SUMS.iter().any(|(_, name)| *name == field.name) {
            true => sum = Some((field.name, line)),
            false => lines.push(line),
        }
    }
    if let Some((name, line)) = sum {
        lines.extend(checksum(expected, got, one.proto, name, line));
    }
    if lines.len() == before && old != new {
        // bits that no field of ours has
        let explained = sums_explain(expected, got, one, two);
        if !explained {
            lines.extend(bytes(one.proto.name(), old, new));
        }
    }
}

/// A checksum that is that of its contents is no news: its contents differ, and they are said.
fn checksum(
    expected: &Side<'_>,
    got: &Side<'_>,
    proto: Proto,
    name: &str,
    line: String,
) -> Option<String> {
    let look = |side: &Side<'_>| sums::look(side.frame, &side.shape, proto, name);
    match (look(expected), look(got)) {
        (Some(Sum::Right), Some(Sum::Right)) => None,
        (_, Some(Sum::Wrong(right))) => Some(format!(
            "{line}, which is wrong: its contents make 0x{right:04x}"
        )),
        _ => Some(line),
    }
}

/// Is the checksum all that differs between these headers, and right in both?
fn sums_explain(expected: &Side<'_>, got: &Side<'_>, one: &Part, two: &Part) -> bool {
    let Some((_, name)) = SUMS.iter().find(|(proto, _)| *proto == one.proto) else {
        return false;
    };
    let place = fields_of(one.proto).find(|field| field.name == *name);
    let Some(Place::Bits { at, len }) = place.map(|field| field.place) else {
        return false;
    };
    let is_right =
        |side: &Side<'_>| sums::look(side.frame, &side.shape, one.proto, name) == Some(Sum::Right);
    let without = |side: &Side<'_>, part: &Part| {
        let mut header = side.bytes(part.at.clone()).to_vec();
        place::write(&mut header, at, len, 0);
        header
    };
    is_right(expected) && is_right(got) && without(expected, one) == without(got, two)
}

fn raw(values: &[Value]) -> &[u8] {
    match values {
        [Value::Bytes(bytes), ..] => bytes,
        _ => &[],
    }
}

fn text(field: &Field, values: &[Value]) -> String {
    let all: Vec<_> = values
        .iter()
        .map(|value| kind::shortened(&field.kind.explained(value)))
        .collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(" "),
    }
}

/// Where two runs of bytes begin to differ, and what is there.
fn bytes(name: &str, old: &[u8], new: &[u8]) -> Option<String> {
    let common = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    if old.len() == new.len() && common == old.len() {
        return None;
    }
    // two bytes before say where one is
    let from = common.saturating_sub(2);
    let window = |bytes: &[u8]| {
        let shown = bytes.get(from..).unwrap_or_default();
        let hex: Vec<_> = shown
            .iter()
            .take(WINDOW)
            .map(|b| format!("{b:02x}"))
            .collect();
        let text: String = shown.iter().take(WINDOW).map(|b| printable(*b)).collect();
        let more = if shown.len() > WINDOW { "..." } else { "" };
        match hex.is_empty() {
            true => "nothing".to_owned(),
            false => format!("{}{more} \"{text}{more}\"", hex.join(" ")),
        }
    };
    let lengths = match (old.len(), new.len()) {
        (a, b) if a == b => format!("of {a} bytes"),
        (a, b) => format!("of {a} bytes, got {b} bytes"),
    };
    let (wanted, found) = (window(old), window(new));
    let lines = [
        format!("{name}: expected {lengths}; they differ from byte {common} on"),
        format!("  expected, from byte {from}: {wanted}"),
        format!("  got,      from byte {from}: {found}"),
    ];
    Some(lines.join("\n"))
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => byte.into(),
        _ => '.',
    }
}
