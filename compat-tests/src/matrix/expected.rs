//! Expected facts, and the differences that are known.

use std::path::{Path, PathBuf};

use super::platform::Platform;
use crate::facts::{self, Facts};

/// The file of known differences.
pub const KNOWN: &str = "known-differences.txt";
/// The folders whose facts hold where a target has none of its own: a guest's interface is one,
/// and everything else is to be like the kernel.
const TRUTH: [&str; 2] = ["nic", "kernel"];

/// A difference that is known: `TARGET SCENARIO KEY = reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The target's folder.
    pub target: String,
    /// The scenario.
    pub scenario: String,
    /// The fact; `*` stands for anything.
    pub key: String,
    /// Why it differs.
    pub reason: String,
}

impl Known {
    /// May the fact be as expected too? It depends on who is faster, and the reason says so.
    pub fn is_sometimes(&self) -> bool {
        self.reason.starts_with("sometimes: ")
    }

    /// Is this about that fact?
    pub fn fits(&self, key: &str) -> bool {
        facts::glob(self.key.as_bytes(), key.as_bytes())
    }
}

/// Reads the list.
///
/// # Errors
/// A sentence that names the line.
pub fn parse_known(text: &str) -> Result<Vec<Known>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
    let read = |(number, line): (usize, &str)| {
        let wrong = || {
            format!(
                "{KNOWN}:{}: want TARGET SCENARIO KEY = reason: {line}",
                number + 1
            )
        };
        let (what, reason) = line.split_once(" = ").ok_or_else(wrong)?;
        let words: Vec<&str> = what.splitn(3, ' ').collect();
        let [target, scenario, key] = words[..] else {
            return Err(wrong());
        };
        if reason.trim().is_empty() {
            return Err(wrong());
        }
        Ok(Known {
            target: target.into(),
            scenario: scenario.into(),
            key: key.trim().into(),
            reason: reason.trim().into(),
        })
    };
    lines.map(read).collect()
}

/// The known differences of the folder of expected facts.
///
/// # Errors
/// A sentence, if the list can't be read.
pub fn known(expected: &Path) -> Result<Vec<Known>, String> {
    let file = expected.join(KNOWN);
    match std::fs::read_to_string(&file) {
        Ok(text) => parse_known(&text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(format!("{}: {e}", file.display())),
    }
}

/// Expected facts and where they come from.
#[derive(Debug)]
pub struct Record {
    /// The file.
    pub file: PathBuf,
    /// What it holds.
    pub facts: Facts,
}

/// What a target is expected to say: its own record, else that of what it is to be like.
pub fn record(expected: &Path, platform: &Platform, scenario: &str) -> Option<Record> {
    let own = place(expected, platform, scenario);
    let others = TRUTH.map(|folder| expected.join(folder).join(format!("{scenario}.txt")));
    [own].into_iter().chain(others).find_map(|file| {
        let facts = facts::parse_record(&std::fs::read_to_string(&file).ok()?);
        Some(Record { file, facts })
    })
}

/// Where a target's own record lies.
pub fn place(expected: &Path, platform: &Platform, scenario: &str) -> PathBuf {
    expected
        .join(platform.label())
        .join(format!("{scenario}.txt"))
}

/// Writes a target's own record.
///
/// # Errors
/// A sentence, if it can't be written.
pub fn write(
    expected: &Path,
    platform: &Platform,
    scenario: &str,
    lines: &str,
) -> Result<PathBuf, String> {
    let file = place(expected, platform, scenario);
    let dir = file.parent().unwrap_or(expected);
    let text = format!("# recorded: {}\n{lines}", recorded_on(platform));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(file)
}

/// The target and, where a kernel answered, which one.
fn recorded_on(platform: &Platform) -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    match platform {
        Platform::Uvale => "uvale".into(),
        _ => format!("{} of Linux {}", platform.label(), release.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_differences_are_read() {
        let text =
            "# head\n\nuvale polls a.b*.c = because it is so\nuvale polls d = sometimes: a race\n";
        let known = parse_known(text).expect("well formed");
        assert_eq!(known.len(), 2);
        assert!(!known[0].is_sometimes() && known[1].is_sometimes());
        assert_eq!(known[0].scenario, "polls");
        assert!(known[0].fits("a.bxx.c") && !known[0].fits("a.c"));
    }

    #[test]
    fn a_line_without_reason_is_refused() {
        for text in ["uvale polls a.b", "uvale polls = why", "uvale polls a.b = "] {
            let error = parse_known(text).expect_err("not well formed");
            assert!(error.contains(":1:"), "{error}");
        }
    }

    #[test]
    fn a_target_without_a_record_has_the_kernels() {
        let dir = std::env::temp_dir().join(format!("compat-expected-{}", std::process::id()));
        for (folder, scenario, value) in [("kernel", "s", "k"), ("nic", "i", "n")] {
            std::fs::create_dir_all(dir.join(folder)).expect("a folder of ours");
            let text = format!("# derived from source\nx.y={value}\n");
            let file = dir.join(folder).join(format!("{scenario}.txt"));
            std::fs::write(file, text).expect("a file of ours");
        }
        let value = |platform: &Platform, scenario: &str| {
            record(&dir, platform, scenario).map(|r| r.facts["x.y"].join(","))
        };
        let nic = Platform::Nic("eth0".into());
        assert_eq!(value(&Platform::Uvale, "s").as_deref(), Some("k"));
        assert_eq!(value(&nic, "i").as_deref(), Some("n"));
        assert_eq!(value(&Platform::Ptnet, "i").as_deref(), Some("n"));
        assert!(record(&dir, &Platform::Uvale, "other").is_none());
        let file = write(&dir, &Platform::Uvale, "s", "x.y=u\n").expect("it can be written");
        assert!(file.ends_with("uvale/s.txt"));
        assert_eq!(value(&Platform::Uvale, "s").as_deref(), Some("u"));
        std::fs::remove_dir_all(&dir).expect("a folder of ours");
    }
}
