//! `SYNC POINT` comments: the partner that each names is there, and orders something.

use compat_tests::or_skip;

use super::comments::comment_start;
use super::{git, read};

/// A file of Rust: its path, its lines, and the same without comments.
struct Source {
    path: String,
    lines: Vec<String>,
    code: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let code = |line: &String| line[..comment_start(line).unwrap_or(line.len())].to_owned();
        Source {
            path: path.to_owned(),
            code: lines.iter().map(code).collect(),
            lines,
        }
    }

    /// Is it the module of this name, or a part of it, or does it define the type?
    fn has(&self, module: &str) -> bool {
        let mut parts = self.path.trim_end_matches(".rs").split('/');
        let types = ["struct ", "enum ", "trait ", "union ", "mod "];
        parts.any(|part| part == module)
            || types.iter().any(|t| self.defines(&format!("{t}{module}")))
    }

    fn defines(&self, what: &str) -> bool {
        self.code.iter().any(|line| has_word(line, what))
    }

    /// The functions of that name, each as its lines.
    fn functions(&self, name: &str) -> Vec<&[String]> {
        let start = format!("fn {name}");
        let starts = (0..self.code.len()).filter(|at| has_word(&self.code[*at], &start));
        let body = |at: usize| {
            let line = &self.code[at];
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let len = self.code[at..]
                .iter()
                .position(|l| l.starts_with(&end) || l.ends_with(';') && l == line);
            &self.code[at..=at + len.unwrap_or(0)]
        };
        starts.map(body).collect()
    }
}

/// Does `what` stand in the line, as whole words?
fn has_word(line: &str, what: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(what).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + what.len()..]);
        !before.ends_with(word) && !after.starts_with(word)
    })
}

/// What is wrong with a name in such a comment of `own`: `name` is of that file, `module::name` and `Type::name` of
/// any. A function must have an ordering in it, or take a lock.
fn fault(own: &Source, name: &str, all: &[Source]) -> Option<&'static str> {
    let (within, last) = match name.rsplit_once("::") {
        Some((path, last)) => (path.rsplit("::").next(), last),
        None => (None, name),
    };
    let sources: Vec<&Source> = match within {
        Some(module) => all.iter().filter(|source| source.has(module)).collect(),
        None => vec![own],
    };
    let functions: Vec<_> = sources
        .iter()
        .flat_map(|source| source.functions(last))
        .collect();
    if functions.is_empty() {
        let there = sources
            .iter()
            .any(|source| source.defines(last) || within.is_some() && source.has(last));
        return (!there).then_some("is not there");
    }
    let orderings = ["Acquire", "Release", "AcqRel", "SeqCst", "try_lock"];
    let orders = |line: &String| orderings.iter().any(|o| has_word(line, o));
    let some = functions.iter().any(|body| body.iter().any(orders));
    (!some).then_some("orders nothing itself")
}

/// The names in code marks of a text; other code between marks is none.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let marked = text.split('`').skip(1).step_by(2);
    marked.filter(|name| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// All that is wrong, and how many names were looked at.
fn faults(all: &[Source]) -> (Vec<String>, usize) {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for own in all {
        let begins =
            |line: &String| line.trim_start().starts_with("//") && line.contains("SYNC POINT");
        for at in (0..own.lines.len()).filter(|at| begins(&own.lines[*at])) {
            let comment = own.lines[at..].iter().map(|line| line.trim_start());
            let comment: String = comment.take_while(|l| l.starts_with("//")).collect();
            for name in names(&comment) {
                seen += 1;
                let fault = fault(own, name, all);
                wrong.extend(fault.map(|f| format!("{}:{}: `{name}` {f}", own.path, at + 1)));
            }
        }
    }
    (wrong, seen)
}

#[test]
fn partners_of_sync_points_are_there() {
    let files = or_skip!("sync points", git(&["ls-files", "*.rs"]));
    // this file speaks of them in its examples
    let files = files
        .lines()
        .filter(|file| !file.ends_with("tree/sync_points.rs"));
    let all: Vec<_> = files.map(|file| Source::new(file, &read(file))).collect();
    let (wrong, seen) = faults(&all);
    assert!(seen > 20, "{seen}");
    assert!(
        wrong.is_empty(),
        "comments to put right:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn partners_are_looked_up() {
    let partner = "struct Ring;\nimpl Ring {\n    fn publish(&self) {\n        \
                   self.tail.store(1, Release);\n    }\n    fn tell() {}\n}\n";
    let check = |comment: &str| {
        let own = format!("// SYNC POINT: pairs with {comment}.\nlet head = tail.load(Acquire);\n");
        let all = [
            Source::new("a/src/ring.rs", partner),
            Source::new("b/src/take.rs", &own),
        ];
        let (wrong, seen) = faults(&all);
        assert_eq!(seen, 1);
        wrong
            .into_iter()
            .next()
            .map_or(String::new(), |w| w["b/src/take.rs:1: ".len()..].to_owned())
    };
    assert_eq!(check("`ring::publish`"), "");
    assert_eq!(check("the\n// Release in `Ring::publish`"), "");
    assert_eq!(check("`head`"), "");
    assert_eq!(check("`publish`"), "`publish` is not there");
    assert_eq!(check("`ring::release`"), "`ring::release` is not there");
    assert_eq!(check("`pipe::publish`"), "`pipe::publish` is not there");
    assert_eq!(check("`ring::tell`"), "`ring::tell` orders nothing itself");
}
