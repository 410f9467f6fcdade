//! Rates.

/// `NUMBER[K|M|G]`, decimal fractions allowed: 0, or from 1 to 10^12.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        Some((at, 'g' | 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let rate = number.parse::<f64>().ok()? * factor;
    (rate == 0.0 || (1.0..=1e12).contains(&rate)).then_some(rate.round() as u64)
}
