//! The device by its name.

use std::os::fd::AsFd;

use rustix::io::Errno;
use uvale_request::UserMemory;
use uvale_system::device::{INODE, MODE, NUMBER};
use uvale_system::refusal::Refusal;
use uvale_system::who::Who;

use super::rights::User;
use super::{Call, fails};
use crate::description::Description;
use crate::kernel::{Answer, To, bytes_of_stat, bytes_of_statx};
use crate::requests::of_who_serves;
use crate::say::{Level, say};

/// The name that programs open.
const DEVICE: &[u8] = b"/dev/netmap\0";

/// Is the path at `addr` the device's name?
fn is_device(call: &Call<'_>, addr: u64) -> bool {
    let mut path = [0; 32];
    let n = match call.memory().read_some(addr, &mut path) {
        Ok(n) => n,
        Err(errno) => {
            if errno == Errno::PERM {
                call.process.hides();
            }
            return false;
        }
    };
    is_name(&path[..n]) && call.is_waiting()
}

/// With slashes doubled, perhaps.
fn is_name(path: &[u8]) -> bool {
    let mut wanted = DEVICE.iter();
    let mut last = 0;
    for byte in path {
        let is_again = *byte == b'/' && last == b'/';
        last = *byte;
        if is_again {
            continue;
        }
        match wanted.next() {
            Some(other) if other == byte => {}
            _ => return false,
        }
        if *byte == 0 {
            return true;
        }
    }
    false
}

/// open(2) and its like.
pub fn open(call: &Call<'_>, path: u64, flags: i32) -> Answer {
    if flags & libc::O_PATH != 0 || !is_device(call, path) {
        return Answer::Continue;
    }
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return fails(Errno::EXIST);
    }
    if flags & libc::O_DIRECTORY != 0 {
        return fails(Errno::NOTDIR);
    }
    call.supervisor.takes_time();
    call.supervisor.settle();
    match opened(call, flags) {
        Ok(answer) => answer,
        Err(refusal) => {
            let why = of_who_serves(&refusal);
            say(Level::Trouble, &format!("cannot open /dev/netmap: {why}"));
            fails(refusal.errno)
        }
    }
}

fn opened(call: &Call<'_>, flags: i32) -> Result<Answer, Refusal> {
    let supervisor = call.supervisor;
    let (tgid, dir) = (call.process.tgid, supervisor.dir());
    if let Some(user) = User::of(tgid).filter(|user| !user.may_use(dir)) {
        let (program, uid) = (call.process.program(), user.uid);
        let why = format!(
            "{program} (pid {tgid}) has become user {uid}, who may not use the daemon of this world ({}): open the \
             device before, or start the daemon for a group of that user (uvale daemon --group)",
            dir.display()
        );
        return Err(Refusal::new(Errno::ACCESS, why));
    }
    let session = supervisor.session()?;
    let who = Who {
        pid: call.process.tgid,
        program: call.process.program(),
    };
    let (description, theirs) = Description::open(session, supervisor.dir(), flags, who)?;
    if flags & libc::O_NONBLOCK != 0 {
        rustix::io::ioctl_fionbio(&theirs, true)?;
    }
    let description = supervisor.add(description)?;
    if !supervisor.fetches() {
        description.keep(theirs.try_clone().map_err(|_| Errno::MFILE)?);
    }
    let close_on_exec = flags & libc::O_CLOEXEC != 0;
    let listener = &supervisor.listener;
    let is_patient = listener.is_patient();
    // A caller that may be interrupted is answered in the same step: else it has a descriptor and does not know it.
    let to = if is_patient { To::Lowest } else { To::Returned };
    let given = listener.give(call.id, theirs.as_fd(), to, close_on_exec);
    let number = match given {
        Ok(number) => number,
        Err(errno) => {
            supervisor.closed(&description);
            let process = call.process;
            let (program, tgid) = (process.program(), process.tgid);
            return Err(match errno {
                Errno::MFILE => Refusal::new(
                    errno,
                    format!(
                        "{program} (pid {tgid}) has as many descriptors open as it may (ulimit -n)"
                    ),
                ),
                other => other.into(),
            });
        }
    };
    description.is_at(call.process.place(number));
    if !is_patient {
        return Ok(Answer::Given);
    }
    call.process.learn(number, Some(description));
    // While this one is open the program's last close cannot be seen.
    drop(theirs);
    Ok(Answer::Value(number.into()))
}

