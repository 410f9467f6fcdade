//! Records of facts, one `key=value` a line, and the differences that are expected.

use std::collections::BTreeMap;

/// Facts by key, in the order they were printed: a key that comes again has several values.
pub type Facts = BTreeMap<String, Vec<String>>;

/// Reads `key=value` lines; other lines are left out.
pub fn parse(text: &str) -> Facts {
    let mut facts = Facts::new();
    for (key, value) in text.lines().filter_map(|l| l.split_once('=')) {
        facts.entry(key.into()).or_default().push(value.into());
    }
    facts
}

/// Reads a record: the same, without comment lines.
pub fn parse_record(text: &str) -> Facts {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    parse(&lines.collect::<Vec<_>>().join("\n"))
}

/// How a case, or a program as a whole, ends that was cut.
pub const TIME_LIMIT: &str = "time limit";
/// The fact by which a program as a whole tells how it ended.
pub const EXIT: &str = "exit";

/// Was the section cut before all of its facts were there? If the program was, so were those cases that had not
/// come to their end.
pub fn is_cut(facts: &Facts, section: &str) -> bool {
    let ended = |key: &str| facts.get(key).and_then(|v| v.last()).map(String::as_str);
    let case = ended(&format!("{section}.END"));
    case == Some(TIME_LIMIT) || case.is_none() && ended(EXIT) == Some(TIME_LIMIT)
}

/// The section of a key: what stands before its first dot.
pub fn section(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// A difference that is known and has a reason.
#[derive(Debug)]
pub struct Expected {
    pattern: String,
    /// Why the value differs.
    pub reason: String,
}

/// Reads `pattern = reason` lines. In a pattern `*` stands for anything; `#` begins a comment line.
///
/// # Panics
/// If a line has no reason.
pub fn parse_expected(text: &str) -> Vec<Expected> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let read = |line: &str| {
        let (pattern, reason) = line
            .split_once(" = ")
            .unwrap_or_else(|| panic!("no reason given: {line}"));
        Expected {
            pattern: pattern.trim().into(),
            reason: reason.trim().into(),
        }
    };
    lines.map(read).collect()
}

impl Expected {
    /// Does the pattern fit this key?
    pub fn fits(&self, key: &str) -> bool {
        glob(self.pattern.as_bytes(), key.as_bytes())
    }

    /// The pattern.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

/// Does a pattern with `*` for anything fit the whole text?
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => glob(rest, text) || glob(pattern, tail),
        (Some((p, rest)), Some((t, tail))) => p == t && glob(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// One key whose value is not the recorded one.
#[derive(Debug)]
pub struct Difference {
    /// The fact.
    pub key: String,
    /// The kernel's value; `None`: not in the record.
    pub kernel: Option<String>,
    /// Ours; `None`: not printed.
    pub ours: Option<String>,
    /// The reason, if it is expected.
    pub reason: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "(nothing)".into());
        write!(
            f,
            "{}: kernel {}, ours {}",
            self.key,
            show(&self.kernel),
            show(&self.ours)
        )
    }
}

/// What a comparison of one section found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Facts with the recorded value.
    pub equal: usize,
    /// The others.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// The differences that nothing explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|d| d.reason.is_none())
    }

    /// How many differences have a listed reason.
    pub fn listed(&self) -> usize {
        self.differences.len() - self.unexplained().count()
    }
}

/// Compares the facts of one section.
pub fn compare(wanted: &str, kernel: &Facts, ours: &Facts, expected: &[Expected]) -> Comparison {
    let of_section = |facts: &Facts| -> Facts {
        let facts = facts.iter().filter(|(k, _)| section(k) == wanted);
        facts.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut result = compare_all(&of_section(kernel), &of_section(ours));
    for difference in &mut result.differences {
        let entry = expected.iter().find(|e| e.fits(&difference.key));
        difference.reason = entry.map(|e| e.reason.clone());
    }
    result
}

/// Compares all facts, by key; the differences have no reason yet.
pub fn compare_all(kernel: &Facts, ours: &Facts) -> Comparison {
    let mut result = Comparison::default();
    let mut keys: Vec<&String> = kernel.keys().chain(ours.keys()).collect();
    keys.sort();
    keys.dedup();
    let none = Vec::new();
    for key in keys {
        let theirs = kernel.get(key).unwrap_or(&none);
        let mine = ours.get(key).unwrap_or(&none);
        for i in 0..theirs.len().max(mine.len()) {
            let (kernel, ours) = (theirs.get(i).cloned(), mine.get(i).cloned());
            if kernel == ours {
                result.equal += 1;
                continue;
            }
            result.differences.push(Difference {
                key: key.clone(),
                kernel,
                ours,
                reason: None,
            });
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let fits =
            |pattern: &str, key: &str| parse_expected(&format!("{pattern} = why"))[0].fits(key);
        assert!(fits("a.b", "a.b") && !fits("a.b", "a.bc") && !fits("a.b", "a"));
        assert!(fits("a.*.mem", "a.x.y.mem") && !fits("a.*.mem", "a.x.memory"));
        assert!(fits("*", "anything") && fits("a*", "a"));
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let kernel = parse("s.same=1\ns.other=2\ns.gone=3\ns.twice=4\ns.twice=5\nt.x=9\n");
        let ours = parse("s.same=1\ns.other=0\ns.new=7\ns.twice=4\ns.twice=6\nnoise\n");
        let expected = parse_expected("# comment\n\ns.new = we say more\n");
        let found = compare("s", &kernel, &ours, &expected);
        assert_eq!(
            (found.equal, found.differences.len(), found.listed()),
            (2, 4, 1)
        );
        let keys: Vec<&str> = found.unexplained().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["s.gone", "s.other", "s.twice"]);
    }
}
