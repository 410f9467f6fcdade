//! What a caller gave: names and values checked.

use serde_json::Value as Json;
use uvale_tools::nearest::hint;

use crate::draft::Draft;
use crate::kind::{Kind, Value};
use crate::place;
use crate::shape::{self, Shape};
use crate::table::{self, Field, Place, Proto};
use crate::{Fields, Wrong};

/// Any value, where frames are compared.
const ANY: &str = "*";

/// A field with what was given for it.
#[derive(Clone, Debug)]
pub struct Given {
    /// the field
    pub field: &'static Field,
    /// its values, one for each header of its protocol; `None` is any
    pub values: Option<Vec<Value>>,
}

impl Given {
    /// Where it has its turn: what changes lengths first, parts of fields after the whole, the frame's length last.
    fn turn(&self) -> (u8, Proto) {
        let turn = match self.field.place {
            Place::Dns(_) => 0,
            Place::Payload | Place::HeaderFrom(_) => 1,
            Place::PayloadLen => 2,
            Place::Bits { .. } if self.field.is_shown => 3,
            Place::Bits { .. } | Place::Either(_) | Place::Sum => 4,
            Place::FrameLen => 5,
        };
        (turn, self.field.proto)
    }

    /// Has the frame these values?
    fn is_in(&self, frame: &[u8], shape: &Shape) -> bool {
        let found = place::values(self.field, frame, shape);
        match self.values.as_deref() {
            None => !found.is_empty(),
            // nothing there is no text, and no bytes
            Some([Value::Bytes(none)]) if none.is_empty() && found.is_empty() => true,
            Some([Value::Bits(0)]) if self.field.place == Place::PayloadLen && found.is_empty() => {
                true
            }
            Some([one]) => found.contains(one),
            Some(all) => found == all,
        }
    }
}

/// All that was given, in the order in which a frame can be made of it.
pub fn read(fields: &Fields) -> Result<Vec<Given>, Wrong> {
    let mut all = Vec::new();
    flatten("", fields, &mut all)?;
    let mut given: Vec<Given> = Vec::new();
    for (name, json) in all {
        let field = table::find(&name).ok_or_else(|| unknown(&name))?;
        if given.iter().any(|other| other.field.name == field.name) {
            return Err(Wrong::new(&name, "is given twice"));
        }
        let values = values(field, json)?;
        given.push(Given { field, values });
    }
    let at = |field: &Field| table::fields().position(|other| other.name == field.name);
    given.sort_by_key(|given| (given.turn(), at(given.field)));
    Ok(given)
}

/// The sentence for a name that is no field.
pub fn unknown(name: &str) -> Wrong {
    let why = match Proto::find(name) {
        Some(_) => format!("is a protocol; its fields are {name}.NAME"),
        None => {
            let names = table::fields().map(|field| field.name);
            format!("there is no such field{}", hint(name, names))
        }
    };
    Wrong::new(name, why)
}

fn flatten<'a>(
    before: &str,
    fields: &'a Fields,
    all: &mut Vec<(String, &'a Json)>,
) -> Result<(), Wrong> {
    // deeper than any name, and not so deep that the stack would end
    const DEEPEST: usize = 8;
    for (key, value) in fields {
        let name = match before {
            "" => key.clone(),
            _ => format!("{before}.{key}"),
        };
        match value {
            Json::Object(inner) if name.matches('.').count() < DEEPEST => {
                flatten(&name, inner, all)?
            }
            Json::Object(_) => return Err(unknown(&name)),
            value => all.push((name, value)),
        }
    }
    Ok(())
}

fn values(field: &'static Field, json: &Json) -> Result<Option<Vec<Value>>, Wrong> {
    let one = |json: &Json| {
        let value = field
            .kind
            .of_json(json)
            .and_then(|value| fits(field, value));
        value.map_err(|why| Wrong::new(field.name, why))
    };
    match json {
        Json::String(text) if text == ANY => Ok(None),
        Json::Array(list) => list.iter().map(one).collect::<Result<_, _>>().map(Some),
        json => one(json).map(|value| Some(vec![value])),
    }
}

/// A value, if the field has room for it.
pub fn fits(field: &Field, value: Value) -> Result<Value, String> {
    let Value::Bits(n) = value else {
        return Ok(value);
    };
    let n = match field.kind {
        Kind::Units(unit) => n.saturating_mul(unit),
        _ => n,
    };
    match field.most() {
        Some(most) if n > most => Err(format!("takes 0 to {most}, not {n}")),
        _ => Ok(value),
    }
}

/// Checks names and values without a frame.
pub fn check(fields: &Fields) -> Result<(), Wrong> {
    read(fields).map(drop)
}

/// Has the frame these values? Where it has several of a field any one counts; a list has to be all of them. `"*"` asks
/// that there is one. Fields that `check` refuses no frame has.
pub fn has(frame: &[u8], fields: &Fields) -> bool {
    let shape = shape::of(frame);
    read(fields).is_ok_and(|all| all.iter().all(|given| given.is_in(frame, &shape)))
}

/// The fields that [`has`] misses, a line each.
pub fn misfits(frame: &[u8], fields: &Fields) -> Result<String, Wrong> {
    let shape = shape::of(frame);
    let line = |given: &Given| {
        let text = |values: &[Value]| {
            let all: Vec<_> = values
                .iter()
                .map(|value| given.field.kind.explained(value))
                .collect();
            match all.is_empty() {
                true => "none".to_owned(),
                false => all.join(", "),
            }
        };
        let wanted = given.values.as_deref().map_or(ANY.to_owned(), text);
        let found = text(&place::values(given.field, frame, &shape));
        format!("{}: expected {wanted}, got {found}", given.field.name)
    };
    let all = read(fields)?;
    let missed = all.iter().filter(|given| !given.is_in(frame, &shape));
    Ok(missed.map(line).collect::<Vec<_>>().join("\n"))
}

/// The names of the fields, without those that `check` refuses.
pub fn names(fields: &Fields) -> Vec<&'static str> {
    let mut all = Vec::new();
    let _ = flatten("", fields, &mut all);
    let known = all.iter().filter_map(|(name, _)| table::find(name));
    known.map(|field| field.name).collect()
}

/// Gives the draft the values of all fields.
pub fn set(draft: &mut Draft, given: &[Given]) -> Result<(), Wrong> {
    for given in given {
        if let Some(values) = &given.values {
            draft.set(given.field, values)?;
        }
    }
    Ok(())
}
