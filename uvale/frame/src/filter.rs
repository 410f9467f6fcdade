//! Display filters: a subset of Wireshark's.
//!
//! | file | what |
//! |---|---|
//! | `lex.rs` | words, texts and signs |
//! | `parse.rs` | the grammar |
//! | `value.rs` | what fields are compared with |
//! | `eval.rs` | does a frame pass? |

mod eval;
mod lex;
mod parse;
mod value;

use std::fmt;
use std::str::FromStr;

use crate::table::{Field, Proto};
use crate::{Wrong, shape};
use value::Test;

/// A display filter, as Wireshark has them: `ip.src == 10.0.0.0/8 && !(udp.dstport in {53, 5353})`.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    /// everything passes if there is none
    of: Option<Expr>,
}

impl Filter {
    /// Does the frame pass?
    pub fn matches(&self, frame: &[u8]) -> bool {
        let is_so = |expr| eval::is_so(expr, frame, &shape::of(frame));
        self.of.as_ref().is_none_or(is_so)
    }

    /// The names of the fields that it asks for.
    pub fn fields(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if let Some(expr) = &self.of {
            expr.note_fields(&mut names);
        }
        names
    }
}

impl FromStr for Filter {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let of = parse::parse(text).map_err(|fault| fault.explain(text))?;
        let text = text.to_owned();
        Ok(Filter { text, of })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a filter asks.
#[derive(Clone, Debug)]
enum Expr {
    Any(Vec<Expr>),
    All(Vec<Expr>),
    Not(Box<Expr>),
    /// Is there one?
    Is(Operand),
    Compare(Operand, Op, Right),
    /// Is it one of these?
    In(Operand, Vec<(Test, Option<Test>)>),
}

impl Expr {
    fn note_fields(&self, names: &mut Vec<&'static str>) {
        let mut note = |operand: &Operand| {
            if let Target::Field(field) = operand.of {
                names.push(field.name);
            }
        };
        match self {
            Expr::Any(all) | Expr::All(all) => all.iter().for_each(|expr| expr.note_fields(names)),
            Expr::Not(expr) => expr.note_fields(names),
            Expr::Is(operand) | Expr::In(operand, _) => note(operand),
            Expr::Compare(left, _, right) => {
                note(left);
                if let Right::Operand(right) = right {
                    note(right);
                }
            }
        }
    }
}

/// What is looked at.
#[derive(Clone, Debug)]
struct Operand {
    of: Target,
    /// only these bytes of it: where they begin, and how many
    slice: Option<(usize, Option<usize>)>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Field(&'static Field),
    Proto(Proto),
}

/// What it is compared with.
#[derive(Clone, Debug)]
enum Right {
    Value(Test),
    Operand(Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    /// None is equal, as since Wireshark 4.
    NotEqual,
    /// One at least is not.
    AnyNotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    /// Has it one of these bits?
    Bits,
}

/// Where a filter is wrong, in bytes from its start, and what was expected.
#[derive(Debug)]
struct Fault {
    at: usize,
    why: String,
}

impl Fault {
    fn new(at: usize, why: impl Into<String>) -> Self {
        let why = why.into();
        Fault { at, why }
    }

    fn explain(self, text: &str) -> Wrong {
        let before = text.get(..self.at).unwrap_or(text);
        let column = before.chars().count() + 1;
        Wrong::new("filter", format!("at character {column}: {}", self.why))
    }
}
