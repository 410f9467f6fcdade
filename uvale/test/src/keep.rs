//! Where a run's captures and logs are: in a temporary folder while it runs, and if it fails in a folder that stays.

use std::fmt::Write;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use uvale_tools::output::plain;

/// The file of a kept folder that says what was run. Only folders that have it are replaced.
const RUN: &str = "run.json";

/// Bytes of a program's output that are shown.
const PRINTED: u64 = 16 * 1024;

/// The file of a temporary folder that is there, and locked, while its command runs.
const RUNNING: &str = "running";

/// What names of temporary folders begin with.
const PREFIX: &str = "uvale-test-";

/// A temporary folder for all runs, gone at the end. Those of commands that were killed are removed by the next one.
pub struct Temporary {
    folder: PathBuf,
    /// locked as long as it is open
    _running: fs::File,
}

impl Temporary {
    /// Makes it.
    ///
    /// # Errors
    /// A sentence.
    pub fn new() -> Result<Self, String> {
        Self::within(&std::env::temp_dir())
    }

    fn within(base: &Path) -> Result<Self, String> {
        sweep(base);
        // another command may take a folder for one that was left before it is locked
        let mut made = Ok(None);
        for _ in 0..100 {
            made = Self::make(base);
            match made {
                Ok(None) => {}
                Ok(Some(temporary)) => return Ok(temporary),
                Err(_) => break,
            }
        }
        let error = made
            .err()
            .map_or("it is gone at once".to_owned(), |error| plain(&error));
        let base = base.display();
        Err(format!(
            "cannot make a folder in {base}: {error}; TMPDIR names another place"
        ))
    }

    /// A locked folder; `None` if somebody else has removed it meanwhile.
    fn make(base: &Path) -> io::Result<Option<Self>> {
        let folder = nix::unistd::mkdtemp(&base.join(format!("{PREFIX}XXXXXX")))?;
        let running = match fs::File::create_new(folder.join(RUNNING)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        flock(&running, FlockOperation::LockExclusive)?;
        let is_there = running.metadata()?.nlink() > 0;
        Ok(is_there.then_some(Temporary {
            folder,
            _running: running,
        }))
    }

    /// The folder of a run.
    pub fn of(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

/// Makes the folder of a run, with what is run in it.
///
/// # Errors
/// The system's.
pub fn begin(folder: &Path, run: &[u8]) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::write(folder.join(RUN), run)
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(RUNNING));
        // one that something is left in, because it could not be moved, stays
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes folders of this user whose commands were killed: nobody has the lock that is still there.
fn sweep(base: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|about| about.is_dir() && about.uid() == user);
        if !is_ours {
            continue;
        }
        let Ok(running) = fs::File::open(entry.path().join(RUNNING)) else {
            continue;
        };
        if flock(&running, FlockOperation::NonBlockingLockExclusive).is_ok() {
            forget(&entry.path());
        }
    }
}

/// What a run has left behind whose results nobody waits for any more.
pub fn abandon(folder: &Path) {
    if folder.join(RUN).is_file() {
        forget(folder);
        // The last one removes the folder of all.
        let all = folder.parent().unwrap_or(folder);
        let mut left = fs::read_dir(all).into_iter().flatten().flatten();
        if left.all(|entry| entry.file_name() == RUNNING) {
            let _ = fs::remove_file(all.join(RUNNING));
            let _ = fs::remove_dir(all);
        }
    }
}

/// What the programs of a run have printed, each line behind `PROGRAM.stdout: ` or `PROGRAM.stderr: `. Of much the end.
pub fn printed(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| {
        let ending = path.extension().unwrap_or_default();
        ending == "stdout" || ending == "stderr"
    });
    files.sort();
    let mut text = String::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for line in end_of(&path).unwrap_or_default().lines() {
            let _ = writeln!(text, "{name}: {line}");
        }
    }
    text
}

/// The last lines of a file.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(PRINTED);
    file.seek(io::SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(PRINTED).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match from {
        0 => &text[..],
        _ => text.split_once('\n').map_or("", |(_, lines)| lines),
    };
    Ok(whole.to_owned())
}

/// A run that passed leaves nothing.
pub fn forget(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// Moves what a failed run has left to `keep`, in the place of what an earlier run of this name has left there. Where
/// it is then; if it could not be moved, that is told in a sentence, too.
pub fn keep(folder: &Path, keep: &Path, id: &str) -> (PathBuf, Option<String>) {
    let target = keep.join(name(id));
    match moved(folder, &target) {
        Ok(()) => (target, None),
        Err(error) => {
            let why = format!("cannot keep it in {}: {}", target.display(), plain(&error));
            (folder.to_owned(), Some(why))
        }
    }
}

fn moved(folder: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))?;
    if target.join(RUN).is_file() {
        fs::remove_dir_all(target)?;
    }
    match fs::rename(folder, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let copied = copy(folder, target);
            // what is there only in part is there not at all
            let rest = if copied.is_ok() { folder } else { target };
            let _ = fs::remove_dir_all(rest);
            copied
        }
        other => other,
    }
}

