//! The commands of a document, run in order in one shell.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::world::Program;
use compat_tests::{Skip, apps, report_skip, target};

use crate::libraries;
use crate::markdown::{Block, Document};

/// Marks the line of output that begins a command's.
const MARK: char = '\u{1e}';

/// Runs what the document shows; says what did not do as shown.
pub fn run(document: &Document) -> Result<(), String> {
    let folder = Folder::new(&document.name);
    let mut script = String::from(PROLOGUE);
    for block in &document.blocks {
        if let Some(name) = &block.file {
            let text = block.lines.join("\n") + "\n";
            std::fs::write(folder.path.join(name), text).expect("our folder can be written");
        }
        if !block.is_console() {
            continue;
        }
        match why_not(block, &folder) {
            Some(why) => report_skip(&document.place(block.line), &Skip::optional(why)),
            None => add_block(&mut script, block),
        }
    }
    script.push_str("finish\n");
    let path = folder.path.join(".commands");
    std::fs::write(&path, script).expect("our folder can be written");

    let mut shell = Program::start(&document.name, folder.command("bash", &[".commands"]));
    let status = shell.finish(compat_tests::wait::deadline());
    let said = shell.stdout();
    match status {
        Some(status) if status.success() => {}
        _ => {
            let line = said.rsplit(MARK).next().and_then(|l| l.split(' ').next());
            let place = format!("{}:{}", document.name, line.unwrap_or("?"));
            let how = status.map_or("does not end".into(), |s| s.to_string());
            return Err(format!("{place}: {how}: {}", last_lines(&said)));
        }
    }
    let not_shown: Vec<String> = document
        .blocks
        .iter()
        .filter(|b| b.is_console() && why_not(b, &folder).is_none())
        .flat_map(|b| missing_output(document, b, &said))
        .collect();
    match not_shown.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\nin what was printed:\n{said}",
            not_shown.join("\n")
        )),
    }
}

/// `end STATUS WANTED` after each command, `wait_for PORT` before, `finish` after all.
const PROLOGUE: &str = "
exec 2>&1 </dev/null
stop_all() { trap '' TERM; kill -TERM 0; wait; }
end() { [ $1 = $2 ] || { echo \"ended with status $1, not $2\"; stop_all; exit 1; }; }
finish() { for job in $awaited; do wait $job; end $? 0; done; stop_all; exit 0; }
wait_for() { until uvale ports 2>/dev/null | grep -qF \"$1 \"; do sleep 0.1; done; }
awaited=
";

fn add_block(script: &mut String, block: &Block) {
    for port in &block.how.after {
        let _ = writeln!(script, "wait_for '{port}'");
    }
    for command in block.commands() {
        let (line, text) = (command.line, &command.text);
        // a mark in the output, then the command as it is shown
        let _ = writeln!(script, "printf '\\036%s ...\\n' {line}");
        if block.how.background {
            let _ = writeln!(script, "{{ {text}\n}} &");
            if block.how.ends {
                script.push_str("awaited=\"$awaited $!\"\n");
            }
        } else {
            let _ = writeln!(script, "{text}\nend $? {}", block.how.status);
        }
    }
}

fn why_not(block: &Block, folder: &Folder) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // a program, or with a slash in it a file below the root
    let is_there = |name: &String| match name.contains('/') {
        true => folder.path.join(name).is_file(),
        false => std::env::split_paths(&path).any(|d| d.join(name).is_file()),
    };
    let missing = block.how.needs.iter().find(|n| !is_there(n));
    let skip = block.how.skip.clone();
    skip.or_else(|| missing.map(|name| format!("there is no {name}")))
}

/// Lines that the block shows and nobody printed once the command had begun.
fn missing_output(document: &Document, block: &Block, said: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for command in block.commands() {
        let mark = format!("{MARK}{} ...\n", command.line);
        let (_, after) = said.split_once(&mark).unwrap_or_default();
        for shown in command.output.iter().filter(|l| !l.trim().is_empty()) {
            if !after.lines().any(|line| is_like(line, shown)) {
                faults.push(format!(
                    "{}: not printed: {shown}",
                    document.place(command.line)
                ));
            }
        }
    }
    faults
}

/// Is this what a document shows as that? `...` stands for anything, blanks for any number of them.
fn is_like(line: &str, shown: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, shown) = (plain(line), plain(shown));
    let mut parts = shown.split("...");
    let mut rest = match line.strip_prefix(parts.next().unwrap_or_default()) {
        Some(rest) => rest,
        None => return false,
    };
    let parts: Vec<&str> = parts.collect();
    for part in &parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || parts.last().is_some_and(|p| p.is_empty())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n    ")
}

/// A folder that looks like the root of the tree after `cargo build --release`, and a world.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Folder {
        let name = name.replace(['/', '.'], "-");
        let path = std::env::temp_dir().join(format!("uvale-{}-{name}", std::process::id()));
        for folder in ["home", "world", "target"] {
            std::fs::create_dir_all(path.join(folder))
                .expect("the temporary folder can be written");
        }
        for part in ["compat-tests", "dist", "docs", "include", "scripts"] {
            let _ = symlink(target::workspace().join(part), path.join(part));
        }
        let built = target::binaries()
            .uvale
            .parent()
            .expect("it lies in a folder");
        assert_eq!(built, libraries(), "libnetmap lies beside uvale");
        let _ = symlink(built, path.join("target/release"));
        // what cannot be had here, blocks that need it do without
        if apps::tcpdump().is_ok() {
            let _ = symlink(apps::cache_dir(), path.join("target/compat-apps"));
        }
        Folder { path }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let built = self.path.join("target/release");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.path)
            .env("PATH", format!("{}:{path}", built.display()))
            .env("HOME", self.path.join("home"))
            .env("UVALE_DIR", self.world());
        for name in [
            "XDG_RUNTIME_DIR",
            "UVALE_CONFIG",
            "UVALE_AUTOSTART",
            "NMSHIM_VERBOSE",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn world(&self) -> PathBuf {
        self.path.join("world")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if has_daemon(&self.world()) {
            let _ = self.command("uvale", &["stop"]).output();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn has_daemon(world: &Path) -> bool {
    world.join("uvale.sock").exists()
}

#[test]
fn shown_output_is_recognized() {
    assert!(is_like("12 packets  sent", "... packets sent"));
    assert!(is_like("a b c", "a ... c"));
    assert!(!is_like("a b c d", "a ... c"));
    assert!(is_like("a b c d", "a ..."));
    assert!(!is_like("x a", "a"));
}
