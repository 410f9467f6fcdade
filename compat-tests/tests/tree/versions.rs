//! One version and one Rust release, wherever they are written.

use std::process::Command;

use compat_tests::{or_skip, target};

use super::{git, packages, read};

/// The version that this build has; every crate takes it from the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The oldest Rust that will do.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A section of the changelog: its version, and what stands in parentheses behind it.
fn sections() -> Vec<(String, String)> {
    let changelog = read("CHANGELOG.md");
    let headings = changelog.lines().filter_map(|l| l.strip_prefix("## "));
    headings
        .map(|heading| {
            let (version, when) = heading
                .split_once(" (")
                .and_then(|(version, rest)| Some((version, rest.strip_suffix(')')?)))
                .unwrap_or_else(|| panic!("CHANGELOG.md: '## {heading}' is not 'VERSION (WHEN)'"));
            (version.to_string(), when.to_string())
        })
        .collect()
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split('.');
    parts
        .map(|n| {
            n.parse()
                .unwrap_or_else(|_| panic!("{version} is no version"))
        })
        .collect()
}

fn is_date(text: &str) -> bool {
    let digits = |from: usize, to: usize| {
        text.get(from..to)
            .is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit()))
    };
    text.len() == 10
        && digits(0, 4)
        && digits(5, 7)
        && digits(8, 10)
        && text[4..5] == *"-"
        && text[7..8] == *"-"
}

#[test]
fn the_changelog_begins_with_this_version() {
    let sections = sections();
    let (newest, when) = &sections[0];
    assert_eq!(newest, VERSION, "CHANGELOG.md and Cargo.toml");
    assert!(when == "unreleased" || is_date(when), "{newest}: {when}");
    for pair in sections.windows(2) {
        let (newer, (older, when)) = (&pair[0].0, &pair[1]);
        assert!(
            numbers(newer) > numbers(older),
            "{newer} stands before {older}"
        );
        assert!(is_date(when), "{older} is followed by {newer}: {when}");
    }
}

#[test]
fn the_program_says_this_version() {
    let output = Command::new(&target::binaries().uvale)
        .arg("--version")
        .output()
        .expect("uvale starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("uvale {VERSION}")
    );
}

#[test]
fn tags_have_their_section() {
    let sections = sections();
    let tags = or_skip!("tags", git(&["tag", "--list", "v[0-9]*"]));
    for tag in tags.lines() {
        let version = &tag[1..];
        let section = sections.iter().find(|(v, _)| v == version);
        let (_, when) = section.unwrap_or_else(|| panic!("CHANGELOG.md says nothing of {tag}"));
        assert!(is_date(when), "{tag} exists, CHANGELOG.md says: {when}");
    }
    let here = or_skip!(
        "tags",
        git(&["tag", "--list", "v[0-9]*", "--points-at", "HEAD"])
    );
    for tag in here.lines() {
        assert_eq!(&tag[1..], VERSION, "the tag of this commit and Cargo.toml");
    }
}

/// Whoever reads one of these decides what to install.
#[test]
fn every_document_asks_for_the_same_rust() {
    for file in [
        "README.md",
        "scripts/demo.sh",
        "CONTRIBUTING.md",
        "docs/ci.md",
    ] {
        let text = read(file);
        let named: Vec<&str> = text
            .match_indices(" or later")
            .filter_map(|(at, _)| text[..at].rsplit([' ', '(']).next())
            .filter(|word| word.starts_with("1."))
            .collect();
        assert!(!named.is_empty(), "{file} does not say '{RUST} or later'");
        assert!(
            named.iter().all(|n| *n == RUST),
            "{file} says {named:?}, Cargo.toml {RUST}"
        );
    }
}

/// A crate that asks for a newer Rust than we say.
#[test]
fn no_crate_needs_a_newer_rust() {
    let packages = packages();
    let newer: Vec<String> = packages
        .iter()
        .filter_map(|p| Some((p["name"].as_str()?, p["rust_version"].as_str()?)))
        .filter(|(_, needs)| numbers(needs) > numbers(&format!("{RUST}.0")))
        .map(|(name, needs)| format!("{name} needs {needs}"))
        .collect();
    assert!(newer.is_empty(), "rust-version is {RUST}, but {newer:?}");
}
