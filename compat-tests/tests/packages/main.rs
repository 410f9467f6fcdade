//! What people install: below a prefix, from an archive, a Debian package, an image.

mod ci;
mod container;
mod debian;
mod install;
mod packed;
mod release;
mod root;
mod rpm;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use compat_tests::{Skip, target};

#[path = "../libnetmap_common/mod.rs"]
mod libnetmap_common;

/// A folder of its own that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("uvale-{name}-{pid}-{count}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        Scratch(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The folder of what was built, libnetmap too.
fn built() -> &'static Path {
    let folder = libnetmap_common::libraries();
    let uvale = &target::binaries().uvale;
    assert_eq!(uvale.parent(), Some(folder), "libnetmap lies beside uvale");
    folder
}

/// Is a program installed here?
fn needs(program: &str) -> Result<(), Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    match is_there {
        true => Ok(()),
        false => Err(Skip::optional(format!("there is no {program}"))),
    }
}

/// All files and folders below a folder, from it on, sorted.
fn tree(folder: &Path) -> Vec<PathBuf> {
    fn add(folder: &Path, top: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                add(&path, top, all);
            }
            all.push(path.strip_prefix(top).expect("below it").into());
        }
    }
    let mut all = Vec::new();
    add(folder, folder, &mut all);
    all.sort();
    all
}

/// `uvale`, wherever it is, with nothing in the environment that decides a world, or has libraries found that are not
/// installed: cargo names the folder of those that were built.
fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "NMSHIM",
        "UVALE_DIR",
        "UVALE_PROGRAM",
        "UVALE_AUTOSTART",
        "UVALE_CONFIG",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
    command
}
