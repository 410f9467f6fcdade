//! Patterns for names.

/// Does `text` match the pattern, in which * is any text and ? any byte?
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // the last * and what it has taken so far
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b) if *b == b'?' || *b == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text() {
        for (pattern, text, does) in [
            ("*", "", true),
            ("vale0:*", "vale0:a", true),
            ("vale0:*", "vale1:a", false),
            ("e*0", "eth01", false),
            ("*a*b", "xaxbxab", true),
            ("a**b", "ab", true),
            ("?", "", false),
            ("a?c*", "abc", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(matches(pattern, text), does, "{pattern} {text}");
        }
    }
}
