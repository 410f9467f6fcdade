//! Values of options: one for both ways, or one for each.

use std::time::Duration;

use uvale_tools::rate;

/// From A to B, and from B to A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Both<T>(pub [T; 2]);

/// `ONE` or `ONE,OTHER`.
fn both<T: Copy>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Both<T>, String> {
    match text.split_once(',') {
        None => one(text).map(|value| Both([value; 2])),
        Some((to, back)) => Ok(Both([one(to)?, one(back)?])),
    }
}

/// A day: longer is a mistake.
const LONGEST: Duration = Duration::from_secs(86400);

pub fn parse_duration(text: &str) -> Result<Both<Duration>, String> {
    both(text, |text| {
        let bad = || format!("{text:?} is no time; write it with a unit: 20ms, 150us, 1s");
        let time = match text.trim() {
            "0" => Duration::ZERO,
            text => humantime::parse_duration(text).map_err(|_| bad())?,
        };
        match time <= LONGEST {
            true => Ok(time),
            false => Err(format!("{text} is longer than a day")),
        }
    })
}

/// Percent, as a number from 0 to 1.
pub fn parse_probability(text: &str) -> Result<Both<f64>, String> {
    both(text, |text| {
        let number = text.trim();
        let percent = number.strip_suffix('%').unwrap_or(number).parse::<f64>();
        match percent {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
            _ => Err(format!("{text:?} is no percentage from 0 to 100")),
        }
    })
}

pub fn parse_rate(text: &str) -> Result<Both<u64>, String> {
    both(text, |text| {
        rate::parse(text.trim()).ok_or_else(|| {
            format!(
                "{text:?} is no rate: a number of bits a second, with K, M or G for thousands, millions, billions"
            )
        })
    })
}

pub fn parse_count(text: &str) -> Result<Both<usize>, String> {
    both(text, |text| match text.trim().parse::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is no number of packets from 1 on")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_or_two() {
        let ms = Duration::from_millis;
        assert_eq!(parse_duration("20ms"), Ok(Both([ms(20); 2])));
        assert_eq!(parse_duration("0,1s 5ms"), Ok(Both([ms(0), ms(1005)])));
        assert_eq!(parse_probability("1%,0.5"), Ok(Both([0.01, 0.005])));
        assert_eq!(parse_rate("10M,2.5k"), Ok(Both([10_000_000, 2500])));
        assert_eq!(parse_count("7"), Ok(Both([7; 2])));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "20", "x", "-1s", "2days", "1s,", ",1s", "1s,2s,3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "101", "-1%", "nan", "1%%", "x"] {
            assert!(parse_probability(text).is_err(), "{text}");
        }
        for text in ["", "x", "-1", "1KK", "inf"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "x", "1.5"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
