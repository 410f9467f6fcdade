//! Who may open the device: whoever may reach the daemon of the world, as a program does that reaches it by itself. A
//! program may have become another user since it was started.

use std::path::Path;

use rustix::fs::{Stat, stat};
use uvale_link::place::SOCKET;
use uvale_system::who::read_start;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// As whom a process opens files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct User {
    /// its user
    pub uid: u32,
    /// its groups
    groups: Vec<u32>,
}

impl User {
    /// That of a process, as /proc/PID/status says; `None` if it has ended.
    pub fn of(tgid: i32) -> Option<Self> {
        let status = read_start(&format!("/proc/{tgid}/status"))?;
        Self::read(&String::from_utf8_lossy(&status))
    }

    fn read(status: &str) -> Option<Self> {
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let words = line.split_ascii_whitespace();
            Some(
                words
                    .filter_map(|word| word.parse().ok())
                    .collect::<Vec<u32>>(),
            )
        };
        // Real, effective, saved, and the one that counts for files.
        let [_, _, _, uid] = *numbers("Uid:")?.as_slice() else {
            return None;
        };
        let mut groups = numbers("Groups:").unwrap_or_default();
        groups.push(*numbers("Gid:")?.get(3)?);
        Some(Self { uid, groups })
    }

    /// May it use the daemon at `dir`? Its own user may, and root.
    pub fn may_use(&self, dir: &Path) -> bool {
        if self.uid == 0 || self.uid == rustix::process::geteuid().as_raw() {
            return true;
        }
        let may = |path: &Path, what| stat(path).map_or(true, |stat| self.may(&stat, what));
        may(dir, EXECUTE) && may(&dir.join(SOCKET), WRITE)
    }

    fn may(&self, file: &Stat, what: u32) -> bool {
        let of = match (file.st_uid == self.uid, self.groups.contains(&file.st_gid)) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        file.st_mode >> of & what != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 11 \n";
        let user = User::read(status).unwrap();
        assert_eq!((user.uid, &*user.groups), (4, &[10, 11, 8][..]));
        let mut file = stat("/").unwrap();
        for (uid, gid, mode, may) in [
            (4, 1, 0o200, true),
            (4, 11, 0o020, false),
            (1, 8, 0o020, true),
            (1, 8, 0o702, false),
            (1, 1, 0o002, true),
            (1, 1, 0o770, false),
        ] {
            (file.st_uid, file.st_gid, file.st_mode) = (uid, gid, mode);
            assert_eq!(user.may(&file, WRITE), may, "{uid} {gid} {mode:o}");
        }
    }
}
