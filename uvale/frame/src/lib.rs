//! Frames for tests: made from fields, compared layer by layer, filtered. Names and meaning of fields are Wireshark's;
//! `docs/frames.md` lists them.
//!
//! | file | what |
//! |---|---|
//! | `table.rs` | all fields: their names, kinds, and where they lie |
//! | `kind.rs` | values: as text, as JSON, as bits |
//! | `shape.rs` | which headers a frame has, and where |
//! | `place.rs` | values of fields in a frame: read, written |
//! | `dns.rs` | what follows a DNS header |
//! | `sums.rs` | lengths and checksums |
//! | `fields.rs` | what a caller gave: names and values checked |
//! | `build.rs` | a frame from fields |
//! | `expected.rs`, `difference.rs` | a frame that is expected, and how another one differs from it |
//! | `filter.rs` | display filters |
//! | `summary.rs` | a line for people |
#![forbid(unsafe_code)]

mod build;
mod difference;
mod dns;
mod draft;
mod expected;
mod fields;
mod filter;
pub mod kind;
mod place;
mod shape;
mod summary;
mod sums;
pub mod table;

use std::fmt;

pub use build::{build, from_hex};
pub use expected::{Expected, change};
pub use fields::{check, has};
pub use filter::Filter;
pub use summary::summary;

/// Fields of a frame with their values: nested as TOML has them, `{"ip": {"ttl": 63}}`, or with dots, `ip.ttl`.
pub type Fields = serde_json::Map<String, serde_json::Value>;

/// What is wrong with fields or with a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// the field, or the filter
    pub key: String,
    /// what is wrong with it, and what would be right
    pub why: String,
}

impl Wrong {
    fn new(key: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Wrong {
            key: key.to_owned(),
            why,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for Wrong {}

/// A layer of a frame, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Wireshark's name of the protocol
    pub name: &'static str,
    /// its fields with their values as text, in the order of the header
    pub fields: Vec<(&'static str, String)>,
}

/// The layers of a frame, from the outside in; no more than can be read of it.
pub fn layers(frame: &[u8]) -> Vec<Layer> {
    let shape = shape::of(frame);
    let layer = |part: &shape::Part| {
        let of = table::fields_of(part.proto).filter(|field| field.is_shown);
        let values = |field: &'static table::Field| {
            let values = place::values_in(field, frame, &shape, part);
            values
                .into_iter()
                .map(|value| (field.name, field.kind.text(&value)))
        };
        Layer {
            name: part.proto.name(),
            fields: of.flat_map(values).collect(),
        }
    };
    shape.parts.iter().map(layer).collect()
}

/// The value of a field as text, the first if there are several; `None` if the frame has none, or there is no such
/// field.
pub fn get(frame: &[u8], name: &str) -> Option<String> {
    let field = table::find(name)?;
    let values = place::values(field, frame, &shape::of(frame));
    values.first().map(|value| field.kind.text(value))
}

/// A checksum of the frame that is wrong, in a sentence. One that the filter or the fields name, it or its status, is
/// their matter.
pub fn wrong_checksum(frame: &[u8], filter: Option<&Filter>, fields: &Fields) -> Option<String> {
    let mut named = filter.map(Filter::fields).unwrap_or_default();
    named.extend(fields::names(fields));
    sums::wrong(frame, &|sum| {
        named
            .iter()
            .any(|name| name.strip_suffix(".status").unwrap_or(name) == sum)
    })
}

/// How a frame differs from what [`has`] asks, a line for each field.
pub fn misfits(frame: &[u8], fields: &Fields) -> String {
    fields::misfits(frame, fields).unwrap_or_else(|wrong| wrong.to_string())
}
