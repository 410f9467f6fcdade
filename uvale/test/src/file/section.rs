//! Tables that are read key by key. What is wrong is noted, and reading goes on, so that a person sees all of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use uvale_tools::nearest::hint;

use super::tree::{Node, Value, Wrong};

/// What is wrong so far, by line, each thing once.
#[derive(Default)]
pub struct Errors(RefCell<BTreeSet<Wrong>>);

impl Errors {
    /// All of it.
    pub fn into_list(self) -> Vec<Wrong> {
        self.0.into_inner().into_iter().collect()
    }

    /// Notes something.
    pub fn note(&self, line: usize, key: &str, why: impl Into<String>) {
        let (key, why) = (key.to_owned(), why.into());
        self.0.borrow_mut().insert(Wrong { line, key, why });
    }
}

/// A value where it stands.
#[derive(Clone)]
pub struct At<'a> {
    /// with dots
    pub key: String,
    /// of the key, or of a value of an array
    pub line: usize,
    pub node: &'a Node,
    pub errors: &'a Errors,
}

/// A day: longer is a mistake.
const LONGEST: Duration = Duration::from_secs(86400);

impl<'a> At<'a> {
    /// The whole of a file.
    pub fn root(node: &'a Node, errors: &'a Errors) -> Self {
        Self {
            key: String::new(),
            line: 1,
            node,
            errors,
        }
    }

    /// Notes what is wrong with it.
    pub fn wrong(&self, why: impl Into<String>) {
        self.errors.note(self.line, &self.key, why);
    }

    /// Says what is wanted in its place, unless something was said already.
    pub fn wants<T>(&self, what: &str) -> Option<T> {
        if self.node.value == Value::Broken {
            return None;
        }
        self.wrong(format!("wants {what}, not {}", self.node.value.shown()));
        None
    }

    /// A string.
    pub fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(_) | Value::Float(_) | Value::Flag(_) if self.node.is_filled => {
                Some(self.node.value.plain())
            }
            _ => self.wants("a string"),
        }
    }

    /// A string with something in it.
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.wrong("is empty");
            return None;
        }
        Some(text)
    }

    /// One of these words.
    pub fn word(&self, known: &[&'static str]) -> Option<&'static str> {
        let text = self.text()?;
        let found = known.iter().find(|word| **word == text);
        if found.is_none() {
            let hint = hint(&text, known.iter().copied());
            self.wrong(format!("{text:?} is none of {}{hint}", known.join(", ")));
        }
        found.copied()
    }

    /// A whole number.
    pub fn number(&self, range: RangeInclusive<i128>) -> Option<i128> {
        let number = match &self.node.value {
            Value::Integer(n) => Some(*n),
            Value::Text(text) if self.node.is_filled => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(n) if range.contains(&n) => Some(n),
            _ => self.wants(&format!(
                "an integer from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) if self.node.is_filled && text == "true" => Some(true),
            Value::Text(text) if self.node.is_filled && text == "false" => Some(false),
            _ => self.wants("true or false"),
        }
    }

    /// `"100ms"`, `"1m 30s"`; not zero.
    pub fn duration(&self) -> Option<Duration> {
        let Value::Text(text) = &self.node.value else {
            return self.wants("a time with its unit, as \"100ms\" or \"10s\"");
        };
        match humantime::parse_duration(text) {
            Ok(time) if time > LONGEST => self.wants("a time of a day at most"),
            Ok(time) if !time.is_zero() => Some(time),
            _ => self.wants("a time with its unit, as \"100ms\" or \"10s\""),
        }
    }

    /// The values of an array.
    pub fn list(&self) -> Option<Vec<At<'a>>> {
        match &self.node.value {
            Value::List(nodes) => {
                let at = |node: &'a Node| At {
                    key: self.key.clone(),
                    line: node.line,
                    node,
                    errors: self.errors,
                };
                Some(nodes.iter().map(at).collect())
            }
            _ => self.wants("an array"),
        }
    }

    /// An array of strings.
    pub fn texts(&self) -> Option<Vec<String>> {
        self.list()?.iter().map(At::text).collect()
    }

    /// A program with its arguments.
    pub fn command(&self) -> Option<Vec<String>> {
        if let Value::Text(text) = &self.node.value {
            let words: Vec<_> = text.split_whitespace().map(|w| format!("{w:?}")).collect();
            self.wrong(format!(
                "wants a program and its arguments as an array: [{}]",
                words.join(", ")
            ));
            return None;
        }
        let words = self.texts()?;
        if words.first().is_none_or(String::is_empty) {
            self.wrong("names no program");
            return None;
        }
        if words.iter().any(|word| word.contains('\0')) {
            self.wrong("has a NUL character, which no argument can have");
            return None;
        }
        Some(words)
    }

    /// The keys of a table with their values.
    pub fn entries(&self) -> Option<Vec<(&'a str, At<'a>)>> {
        match &self.node.value {
            Value::Table(entries) => Some(
                entries
                    .iter()
                    .map(|entry| {
                        let at = At {
                            key: dotted(&self.key, &entry.name),
                            line: entry.line,
                            node: &entry.node,
                            errors: self.errors,
                        };
                        (entry.name.as_str(), at)
                    })
                    .collect(),
            ),
            _ => self.wants("a table"),
        }
    }

    /// A table in which there may be these keys and no others.
    pub fn section(&self, known: &[&str]) -> Option<Section<'a>> {
        let entries = self.entries()?;
        for (name, at) in &entries {
            if !known.contains(name) {
                let hint = hint(name, known.iter().copied());
                let all = known.join(", ");
                let hint = if hint.is_empty() {
                    format!("; there are {all}")
                } else {
                    hint
                };
                at.wrong(format!("there is no such key here{hint}"));
            }
        }
        Some(Section {
            key: self.key.clone(),
            line: self.line,
            entries,
            errors: self.errors,
        })
    }
}

/// A table of known keys.
pub struct Section<'a> {
    pub key: String,
    pub line: usize,
    entries: Vec<(&'a str, At<'a>)>,
    errors: &'a Errors,
}

impl<'a> Section<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, name: &str) -> Option<&At<'a>> {
        self.entries
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, at)| at)
    }

    /// Is the key there?
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a key that has to be there.
    pub fn need(&self, name: &str, what: &str) -> Option<&At<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.errors.note(
                self.line,
                &dotted(&self.key, name),
                format!("is missing: {what}"),
            );
        }
        found
    }

    /// Notes what is wrong with the table as a whole.
    pub fn wrong(&self, why: impl Into<String>) {
        self.errors.note(self.line, &self.key, why);
    }

    /// Notes keys that have no meaning here, and why.
    pub fn refuse(&self, names: &[&str], why: &str) {
        for name in names {
            if let Some(at) = self.get(name) {
                at.wrong(why);
            }
        }
    }
}

/// A key within a table.
pub fn dotted(table: &str, name: &str) -> String {
    match table {
        "" => name.to_owned(),
        table => format!("{table}.{name}"),
    }
}
