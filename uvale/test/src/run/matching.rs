//! Frames that have come, against those that are expected.

use uvale_frame::{Expected, summary};

use super::order::{Order, Passed};
use super::tester::Frame;
use super::why::counted;

/// Frames that a failure names; as many as one likes that look the same, one behind the other.
const NAMED: usize = 5;
/// Frames that a failure compares with what was expected.
const COMPARED: usize = 100;

/// A frame that is expected.
pub struct Wanted {
    expected: Expected,
    /// the frame, or the one it is made from by `change`
    from: Vec<u8>,
    change: String,
}

impl Wanted {
    /// Exactly this one.
    pub fn exactly(frame: Vec<u8>) -> Self {
        Self {
            expected: Expected::exactly(frame.clone()),
            from: frame,
            change: String::new(),
        }
    }

    /// That frame, changed: `change` says how, for people.
    pub fn changed(expected: Expected, from: Vec<u8>, change: String) -> Self {
        Self {
            expected,
            from,
            change,
        }
    }

    fn summary(&self) -> String {
        match self.change.is_empty() {
            true => summary(&self.from),
            false => format!("{}, with {}", summary(&self.from), self.change),
        }
    }
}

/// Frames that are looked for.
pub struct Search {
    wanted: Vec<Option<Wanted>>,
    order: Order,
    /// of those in order, the next one
    next: usize,
    passed: Passed,
    /// frames before this one need not be looked at again
    looked: usize,
    found: usize,
}

impl Search {
    /// Looks for nothing yet. Steps before it have come so far.
    pub fn new(order: Order, passed: Passed) -> Self {
        Self {
            wanted: Vec::new(),
            order,
            next: 0,
            passed,
            looked: 0,
            found: 0,
        }
    }

    /// Looks for this one, too.
    pub fn add(&mut self, wanted: Wanted) {
        self.wanted.push(Some(wanted));
        if self.order == Order::None {
            self.looked = 0;
        }
    }

    /// How many are looked for, those included that were found.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// How many have not been found.
    pub fn left(&self) -> usize {
        self.wanted.len() - self.found
    }

    /// Have all been found?
    pub fn is_done(&self) -> bool {
        self.found == self.wanted.len()
    }

    /// How far steps have come with it.
    pub fn into_passed(self) -> Passed {
        self.passed
    }

    /// Takes those of `came` that are looked for, for the step of `line`.
    pub fn look(&mut self, came: &mut [Frame], line: usize) {
        match self.order {
            Order::None => self.in_any_order(came, line),
            Order::OfFlows | Order::Whole => self.in_order(came, line),
        }
    }

    fn in_order(&mut self, came: &mut [Frame], line: usize) {
        while let Some(Some(wanted)) = self.wanted.get(self.next) {
            let mut new = came.iter().enumerate().skip(self.looked);
            let found = new.find(|(i, frame)| {
                frame.taken.is_none()
                    && wanted.expected.matches(&frame.bytes)
                    && *i >= self.passed.behind(self.order, &frame.bytes)
            });
            let Some((i, frame)) = found else {
                self.looked = came.len();
                return;
            };
            self.passed.pass(self.order, &frame.bytes, i);
            came[i].taken = Some(line);
            self.wanted[self.next] = None;
            self.next += 1;
            self.found += 1;
            self.looked = match self.order {
                Order::Whole => i + 1,
                // The next one may be of another flow.
                _ => 0,
            };
        }
    }

    fn in_any_order(&mut self, came: &mut [Frame], line: usize) {
        for frame in came
            .iter_mut()
            .skip(self.looked)
            .filter(|frame| frame.taken.is_none())
        {
            let is_it = |wanted: &Option<Wanted>| {
                wanted
                    .as_ref()
                    .is_some_and(|w| w.expected.matches(&frame.bytes))
            };
            if let Some(i) = self.wanted.iter().position(is_it) {
                self.wanted.swap_remove(i);
                self.wanted.push(None);
                frame.taken = Some(line);
                self.found += 1;
            }
        }
        self.looked = came.len();
    }

    /// What was not found, and what came in its place.
    pub fn complaint(&self, came: &[Frame]) -> String {
        let missing: Vec<&Wanted> = self.wanted.iter().flatten().collect();
        let Some(first) = missing.first() else {
            return String::new();
        };
        let mut text = format!("\nexpected: {}", first.summary());
        if missing.len() > 1 {
            text += &format!("\n  and {} after it", counted(missing.len() - 1, "frame"));
        }
        text += &self.nearest(&first.expected, came);
        match came.iter().filter(|frame| frame.taken.is_none()).count() {
            // it was compared
            1 => text,
            _ => text + &left_over(came),
        }
    }

    /// How the frame that comes nearest differs from the expected one.
    fn nearest(&self, expected: &Expected, came: &[Frame]) -> String {
        let free = came.iter().enumerate();
        let free = free.filter(|(_, frame)| frame.taken.is_none());
        let differences = free
            .take(COMPARED)
            .map(|(i, frame)| (expected.difference(&frame.bytes), i));
        let Some((difference, i)) = differences.min_by_key(|(lines, _)| lines.lines().count())
        else {
            let mut newest = came.iter().rev();
            let taken = newest.find(|frame| expected.matches(&frame.bytes));
            return taken
                .and_then(|frame| frame.taken)
                .map_or(String::new(), |line| {
                    format!("\none like it came, which the step of line {line} has taken")
                });
        };
        let bytes = &came[i].bytes;
        if difference.trim().is_empty() {
            let last = self.passed.behind(self.order, bytes).checked_sub(1);
            let Some((last, line)) = last.and_then(|last| Some((&came[last], came[last].taken?)))
            else {
                return String::new();
            };
            return format!(
                "\nit came before another one, which line {line} expects before it: {}",
                summary(&last.bytes)
            );
        }
        let lines = difference.lines().map(|line| format!("\n  {line}"));
        let lines: String = lines.collect();
        format!("\nnearest:  {}{lines}", summary(bytes))
    }
}

