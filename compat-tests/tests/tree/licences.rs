//! Every crate that goes into the programs has a licence that allows it, and ours is said where it
//! has to be: once for the tree, in `LICENSE` and the crates' manifests, and in each file that people
//! copy out of it.

use compat_tests::or_skip;

use super::{git, packages, read};
/// Licences that we ship under or may link with.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Does one alternative of the expression consist of allowed licences only?
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    // AND binds tighter than OR in SPDX; our crates use parentheses only around alternatives.
    expression.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| ALLOWED.contains(&licence.trim()))
    })
}

#[test]
fn licences_allow_what_we_do() {
    let packages = packages();
    let refused: Vec<String> = packages
        .iter()
        .map(|p| {
            (
                p["name"].as_str().unwrap_or("?"),
                p["license"].as_str().unwrap_or("none"),
            )
        })
        .filter(|(_, licence)| !is_allowed(licence))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(refused.is_empty(), "licences to look at: {refused:#?}");
}

#[test]
fn expressions_are_read_right() {
    assert!(is_allowed("MIT OR Apache-2.0"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-2.0-only"));
    assert!(!is_allowed("MIT AND GPL-2.0-only"));
}

/// Folders whose files are copied into other projects, one by one, so that each says what it is under.
const COPIED_OUT: &[&str] = &["include"];

#[test]
fn our_licence_is_said_where_it_has_to_be() {
    const OURS: &str = "BSD-2-Clause";
    assert!(read("LICENSE").starts_with("BSD 2-Clause"), "LICENSE");
    for package in packages() {
        // those without a source are the workspace's own
        if package["source"].is_null() {
            assert_eq!(package["license"], OURS, "{}", package["name"]);
        }
    }
    let files = or_skip!("licence lines", git(&[&["ls-files"], COPIED_OUT].concat()));
    let headers: Vec<&str> = files.lines().filter(|f| f.ends_with(".h")).collect();
    assert!(headers.len() > 5, "{headers:?}");
    let line = format!("/* SPDX-License-Identifier: {OURS} */\n");
    for header in headers {
        assert!(
            read(header).starts_with(&line),
            "{header} does not begin with: {line}"
        );
    }
    // one rule: what is not copied out needs no line of its own
    let tagged = or_skip!(
        "licence lines",
        git(&["grep", "-l", "^.*SPDX-License-Identifier: "])
    );
    for file in tagged.lines() {
        let is_copied = COPIED_OUT.iter().any(|dir| file.starts_with(dir));
        let is_kept = file.ends_with("licences.rs") || file.starts_with("compat-tests/data/");
        assert!(
            is_copied || is_kept,
            "{file}: say it in COPIED_OUT or not at all"
        );
    }
}
