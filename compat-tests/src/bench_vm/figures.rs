//! Figures of the windows: medians, and ratios of what was measured in the same window.

use std::fmt::Write as _;
use std::io::Write as _;

/// What is compared: the ratio of two figures, and what it is to be at least.
struct Comparison {
    what: &'static str,
    of: &'static str,
    to: &'static str,
    /// less is better: the ratio is the other way round
    is_time: bool,
    target: f64,
}

const COMPARISONS: [Comparison; 4] = [
    Comparison {
        what: "ptnet to vhost-user, 60 bytes",
        of: "ptnet, 60 bytes (kpps)",
        to: "vhost-user, 60 bytes (kpps)",
        is_time: false,
        target: 5.0,
    },
    Comparison {
        what: "ptnet to vhost-user, 1500 bytes",
        of: "ptnet, 1500 bytes (kpps)",
        to: "vhost-user, 1500 bytes (kpps)",
        is_time: false,
        target: 5.0,
    },
    Comparison {
        what: "TCP: vhost-user to TAP and bridge",
        of: "TCP, vhost-user on a switch (MB/s)",
        to: "TCP, TAP and bridge (MB/s)",
        is_time: false,
        target: 1.0,
    },
    Comparison {
        what: "memory BAR to I/O BAR",
        of: "ptnet, memory BAR: a sync with a kick (us)",
        to: "ptnet, I/O BAR: a sync with a kick (us)",
        is_time: true,
        target: 2.0,
    },
];

/// All that was measured.
pub struct Figures {
    windows: u32,
    /// by name, in the order in which they came first: a value for each window
    values: Vec<(String, Vec<f64>)>,
    lines: Vec<String>,
}

impl Figures {
    /// For so many windows.
    pub fn new(windows: u32) -> Self {
        let (values, lines) = (Vec::new(), Vec::new());
        Self {
            windows,
            values,
            lines,
        }
    }

    /// A window has found `value` for `name`.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.values.iter_mut().find(|(n, _)| n == name) {
            Some((_, values)) => values.push(value),
            None => self.values.push((name.into(), vec![value])),
        }
    }

    /// A line to go below the tables.
    pub fn add_line(&mut self, line: String) {
        self.lines.push(line);
    }

    fn get(&self, name: &str) -> Option<&[f64]> {
        let found = self.values.iter().find(|(n, _)| n == name);
        found.map(|(_, values)| &values[..])
    }

    /// Tables.
    pub fn render(&self) -> String {
        let mut text = format!(
            "Medians of {} windows that take turns, least and most in brackets. A ratio is the median of the ratios\n\
             of single windows. From one guest to the other: ptnet-guest over a pipe, and packet sockets\n\
             (socket-guest, sendmmsg and recvmmsg) on virtio-net over another pipe.\n\n",
            self.windows
        );
        for (name, values) in &self.values {
            let _ = writeln!(text, "{name:58} {}", spread(values));
        }
        text.push('\n');
        for comparison in &COMPARISONS {
            let ratios = self.ratios(comparison);
            if !ratios.is_empty() {
                let (what, target) = (comparison.what, comparison.target);
                let _ = writeln!(
                    text,
                    "{what:58} {}, to be {target} at least",
                    spread(&ratios)
                );
            }
        }
        text.push('\n');
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn ratios(&self, comparison: &Comparison) -> Vec<f64> {
        let (Some(of), Some(to)) = (self.get(comparison.of), self.get(comparison.to)) else {
            return Vec::new();
        };
        let ratio = |(of, to): (&f64, &f64)| if comparison.is_time { to / of } else { of / to };
        of.iter()
            .zip(to)
            .map(ratio)
            .filter(|r| r.is_finite())
            .collect()
    }
}

/// The median, and between what the values lie.
fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match sorted[..] {
        [] => "-".into(),
        [one] => short(one),
        [least, .., most] => {
            let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
            format!("{} ({} to {})", short(median), short(least), short(most))
        }
    }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Prints at once. Who reads no longer does not stop the run.
pub fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_window_by_window() {
        let mut figures = Figures::new(3);
        for (fast, slow) in [(100.0, 10.0), (300.0, 100.0), (50.0, 10.0)] {
            figures.add("ptnet, 60 bytes (kpps)", fast);
            figures.add("vhost-user, 60 bytes (kpps)", slow);
            figures.add("ptnet, memory BAR: a sync with a kick (us)", slow);
            figures.add("ptnet, I/O BAR: a sync with a kick (us)", fast);
        }
        figures.add_line("a line".into());
        let text = figures.render();
        for (what, is) in [
            ("ptnet, 60 bytes (kpps)", "100 (50.0 to 300)"),
            (
                "ptnet to vhost-user, 60 bytes",
                "5.00 (3.00 to 10.0), to be 5 at least",
            ),
            (
                "memory BAR to I/O BAR",
                "5.00 (3.00 to 10.0), to be 2 at least",
            ),
        ] {
            let line = text.lines().find(|l| l.starts_with(what)).expect(what);
            assert!(line.ends_with(is), "{line}");
        }
        assert!(
            text.ends_with("\na line\n") && !text.contains("TAP"),
            "{text}"
        );
    }

    #[test]
    fn the_middle_of_an_even_number() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), "2.50 (1.00 to 4.00)");
        assert_eq!(spread(&[7.0]), "7.00");
        assert_eq!(spread(&[]), "-");
    }
}
