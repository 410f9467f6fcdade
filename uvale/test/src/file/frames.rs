//! Frames as a file gives them: by fields, in hex, by the generator's options, in captures.

use std::path::Path;

use serde_json::{Number, Value as Json};
use uvale_frame::{Fields, Wrong};

use super::fill::unescaped;
use super::section::{At, Section};
use super::tree::Value;
use crate::plan::Frame;

/// The keys that say which frames; a step has one of them.
pub const KEYS: [&str; 5] = ["frame", "frames", "hex", "gen", "capture"];

/// Frames of a step in all, at most.
const MOST: usize = 1 << 20;

/// Where frames come from that are no literals.
pub struct Place<'a> {
    /// what names of captures are relative to
    pub folder: &'a Path,
    /// of what the generator makes by chance
    pub seed: u64,
}

/// The frames of a step, `count` times if there is one of them; `None` if something is wrong.
pub fn of(step: &Section<'_>, place: &Place<'_>) -> Option<Vec<Frame>> {
    let given: Vec<&At<'_>> = KEYS.iter().filter_map(|key| step.get(key)).collect();
    let [at] = given[..] else {
        match given.get(1) {
            Some(second) => second.wrong(format!("frames come from one of {}", KEYS.join(", "))),
            None => step.wrong(format!("says no frames: one of {}", KEYS.join(", "))),
        }
        return None;
    };
    let mut frames = match at.key.rsplit('.').next() {
        Some("frame") => vec![by_fields(at)?],
        Some("frames") => {
            let frames: Option<Vec<_>> = at.list()?.iter().map(by_fields).collect();
            frames?
        }
        Some("hex") => vec![in_hex(at)?],
        Some("gen") => {
            let options = unescaped(&at.text()?);
            bytes(at, uvale_generator::packets(&options, place.seed))?
        }
        _ => {
            let path = place.folder.join(unescaped(&at.name()?));
            let is_file = super::regular(&path).map_err(|why| format!("{}: {why}", path.display()));
            bytes(
                at,
                is_file.and_then(|_| uvale_generator::captured_packets(&path)),
            )?
        }
    };
    if frames.is_empty() {
        at.wrong("has no frames");
        return None;
    }
    if let Some(count) = step.get("count") {
        let times = count.number(1..=MOST as i128)? as usize;
        let [frame] = &frames[..] else {
            count.wrong(format!("repeats one frame, and these are {}", frames.len()));
            return None;
        };
        frames = vec![frame.clone(); times];
    }
    Some(frames)
}

fn bytes(at: &At<'_>, frames: Result<Vec<Vec<u8>>, String>) -> Option<Vec<Frame>> {
    match frames {
        Ok(frames) => Some(frames.iter().map(|frame| hex(frame)).collect()),
        Err(why) => {
            at.wrong(why);
            None
        }
    }
}

fn hex(frame: &[u8]) -> Frame {
    use std::fmt::Write;
    let mut text = String::with_capacity(frame.len() * 2);
    for byte in frame {
        let _ = write!(text, "{byte:02x}");
    }
    Frame::Bytes(text)
}

fn in_hex(at: &At<'_>) -> Option<Frame> {
    match uvale_frame::from_hex(&at.text()?) {
        Ok(frame) => Some(hex(&frame)),
        Err(wrong) => {
            at.wrong(wrong.why);
            None
        }
    }
}

/// Built at once, or left to the process that learns its values.
fn by_fields(at: &At<'_>) -> Option<Frame> {
    let fields = fields(at)?;
    let known = without_learnt(&fields);
    let outcome = match known == fields {
        true => uvale_frame::build(&fields).map(|frame| hex(&frame)),
        false => uvale_frame::check(&known).map(|()| Frame::Fields(fields)),
    };
    outcome.map_err(|wrong| note(at, &wrong)).ok()
}

/// Fields with the values that a frame is to have, or that are changed in one.
pub fn checked(at: &At<'_>) -> Option<Fields> {
    let fields = fields(at)?;
    match uvale_frame::check(&without_learnt(&fields)) {
        Ok(()) => Some(fields),
        Err(wrong) => {
            note(at, &wrong);
            None
        }
    }
}

/// Those whose value is known before the case runs.
fn without_learnt(fields: &Fields) -> Fields {
    let known = fields.iter().filter_map(|(name, value)| match value {
        Json::String(text) if text.contains("${") => None,
        Json::Object(inner) => {
            let known = without_learnt(inner);
            (known.len() == inner.len() || !known.is_empty())
                .then(|| (name.clone(), Json::Object(known)))
        }
        other => Some((name.clone(), other.clone())),
    });
    known.collect()
}

/// Says what is wrong with a field on the field's own line.
fn note(at: &At<'_>, wrong: &Wrong) {
    let (mut at, mut rest) = (at.clone(), wrong.key.as_str());
    while let Value::Table(_) = at.node.value {
        let entries = at.entries().unwrap_or_default();
        let found = entries.into_iter().find_map(|(name, at)| {
            let rest = rest.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('.')).then_some((at, rest.trim_start_matches('.')))
        });
        let Some((inner, after)) = found else { break };
        (at, rest) = (inner, after);
    }
    match rest.is_empty() {
        true => at.wrong(wrong.why.clone()),
        false => at.wrong(wrong.to_string()),
    }
}

fn fields(at: &At<'_>) -> Option<Fields> {
    let entries = at.entries()?;
    let fields: Vec<Option<(String, Json)>> = entries
        .iter()
        .map(|(name, at)| Some(((*name).to_owned(), json(at)?)))
        .collect();
    fields.into_iter().collect()
}

fn json(at: &At<'_>) -> Option<Json> {
    let number = match &at.node.value {
        Value::Text(text) => return Some(Json::String(text.clone())),
        Value::Flag(flag) => return Some(Json::Bool(*flag)),
        Value::Table(_) => return fields(at).map(Json::Object),
        Value::List(_) => {
            let list: Option<Vec<Json>> = at.list()?.iter().map(json).collect();
            return list.map(Json::Array);
        }
        Value::Integer(n) => Number::from_i128(*n),
        Value::Float(n) => Number::from_f64(*n),
        Value::Time | Value::Broken => None,
    };
    if number.is_none() {
        return at.wants("the value of a field");
    }
    number.map(Json::Number)
}
