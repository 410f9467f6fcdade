//! Figures of two builds, or of two days: what has changed, and what only lies within the ranges.

use serde::{Deserialize, Serialize};

use super::figure::{Case, Figure, Range, Ratio, Unit};

/// One figure before and now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Difference {
    pub suite: String,
    pub case: Case,
    pub what: String,
    pub unit: Unit,
    /// the ratio that is compared, if it is one: what changes from day to day concerns both of its sides
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    pub before: Range,
    pub now: Range,
    /// the ranges do not overlap
    pub differs: bool,
}

impl Difference {
    /// Of a figure that was `before` and is `now`.
    pub fn of(before: &Figure, now: &Figure) -> Self {
        Self {
            suite: now.suite.clone(),
            case: now.case.clone(),
            what: now.what.clone(),
            unit: now.unit,
            of: None,
            before: before.range,
            now: now.range,
            differs: !before.range.overlaps(&now.range),
        }
    }

    /// Of the ratios that both figures have.
    fn of_ratios(before: &Figure, now: &Figure) -> Vec<Self> {
        let of = |ratio: &Ratio| {
            let before = before.ratio(&ratio.of)?;
            Some(Self {
                of: Some(ratio.of.clone()),
                before,
                now: ratio.range,
                differs: !before.overlaps(&ratio.range),
                ..Self::of(now, now)
            })
        };
        now.ratios.iter().filter_map(of).collect()
    }

    /// A line of text.
    pub fn line(&self) -> String {
        let Self {
            suite,
            case,
            what,
            before,
            now,
            ..
        } = self;
        let subject = match &self.of {
            Some(of) => format!("{suite}, {case}: {what} / {of}"),
            None => format!("{suite}, {case}: {what}"),
        };
        let sign = if self.of.is_some() {
            ""
        } else {
            self.unit.sign()
        };
        let change = (now.median / before.median - 1.0) * 100.0;
        let verdict = match (self.differs, self.unit.is_cost(), change > 0.0) {
            (false, ..) => "no difference".to_owned(),
            (true, is_cost, more) if is_cost == more => format!("{change:+.1} % (worse)"),
            (true, ..) => format!("{change:+.1} % (better)"),
        };
        format!("{subject:<58} {before} -> {now} {sign}  {verdict}")
    }
}

/// The differences of all figures that both have, in the order of `now`.
pub fn differences(before: &[Figure], now: &[Figure]) -> Vec<Difference> {
    let pairs = now.iter().filter_map(|now| {
        let before = before.iter().find(|before| before.is_same_as(now))?;
        Some((before, now))
    });
    let all = pairs.flat_map(|(before, now)| {
        let mut of_one = vec![Difference::of(before, now)];
        of_one.extend(Difference::of_ratios(before, now));
        of_one
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(range: [f64; 3], ratio: f64, unit: Unit) -> Figure {
        let [least, median, most] = range;
        Figure {
            suite: "vale".into(),
            case: Case::of(60, 1),
            what: "spinning".into(),
            unit,
            range: Range {
                median,
                least,
                most,
            },
            sent: None,
            wakeups: None,
            windows: 5,
            disturbed: false,
            ratios: vec![Ratio {
                of: "limit".into(),
                range: Range::exactly(ratio),
            }],
        }
    }

    #[test]
    fn what_lies_within_the_ranges_is_no_difference() {
        let before = figure([9.0, 10.0, 11.0], 0.5, Unit::Mpps);
        let near = figure([10.5, 12.0, 13.0], 0.6, Unit::Mpps);
        let [rate, ratio] = &differences(core::slice::from_ref(&before), &[near])[..] else {
            panic!("a rate and its ratio");
        };
        assert!(rate.line().ends_with("no difference"), "{}", rate.line());
        assert!(ratio.differs && ratio.line().ends_with("+20.0 % (better)"));
        let far = figure([4.0, 5.0, 6.0], 0.5, Unit::Mpps);
        assert!(
            Difference::of(&before, &far)
                .line()
                .ends_with("-50.0 % (worse)")
        );
        let (slow, fast) = (before.clone(), far.clone());
        let time = |f: Figure| Figure {
            unit: Unit::Microseconds,
            ..f
        };
        let line = Difference::of(&time(slow), &time(fast)).line();
        assert!(line.ends_with("us  -50.0 % (better)"), "{line}");
        let other = Figure {
            case: Case::of(60, 8),
            ..far
        };
        assert!(differences(&[before], &[other]).is_empty());
    }
}
