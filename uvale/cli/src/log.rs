//! Where a daemon that is started in the background writes its log.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, SealFlags};
use uvale_link::name::is_abstract;
use uvale_link::place;

/// `uvale.log` in the runtime directory. A world without a directory has a memfd instead, for what
/// is said before it serves.
pub struct Log {
    file: File,
    /// its length when it was opened
    before: u64,
    in_memory: bool,
}

impl Log {
    /// Makes the directory if necessary.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let file = match is_abstract(dir) {
            true => None,
            false => in_directory(dir)?,
        };
        let in_memory = file.is_none();
        let file = file.map_or_else(in_memory_alone, Ok)?;
        Ok(Self {
            before: file.metadata().map_or(0, |m| m.len()),
            file,
            in_memory,
        })
    }

    /// For the daemon's stderr.
    pub fn stdio(&self) -> Result<Stdio, String> {
        let copy = self.file.try_clone().map_err(|e| e.to_string())?;
        Ok(copy.into())
    }

    /// What was written since it was opened.
    pub fn text(&self) -> String {
        let len = self.file.metadata().map_or(0, |m| m.len());
        let mut text = vec![0; len.saturating_sub(self.before).min(1 << 20) as usize];
        let n = self.file.read_at(&mut text, self.before).unwrap_or(0);
        String::from_utf8_lossy(&text[..n]).into_owned()
    }

    /// The daemon serves: a log in memory, which nobody will read, stops growing.
    pub fn serves(self) {
        if self.in_memory {
            let _ = rustix::fs::fcntl_add_seals(&self.file, SealFlags::GROW | SealFlags::WRITE);
        }
    }
}

/// An input with nothing in it, also where there is no /dev/null, or none that may be opened.
pub fn no_input() -> Result<Stdio, String> {
    if let Ok(null) = File::open("/dev/null") {
        return Ok(null.into());
    }
    let (nothing, _) = std::io::pipe().map_err(|e| e.to_string())?;
    Ok(nothing.into())
}

fn in_memory_alone() -> Result<File, String> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("uvale.log", flags);
    Ok(memfd.map_err(|e| format!("cannot make a log: {e}"))?.into())
}

/// The file in `dir`. `None` if the disk is full, or something else has that name: a
/// daemon works without it.
fn in_directory(dir: &Path) -> Result<Option<File>, String> {
    use std::io::ErrorKind::{IsADirectory, QuotaExceeded, StorageFull};
    let mut make = std::fs::DirBuilder::new();
    let made = make.recursive(true).mode(0o700).create(dir);
    made.map_err(|e| place::cannot_make(dir, &e))?;
    place::is_safe(dir)?;
    let path = dir.join("uvale.log");
    let mut options = File::options();
    let opened = options.read(true).create(true).append(true).mode(0o600);
    match opened.open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if matches!(e.kind(), IsADirectory | QuotaExceeded | StorageFull) => Ok(None),
        Err(e) => Err(place::cannot_make(&path, &e)),
    }
}
