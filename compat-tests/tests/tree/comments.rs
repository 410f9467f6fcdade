//! Files that comments and documents name: each is in the tree.

use std::collections::HashSet;

use compat_tests::or_skip;

use super::{git, read};

/// Not ours to keep true: what came, what was recorded, what was so at the time.
const HISTORY: [&str; 3] = [
    "compat-tests/data/",
    "compat-tests/expected/",
    "CHANGELOG.md",
];
/// Files that a comment may name though they are elsewhere: of the system, of libraries, of a bundle.
const ELSEWHERE: [&str; 5] = [
    "include/net/*.h",
    "include/pcap.h",
    "./run.sh",
    "run.sh",
    "stddef.h",
];
/// Folders of the kernel's headers.
const KERNELS: [&str; 2] = ["asm-generic/", "linux/"];
/// What a name with one of these endings is: a file of ours.
const ENDINGS: [&str; 7] = ["rs", "md", "c", "h", "sh", "service", "socket"];
/// Words that stand for any name.
const PLACEHOLDERS: [&str; 3] = ["NAME", "SCENARIO", "TARGET"];

/// The comments of a file, or the prose of a document: numbers of lines, and text.
pub fn comments<'a>(file: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let ending = file.rsplit('.').next().unwrap_or("");
    let mut fenced = false;
    let comment = |line: &'a str| match ending {
        "md" => {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            (!fence && !fenced).then_some(line)
        }
        "rs" => comment_start(line).map(|at| line[at..].trim_start_matches(['/', '!'])),
        "c" | "h" => {
            let inside = line.trim_start().starts_with("* ");
            inside
                .then_some(line)
                .or_else(|| Some(&line[line.find("/*")?..]))
        }
        "sh" | "toml" => line.trim_start().strip_prefix('#'),
        _ => None,
    };
    let lines = (1..).zip(text.lines().map(comment));
    lines.filter_map(|(n, text)| Some((n, text?))).collect()
}

/// Where the comment of a line of Rust begins: not within a string.
pub fn comment_start(line: &str) -> Option<usize> {
    let mut starts = line.match_indices("//").map(|(at, _)| at);
    starts.find(|at| line[..*at].matches('"').count().is_multiple_of(2))
}

/// Every path of the tree, files and folders, and every end of one that begins with a whole name.
fn known_paths(files: &str) -> HashSet<&str> {
    let mut known = HashSet::new();
    for file in files.lines() {
        let ends = file.match_indices('/').map(|(at, _)| at);
        for path in ends.chain([file.len()]).map(|end| &file[..end]) {
            known.insert(path);
            known.extend(path.match_indices('/').map(|(at, _)| &path[at + 1..]));
        }
    }
    known
}

/// The words of a text that are paths: by their ending, or because they begin with a folder at the root.
fn paths<'a>(text: &'a str, known: &HashSet<&str>) -> Vec<&'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-*/".contains(c);
    let words = text.split(|c: char| c.is_whitespace() || "`()[],;|\"'".contains(c));
    let words = words.map(|word| word.trim_end_matches(['.', ':', '/']));
    let words = words.filter(|word| {
        word.starts_with(|c| plain(c) && c != '/' && c != '-') && word.chars().all(plain)
    });
    words
        .filter(|word| match word.rsplit_once('.') {
            Some((name, ending)) if ENDINGS.contains(&ending) => !name.is_empty(),
            _ => word
                .split_once('/')
                .is_some_and(|(first, _)| known.contains(first) && is_root(first)),
        })
        .collect()
}

fn is_root(folder: &str) -> bool {
    compat_tests::target::workspace().join(folder).is_dir()
}

/// Is there such a path? `docs/design/0007` is the note of that number, `*` and placeholders are any name.
fn exists(path: &str, known: &HashSet<&str>) -> bool {
    let path = path.trim_start_matches("../").trim_start_matches("./");
    if known.contains(path) {
        return true;
    }
    let open = |part: &str| part.contains('*') || PLACEHOLDERS.iter().any(|p| part.starts_with(p));
    let number = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_digit());
    if !path.split('/').any(|part| open(part) || number(part)) {
        return false;
    }
    let fits = |part: &str, real: &str| match part.split_once('*') {
        Some((before, after)) => real.starts_with(before) && real.ends_with(after),
        None if open(part) => true,
        None if number(part) => real.starts_with(part),
        None => part == real,
    };
    known.iter().any(|real| {
        let same = real.split('/').count() == path.split('/').count();
        same && path
            .split('/')
            .zip(real.split('/'))
            .all(|(part, real)| fits(part, real))
    })
}

#[test]
fn paths_in_comments_and_documents_exist() {
    let files = or_skip!("paths in comments", git(&["ls-files"]));
    let known = known_paths(&files);
    let texts = files
        .lines()
        .filter(|file| !HISTORY.iter().any(|h| file.starts_with(h)));
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in texts.filter(|file| file.contains('.')) {
        let text = read(file);
        // a document makes some of the files that it speaks of
        let made: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix("<!-- file: ")?.strip_suffix(" -->"))
            .collect();
        for (line, comment) in comments(file, &text) {
            for path in paths(comment, &known) {
                seen += 1;
                let elsewhere =
                    ELSEWHERE.contains(&path) || KERNELS.iter().any(|k| path.starts_with(k));
                if !exists(path, &known) && !elsewhere && !made.contains(&path) {
                    wrong.push(format!("{file}:{line}: {path}"));
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(
        wrong.is_empty(),
        "no such file in the tree:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn paths_are_found() {
    let known =
        known_paths("docs/design/0007-why.md\nuvale/engine/src/vale/run.rs\nscripts/a-b.sh");
    let found = |text| -> Vec<bool> {
        paths(text, &known)
            .iter()
            .map(|p| exists(p, &known))
            .collect()
    };
    assert_eq!(
        found("`vale/run.rs`, (run.rs) and docs/design/0007."),
        [true, true, true]
    );
    assert_eq!(
        found("`vale/walk.rs`, un.rs; docs/design/0008"),
        [false, false, false]
    );
    assert_eq!(
        found("scripts/a-*.sh, scripts/NAME.sh: scripts/b-*.sh"),
        [true, true, false]
    );
    assert_eq!(found("/etc/run.rs and/or nothing, e.g. 0.5"), [false; 0]);
    assert_eq!(
        comments("x.rs", "a(\"//\"); // b.rs\n/// c"),
        [(1, " b.rs"), (2, " c")]
    );
    assert_eq!(comments("x.md", "a\n```c\nb\n```\nd"), [(1, "a"), (5, "d")]);
}
