//! Programs of this machine in a guest that has no C library: with the libraries that they load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use crate::{Skip, containers};

/// Adds dynamically linked programs and libraries, each under a name of the archive's, and whatever the dynamic linker
/// loads for them, where it is here. Copies without symbols are made in `scratch`.
///
/// # Errors
/// If there is no `ldd`.
///
/// # Panics
/// If a file cannot be read.
pub fn add(archive: &mut Archive, scratch: &Path, files: &[(&str, &Path)]) -> Result<(), Skip> {
    let mut loaded = BTreeSet::new();
    for (name, path) in files {
        loaded.extend(containers::libraries(path)?);
        archive.copy(name, &without_symbols(path, scratch));
    }
    let mut directories = BTreeSet::new();
    for library in &loaded {
        let above = library
            .ancestors()
            .skip(1)
            .filter(|dir| dir.parent().is_some());
        directories.extend(above);
    }
    // Those that are above others come first.
    for directory in directories {
        archive.directory(&inside(directory));
    }
    for library in &loaded {
        archive.copy(&inside(library), library);
    }
    Ok(())
}

fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// A build for debugging is ten times as large, which an emulated guest would have to unpack.
fn without_symbols(path: &Path, scratch: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let copy = scratch.join(format!("{}.stripped", name.display()));
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(path)
        .status();
    match stripped.is_ok_and(|status| status.success()) {
        true => copy,
        false => path.to_owned(),
    }
}
