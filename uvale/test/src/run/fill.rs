//! `${NAME}` in texts.

use std::collections::BTreeMap;

use serde_json::Value;
use uvale_frame::Fields;

/// Values by name.
pub type Values = BTreeMap<String, String>;

/// The text with what `value` gives for the names in `${...}`; names that it gives nothing for stay as they are. `$${`
/// becomes `${`.
///
/// # Errors
/// What `value` says.
pub fn fill(
    text: &str,
    value: &dyn Fn(&str) -> Result<Option<String>, String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out += before;
            out += "${";
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let Some(end) = from.find('}') else {
            rest = from;
            break;
        };
        match value(&from[2..end])? {
            Some(value) => out.push_str(&value),
            None => out.push_str(&from[..=end]),
        }
        rest = &from[end + 1..];
    }
    Ok(out + rest)
}

/// What a name stands for that a step has learnt: `seq`, or `seq+1`, which is a number of 32 bits.
///
/// # Errors
/// A sentence: nothing was learnt under that name, or it is no number.
pub fn learnt(values: &Values, name: &str) -> Result<Option<String>, String> {
    let (name, sign, number) = match name.find(['+', '-']) {
        None => (name, 1, None),
        Some(at) => {
            let sign = if name[at..].starts_with('-') { -1 } else { 1 };
            (&name[..at], sign, Some(&name[at + 1..]))
        }
    };
    let Some(value) = values.get(name.trim()) else {
        let names = values.keys().map(String::as_str);
        let hint = uvale_tools::nearest::hint(name, names);
        return Err(format!("no step before this one has learnt {name}{hint}"));
    };
    let Some(number) = number else {
        return Ok(Some(value.clone()));
    };
    let bad = |text: &str| format!("${{{name}}} is {text:?}, to which no number can be added");
    let number: i64 = number
        .trim()
        .parse()
        .map_err(|_| format!("{number:?} behind {name} is no number"))?;
    let value: u32 = value.parse().map_err(|_| bad(value))?;
    let sum = i64::from(value).wrapping_add(sign * number) as u32;
    Ok(Some(sum.to_string()))
}

/// The fields with what was learnt. A value that is nothing but a name becomes a number if it is one.
///
/// # Errors
/// Those of [`learnt`].
pub fn fields(fields: &Fields, values: &Values) -> Result<Fields, String> {
    let one = |(key, value): (&String, &Value)| Ok((key.clone(), filled(value, values)?));
    fields.iter().map(one).collect()
}

fn filled(value: &Value, values: &Values) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) if text.contains("${") => {
            let filled = fill(text, &|name| learnt(values, name))?;
            let is_name = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
            match filled.parse::<u64>() {
                Ok(number) if is_name => number.into(),
                _ => filled.into(),
            }
        }
        Value::Object(table) => Value::Object(fields(table, values)?),
        Value::Array(list) => {
            let list = list.iter().map(|value| filled(value, values));
            Value::Array(list.collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let known = |name: &str| match name {
            "a" => Ok(Some("1".to_owned())),
            "bad" => Err("no".to_owned()),
            _ => Ok(None),
        };
        for (text, expected) in [
            ("", Ok("")),
            ("x${a}y${a}", Ok("x1y1")),
            ("${b} $a {a} ${", Ok("${b} $a {a} ${")),
            ("${a", Ok("${a")),
            ("$${a} $$${a}${a}", Ok("${a} $${a}1")),
            ("${bad}", Err("no")),
        ] {
            let filled = fill(text, &known);
            assert_eq!(
                filled.as_deref().map_err(String::as_str),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn learnt_numbers_count_on() {
        let values: Values = [("seq", "4294967295"), ("name", "x.example")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let value = |text| learnt(&values, text).map(Option::unwrap);
        assert_eq!(value("seq"), Ok("4294967295".into()));
        assert_eq!(value("seq+2"), Ok("1".into()));
        assert_eq!(value("seq - 5"), Ok("4294967290".into()));
        assert_eq!(value("name"), Ok("x.example".into()));
        for (text, part) in [
            ("sq", "did you mean seq?"),
            ("name+1", "no number can be added"),
            ("seq+x", "is no number"),
        ] {
            assert!(value(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn values_of_fields_keep_their_kind() {
        let values = [("n".to_owned(), "7".to_owned())].into();
        let text = r#"{"tcp": {"ack": "${n+1}", "seq": 5}, "data": "n=${n}", "ip.ttl": "${n}"}"#;
        let filled = fields(&serde_json::from_str(text).unwrap(), &values).unwrap();
        let expected = r#"{"tcp": {"ack": 8, "seq": 5}, "data": "n=7", "ip.ttl": 7}"#;
        assert_eq!(filled, serde_json::from_str(expected).unwrap());
    }
}