/// openat2(2), whose flags are in memory.
pub fn openat2(call: &Call<'_>) -> Answer {
    match call.read::<8>(call.args[2]) {
        Some(flags) => open(call, call.args[1], u64::from_ne_bytes(flags) as i32),
        None => Answer::Continue,
    }
}

fn written(call: &Call<'_>, addr: u64, bytes: &[u8]) -> Answer {
    match call.memory().write(addr, bytes) {
        true => Answer::Value(0),
        false => fails(Errno::FAULT),
    }
}

/// stat(2) and its like.
pub fn stat(call: &Call<'_>, path: u64, to: u64) -> Answer {
    match is_device(call, path) {
        true => filled(call, to),
        false => Answer::Continue,
    }
}

/// fstat(2).
pub fn stat_of(call: &Call<'_>, to: u64) -> Answer {
    match call.find(call.number(0)) {
        Some(_) => filled(call, to),
        None => Answer::Continue,
    }
}

/// fstatat(2): of a path, or of a descriptor, with an empty one.
pub fn statat(call: &Call<'_>) -> Answer {
    let (path, to) = (call.args[1], call.args[2]);
    let is_empty = call.number(3) & libc::AT_EMPTY_PATH != 0
        && (path == 0 || call.read::<1>(path) == Some([0]));
    match is_empty {
        true => stat_of(call, to),
        false => stat(call, path, to),
    }
}

fn filled(call: &Call<'_>, to: u64) -> Answer {
    let Ok(mut stat) = rustix::fs::stat("/dev") else {
        return Answer::Continue;
    };
    stat.st_mode = MODE;
    stat.st_ino = INODE;
    stat.st_nlink = 1;
    (stat.st_uid, stat.st_gid) = (0, 0);
    (stat.st_size, stat.st_blocks) = (0, 0);
    stat.st_rdev = libc::makedev(NUMBER.0, NUMBER.1);
    written(call, to, bytes_of_stat(&stat))
}

/// statx(2).
pub fn statx(call: &Call<'_>) -> Answer {
    use rustix::fs::{AtFlags, CWD, StatxFlags};
    if !is_device(call, call.args[1]) {
        return Answer::Continue;
    }
    let flags = StatxFlags::BASIC_STATS;
    let Ok(mut stat) = rustix::fs::statx(CWD, "/dev", AtFlags::empty(), flags) else {
        return Answer::Continue;
    };
    stat.stx_mask = flags.bits();
    stat.stx_mode = MODE as u16;
    stat.stx_ino = INODE;
    stat.stx_nlink = 1;
    (stat.stx_uid, stat.stx_gid) = (0, 0);
    (stat.stx_size, stat.stx_blocks) = (0, 0);
    (stat.stx_rdev_major, stat.stx_rdev_minor) = NUMBER;
    written(call, call.args[4], bytes_of_statx(&stat))
}

/// access(2) and its like.
pub fn access(call: &Call<'_>, path: u64, mode: i32) -> Answer {
    if !is_device(call, path) {
        return Answer::Continue;
    }
    if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
        return fails(Errno::INVAL);
    }
    match mode & libc::X_OK {
        0 => Answer::Value(0),
        _ => fails(Errno::ACCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_device() {
        for (path, is) in [
            (&b"/dev/netmap\0"[..], true),
            (b"//dev///netmap\0xyz", true),
            (b"/dev/netmap", false),
            (b"/dev/netmap/\0", false),
            (b"/dev/netmap0\0", false),
            (b"dev/netmap\0", false),
            (b"\0", false),
            (b"", false),
        ] {
            assert_eq!(is_name(path), is, "{path:?}");
        }
    }
}
