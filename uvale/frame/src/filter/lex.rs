//! Words, texts and signs of a filter.

use super::Fault;

/// A piece of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// a name, a number, an address: letters, digits and `_.:/-`
    Word(String),
    /// a text in quotes, without them
    Text(String),
    /// what is between brackets
    Slice(String),
    /// operators, parentheses, braces, commas, `..`
    Sign(&'static str),
}

/// All signs, each before those that it begins with.
const SIGNS: [&str; 21] = [
    "===", "!==", "==", "!=", "~=", "<=", ">=", "&&", "||", "..", "<", ">", "!", "&", "~", "(",
    ")", "{", "}", ",", "=",
];

/// The pieces, each with where it begins, in bytes.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let (token, len) = if next == '"' {
            quoted(rest, at)?
        } else if next == '[' {
            let end = rest
                .find(']')
                .ok_or_else(|| Fault::new(at, "expected ] somewhere behind this ["))?;
            (Token::Slice(rest[1..end].to_owned()), end + 1)
        } else if is_word(next) && !rest.starts_with("..") {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let end = rest[..end].find("..").unwrap_or(end);
            (Token::Word(rest[..end].to_owned()), end)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign =
                sign.ok_or_else(|| Fault::new(at, format!("{next:?} has no meaning here")))?;
            (Token::Sign(sign), sign.len())
        };
        tokens.push((at, token));
        at += len;
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_.:/-".contains(c)
}

/// A text in quotes at the beginning of `rest`, and its length with them.
fn quoted(rest: &str, at: usize) -> Result<(Token, usize), Fault> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(text), index + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 't')) => text.push('\t'),
                Some((_, '0')) => text.push('\0'),
                Some((_, c @ ('"' | '\\' | '\''))) => text.push(c),
                _ => {
                    return Err(Fault::new(
                        at + index,
                        "behind a \\ stands one of: \" \\ ' n r t 0",
                    ));
                }
            },
            c => text.push(c),
        }
    }
    Err(Fault::new(at, "expected another \" behind this one"))
}
