//! Files and folders below a prefix: written so that nobody ever sees half of one, and removed.
//!
//! A folder is walked to name by name, and may be reached by links, but not one that lies elsewhere: what is below
//! the prefix stays below it, whoever makes links there meanwhile.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use uvale_tools::output::plain;

use super::contents::{Entry, What};

const TO_FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const TO_FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// A prefix, as it is on this machine.
pub struct Place {
    /// what nothing may lead out of: the prefix, or what is in front of it
    limit: PathBuf,
    /// the prefix
    root: PathBuf,
}

/// What a file is, to be compared: the hash of its contents, or where a link leads.
pub type Mark = String;

impl Place {
    /// Nothing is made yet.
    pub fn new(root: &Path) -> Self {
        Self {
            limit: root.to_owned(),
            root: root.to_owned(),
        }
    }

    /// The same, in a folder that is to become a machine's root.
    pub fn below(destdir: &Path, root: &Path) -> Self {
        let below = root.strip_prefix("/").unwrap_or(root);
        Self {
            limit: destdir.to_owned(),
            root: destdir.join(below),
        }
    }

    /// The prefix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the prefix, for people.
    pub fn path(&self, below: &Path) -> PathBuf {
        match below.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(below),
        }
    }

    /// Makes the prefix, and is alone in it as long as what comes back is open. Folders that it has to make are added
    /// to `made`.
    pub fn make(&self, made: &mut Vec<PathBuf>) -> Result<OwnedFd, String> {
        let all: Vec<&Path> = self.limit.ancestors().collect();
        for folder in all.into_iter().rev().filter(|f| !f.as_os_str().is_empty()) {
            let fail = |e: Errno| cannot(folder, "made", e);
            match fs::mkdir(folder, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    fs::chmod(folder, Mode::from_raw_mode(0o755)).map_err(fail)?;
                    made.push(folder.to_owned());
                }
                Err(_) if folder.is_dir() => {}
                Err(e) => return Err(fail(e)),
            }
        }
        self.lock()
    }

    /// Nobody else installs there, or removes, as long as this is open.
    pub fn lock(&self) -> Result<OwnedFd, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(&self.limit, flags, Mode::empty())
            .map_err(|e| cannot(&self.limit, "opened", e))?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(format!(
                "another uvale install is at work in {}: wait for its end",
                self.limit.display()
            )),
            // a file system without locks
            _ => Ok(fd),
        }
    }

    /// The folder of that name; none if it is not there.
    pub fn folder(&self, below: &Path) -> Result<Option<OwnedFd>, String> {
        self.walk(below, |_, _, _| Ok(false))
    }

    /// The same, made with all those above it, which are added to `made`.
    pub fn made_folder(&self, below: &Path, made: &mut Vec<PathBuf>) -> Result<OwnedFd, String> {
        let folder = self.walk(below, |above, name, path| {
            let mode = Mode::from_raw_mode(0o755);
            // whatever the umask
            fs::mkdirat(above, name, mode)
                .and_then(|()| fs::chmodat(above, name, mode, AtFlags::empty()))
                .map_err(|e| cannot(path, "made", e))?;
            made.push(path.to_owned());
            Ok(true)
        })?;
        folder.ok_or_else(|| format!("{} is not there any more", self.limit.display()))
    }

    fn walk(
        &self,
        below: &Path,
        mut absent: impl FnMut(&OwnedFd, &OsStr, &Path) -> Result<bool, String>,
    ) -> Result<Option<OwnedFd>, String> {
        let mut at = match fs::open(&self.limit, TO_FOLDER, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(cannot(&self.limit, "opened", e)),
        };
        let limit = real(&at)?;
        let mut path = self.limit.clone();
        let whole = self.path(below);
        for name in whole.strip_prefix(&self.limit).unwrap_or(below) {
            path.push(name);
            let mut next = fs::openat(&at, name, TO_FOLDER, Mode::empty());
            if next.as_ref().err() == Some(&Errno::NOENT) {
                if !absent(&at, name, &path)? {
                    return Ok(None);
                }
                next = fs::openat(&at, name, TO_FOLDER, Mode::empty());
            }
            at = next.map_err(|e| match e {
                Errno::NOTDIR => format!("{} is no folder", path.display()),
                _ => cannot(&path, "opened", e),
            })?;
            let real = real(&at)?;
            if !real.starts_with(&limit) {
                return Err(format!(
                    "{} leads to {}, out of {}",
                    path.display(),
                    real.display(),
                    self.limit.display()
                ));
            }
        }
        Ok(Some(at))
    }

    /// What is there under that name, if anything is, be it a link that leads nowhere.
    pub fn mark(&self, below: &Path) -> Result<Option<Mark>, String> {
        let (folder, name) = split(below);
        let Some(folder) = self.folder(folder)? else {
            return Ok(None);
        };
        let fail = |e: Errno| cannot(&self.path(below), "read", e);
        let stat = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let to = fs::readlinkat(&folder, name, Vec::new()).map_err(fail)?;
                Ok(Some(mark_of_link(Path::new(OsStr::from_bytes(
                    to.as_bytes(),
                )))))
            }
            FileType::RegularFile => {
                // what cannot be read is not ours
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | TO_FILE;
                let file = fs::openat(&folder, name, flags, Mode::empty());
                let hash = file
                    .map_err(io::Error::from)
                    .and_then(|fd| hash(File::from(fd)));
                Ok(Some(hash.unwrap_or_else(|_| "unread".into())))
            }
            _ => Ok(Some("no-file".into())),
        }
    }

    /// Reads a small file of ours; none if there is none.
    pub fn read(&self, below: &Path) -> Result<Option<Vec<u8>>, String> {
        const MOST: u64 = 1 << 20;
        let (folder, name) = split(below);
        let path = self.path(below);
        let Some(folder) = self.folder(folder)? else {
            return Ok(None);
        };
        // a pipe has nobody else to wait for
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | TO_FILE;
        let fd = match fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(format!("{} is no file", path.display())),
            Err(e) => return Err(cannot(&path, "read", e)),
        };
        let stat = fs::fstat(&fd).map_err(|e| cannot(&path, "read", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(format!("{} is no file", path.display()));
        }
        let mut text = Vec::new();
        let read = File::from(fd).take(MOST + 1).read_to_end(&mut text);
        read.map_err(|e| format!("{} cannot be read: {}", path.display(), plain(&e)))?;
        match text.len() as u64 <= MOST {
            true => Ok(Some(text)),
            false => Err(format!("{} is too long", path.display())),
        }
    }

    /// Writes a file beside the one that is there; [`Place::take_name`] puts it in its place. Says what it is.
    pub fn prepare(&self, entry: &Entry, made: &mut Vec<PathBuf>) -> Result<Mark, String> {
        let (folder, name) = split(&entry.path);
        let folder = self.made_folder(folder, made)?;
        let new = beside(name);
        let fail = |e: io::Error| {
            format!(
                "{} cannot be written: {}",
                self.path(&entry.path).display(),
                plain(&e)
            )
        };
        // of one that was killed
        let _ = fs::unlinkat(&folder, &*new, AtFlags::empty());
        let create = |mode: u32| -> io::Result<File> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | TO_FILE;
            let mode = Mode::from_raw_mode(mode);
            let file = fs::openat(&folder, &*new, flags, mode)?;
            fs::fchmod(&file, mode)?;
            Ok(file.into())
        };
        match &entry.what {
            What::Copy { from, mode } => {
                File::open(from).and_then(|mut from| copy(&mut from, create(*mode)?))
            }
            What::Text(text) => create(0o644).and_then(|file| copy(&mut text.as_slice(), file)),
            What::Link { to } => fs::symlinkat(to, &folder, &*new)
                .map(|()| mark_of_link(to))
                .map_err(io::Error::from),
        }
        .map_err(fail)
    }

    /// What was prepared gets its name. A program that is running can be replaced so, too.
    pub fn take_name(&self, below: &Path) -> Result<(), String> {
        let (folder, name) = split(below);
        let fail = |e: Errno| cannot(&self.path(below), "replaced", e);
        let folder = self.folder(folder)?.ok_or(Errno::NOENT).map_err(fail)?;
        fs::renameat(&folder, &*beside(name), &folder, name).map_err(fail)
    }

    /// Removes what was prepared, and has not got its name.
    pub fn forget(&self, below: &Path) {
        let (folder, name) = split(below);
        if let Ok(Some(folder)) = self.folder(folder) {
            let _ = fs::unlinkat(&folder, &*beside(name), AtFlags::empty());
        }
    }

    /// Removes a file; false if there is none.
    pub fn remove(&self, below: &Path) -> Result<bool, String> {
        self.unlink(below, AtFlags::empty())
    }

    /// Removes a folder if nothing is in it.
    pub fn remove_folder(&self, below: &Path) -> Result<bool, String> {
        self.unlink(below, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, below: &Path, flags: AtFlags) -> Result<bool, String> {
        let path = self.path(below);
        let removed = match below.file_name() {
            Some(name) => match self.folder(split(below).0)? {
                Some(folder) => fs::unlinkat(folder, name, flags),
                None => Err(Errno::NOENT),
            },
            None => fs::rmdir(&path),
        };
        match removed {
            Ok(()) => Ok(true),
            // a link in the place of a folder is another's
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(false),
            Err(e) => Err(cannot(&path, "removed", e)),
        }
    }

    /// May files be removed from there? Before the first one is.
    pub fn may_change(&self, folder: &Path) -> Result<(), String> {
        let Some(fd) = self.folder(folder)? else {
            return Ok(());
        };
        let access = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
        fs::accessat(&fd, ".", access, AtFlags::empty()).map_err(|e| {
            let owner = fs::statat(&fd, ".", AtFlags::empty()).map_or(0, |stat| stat.st_uid);
            let whose = match owner {
                0 => "root's: run it as root".to_owned(),
                uid => format!("of the user with the number {uid}: run it as that user"),
            };
            format!(
                "{}, and the folder is {whose}",
                cannot(&self.path(folder), "written", e)
            )
        })
    }
}

