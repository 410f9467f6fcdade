//! What programs print, in files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::plan::MOST_PRINTED;

/// What is shown of what a program said last.
const LINES: usize = 12;
const BYTES: i64 = 4096;

/// The lines of a program that have a text, read as it prints them.
pub struct Lines {
    text: String,
    files: [Seen; 2],
    found: u64,
}

/// Of one file.
#[derive(Default)]
struct Seen {
    /// bytes
    read: u64,
    /// the last line, which is not complete
    rest: Vec<u8>,
}

impl Lines {
    /// Nothing was read yet.
    pub fn with(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            files: Default::default(),
            found: 0,
        }
    }

    /// How many there are by now.
    pub fn count(&mut self, files: &[PathBuf; 2]) -> u64 {
        for (seen, path) in self.files.iter_mut().zip(files) {
            // One that cannot be read has no lines.
            let _ = seen.read(path, |line| {
                self.found += u64::from(String::from_utf8_lossy(line).contains(&self.text));
            });
        }
        self.found
    }
}

impl Seen {
    fn read(&mut self, path: &Path, mut line: impl FnMut(&[u8])) -> std::io::Result<()> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let before = self.rest.len();
        self.read += file.take(MOST_PRINTED).read_to_end(&mut self.rest)? as u64;
        let new = &self.rest[before..];
        let Some(end) = new.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let end = before + end;
        self.rest[..end]
            .split(|byte| *byte == b'\n')
            .for_each(&mut line);
        self.rest.drain(..=end);
        Ok(())
    }
}

/// Is there more in it than is kept?
pub fn is_too_much(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() > MOST_PRINTED)
}

/// That in words.
pub fn too_much() -> String {
    format!(
        "has printed more than {} MiB, which is all that is kept",
        MOST_PRINTED >> 20
    )
}

/// Cuts off what is more than is kept.
pub fn cut(path: &Path) {
    if is_too_much(path)
        && let Ok(mut file) = File::options().append(true).open(path)
        && file.set_len(MOST_PRINTED).is_ok()
    {
        let _ = writeln!(file, "\n[uvale test: it {}]", too_much());
    }
}

/// A name that a file can have.
pub fn plain(name: &str) -> String {
    let good = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    let name: String = name
        .chars()
        .map(|c| if good(c) { c } else { '_' })
        .collect();
    match name.starts_with('.') {
        true => format!("_{name}"),
        false => name,
    }
}

/// The last lines of a file; none if it is empty.
pub fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let is_cut = file.seek(SeekFrom::End(-BYTES)).is_ok();
    let mut bytes = Vec::new();
    file.take(BYTES as u64).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().skip(usize::from(is_cut)).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    // What a terminal would obey is not for terminals.
    let clean = |line: &&str| line.replace(|c: char| c.is_control() && c != '\t', "?");
    let shown: Vec<String> = last.iter().map(clean).collect();
    (!shown.is_empty()).then(|| format!("  {}", shown.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (name, expected) in [("a-b.c", "a-b.c"), ("../x y", "_.._x_y"), ("", "")] {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn lines_are_read_as_they_are_printed() {
        let path = std::env::temp_dir().join(format!("uvale-output-{}", std::process::id()));
        let mut seen = Seen::default();
        let mut lines = Vec::new();
        for (new, expected) in [
            ("", vec![]),
            ("a", vec![]),
            ("b\nc\n\nd", vec!["ab", "c", ""]),
            ("e", vec![]),
            ("\n", vec!["de"]),
        ] {
            let file = File::options().append(true).create(true).open(&path);
            file.unwrap().write_all(new.as_bytes()).unwrap();
            lines.clear();
            let line = |line: &[u8]| lines.push(String::from_utf8(line.to_vec()).unwrap());
            seen.read(&path, line).unwrap();
            assert_eq!(lines, expected);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
