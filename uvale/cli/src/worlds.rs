//! The worlds of this user in the usual places: for Wireshark, and for the error message when a wrong one was named.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use uvale_link::place;

/// Most worlds that are named.
const MAX: usize = 8;

/// ` Daemons of yours answer in A, B (--dir A)`; nothing if there is none.
pub fn hint(but: &Path) -> String {
    let found = others(but);
    let Some(first) = found.first() else {
        return String::new();
    };
    let list: Vec<_> = found.iter().map(|dir| dir.display().to_string()).collect();
    format!(
        ". Daemons of yours answer in {} (--dir {})",
        list.join(", "),
        first.display()
    )
}

/// Runtime directories in the usual places, in which a daemon of this user answers.
pub fn others(but: &Path) -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let mut parents: Vec<PathBuf> = Vec::new();
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty());
    parents.extend(xdg.map(PathBuf::from));
    parents.extend([format!("/run/user/{uid}"), "/run".into(), "/tmp".into()].map(PathBuf::from));
    parents.push(std::env::temp_dir());
    let mut dirs = vec![place::runtime_dir()];
    for parent in parents {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"uvale"));
        let mut named: Vec<PathBuf> = named.map(|e| e.path()).collect();
        named.sort();
        dirs.extend(named);
    }
    let but = but.canonicalize().unwrap_or_else(|_| but.to_owned());
    let mut found: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if found.len() == MAX {
            break;
        }
        let known = dir == but || found.contains(&dir);
        if !known && is_ours(&dir, uid) && listens(&dir.join(place::SOCKET)) {
            found.push(dir);
        }
    }
    found
}

/// Is there a socket of this user's in a directory that nobody else can write to?
fn is_ours(dir: &Path, uid: u32) -> bool {
    let socket = std::fs::symlink_metadata(dir.join(place::SOCKET));
    socket.is_ok_and(|s| s.file_type().is_socket() && s.uid() == uid)
        && place::is_safe(dir) == Ok(true)
}

/// Does a daemon listen there? A stopped one, with a full queue, does.
fn listens(path: &Path) -> bool {
    let connect = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    matches!(connect(), Ok(()) | Err(Errno::AGAIN))
}