/// A file's name, and the folder that it is in.
fn split(below: &Path) -> (&Path, &OsStr) {
    (
        below.parent().unwrap_or(Path::new("")),
        below.file_name().unwrap_or_default(),
    )
}

/// The name of a file that is to become another.
fn beside(name: &OsStr) -> std::ffi::OsString {
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    new.push(".uvale-new");
    new
}

/// Where an open folder really is.
fn real(folder: &OwnedFd) -> Result<PathBuf, String> {
    let link = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
    let real = fs::readlink(&*link, Vec::new()).map_err(|e| {
        let why = plain(&e.into());
        format!("it cannot be seen where folders are: {link}: {why}; is /proc mounted?")
    })?;
    Ok(std::ffi::OsString::from_vec(real.into_bytes()).into())
}

/// Where a link leads, as a mark.
fn mark_of_link(to: &Path) -> Mark {
    format!("->{}", to.display())
}

/// A file's contents, as a mark.
fn hash(mut file: File) -> io::Result<Mark> {
    copy(&mut file, io::sink())
}

/// Copies, and says what it was.
fn copy(from: &mut dyn Read, mut to: impl io::Write) -> io::Result<Mark> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
    to.flush()?;
    let mut mark = String::new();
    for byte in hash.finalize() {
        let _ = write!(mark, "{byte:02x}");
    }
    Ok(mark)
}

fn cannot(path: &Path, be: &str, errno: Errno) -> String {
    format!(
        "{} cannot be {be}: {}",
        path.display(),
        plain(&errno.into())
    )
}
