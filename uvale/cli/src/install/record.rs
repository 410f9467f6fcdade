//! What was installed below a prefix: a line for each file and each folder that was made for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use uvale_tools::output::plain;

use super::place::Place;

/// The record itself, from the prefix.
pub const FILE: &str = "lib/uvale/installed";
/// Its first line.
const HEAD: &str = "# What uvale install has written; uvale install --uninstall removes it.";

/// The line of the prefix itself.
const PREFIX: &str = "folder .";

/// Files, and folders that were not there before. Paths from the prefix.
#[derive(Default)]
pub struct Record {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Record {
    /// What is recorded, if anything is.
    pub fn read(place: &Place) -> Result<Option<Self>, String> {
        let path = place.path(Path::new(FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(format!("{}: {}", path.display(), plain(&e))),
        };
        Self::parse(&text)
            .map(Some)
            .map_err(|line| format!("{}: line {line} is damaged", path.display()))
    }

    /// An error is the number of a line. Nothing outside of the prefix can be named.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line != HEAD) {
            return Err(1);
        }
        let mut record = Self::default();
        for (number, line) in lines {
            let (kind, path) = line.split_once(' ').ok_or(number + 1)?;
            if line == PREFIX {
                record.folders.insert(PathBuf::new());
                continue;
            }
            let path = Path::new(path);
            let is_below = !path.as_os_str().is_empty()
                && path.components().all(|c| matches!(c, Component::Normal(_)));
            match kind {
                "file" if is_below => record.files.insert(path.into()),
                "folder" if is_below => record.folders.insert(path.into()),
                _ => return Err(number + 1),
            };
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (kind, paths) in [("file", &self.files), ("folder", &self.folders)] {
            for path in paths {
                let _ = match path.as_os_str().is_empty() {
                    true => writeln!(text, "{PREFIX}"),
                    false => writeln!(text, "{kind} {}", path.display()),
                };
            }
        }
        text
    }

    /// A file is going to be written. The folders above it belong to us if they are not there yet, or were made for
    /// the installation `before`.
    pub fn add(&mut self, place: &Place, before: &Self, path: &Path) {
        self.files.insert(path.into());
        for folder in path.ancestors().skip(1) {
            if before.folders.contains(folder) || !place.path(folder).exists() {
                self.folders.insert(folder.into());
            }
        }
    }

    /// Was that file written?
    pub fn has(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    /// Both.
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            files: self.files.union(&other.files).cloned().collect(),
            folders: self.folders.union(&other.folders).cloned().collect(),
        }
    }

    /// What is not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self {
            files: self.files.difference(&other.files).cloned().collect(),
            folders: self.folders.difference(&other.folders).cloned().collect(),
        }
    }

    /// Writes it down.
    pub fn write(&self, place: &Place) -> Result<(), String> {
        let path = place.path(Path::new(FILE));
        place
            .write(&path, self.text().as_bytes())
            .map_err(|e| format!("{} cannot be written: {}", path.display(), plain(&e)))
    }

    /// Removes the files, then the folders that are empty, and says what was removed. The record of all goes last, so
    /// that a removal that fails can be done again.
    pub fn remove(&self, place: &Place) -> Result<Vec<PathBuf>, String> {
        let mut removed = Vec::new();
        let is_record = |path: &&PathBuf| path.as_path() == Path::new(FILE);
        let others = self.files.iter().filter(|path| !is_record(path));
        for path in others.chain(self.files.iter().filter(is_record)) {
            let path = place.path(path);
            if place.remove(&path)? {
                removed.push(path);
            }
        }
        // those within others come after these
        for path in self.folders.iter().rev() {
            let path = place.path(path);
            if place.remove_folder(&path)? {
                removed.push(path);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::default();
        let nowhere = Place::new(Path::new("/nonexistent"));
        record.add(&nowhere, &Record::default(), Path::new("share/doc/uvale/x"));
        let read = Record::parse(&record.text()).unwrap();
        assert_eq!(read.files, record.files);
        assert_eq!(read.folders, record.folders);
        assert_eq!(read.folders.len(), 4);
    }

    #[test]
    fn a_record_names_nothing_outside_of_the_prefix() {
        for line in [
            "file /etc/passwd",
            "file ../x",
            "folder a/../../b",
            "file ",
            "link a",
            "x",
        ] {
            assert_eq!(
                Record::parse(&format!("{HEAD}\n{line}\n")).err(),
                Some(2),
                "{line}"
            );
        }
        assert!(Record::parse("").is_err());
    }
}
