//! A figure: what one column of a contest came to, with its range and its ratios to other columns.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The middle of some values, the least and the most of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Range {
    /// `None` of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values.to_vec()),
            least: values.iter().copied().reduce(f64::min)?,
            most: values.iter().copied().reduce(f64::max)?,
        })
    }

    /// A value that has no range.
    pub fn exactly(value: f64) -> Self {
        Self {
            median: value,
            least: value,
            most: value,
        }
    }

    /// Do both contain some value?
    pub fn overlaps(&self, other: &Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 1.0 { 3 } else { 2 };
        let Self {
            median,
            least,
            most,
        } = self;
        write!(f, "{median:.digits$} ({least:.digits$}..{most:.digits$})")
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unit {
    /// million packets (or messages) a second
    Mpps,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "kB")]
    Kilobytes,
}

impl Unit {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Mpps => "Mpps",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
            Self::Kilobytes => "kB",
        }
    }

    /// Is less of it better?
    pub fn is_cost(self) -> bool {
        self != Self::Mpps
    }
}

/// A line of a table: what is particular about it, and sizes where they matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
}

impl Case {
    /// Packets of so many bytes in such batches.
    pub fn of(bytes: u32, batch: u32) -> Self {
        Self::default().and(bytes, batch)
    }

    /// Something that has neither.
    pub fn named(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// The same with packets of so many bytes in such batches.
    pub fn and(self, bytes: u32, batch: u32) -> Self {
        Self {
            bytes: Some(bytes),
            batch: Some(batch),
            ..self
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let bytes = self.bytes.map(|n| format!("{n} bytes"));
        let batch = self.batch.map(|n| format!("batch {n}"));
        let parts: Vec<_> = [label, bytes, batch].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

/// A ratio to another figure of the same case, taken round by round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ratio {
    pub of: String,
    #[serde(flatten)]
    pub range: Range,
}

/// What one column of a contest came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub suite: String,
    pub case: Case,
    /// the column
    pub what: String,
    pub unit: Unit,
    #[serde(flatten)]
    pub range: Range,
    /// what the senders sent, where the receivers may have got less
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<f64>,
    /// wake-ups that were sent for each thousand packets, where workers block
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakeups: Option<Range>,
    /// so many windows count
    pub windows: usize,
    /// other programs took processor time in every window
    pub disturbed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ratios: Vec<Ratio>,
}

impl Figure {
    /// The ratio to that column.
    pub fn ratio(&self, of: &str) -> Option<Range> {
        self.ratios.iter().find(|r| r.of == of).map(|r| r.range)
    }

    /// Is it the same measurement as another one, perhaps of another day?
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.suite, &self.case, &self.what, self.unit)
            == (&other.suite, &other.case, &other.what, other.unit)
    }
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ranges() {
        assert_eq!(Range::of(&[]), None);
        let range = Range::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(range.to_string(), "2.00 (1.00..3.00)");
        assert!(range.overlaps(&Range::exactly(3.0)));
        assert!(!range.overlaps(&Range::exactly(3.1)));
    }

    #[test]
    fn cases_say_what_matters() {
        assert_eq!(Case::of(60, 8).to_string(), "60 bytes, batch 8");
        let flood = Case::named("8 receivers").and(60, 1);
        assert_eq!(flood.to_string(), "8 receivers, 60 bytes, batch 1");
        assert_eq!(Case::named("ping-pong").to_string(), "ping-pong");
    }
}
