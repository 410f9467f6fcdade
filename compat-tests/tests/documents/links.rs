//! Links between documents, and to files of the tree.

use std::path::Path;

use crate::markdown::Document;

/// What is wrong with the links of a document.
pub fn broken(document: &Document) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in &document.text {
        for target in targets(line) {
            if let Some(fault) = fault(document, &target) {
                faults.push(format!("{}: {target}: {fault}", document.place(*number)));
            }
        }
    }
    faults
}

/// What stands in the parentheses of `[text](target)`, outside of code.
fn targets(line: &str) -> Vec<String> {
    let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_string())
        .collect()
}

fn fault(document: &Document, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.path.clone(),
        file => document.path.parent().unwrap_or(Path::new("")).join(file),
    };
    if !path.exists() {
        return Some("no such file");
    }
    (!heading.is_empty() && !headings(&Document::read(&path)).any(|h| h == heading))
        .then_some("no such heading")
}

/// The names that headings have in links.
fn headings(document: &Document) -> impl Iterator<Item = String> {
    let lines = document.text.iter().map(|(_, line)| line);
    let titles = lines.filter(|l| l.starts_with('#'));
    titles.map(|l| name_of(l.trim_start_matches('#').trim()))
}

fn name_of(title: &str) -> String {
    let kept = title.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[test]
fn links_are_found() {
    assert_eq!(
        targets("see [a](b.md) and [c](d.md#e), not `[f](g)`"),
        ["b.md", "d.md#e"]
    );
    assert_eq!(
        name_of("Memory of `its` own, and more"),
        "memory-of-its-own-and-more"
    );
}
