//! The grammar of filters: `or` binds least, then `and`, then `not`.

use uvale_tools::nearest::hint;

use super::lex::{Token, tokens};
use super::value::{Test, kind_of, parse_slice};
use super::{Expr, Fault, Op, Operand, Right, Target};
use crate::kind::shortened;
use crate::table::{self, PROTOS, Proto};

/// Most parentheses and `not` within each other.
const DEEPEST: usize = 50;

/// Parses a filter; an empty one is none.
pub fn parse(text: &str) -> Result<Option<Expr>, Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        end: text.len(),
    };
    if tokens.is_empty() {
        return Ok(None);
    }
    let expr = parser.any(0)?;
    match parser.tokens.first() {
        None => Ok(Some(expr)),
        Some((at, token)) => {
            let why = format!("expected && or || or the end, not {}", name(Some(token)));
            Err(Fault::new(*at, why))
        }
    }
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    end: usize,
}

fn name(token: Option<&Token>) -> String {
    match token {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => format!("'{}'", shortened(word)),
        Some(Token::Text(text)) => format!("\"{}\"", shortened(text)),
        Some(Token::Slice(slice)) => format!("'[{}]'", shortened(slice)),
        Some(Token::Sign(sign)) => format!("'{sign}'"),
    }
}

/// Operators by the ways in which they are written.
const OPS: [(&[&str], Op); 9] = [
    (&["==", "eq", "any_eq"], Op::Equal),
    (&["!=", "ne", "all_ne"], Op::NotEqual),
    (&["~=", "!==", "any_ne"], Op::AnyNotEqual),
    (&["<", "lt"], Op::Less),
    (&["<=", "le"], Op::LessOrEqual),
    (&[">", "gt"], Op::Greater),
    (&[">=", "ge"], Op::GreaterOrEqual),
    (&["contains"], Op::Contains),
    (&["&", "bitwise_and"], Op::Bits),
];

impl<'a> Parser<'a> {
    fn at(&self) -> usize {
        self.tokens.first().map_or(self.end, |(at, _)| *at)
    }

    fn peek(&self) -> Option<&'a Token> {
        self.tokens.first().map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(&first.1)
    }

    fn expected(&self, what: &str) -> Fault {
        let why = format!("expected {what}, not {}", name(self.peek()));
        Fault::new(self.at(), why)
    }

    /// Takes the next piece if it is one of these.
    fn take(&mut self, words: &[&str]) -> bool {
        let is = match self.peek() {
            Some(Token::Word(word)) => words.contains(&word.as_str()),
            Some(Token::Sign(sign)) => words.contains(sign),
            _ => false,
        };
        if is {
            self.next();
        }
        is
    }

    fn any(&mut self, depth: usize) -> Result<Expr, Fault> {
        let mut all = vec![self.all(depth)?];
        while self.take(&["||", "or"]) {
            all.push(self.all(depth)?);
        }
        Ok(one_or(all, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, Fault> {
        let mut all = vec![self.one(depth)?];
        while self.take(&["&&", "and"]) {
            all.push(self.one(depth)?);
        }
        Ok(one_or(all, Expr::All))
    }

    fn one(&mut self, depth: usize) -> Result<Expr, Fault> {
        if depth > DEEPEST {
            let why = format!("there are more than {DEEPEST} parentheses within each other here");
            return Err(Fault::new(self.at(), why));
        }
        if self.take(&["!", "not"]) {
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take(&["("]) {
            let expr = self.any(depth + 1)?;
            return match self.take(&[")"]) {
                true => Ok(expr),
                false => Err(self.expected("&& or || or )")),
            };
        }
        let left = self.operand()?;
        let at = self.at();
        if self.take(&["in"]) {
            let tests = self.set(&left)?;
            return Ok(Expr::In(left, tests));
        }
        if let Some(word) = ["===", "all_eq", "matches", "~", "="]
            .iter()
            .find(|word| self.take(&[word]))
        {
            let why = match *word {
                "=" => "a comparison is written ==".to_owned(),
                word => format!(
                    "{word} is not among the operators that are known here; contains and in are"
                ),
            };
            return Err(Fault::new(at, why));
        }
        match OPS.iter().find(|(words, _)| self.take(words)) {
            Some((_, op)) => {
                left.allows(*op).map_err(|why| Fault::new(at, why))?;
                let right = self.right(&left, *op)?;
                Ok(Expr::Compare(left, *op, right))
            }
            None => Ok(Expr::Is(left)),
        }
    }

    /// A field or a protocol.
    fn operand(&mut self) -> Result<Operand, Fault> {
        let at = self.at();
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.expected("a field, a protocol, ! or ("));
        };
        let Some(of) = target(word) else {
            let known = PROTOS.iter().map(|(_, name)| *name);
            let known = known.chain(table::fields().map(|field| field.name));
            let why = format!(
                "expected a field or a protocol, and '{}' is none{}",
                shortened(word),
                hint(word, known)
            );
            return Err(Fault::new(at, why));
        };
        self.next();
        let mut operand = Operand { of, slice: None };
        if let Some(Token::Slice(text)) = self.peek() {
            let slice = parse_slice(text).map_err(|why| Fault::new(self.at(), why))?;
            operand
                .sliceable()
                .map_err(|why| Fault::new(self.at(), why))?;
            operand.slice = Some(slice);
            self.next();
        }
        Ok(operand)
    }

    fn right(&mut self, left: &Operand, op: Op) -> Result<Right, Fault> {
        let at = self.at();
        let named = match self.peek() {
            Some(Token::Word(word)) => target(word),
            _ => None,
        };
        if named.is_some() && op != Op::Bits {
            let right = self.operand()?;
            return match kind_of(left) == kind_of(&right) {
                true => Ok(Right::Operand(right)),
                false => Err(Fault::new(at, "these two have values of different kinds")),
            };
        }
        self.value(left).map(Right::Value)
    }

    /// A value that the operand can be compared with.
    fn value(&mut self, left: &Operand) -> Result<Test, Fault> {
        let at = self.at();
        let (text, is_quoted) = match self.peek() {
            Some(Token::Word(word)) => (word, false),
            Some(Token::Text(text)) => (text, true),
            _ => return Err(self.expected(&format!("a value: {}", left.takes()))),
        };
        let test = Test::parse(left, text, is_quoted).map_err(|why| Fault::new(at, why))?;
        self.next();
        Ok(test)
    }

    /// Values and ranges in braces.
    fn set(&mut self, left: &Operand) -> Result<Vec<(Test, Option<Test>)>, Fault> {
        if !self.take(&["{"]) {
            return Err(self.expected("{"));
        }
        let mut tests = Vec::new();
        loop {
            let from = self.value(left)?;
            let to = match self.take(&[".."]) {
                true => Some(self.value(left)?),
                false => None,
            };
            tests.push((from, to));
            let comma = self.take(&[","]);
            if self.take(&["}"]) {
                return Ok(tests);
            }
            // Wireshark before 4 had blanks between them
            if !comma && !matches!(self.peek(), Some(Token::Word(_) | Token::Text(_))) {
                return Err(self.expected(", or }"));
            }
        }
    }
}

fn one_or(mut all: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => one,
        (last, _) => {
            all.extend(last);
            join(all)
        }
    }
}

/// What a name means. A name that is a protocol's and a field's is the protocol's.
fn target(name: &str) -> Option<Target> {
    let proto = Proto::find(name).map(Target::Proto);
    proto.or_else(|| table::find(name).map(Target::Field))
}
