//! Every field of the format, wrong once: the line, the key, what was meant.

use std::collections::BTreeSet;

use compat_tests::capture;

use super::*;

const WRONG: &str = include_str!("wrong.txt");

/// A change that makes the file wrong.
struct Change<'a> {
    old: String,
    new: String,
    key: &'a str,
    why: &'a str,
    /// is it said of another line, which the change makes wrong?
    is_elsewhere: bool,
}

fn changes() -> Vec<Change<'static>> {
    let unescaped = |line: &str| line[2..].replace("\\n", "\n");
    let change = |block: &'static str| {
        let lines: Vec<&str> = block.lines().collect();
        let [old, new, said] = lines[..] else {
            panic!("{block}")
        };
        assert!(
            old.starts_with("- ") && (new == "+" || new.starts_with("+ ")),
            "{block}"
        );
        let (said, is_elsewhere) = match said.trim_start().strip_prefix("(elsewhere) ") {
            Some(said) => (said, true),
            None => (said.trim_start(), false),
        };
        let (key, why) = said.split_once(':').expect(block);
        let new = if new == "+" { "+ " } else { new };
        Change {
            old: unescaped(old),
            new: unescaped(new),
            key,
            why: why.trim_start(),
            is_elsewhere,
        }
    };
    WRONG
        .split("\n\n")
        .skip(1)
        .map(|block| change(block.trim_end()))
        .collect()
}

/// Where a key is in the changed file, from 1 on.
fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn each_is_said_with_its_line_and_key() {
    let folder = Folder::new();
    capture::write(&folder.path("complete.pcap"), &[packet(14)]);
    let complete = complete();
    folder.write("complete.toml", &complete);
    folder.test(&["complete.toml", "--list"]).assert_code(0);
    let mut faults = Vec::new();
    for Change {
        old,
        new,
        key,
        why,
        is_elsewhere,
    } in &changes()
    {
        let what = format!("{old} -> {new}");
        assert_eq!(complete.matches(old.as_str()).count(), 1, "{what}");
        let text = complete.replacen(old, new, 1);
        folder.write("complete.toml", &text);
        let said = folder.test(&["complete.toml", "--list"]);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(2), ""),
            "{what}: {}",
            said.err
        );
        let found = said.err.lines().find_map(|line| {
            let (line, said) = line.strip_prefix("complete.toml:")?.split_once(": ")?;
            let said = match *key {
                "" => said,
                key => said.strip_prefix(key)?.strip_prefix(": ")?,
            };
            said.contains(why)
                .then(|| line.parse::<usize>().expect("a line"))
        });
        let Some(found) = found else {
            faults.push(format!("{what}: not said: {key}: {why}\n{}", said.err));
            continue;
        };
        let start = complete.find(old.as_str()).expect("it is there once");
        let here = line_of(&text, start)..=line_of(&text, start + new.len());
        if here.contains(&found) == *is_elsewhere {
            faults.push(format!("{what}: line {found}, not {here:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A key of the format that the table forgets would be one that nobody tries.
#[test]
fn none_is_forgotten() {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let changes = changes();
    let tried: BTreeSet<&str> = changes
        .iter()
        .flat_map(|change| change.key.split('.'))
        .collect();
    let complete = complete();
    for line in complete.lines() {
        for (at, _) in line.match_indices(" = ") {
            let start = line[..at].rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            let key = &line[start..at];
            let of_frames = ["dst", "dstport", "ttl", "src", "data"];
            assert!(
                tried.contains(key)
                    || of_frames.contains(&key)
                    || ["WATCHED", "quick"].contains(&key),
                "{key}: {line}"
            );
        }
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let folder = Folder::new();
    folder.write(
        "a.toml",
        "timeout = 1\n[ports.lan]\nkin = 2\n[[cases]]\nname = \"x\"\n\
         steps = [{ nothing = \"wan\" }]\n",
    );
    folder.write("b.toml", "");
    let said = folder
        .test(&["a.toml", "b.toml", "nosuch.toml"])
        .assert_code(2);
    let lines: Vec<&str> = said.err.lines().collect();
    let expected = [
        "a.toml:1: timeout: wants",
        "a.toml:3: ports.lan.kin: there is no such key here; did you mean kind?",
        "a.toml:6: cases.steps.nothing: there is no port \"wan\"; did you mean lan?",
        "b.toml:1: cases: is missing: what is tested, as [[cases]]",
        "nosuch.toml: No such file or directory",
    ];
    assert_eq!(lines.len(), expected.len(), "{}", said.err);
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
}
