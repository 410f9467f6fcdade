//! A frame that is expected, and whether another one is it.

use crate::draft::Draft;
use crate::fields::{self, Given};
use crate::place::{self, SHORTEST};
use crate::table::Place;
use crate::{Fields, Wrong, difference, shape, sums};

/// A frame that is expected.
#[derive(Clone, Debug)]
pub struct Expected {
    frame: Vec<u8>,
    /// fields that may have any value
    any: Vec<Given>,
    /// fields that were given; checksums among them are not computed
    named: Vec<&'static str>,
}

/// The frame with these fields changed. Lengths follow the payload, and checksums that were right stay right, unless
/// they are named. With `"*"` a field may have any value, if what depends on it agrees.
pub fn change(frame: &[u8], fields: &Fields) -> Result<Expected, Wrong> {
    let given = fields::read(fields)?;
    let shape = shape::of(frame);
    let named: Vec<_> = given.iter().map(|given| given.field.name).collect();
    let (given, any): (Vec<_>, Vec<_>) = given.into_iter().partition(|g| g.values.is_some());
    for given in &any {
        if given.field.place == Place::Sum {
            let why = "follows from the checksum, which is named in its place";
            return Err(Wrong::new(given.field.name, why));
        }
        if place::values(given.field, frame, &shape).is_empty() {
            let proto = given.field.proto.name();
            let why = format!("the frame has none in its {proto} header, or no such header");
            return Err(Wrong::new(given.field.name, why));
        }
    }
    let frame = changed(frame, &given, &named)?;
    Ok(Expected { frame, any, named })
}

/// The frame with these values, and with the lengths and checksums that they make.
fn changed(frame: &[u8], given: &[Given], named: &[&str]) -> Result<Vec<u8>, Wrong> {
    let shape = shape::of(frame);
    let right = sums::right(frame, &shape);
    let frame = frame.to_vec();
    let mut draft = Draft { frame, shape };
    let (headers, payload) = extents(&draft);
    fields::set(&mut draft, given)?;
    let is_named = |name: &str| named.contains(&name);
    if extents(&draft) != (headers, payload) {
        sums::lengths(&mut draft, &is_named);
    }
    sums::fill_in(&mut draft, &right, &is_named);
    Ok(draft.frame)
}

/// Where the headers and the payload end.
fn extents(draft: &Draft) -> (Vec<usize>, usize) {
    let headers = draft.shape.parts.iter().map(|part| part.at.end);
    (headers.collect(), draft.shape.payload.end)
}

impl Expected {
    /// This frame and no other.
    pub fn exactly(frame: Vec<u8>) -> Self {
        Expected {
            frame,
            any: Vec::new(),
            named: Vec::new(),
        }
    }

    /// Is it this frame? A shorter one than Ethernet has may have been padded with zeroes to 60 bytes.
    pub fn matches(&self, got: &[u8]) -> bool {
        same(&self.meant(got), got)
    }

    /// How the frame differs, layer by layer, a line each; empty if it does not.
    pub fn difference(&self, got: &[u8]) -> String {
        let meant = self.meant(got);
        match same(&meant, got) {
            true => String::new(),
            false => difference::lines(&meant, got),
        }
    }

    /// The frame that is expected, with the values that `got` has where any is right.
    fn meant(&self, got: &[u8]) -> Vec<u8> {
        if self.any.is_empty() {
            return self.frame.clone();
        }
        let shape = shape::of(got);
        let of_got = |given: &Given| {
            let values = place::values(given.field, got, &shape);
            let values = (!values.is_empty()).then_some(values);
            Given {
                values,
                ..given.clone()
            }
        };
        let given: Vec<_> = self.any.iter().map(of_got).collect();
        // what got has and the frame cannot have is a difference
        changed(&self.frame, &given, &self.named).unwrap_or_else(|_| self.frame.clone())
    }
}

fn same(expected: &[u8], got: &[u8]) -> bool {
    let is_padded = expected.len() < SHORTEST && got.len() == SHORTEST;
    match got.split_at_checked(expected.len()) {
        Some((frame, padding)) => {
            frame == expected
                && (padding.is_empty() || is_padded && padding.iter().all(|b| *b == 0))
        }
        None => false,
    }
}
