//! The name of a world: its runtime directory, or `@` and random digits if it has none (`place.rs`).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What a world's name without a directory begins with.
const ABSTRACT: u8 = b'@';

/// The same name for a process with another working directory.
pub fn absolute(dir: &Path) -> PathBuf {
    match is_abstract(dir) {
        true => dir.to_owned(),
        false => std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
    }
}

/// Does this world have a socket's name and no directory?
pub fn is_abstract(dir: &Path) -> bool {
    dir.as_os_str().as_bytes().first() == Some(&ABSTRACT)
}

/// A new name for a world without a directory. Nobody can guess it.
pub fn new_abstract() -> Result<PathBuf, Errno> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("@uvale-{:032x}", u128::from_ne_bytes(bytes)).into())
}
