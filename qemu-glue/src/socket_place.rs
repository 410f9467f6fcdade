//! Where a socket is. A stale one is replaced, one in use is refused, and ours is removed when it is not needed any
//! more.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The name of a socket of ours, which is removed with this.
pub struct SocketPlace {
    path: PathBuf,
    /// device and inode: another process may have put its own there
    made: (u64, u64),
}

impl SocketPlace {
    /// Binds a socket to `path`: `bind` does it, when nothing is in the way.
    ///
    /// # Errors
    /// A sentence: the directory is absent, another process listens there, it is no socket.
    pub fn bind<T>(
        path: &Path,
        bind: impl FnOnce(&Path) -> std::io::Result<T>,
    ) -> Result<(Self, T), String> {
        clear(path)?;
        let bound = bind(path).map_err(|e| why_not(path, &e))?;
        let made = std::fs::symlink_metadata(path).map_err(|e| why_not(path, &e))?;
        let place = Self {
            path: path.to_owned(),
            made: (made.dev(), made.ino()),
        };
        Ok((place, bound))
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path);
        if now.is_ok_and(|now| (now.dev(), now.ino()) == self.made) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what a process that is gone has left at `path`.
fn clear(path: &Path) -> Result<(), String> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let shown = path.display();
    if !found.file_type().is_socket() {
        return Err(format!(
            "{shown} exists and is not a socket: choose another --socket"
        ));
    }
    match whoever_is_at(path) {
        Err(Errno::CONNREFUSED) => {
            std::fs::remove_file(path).map_err(|e| format!("{shown} cannot be replaced: {e}"))
        }
        Err(Errno::ACCESS) => Err(format!(
            "{shown} belongs to another user: choose another --socket"
        )),
        _ => Err(format!(
            "{shown} is in use by another process: stop that process, or choose another --socket"
        )),
    }
}

/// Tries to reach who listens there.
fn whoever_is_at(path: &Path) -> Result<(), Errno> {
    match reach(path, SocketType::STREAM) {
        Err(Errno::PROTOTYPE) => reach(path, SocketType::DGRAM).map(drop),
        other => other.map(drop),
    }
}

/// Connects to the socket at `path`. Never waits: AGAIN if too many others do.
pub fn reach(path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    connect(&socket, &address)?;
    Ok(socket)
}

fn why_not(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    match dir {
        Some(dir) if !dir.is_dir() => {
            format!(
                "{shown}: there is no directory {}: make it first",
                dir.display()
            )
        }
        _ if SocketAddrUnix::new(path).is_err() => {
            format!("{shown} is too long: the path of a socket has 107 bytes at most")
        }
        _ => format!(
            "cannot listen at {shown}: {}",
            uvale_tools::output::plain(error)
        ),
    }
}
