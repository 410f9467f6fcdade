//! A TOML file as a tree in which everything knows its line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a file, where, and what was meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    /// from 1 on
    pub line: usize,
    /// with dots: `ports.lan.rings`; empty if it is not about one
    pub key: String,
    /// a sentence
    pub why: String,
}

/// A value.
#[derive(Clone, Debug)]
pub struct Node {
    /// where it begins, from 1 on
    pub line: usize,
    /// what it is
    pub value: Value,
    /// Was it `${NAME}` as a whole? Then `4` does for `"4"`.
    pub is_filled: bool,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Flag(bool),
    /// a time of day or a date, which nothing here is
    Time,
    /// what is wrong with it has been said
    Broken,
    List(Vec<Node>),
    /// in the order of the file
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// where the key is
    pub line: usize,
    pub node: Node,
}

// where a value is does not make it another one
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

/// Reads a document.
///
/// # Errors
/// What is no TOML in it.
pub fn parse(text: &str) -> Result<Node, Vec<Wrong>> {
    let lines = Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut wrong: Vec<Wrong> = errors
        .iter()
        .map(|error| Wrong {
            line: lines.of(&error.span().unwrap_or_default()),
            key: String::new(),
            why: format!("this is no TOML: {}", error.message()),
        })
        .collect();
    let node = Node {
        line: 1,
        value: table(root.get_ref(), &lines, &mut wrong),
        is_filled: false,
    };
    // brackets that are not closed are said for each of them
    wrong.sort();
    wrong.dedup();
    match wrong.is_empty() {
        true => Ok(node),
        false => Err(wrong),
    }
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines, wrong: &mut Vec<Wrong>) -> Node {
    let line = lines.of(&value.span());
    let mut too_large = |text: &str| {
        let why = format!("{text} is a number that nothing here has");
        let key = String::new();
        wrong.push(Wrong { line, key, why });
        Value::Integer(0)
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(n) => match i128::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Integer(n),
            Err(_) => too_large(n.as_str()),
        },
        DeValue::Float(n) => match n.as_str().parse() {
            Ok(n) => Value::Float(n),
            Err(_) => too_large(n.as_str()),
        },
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Time,
        DeValue::Array(list) => Value::List(list.iter().map(|v| node(v, lines, wrong)).collect()),
        DeValue::Table(entries) => table(entries, lines, wrong),
    };
    Node {
        line,
        value,
        is_filled: false,
    }
}

fn table(entries: &DeTable<'_>, lines: &Lines, wrong: &mut Vec<Wrong>) -> Value {
    let mut in_order: Vec<_> = entries.iter().collect();
    in_order.sort_by_key(|(name, _)| name.span().start);
    let entries = in_order.into_iter().map(|(name, value)| Entry {
        name: name.get_ref().to_string(),
        line: lines.of(&name.span()),
        node: node(value, lines, wrong),
    });
    Value::Table(entries.collect())
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines(
            std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line on which something begins.
    fn of(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }
}

impl Value {
    /// What TOML calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Flag(_) => "a boolean",
            Value::Time => "a date or time",
            Value::Broken => "nothing",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// As a person reads it in a sentence.
    pub fn shown(&self) -> String {
        match self {
            Value::Text(text) => format!("the string {text:?}"),
            Value::Integer(_) | Value::Float(_) | Value::Flag(_) => self.plain(),
            other => other.kind().to_owned(),
        }
    }

    /// A single value as it stands in a text.
    pub fn plain(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            Value::Float(n) => n.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Time | Value::Broken | Value::List(_) | Value::Table(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Table(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_knows_its_line_and_order() {
        let text = "z = 1\n\n[ports.lan]\nkind = \"nic\"\n[[cases]]\n\
                    steps = [\n  { send = \"lan\",\n    b = 0x10 },\n]\na.b = 2\n";
        let root = parse(text).unwrap();
        let top: Vec<_> = entries(&root)
            .iter()
            .map(|e| (e.name.as_str(), e.line))
            .collect();
        assert_eq!(top, [("z", 1), ("ports", 3), ("cases", 5)]);
        let Value::List(cases) = &entries(&root)[2].node.value else {
            panic!();
        };
        let case = entries(&cases[0]);
        let names: Vec<_> = case.iter().map(|e| (e.name.as_str(), e.line)).collect();
        assert_eq!(names, [("steps", 6), ("a", 10)]);
        let Value::List(steps) = &case[0].node.value else {
            panic!();
        };
        assert_eq!(steps[0].line, 7);
        let step = entries(&steps[0]);
        assert_eq!(
            (step[1].line, &step[1].node.value),
            (8, &Value::Integer(16))
        );
    }

    #[test]
    fn all_that_is_no_toml_is_said() {
        let wrong = parse("a = 1\nb = \nc = 2\na = 3\n").unwrap_err();
        assert_eq!(
            wrong.iter().map(|w| w.line).collect::<Vec<_>>(),
            [2, 4],
            "{wrong:?}"
        );
        let wrong = parse("\nx = 999999999999999999999999999999999999999999\n").unwrap_err();
        assert_eq!(wrong[0].line, 2);
    }
}
