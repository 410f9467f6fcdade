//! Documents say what is so: every command that one shows runs, every link leads somewhere.
//!
//! A block of commands is fenced as ```` ```console ````; lines that begin with `$ ` are commands (`> ` goes on
//! with one), the others are output, of which `...` stands for anything. The blocks of a document run in
//! order, in one shell, in a folder that looks like the root of the tree, in a world of their own. HTML
//! comments before a block, one a line, say what is special about it:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- run: skip because WHY -->` | not run; the test prints why |
//! | `<!-- run: needs PROGRAM... -->` | not run where one of these is not installed |
//! | `<!-- run: after PORT... -->` | run once these ports are there |
//! | `<!-- run: background -->` | goes on beside the blocks that follow, until the document ends |
//! | `<!-- run: background until it ends -->` | the same, and has to end by itself, with status 0 |
//! | `<!-- run: status N -->` | each command ends with status N |
//! | `<!-- file: NAME -->` | of any block: its text is that file, for commands that follow |

mod inline;
#[path = "../libnetmap_common/mod.rs"]
mod libnetmap_common;
mod links;
mod markdown;
mod shell;

use std::path::PathBuf;
use std::process::Command;

use compat_tests::{Skip, or_skip, target};
use libnetmap_common::libraries;
use markdown::{Block, Document};

/// All documents of the tree.
fn documents() -> Vec<Document> {
    let root = target::workspace();
    let folders = [
        "",
        "docs",
        "docs/design",
        "include",
        "compat-tests",
        "compat-tests/data/kernel-record",
    ];
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|dir| std::fs::read_dir(root.join(dir)).expect("a folder of the tree"))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    paths.iter().map(|path| Document::read(path)).collect()
}

fn fail_with(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

#[test]
fn commands_run() {
    let mut faults = Vec::new();
    for document in documents() {
        if document.blocks.iter().any(Block::is_console) {
            faults.extend(shell::run(&document).err());
        }
    }
    fail_with("documents show what does not work", &faults);
}

/// A block that nothing would run is no way to show a command.
#[test]
fn blocks_of_commands_are_fenced_as_such() {
    const OTHERS: [&str; 10] = [
        "c",
        "dockerfile",
        "ini",
        "json",
        "kernel-record",
        "rust",
        "text",
        "toml",
        "xml",
        "yaml",
    ];
    let mut faults = Vec::new();
    for document in documents() {
        for block in &document.blocks {
            let place = document.place(block.line);
            if block.is_console() {
                if block.commands().is_empty() {
                    faults.push(format!("{place}: a console block without a command"));
                }
            } else if block.language == "sh" {
                // a script: a command that follows runs it
                if block.file.is_none() {
                    faults.push(format!("{place}: commands in a block of 'sh'"));
                }
            } else if !OTHERS.contains(&block.language.as_str()) {
                faults.push(format!("{place}: a block of '{}'", block.language));
            } else if block.lines.iter().any(|l| l.starts_with("$ ")) {
                faults.push(format!(
                    "{place}: commands in a block of '{}'",
                    block.language
                ));
            }
            faults.extend(block.faults.iter().map(|fault| format!("{place}: {fault}")));
        }
        faults.extend(document.indented_blocks());
    }
    fail_with("blocks to fence as ```console, or to mark", &faults);
}

/// By the parser that most people have.
fn yaml_parser() -> Result<(), Skip> {
    let there = Command::new("python3").args(["-c", "import yaml"]).output();
    match there.is_ok_and(|output| output.status.success()) {
        true => Ok(()),
        false => Err(Skip::optional(
            "no python3 with yaml (package python3-yaml)",
        )),
    }
}

#[test]
fn blocks_of_yaml_can_be_read() {
    or_skip!("YAML", yaml_parser());
    const READ: &str = "import sys, yaml\nassert isinstance(yaml.safe_load(sys.argv[1]), dict)";
    let (mut faults, mut seen) = (Vec::new(), 0);
    for document in documents() {
        for block in document.blocks.iter().filter(|b| b.language == "yaml") {
            seen += 1;
            let text = block.lines.join("\n");
            let read = Command::new("python3").args(["-c", READ, &text]).output();
            let read = read.expect("it was there before");
            if !read.status.success() {
                let said = String::from_utf8_lossy(&read.stderr);
                faults.push(format!("{}: {said}", document.place(block.line)));
            }
        }
    }
    assert!(seen > 2, "{seen}");
    fail_with("blocks of YAML that are none", &faults);
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let faults: Vec<String> = documents.iter().flat_map(links::broken).collect();
    fail_with("links that lead nowhere", &faults);
}

/// `uvale ...` in the text: the command and its options exist.
#[test]
fn commands_in_the_text_exist() {
    let mut help = inline::Help::default();
    let documents = documents();
    let mut seen = 0;
    let mut faults = Vec::new();
    for document in &documents {
        for (line, span) in document.code_spans() {
            if let Some(words) = span.strip_prefix("uvale ") {
                seen += 1;
                let fault = help.fault(words);
                faults.extend(fault.map(|f| format!("{}: `{span}`: {f}", document.place(line))));
            }
        }
    }
    assert!(seen > 20, "{seen}");
    fail_with("commands that uvale does not have", &faults);
}
