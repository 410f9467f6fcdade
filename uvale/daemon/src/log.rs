//! The daemon's log, which is its stderr.
//!
//! A line has a time, a level and the process that it is about, if there is one. If systemd's
//! journal reads stderr, the level is written in its format (sd-daemon(3)) and there is no time,
//! which the journal has itself. The file of a daemon that went into the background is
//! [`rotated`](keep_small): it is kept with one predecessor, so that it does not grow without end.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

use uvale_system::clock::rfc3339;
use uvale_system::who::Holder;

/// How much a line matters; numbers are syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// a client was refused something, or did something wrong
    Warning = 4,
    /// something worth knowing
    Notice = 5,
    /// normal operation
    Info = 6,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }
}

/// Name of the log of a daemon in the background, in its runtime directory.
pub const FILE: &str = "uvale.log";
/// Bytes after which it is set aside.
pub const MAX_BYTES: u64 = 1 << 20;

/// Is stderr the stream to the journal that systemd has announced?
fn is_journal() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        let announced = std::env::var("JOURNAL_STREAM").ok();
        let stat = rustix::fs::fstat(std::io::stderr());
        matches!((announced, stat), (Some(a), Ok(s)) if a == format!("{}:{}", s.st_dev, s.st_ino))
    })
}

/// The runtime directory, once [`keep_small`] has said it.
static DIR: OnceLock<PathBuf> = OnceLock::new();
/// Lines between two looks at the file's size.
const LOOK_EVERY: u32 = 64;
static LINES: AtomicU32 = AtomicU32::new(0);

/// From now on the log does not get much larger than [`MAX_BYTES`], if it is the file in `dir`.
pub fn keep_small(dir: &Path) {
    let _ = DIR.set(dir.to_owned());
    rotate(dir);
}

/// One line. A log that cannot be written stops nothing.
pub fn log(level: Level, line: &str) {
    let text = if is_journal() {
        format!("<{}>{line}\n", level as u8)
    } else {
        let now = rfc3339(SystemTime::now());
        format!("{now} uvale {}: {line}\n", level.name())
    };
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    if LINES.fetch_add(1, Relaxed) % LOOK_EVERY == LOOK_EVERY - 1
        && let Some(dir) = DIR.get()
    {
        rotate(dir);
    }
}

/// One line about what a process does.
pub fn log_of(level: Level, who: Option<&Holder>, line: &str) {
    match who {
        Some(who) => log(level, &format!("{who}: {line}")),
        None => log(level, line),
    }
}

/// Sets the log in `dir` aside if it is large, and continues with an empty one. Does nothing unless
/// stderr is that very file.
fn rotate(dir: &Path) {
    use rustix::fs::{Mode, OFlags};
    let path = dir.join(FILE);
    let (Ok(own), Ok(file)) = (
        rustix::fs::fstat(std::io::stderr()),
        std::fs::symlink_metadata(&path),
    ) else {
        return;
    };
    let is_it = file.is_file() && (own.st_dev, own.st_ino) == (file.dev(), file.ino());
    if !is_it || file.len() < MAX_BYTES {
        return;
    }
    if std::fs::rename(&path, dir.join("uvale.log.old")).is_err() {
        return;
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    if let Ok(new) = rustix::fs::open(&path, flags, Mode::from(0o600)) {
        let _ = rustix::stdio::dup2_stderr(&new);
    }
}
