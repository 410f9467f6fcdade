//! Files and folders below a prefix: written so that nobody ever sees half of one, and removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uvale_tools::output::plain;

use super::contents::{Entry, What};

/// A prefix, as it is on this machine.
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// Nothing is made yet.
    pub fn new(root: &Path) -> Self {
        let root = root.to_owned();
        Self { root }
    }

    /// The prefix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the prefix.
    pub fn path(&self, below: &Path) -> PathBuf {
        self.root.join(below)
    }

    /// Is something of that name there, be it a link that leads nowhere?
    pub fn holds(&self, below: &Path) -> bool {
        fs::symlink_metadata(self.path(below)).is_ok()
    }

    /// Writes a file, in place of one that is there.
    pub fn put(&self, entry: &Entry) -> Result<(), String> {
        let path = self.path(&entry.path);
        let made = match &entry.what {
            What::Copy { from, mode } => replace(&path, |new| {
                let mut from = fs::File::open(from)?;
                io::copy(&mut from, &mut create(new, *mode)?).map(|_| ())
            }),
            What::Text(text) => self.write(&path, text),
            What::Link { to } => replace(&path, |new| std::os::unix::fs::symlink(to, new)),
        };
        made.map_err(|e| format!("{} cannot be written: {}", path.display(), plain(&e)))
    }

    /// Writes a text.
    pub fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        replace(path, |new| {
            io::Write::write_all(&mut create(new, 0o644)?, text)
        })
    }

    /// Removes a file; false if there is none.
    pub fn remove(&self, path: &Path) -> Result<bool, String> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if is_gone(&e) => Ok(false),
            Err(e) => Err(format!(
                "{} cannot be removed: {}",
                path.display(),
                plain(&e)
            )),
        }
    }

    /// Removes a folder if nothing is in it.
    pub fn remove_folder(&self, path: &Path) -> Result<bool, String> {
        match fs::remove_dir(path) {
            Ok(()) => Ok(true),
            Err(e) if is_gone(&e) || e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(format!(
                "{} cannot be removed: {}",
                path.display(),
                plain(&e)
            )),
        }
    }
}

fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Makes the file beside the old one, then takes its name. A program that is running can be replaced so, too.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folders(folder)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let new = folder.join(name);
    let made = make(&new).and_then(|()| fs::rename(&new, path));
    if made.is_err() {
        let _ = fs::remove_file(&new);
    }
    made
}

/// Folders that others can enter, whatever the umask.
fn make_folders(folder: &Path) -> io::Result<()> {
    // The name of the current folder, above a path of one component, is empty.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(0o755)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}
