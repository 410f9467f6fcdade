//! What memory a process takes: pages that were touched, not what is mapped.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;

/// Bytes of a block, in which a file says how much it takes.
const BLOCK: u64 = 512;

/// Bytes that the memfds take which process `pid` has open, by their name: of each file all pages that anybody has
/// touched. A huge page counts as a whole.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn memfds(pid: u32) -> Result<BTreeMap<String, u64>> {
    let (mut seen, mut bytes) = (Vec::new(), BTreeMap::new());
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        // One that is closed meanwhile takes nothing.
        let Ok(target) = std::fs::read_link(&path) else {
            continue;
        };
        let target = target.to_string_lossy();
        let Some(name) = target.strip_prefix("/memfd:") else {
            continue;
        };
        let Ok(file) = std::fs::metadata(&path) else {
            continue;
        };
        let which = (file.dev(), file.ino());
        if !seen.contains(&which) {
            seen.push(which);
            let name = name.trim_end_matches(" (deleted)").to_owned();
            *bytes.entry(name).or_insert(0) += file.blocks() * BLOCK;
        }
    }
    Ok(bytes)
}

/// What a process has for itself, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Private {
    /// memory that is no file's: heap, stacks, data that was written
    pub anonymous: u64,
    /// page tables
    pub tables: u64,
}

impl Private {
    /// Of process `pid`.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn of(pid: u32) -> Result<Self> {
        let kilobytes = |file: &str, key: &str| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            let value = value.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            let missing =
                || Error::new(ErrorKind::NotFound, format!("/proc/{pid}/{file}: no {key}"));
            Ok::<_, Error>(value.ok_or_else(missing)? << 10)
        };
        Ok(Self {
            // what is counted in status may lag behind
            anonymous: kilobytes("smaps_rollup", "Anonymous:")?,
            tables: kilobytes("status", "VmPTE:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_counts_once() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("uvale-footprint", flags).expect("memory");
        rustix::fs::ftruncate(&file, 1 << 20).expect("room");
        let twice = rustix::io::fcntl_dupfd_cloexec(&file, 3).expect("a descriptor");
        let taken = || memfds(std::process::id()).expect("our own files")["uvale-footprint"];
        assert_eq!(taken(), 0);
        rustix::io::pwrite(&twice, &[1], 70_000).expect("room");
        assert_eq!(taken(), rustix::param::page_size() as u64);
        let own = Private::of(std::process::id()).expect("our own memory");
        assert!(own.anonymous > 0 && own.tables > 0, "{own:?}");
    }
}