fn copy(folder: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// A file's name that tells a person which run it is: letters, digits, and a number that makes it this run's alone.
fn name(id: &str) -> String {
    let mut name = String::new();
    for c in id.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | '.') => name.push(c),
            '/' => name.push('.'),
            _ if name.is_empty() || name.ends_with(['-', '.']) => {}
            _ => name.push('-'),
        }
    }
    let mut name: String = name.trim_matches(['-', '.']).chars().take(100).collect();
    if name != id || name.is_empty() {
        // FNV-1a: ids that differ only in what a name cannot have
        let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let dash = if name.is_empty() { "" } else { "-" };
        let _ = write!(name, "{dash}{hash:08x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_files() {
        let first = name("firewall/answers are let in [mode=swap] #2");
        assert!(
            first.starts_with("firewall.answers-are-let-in-mode=swap-2-"),
            "{first}"
        );
        assert_ne!(first, name("firewall/answers are let in [mode=swap] 2"));
        for id in ["../../etc", "..", "/", "", "\u{e4}\n", &"x".repeat(500)] {
            let name = name(id);
            assert!(
                !name.contains('/') && !name.starts_with('.') && name.len() < 120,
                "{name}"
            );
            assert!(!name.is_empty());
        }
    }

    #[test]
    fn what_programs_printed_is_told_by_its_end() {
        let temporary = Temporary::new().unwrap();
        let folder = temporary.of(1);
        begin(&folder, b"{}").unwrap();
        fs::write(folder.join("b.stdout"), "one\ntwo").unwrap();
        fs::write(folder.join("a.stderr"), b"\xff\n").unwrap();
        fs::write(folder.join("lan.sent.pcapng"), "no words").unwrap();
        assert_eq!(
            printed(&folder),
            "a.stderr: \u{fffd}\nb.stdout: one\nb.stdout: two\n"
        );
        fs::write(folder.join("b.stdout"), "0123456\n".repeat(1_000_000)).unwrap();
        let text = printed(&folder);
        let lines = text.lines().filter(|line| *line == "b.stdout: 0123456");
        assert_eq!(lines.count() as u64, PRINTED / 8 - 1);
        forget(&folder);
        assert_eq!(printed(&folder), "");
    }

    #[test]
    fn a_failed_run_takes_the_place_of_its_earlier_one_and_of_nothing_else() {
        let temporary = Temporary::new().unwrap();
        let base = temporary.folder.join("kept");
        let run = |number, text: &str| {
            let folder = temporary.of(number);
            begin(&folder, text.as_bytes()).unwrap();
            fs::create_dir(folder.join("logs")).unwrap();
            fs::write(folder.join("logs/a"), text).unwrap();
            folder
        };
        let (kept, why) = keep(&run(1, "first"), &base, "a/b");
        assert_eq!(
            (&why, fs::read_to_string(kept.join("logs/a")).unwrap()),
            (&None, "first".into())
        );
        let (again, _) = keep(&run(2, "second"), &base, "a/b");
        assert_eq!(
            (again == kept, fs::read_to_string(kept.join(RUN)).unwrap()),
            (true, "second".into())
        );
        // somebody else's folder of that name
        fs::remove_file(kept.join(RUN)).unwrap();
        let third = run(3, "third");
        let (where_it_is, why) = keep(&third, &base, "a/b");
        assert!(where_it_is == third && why.unwrap().contains("cannot keep it in"));
        forget(&third);
        fs::remove_dir_all(&base).unwrap();
        let folder = temporary.folder.clone();
        drop(temporary);
        assert!(!folder.exists());
    }

    #[test]
    fn what_killed_commands_left_is_removed_and_nothing_else() {
        let base = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-sweep-XXXXXX")).unwrap();
        let alive = Temporary::within(&base).unwrap();
        let left = |name: &str, is_running: bool| {
            fs::create_dir_all(base.join(name).join("1/logs")).unwrap();
            if is_running {
                fs::write(base.join(name).join(RUNNING), "").unwrap();
            }
        };
        left("uvale-test-killed", true);
        left("uvale-test-kept", false);
        left("others", true);
        std::os::unix::fs::symlink(base.join("others"), base.join("uvale-test-link")).unwrap();
        let second = Temporary::within(&base).unwrap();
        let is_there = |name: &str| base.join(name).exists();
        assert!(alive.folder.is_dir() && second.folder.is_dir() && alive.folder != second.folder);
        assert!(!is_there("uvale-test-killed"));
        assert!(is_there("uvale-test-kept/1/logs") && is_there("others/1/logs"));
        let gone = [alive.folder.clone(), second.folder.clone()];
        drop((alive, second));
        assert!(gone.iter().all(|folder| !folder.exists()));
        fs::remove_dir_all(&base).unwrap();
    }
}
