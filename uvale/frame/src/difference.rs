//! How two frames differ, layer by layer.

use crate::kind::{Kind, Value};
use crate::shape::{self, Part, Shape};
use crate::sums::{self, SUMS, Sum};
use crate::table::{Field, Place, Proto, fields_of};
use crate::{draft, kind, place};

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

    fn bytes(&self, part: &Part) -> &[u8] {
        self.frame.get(part.at.clone()).unwrap_or_default()
    }
}

/// Differences of one header, or of the data.
fn layer(sides: &[Side<'_>; 2], one: &Part, two: &Part, lines: &mut Vec<String>) {
    let [expected, got] = sides;
    let sum = SUMS.iter().find(|(proto, _)| *proto == one.proto);
    let sums = sum.map(|(proto, name)| sides.each_ref().map(|side| look(side, *proto, name)));
    // a checksum that is that of its contents is no news: they differ, and are said
    let is_news = sums != Some([Some(Sum::Right); 2]);
    let is_sum = |field: &Field| sum.is_some_and(|(_, name)| *name == field.name);
    let before = lines.len();
    let shown = fields_of(one.proto).filter(|field| field.is_shown && field.proto != Proto::Data);
    for field in shown.filter(|field| is_news || !is_sum(field)) {
        let [wanted, found] = [expected.values(field, one), got.values(field, two)];
        if wanted == found {
            continue;
        }
        if field.kind == Kind::Bytes {
            lines.extend(bytes(field.name, raw(&wanted), raw(&found)));
            continue;
        }
        let [wanted, found] = [wanted, found].map(|values| text(field, &values));
        let mut line = format!("{}: expected {wanted}, got {found}", field.name);
        if let (true, Some([_, Some(Sum::Wrong(right))])) = (is_sum(field), sums) {
            line += &format!(", which is wrong: its contents make 0x{right:04x}");
        }
        lines.push(line);
    }
    if lines.len() > before {
        return;
    }
    // bits that no field of ours has
    let mut both = [(expected, one), (got, two)].map(|(side, part)| side.bytes(part).to_vec());
    if let (false, Some(Place::Bits { at, len })) = (
        is_news,
        fields_of(one.proto).find(|f| is_sum(f)).map(|f| f.place),
    ) {
        both.iter_mut()
            .for_each(|header| draft::write(header, at, len, 0));
    }
    let [old, new] = &both;
    lines.extend(bytes(one.proto.name(), old, new));
}

fn look(side: &Side<'_>, proto: Proto, name: &str) -> Option<Sum> {
    sums::look(side.frame, &side.shape, proto, name)
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
