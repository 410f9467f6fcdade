//! A file of cases: read, checked, and expanded into what is to be run.
//!
//! | file | what |
//! |---|---|
//! | `tree.rs` | TOML in which everything knows its line |
//! | `section.rs` | tables read key by key; what is wrong is collected |
//! | `fill.rs` | `${...}` |
//! | `ports.rs`, `programs.rs`, `steps.rs`, `frames.rs` | the parts of a case |
//! | `matrix.rs` | variables, and every combination of their values |
//! | `cases.rs` | a case with each combination of the matrix |

mod cases;
mod fill;
mod frames;
pub mod matrix;
mod ports;
mod programs;
mod section;
mod steps;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uvale_tools::output::plain;

use cases::Common;
pub use cases::{Case, Settings};
use fill::{Scope, fill};
use section::{At, Errors, Section};
pub use tree::Wrong;

/// A file that can be run.
#[derive(Debug)]
pub struct File {
    /// as it was named
    pub path: PathBuf,
    pub name: String,
    /// where programs run
    pub dir: PathBuf,
    /// to be run before anything else
    pub prepare: Vec<Vec<String>>,
    pub cases: Vec<Case>,
    /// names that `--set` may have
    pub variables: BTreeSet<String>,
    /// names that `--target nic:` may have
    pub ports: BTreeSet<String>,
}

/// Keys of a file.
const KEYS: [&str; 12] = [
    "name",
    "dir",
    "prepare",
    "timeout",
    "quiet",
    "repeat",
    "repeatable",
    "matrix",
    "ports",
    "namespaces",
    "programs",
    "cases",
];

/// Bytes of a file, at most.
const LONGEST: u64 = 16 << 20;

/// Reads a file.
///
/// # Errors
/// All that is wrong with it, by line. A file that cannot be read is wrong in line 0.
pub fn read(path: &Path, settings: &Settings) -> Result<File, Vec<Wrong>> {
    let mut text = Vec::new();
    let read = regular(path)
        .map_err(|why| unreadable(&why))?
        .take(LONGEST + 1)
        .read_to_end(&mut text);
    read.map_err(|error| unreadable(&plain(&error)))?;
    if text.len() as u64 > LONGEST {
        return Err(unreadable(
            "it has more than 16 MiB: frames can be in captures",
        ));
    }
    let text = String::from_utf8(text).map_err(|_| unreadable("it is no UTF-8, so no TOML"))?;
    parse(path, &text, settings)
}

/// Opens a file whose reader waits for nobody.
///
/// # Errors
/// A sentence: it cannot be opened, or is a pipe, a device or a folder.
fn regular(path: &Path) -> Result<std::fs::File, String> {
    // a pipe that nobody writes would hold up even its opening
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let open = std::fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path);
    let file = open.map_err(|error| plain(&error))?;
    match file.metadata() {
        Ok(about) if about.is_file() => Ok(file),
        Ok(about) if about.is_dir() => Err("Is a directory".to_owned()),
        Ok(_) => Err(
            "is no regular file; what comes out of a pipe or a device can be saved in one"
                .to_owned(),
        ),
        Err(error) => Err(plain(&error)),
    }
}

fn unreadable(why: &str) -> Vec<Wrong> {
    vec![Wrong {
        line: 0,
        key: String::new(),
        why: why.to_owned(),
    }]
}

/// Reads the text of a file.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str, settings: &Settings) -> Result<File, Vec<Wrong>> {
    let root = tree::parse(text)?;
    let errors = Errors::default();
    let at = At::root(&root, &errors);
    let file = at
        .section(&KEYS)
        .and_then(|file| whole(path, &file, settings));
    match (errors.into_list(), file) {
        (wrong, Some(file)) if wrong.is_empty() => Ok(file),
        (wrong, _) => Err(wrong),
    }
}

fn whole(path: &Path, file: &Section<'_>, settings: &Settings) -> Option<File> {
    let folder = folder_of(path);
    let dir = directory(file, &folder)?;
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let name = file.get("name").map_or(Some(stem), At::name)?;
    if let (Some(at), true) = (file.get("name"), name.contains('/')) {
        at.wrong("has a /, which comes between the names of file and case");
    }
    let matrix = file.get("matrix").map_or(Vec::new(), matrix::variables);
    let prepare = prepare(file, &dir).unwrap_or_default();
    let common = Common {
        file,
        name: &name,
        folder: &folder,
        dir: &dir,
        matrix: &matrix,
        settings,
    };
    let expanded = common.expand()?;
    Some(File {
        path: path.to_owned(),
        name,
        dir,
        prepare,
        cases: expanded.cases,
        variables: expanded.variables,
        ports: expanded.ports,
    })
}

/// Where the file is.
fn folder_of(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// Where programs run.
fn directory(file: &Section<'_>, folder: &Path) -> Option<PathBuf> {
    let Some(at) = file.get("dir") else {
        return Some(folder.to_owned());
    };
    let scope = Scope {
        values: &[],
        dir: None,
        ports: None,
        learnt: &BTreeSet::new(),
        is_filled_later: false,
    };
    let node = fill(at, &scope);
    let named = At {
        node: &node,
        ..at.clone()
    }
    .name()?;
    match folder.join(&named).canonicalize() {
        Ok(dir) if dir.is_dir() => Some(dir),
        Ok(_) => {
            at.wrong(format!("{named} is no directory"));
            None
        }
        Err(error) => {
            let from = folder.display();
            at.wrong(format!("{named}: {} (seen from {from})", plain(&error)));
            None
        }
    }
}

/// Commands before all cases, which know no values of the matrix.
fn prepare(file: &Section<'_>, dir: &Path) -> Option<Vec<Vec<String>>> {
    let at = file.get("prepare")?;
    let scope = Scope {
        values: &[],
        dir: Some(dir),
        ports: None,
        learnt: &BTreeSet::new(),
        is_filled_later: false,
    };
    let node = fill(at, &scope);
    let at = At {
        node: &node,
        ..at.clone()
    };
    at.list()?.iter().map(At::command).collect()
}