/// Frames that no step has taken.
pub fn left_over(came: &[Frame]) -> String {
    let free: Vec<&Frame> = came.iter().filter(|frame| frame.taken.is_none()).collect();
    if free.is_empty() {
        return match came.len() {
            0 => "\nnothing came".to_owned(),
            n => format!(
                "\n{} came there, all of which steps have taken",
                counted(n, "frame")
            ),
        };
    }
    let mut text = format!(
        "\n{} came there that no step has taken:",
        counted(free.len(), "frame")
    );
    let mut named = 0;
    // lines, and how often each of them comes in a row
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for frame in &free {
        let line = summary(&frame.bytes);
        if kinds.last().is_none_or(|(last, _)| *last != line) {
            if kinds.len() == NAMED {
                break;
            }
            kinds.push((line, 0));
        }
        if let Some((_, n)) = kinds.last_mut() {
            *n += 1;
        }
        named += 1;
    }
    for (line, n) in kinds {
        let times = if n > 1 {
            format!("{n} times ")
        } else {
            String::new()
        };
        text += &format!("\n  {times}{line}");
    }
    if free.len() > named {
        text += &format!("\n  and {} more", free.len() - named);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of flows, with numbers.
    fn bytes((flow, n): (u8, u8)) -> Vec<u8> {
        [&[flow; 12][..], &[n; 48]].concat()
    }

    fn came(frames: &[(u8, u8)]) -> Vec<Frame> {
        let frame = |frame: &(u8, u8)| Frame {
            at: std::time::SystemTime::UNIX_EPOCH,
            bytes: bytes(*frame),
            taken: None,
        };
        frames.iter().map(frame).collect()
    }

    /// Which of `frames` are taken when `wanted` are looked for, one after the other and all at once.
    fn taken(wanted: &[(u8, u8)], order: Order, frames: &[(u8, u8)]) -> (bool, Vec<bool>) {
        let mut results = Vec::new();
        for step in [1, frames.len().max(1)] {
            let mut search = Search::new(order, Passed::default());
            for frame in wanted {
                search.add(Wanted::exactly(bytes(*frame)));
            }
            let mut all = came(frames);
            for end in (step..=frames.len()).step_by(step) {
                search.look(&mut all[..end], 3);
            }
            let taken = all.iter().map(|frame| frame.taken == Some(3)).collect();
            results.push((search.is_done(), taken));
        }
        assert_eq!(results[0], results[1]);
        results.remove(0)
    }

    #[test]
    fn orders() {
        let all = |n| (true, vec![true; n]);
        let [a1, a2, a3, a9, b1, b2] = [(1, 1), (1, 2), (1, 3), (1, 9), (2, 1), (2, 2)];
        for order in [Order::None, Order::OfFlows, Order::Whole] {
            assert_eq!(taken(&[a1, a2, a3], order, &[a1, a2, a3]), all(3));
            assert_eq!(taken(&[a1, a1], order, &[a1, a1]), all(2));
            assert_eq!(
                taken(&[a1, a1], order, &[a1, a2]),
                (false, vec![true, false])
            );
            let between = (true, vec![false, true, false, true]);
            assert_eq!(taken(&[a1, a2], order, &[a9, a1, a9, a2]), between);
            assert_eq!(taken(&[], order, &[a2]), (true, vec![false]));
        }
        for order in [Order::OfFlows, Order::Whole] {
            assert_eq!(
                taken(&[a1, a2], order, &[a2, a1]),
                (false, vec![false, true])
            );
        }
        let mixed = [b1, b2, a1, a2];
        assert_eq!(taken(&[a1, b1, a2, b2], Order::OfFlows, &mixed), all(4));
        assert_eq!(
            taken(&[a1, b1, a2, b2], Order::Whole, &mixed).1[..2],
            [false, false]
        );
        assert_eq!(taken(&[a1, a2], Order::None, &[a2, a1]), all(2));
    }

    #[test]
    fn complaints_say_what_came() {
        let mut search = Search::new(Order::Whole, Passed::default());
        search.add(Wanted::exactly(bytes((0, 1))));
        let mut frames = came(&[(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7)]);
        search.look(&mut frames, 1);
        let said = search.complaint(&frames);
        assert!(
            said.contains("expected: ") && said.contains("nearest: "),
            "{said}"
        );
        assert!(
            said.contains("6 frames came there that no step has taken"),
            "{said}"
        );
        assert!(said.ends_with("and 1 more"), "{said}");
        assert!(search.complaint(&[]).ends_with("nothing came"));
        frames.iter_mut().for_each(|frame| frame.taken = Some(1));
        assert!(
            search
                .complaint(&frames)
                .contains("all of which steps have taken")
        );
        let mut other = came(&[(0, 1)]);
        other[0].taken = Some(9);
        assert!(
            search
                .complaint(&other)
                .contains("which the step of line 9 has taken")
        );
    }
}
