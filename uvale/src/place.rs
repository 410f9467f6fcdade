//! Where a world lives: its runtime directory and socket.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Names the runtime directory for programs and commands.
pub const ENV_DIR: &str = "UVALE_DIR";
/// Name of the listening socket in it. A descriptor is known to be ours by a peer of this name.
pub const SOCKET: &str = "uvale.sock";
/// Longest path that `sockaddr_un` takes, with its final zero.
const SUN_PATH: usize = 108;

/// The runtime directory: `UVALE_DIR`, else `$XDG_RUNTIME_DIR/uvale`, else `/run/uvale` for root
/// and `/tmp/uvale-UID` for others.
pub fn runtime_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
    if let Some(dir) = set(ENV_DIR) {
        // Relative to where this program is, not to where the daemon will be.
        return std::path::absolute(&dir).unwrap_or_else(|_| dir.into());
    }
    let uid = rustix::process::getuid().as_raw();
    match set("XDG_RUNTIME_DIR") {
        Some(dir) => Path::new(&dir).join("uvale"),
        None if uid == 0 => "/run/uvale".into(),
        None => format!("/tmp/uvale-{uid}").into(),
    }
}

/// The listening socket in `dir`; `ENAMETOOLONG` if no socket can have that path.
pub fn socket(dir: &Path) -> Result<PathBuf, Errno> {
    let path = dir.join(SOCKET);
    if path.as_os_str().as_bytes().len() + 1 > SUN_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(path)
}

/// Is `dir` a directory of ours that nobody else can write to? `Ok(false)` if it does not exist.
pub fn is_safe(dir: &Path) -> Result<bool, String> {
    let stat = match rustix::fs::lstat(dir) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(format!("cannot look at {}: {e}", dir.display())),
    };
    let uid = rustix::process::getuid().as_raw();
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return Err(format!(
            "{} is not a directory; remove it or set {ENV_DIR}",
            dir.display()
        ));
    }
    if stat.st_uid != uid {
        return Err(format!(
            "{} belongs to user {}, not to you ({uid}); set {ENV_DIR} to a directory of your own",
            dir.display(),
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(format!(
            "{} can be written by others; do: chmod go-w {}",
            dir.display(),
            dir.display()
        ));
    }
    Ok(true)
}
