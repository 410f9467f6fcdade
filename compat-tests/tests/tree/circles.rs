//! Files of a crate import each other in one direction. A module and its parts, in the folder of its name, know each
//! other and do not count.

use std::collections::{BTreeMap, BTreeSet};

use compat_tests::or_skip;

use super::comments::comment_start;
use super::{git, read};

/// Files of a crate that know each other. ARCHITECTURE.md says why.
const GROUPS: [(&str, &[&str]); 2] = [
    ("nmshim", &["interpose/epoll/set", "interpose/slot"]),
    ("uvale/engine", &["bwrap", "nic", "vale"]),
];

/// A module by its path in the crate; the crate itself has an empty one.
type Module<'a> = Vec<&'a str>;
/// What each module of a crate imports.
type Imports<'a> = BTreeMap<Module<'a>, BTreeSet<Module<'a>>>;

/// The module of a file, by its path below `src/`.
fn module(file: &str) -> Module<'_> {
    let mut path: Module = file.trim_end_matches(".rs").split('/').collect();
    path.pop_if(|last| ["lib", "main", "mod"].contains(last));
    path
}

/// A file without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let line = |line: &str| line[..comment_start(line).unwrap_or(line.len())].to_owned() + "\n";
    text.lines().map(line).collect()
}

/// Adds what `text` begins with to `paths`: `base` and a path, or `base` and each path of a list in braces. Returns the
/// rest of the text.
fn expand<'a>(mut text: &'a str, base: &[&'a str], paths: &mut Vec<Module<'a>>) -> &'a str {
    let mut path = base.to_vec();
    loop {
        text = text.trim_start();
        if let Some(mut list) = text.strip_prefix('{') {
            while !list.is_empty() && !list.starts_with('}') {
                list = expand(list, &path, paths);
                let end = list.find([',', '}']).unwrap_or(list.len());
                list = list[end..].trim_start_matches(',').trim_start();
            }
            return list.strip_prefix('}').unwrap_or(list);
        }
        let (word, rest) = text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()));
        path.push(word);
        let Some(more) = rest.strip_prefix("::") else {
            paths.push(path);
            return rest;
        };
        text = more;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths in `code` that begin in the crate, as they are seen from `own`.
fn paths<'a>(code: &'a str, own: &[&'a str]) -> Vec<Module<'a>> {
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if !code[..at].ends_with(|c| is_word(c) || c == ':') {
                expand(&code[at..], &[], &mut found);
            }
        }
    }
    let absolute = |path: &Module<'a>| {
        let ups = path.iter().take_while(|part| **part == "super").count();
        let base = match path[0] {
            "crate" => &[],
            _ => &own[..own.len().saturating_sub(ups)],
        };
        [base, &path[ups.max(1)..]].concat()
    };
    found.iter().map(absolute).collect()
}

/// What the modules of a crate, given with their code, import of each other.
fn imports<'a>(files: &'a BTreeMap<Module<'a>, String>) -> Imports<'a> {
    let file_of = |path: Module<'a>| {
        let mut ends = (0..=path.len()).rev().map(|len| path[..len].to_vec());
        ends.find(|module| files.contains_key(module))
    };
    let of = |(own, code): (&Module<'a>, &'a String)| {
        let apart = |other: &Module| !own.starts_with(other) && !other.starts_with(own);
        let others = paths(code, own).into_iter().filter_map(file_of);
        (own.clone(), others.filter(apart).collect())
    };
    files.iter().map(of).collect()
}

/// The groups of modules that import each other in a circle, however long.
fn circles(imports: &Imports<'_>) -> BTreeSet<Vec<String>> {
    let reached = |from| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            next.extend(imports[module].iter().filter(|m| reached.insert(*m)));
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|m| (m, reached(m))).collect();
    let group = |(own, others): (&&Module, &BTreeSet<&Module>)| {
        let both = others.iter().filter(|other| reached[*other].contains(own));
        both.map(|module| module.join("/")).collect()
    };
    let groups = reached.iter().map(group);
    groups.filter(|group: &Vec<_>| !group.is_empty()).collect()
}

#[test]
fn files_import_each_other_in_one_direction() {
    let list = or_skip!("circles between files", git(&["ls-files", "*.rs"]));
    let mut crates: BTreeMap<&str, BTreeMap<Module, String>> = BTreeMap::new();
    for file in list.lines() {
        if let Some((krate, below)) = file.split_once("/src/")
            && !module(below).contains(&"tests")
        {
            let files = crates.entry(krate).or_default();
            files.insert(module(below), code(&read(file)));
        }
    }
    assert!(crates.len() > 10, "{:?}", crates.keys());
    let found = crates.iter().flat_map(|(krate, files)| {
        let circles = circles(&imports(files)).into_iter();
        circles.map(|group| (*krate, group))
    });
    let owned = |group: &[&str]| group.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>();
    let allowed = GROUPS.map(|(krate, group)| (krate, owned(group)));
    assert_eq!(found.collect::<Vec<_>>(), allowed);
}

#[test]
fn circles_are_found() {
    let texts = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("a.rs", "use super::b::{self, x::{Y, Z as W}};\n"),
        ("b.rs", "mod part;\nuse part::P; // crate::a\n"),
        (
            "b/part.rs",
            "use super::super::c;\nfn f() -> crate::b::P {}\n",
        ),
        (
            "c.rs",
            "use crate::{d::D, b::part::P};\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n",
        ),
    ];
    let files = texts.map(|(file, text)| (module(file), code(text))).into();
    let groups: Vec<_> = circles(&imports(&files)).into_iter().collect();
    assert_eq!(groups, [["b/part", "c"]]);
}
