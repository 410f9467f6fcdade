//! What was installed below a prefix: a line for each file and each folder that was made for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use super::contents::{Entry, What};
use super::place::{Mark, Place};

/// The record itself, from the prefix.
pub const FILE: &str = "lib/uvale/installed";
/// Its first line; the number changes with what follows.
const HEAD: &str =
    "# What uvale install has written, record 2; uvale install --uninstall removes it.";

/// The mark of a file that is not written yet. No file has it.
pub const UNKNOWN: &str = "-";

/// The line of the prefix itself.
const PREFIX: &str = "folder .";

/// Files as they were written, and folders that were not there before. Paths from the prefix.
#[derive(Default, Clone)]
pub struct Record {
    /// A file has two marks while one version takes the place of another.
    files: BTreeMap<PathBuf, BTreeSet<Mark>>,
    folders: BTreeSet<PathBuf>,
}

/// Why a file stays where it is.
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub why: String,
}

impl Record {
    /// What is recorded, if anything is.
    pub fn read(place: &Place) -> Result<Option<Self>, String> {
        let path = place.path(Path::new(FILE));
        let way_out = || {
            let root = place.root().display();
            format!(
                "what was installed there can be removed by the uvale that did it ({root}/bin/uvale install \
                 --uninstall --prefix {root}), or by hand: the record lists it; then remove the record, too"
            )
        };
        let text = place.read(Path::new(FILE)).map_err(|why| {
            format!("{why}: it should be the record of uvale install; move it away")
        })?;
        let Some(text) = text else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&text);
        if text.lines().next() != Some(HEAD) {
            let path = path.display();
            return Err(format!(
                "{path} is the record of another version, or damaged: {}",
                way_out()
            ));
        }
        Self::parse(&text)
            .map(Some)
            .map_err(|line| format!("{}: line {line} is damaged: {}", path.display(), way_out()))
    }

    /// An error is the number of a line. Nothing outside of the prefix can be named.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line != HEAD) {
            return Err(1);
        }
        let mut record = Self::default();
        for (number, line) in lines {
            let damaged = number + 1;
            let below = |path: &str| -> Result<PathBuf, usize> {
                let path = Path::new(path);
                let is_below = !path.as_os_str().is_empty()
                    && path.components().all(|c| matches!(c, Component::Normal(_)));
                is_below.then(|| path.to_owned()).ok_or(damaged)
            };
            if line == PREFIX {
                record.folders.insert(PathBuf::new());
            } else if let Some(path) = line.strip_prefix("folder ") {
                record.folders.insert(below(path)?);
            } else {
                let file = line.strip_prefix("file ").ok_or(damaged)?;
                let (mark, path) = file.split_once(' ').ok_or(damaged)?;
                let marks = record.files.entry(below(path)?).or_default();
                marks.insert(mark.to_owned());
            }
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (path, marks) in &self.files {
            for mark in marks {
                let _ = writeln!(text, "file {mark} {}", path.display());
            }
        }
        for path in &self.folders {
            let _ = match path.as_os_str().is_empty() {
                true => writeln!(text, "{PREFIX}"),
                false => writeln!(text, "folder {}", path.display()),
            };
        }
        text
    }

    /// This record as a file.
    pub fn entry(&self) -> Entry {
        Entry {
            path: FILE.into(),
            what: What::Text(self.text().into()),
        }
    }

    /// Is nothing recorded?
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// A file is going to be written.
    pub fn add(&mut self, path: &Path, mark: Mark) {
        self.files.entry(path.into()).or_default().insert(mark);
    }

    /// The folders above a file belong to us if they are not there yet, were just `made`, or were made for the
    /// installation `before`.
    pub fn add_folders(&mut self, place: &Place, before: &Self, made: &[PathBuf], path: &Path) {
        for folder in path.ancestors().skip(1) {
            let whole = place.path(folder);
            if before.folders.contains(folder) || !whole.exists() || made.contains(&whole) {
                self.folders.insert(folder.into());
            }
        }
    }

    /// Was a file of that name written?
    pub fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Was it written as it is now?
    pub fn is(&self, path: &Path, mark: &Mark) -> bool {
        self.files
            .get(path)
            .is_some_and(|marks| marks.contains(mark))
    }

    /// Both.
    pub fn merged(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (path, marks) in &other.files {
            let all = both.files.entry(path.clone()).or_default();
            all.extend(marks.iter().cloned());
        }
        both.folders.extend(other.folders.iter().cloned());
        both
    }

    /// What is not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.files.retain(|path, _| !other.files.contains_key(path));
        rest.folders = self.folders.difference(&other.folders).cloned().collect();
        rest
    }

    /// Removes the files that are as they were written, and the folders that are empty then. What was removed, and
    /// what stays. Nothing is removed if one of the files may not be.
    pub fn remove(&self, place: &Place) -> Result<(Vec<PathBuf>, Vec<Kept>), String> {
        let (mut ours, mut kept) = (Vec::new(), Vec::new());
        let mut keep = |path: &Path, why: String| {
            let path = place.path(path);
            kept.push(Kept { path, why });
        };
        for path in self.files.keys() {
            match place.mark(path) {
                Ok(None) => {}
                Ok(Some(mark)) if self.is(path, &mark) => ours.push(path),
                Ok(Some(_)) => keep(path, "it has been changed since it was installed".into()),
                Err(why) => keep(path, why),
            }
        }
        let folders: BTreeSet<&Path> = ours.iter().filter_map(|path| path.parent()).collect();
        for folder in folders {
            place.may_change(folder)?;
        }
        let mut removed = Vec::new();
        for path in ours {
            if place.remove(path)? {
                removed.push(place.path(path));
            }
        }
        // of an installation that was killed
        for path in self.files.keys() {
            place.forget(path);
        }
        Ok((removed, kept))
    }

    /// Removes the folders that are empty. Those within others come before these.
    pub fn remove_folders(&self, place: &Place) -> Result<Vec<PathBuf>, String> {
        let mut removed = Vec::new();
        for path in self.folders.iter().rev() {
            // one that a link has taken the place of is not ours any more
            if place
                .remove_folder(path)
                .or_else(|why| match place.folder(path) {
                    Ok(_) => Err(why),
                    Err(_) => Ok(false),
                })?
            {
                removed.push(place.path(path));
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
        let path = Path::new("share/doc/uvale/x");
        record.add(path, "0f".into());
        record.add(path, "->a/b".into());
        record.add_folders(&nowhere, &Record::default(), &[], path);
        let read = Record::parse(&record.text()).unwrap();
        assert_eq!(read.files, record.files);
        assert_eq!(read.folders, record.folders);
        assert_eq!(read.folders.len(), 4);
        assert!(read.is(path, &"0f".into()) && !read.is(path, &"0e".into()));
    }

    #[test]
    fn a_record_names_nothing_outside_of_the_prefix() {
        for line in [
            "file 0f /etc/passwd",
            "file 0f ../x",
            "folder a/../../b",
            "folder /",
            "file 0f ",
            "file 0f",
            "link a",
            "x",
            "",
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
