//! Lines that a person can read side by side with others.

use compat_tests::or_skip;

use super::{git, read};

/// Most characters of a line.
const LIMIT: usize = 120;
/// Data, in the form that it came or is compared in: captures and the kernel's record, facts one a line, hashes,
/// pictures that a program has drawn.
const DATA: [&str; 4] = [
    "compat-tests/data/",
    "compat-tests/expected/",
    "Cargo.lock",
    "docs/images/",
];

#[test]
fn no_line_is_longer_than_120_characters() {
    let files = or_skip!("lengths of lines", git(&["ls-files"]));
    let texts = files
        .lines()
        .filter(|file| !DATA.iter().any(|data| file.starts_with(data)));
    let mut long = Vec::new();
    for file in texts {
        for (number, line) in read(file).lines().enumerate() {
            let length = line.chars().count();
            if length > LIMIT {
                long.push(format!("{file}:{}: {length}", number + 1));
            }
        }
    }
    assert!(long.is_empty(), "lines to break:\n{}", long.join("\n"));
}
