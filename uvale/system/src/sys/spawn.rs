//! Running a program from within another one.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::AsRawFd;
use rustix::io::Errno;

use super::OwnFd;
use crate::raw::{call, check};

/// How a program ended, and what it said on standard error.
pub struct Ended {
    /// its exit status; -1 if a signal ended it
    pub status: i32,
    /// all that it said, or as much as matters
    pub said: String,
}

/// What is kept of the words of a program that [`run_quietly`] runs.
const MAX_SAID: usize = 4096;

/// Runs a program to its end, unseen by the program we live in: no SIGCHLD, no child for its wait(), no fork handlers,
/// nothing on its terminal. Soft limits that could end it are raised to the hard ones.
pub fn run_quietly(
    program: &Path,
    arguments: &[&OsStr],
    environment: &[CString],
) -> Result<Ended, Errno> {
    let path = c_string(program.as_os_str());
    let argv: Vec<_> = arguments.iter().map(|a| c_string(a)).collect();
    let pointers = |list: &[CString]| {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([core::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv_p, envp_p) = (pointers(&argv), pointers(environment));
    // Without a free descriptor its messages go to the program's own standard error.
    let (hears, speaks) = match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
        Ok((hears, speaks)) => (
            Some(OwnFd::new(hears.into())),
            Some(OwnFd::new(speaks.into())),
        ),
        Err(_) => (None, None),
    };
    let stderr = speaks.as_ref().map_or(-1, AsRawFd::as_raw_fd);

    // SAFETY: a clone without flags is a fork that raises no signal at its end. Until execve the
    // child only makes system calls on memory prepared above.
    let fork = |signal: i32| unsafe { call(libc::SYS_clone, [signal as usize, 0, 0, 0, 0, 0]) };
    let mut pid = fork(0);
    // qemu-user knows no fork without the signal: the program that it emulates gets one SIGCHLD
    if pid == -(libc::EINVAL as isize) {
        pid = fork(libc::SIGCHLD);
    }
    if pid == 0 {
        // SAFETY: NUL-terminated strings and NULL-terminated arrays, alive in the child's copy.
        unsafe {
            call(libc::SYS_dup3, [stderr as usize, 2, 0, 0, 0, 0]);
            raise_soft_limits();
            let (argv, envp) = (argv_p.as_ptr() as usize, envp_p.as_ptr() as usize);
            let args = [path.as_ptr() as usize, argv, envp, 0, 0, 0];
            call(libc::SYS_execve, args);
            call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]);
        }
        std::process::abort();
    }
    let pid = i32::try_from(pid)
        .ok()
        .filter(|p| *p > 0)
        .ok_or(Errno::AGAIN)?;
    drop(speaks);
    let said = hears.map(|fd| hear(&fd)).unwrap_or_default();
    loop {
        match wait_for(pid) {
            Ok(status) if libc::WIFEXITED(status) => {
                let status = libc::WEXITSTATUS(status);
                return Ok(Ended { status, said });
            }
            Ok(_) => return Ok(Ended { status: -1, said }),
            Err(Errno::INTR) => {}
            // Somebody else waited for it (a wait with __WALL): how it ended is not known.
            Err(_) => return Ok(Ended { status: 0, said }),
        }
    }
}

/// Waits for a child of this process; how it ended.
fn wait_for(pid: i32) -> Result<i32, Errno> {
    let mut status = 0i32;
    let at = &raw mut status as usize;
    // __WALL: children without SIGCHLD are found only so.
    let args = [pid as usize, at, libc::__WALL as usize, 0, 0, 0];
    // SAFETY: the kernel writes to `status`, which is ours.
    check(unsafe { call(libc::SYS_wait4, args) })?;
    Ok(status)
}

/// Reads until the other end is closed.
fn hear(from: &OwnFd) -> String {
    let mut said = Vec::new();
    let mut part = [0u8; 512];
    loop {
        match rustix::io::read(from, &mut part) {
            Ok(0) => break,
            Ok(n) if said.len() < MAX_SAID => said.extend_from_slice(&part[..n]),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// In a child before its exec: what would keep a program from starting, or end it soon.
///
/// # Safety
/// Only system calls; changes the limits of the whole process.
unsafe fn raise_soft_limits() {
    for resource in [
        libc::RLIMIT_AS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_STACK,
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_NOFILE,
    ] {
        let mut limit = [0u64; 2];
        let at = limit.as_mut_ptr();
        let resource = resource as usize;
        // SAFETY: two words, soft and hard, as the kernel's rlimit64 has them.
        unsafe {
            call(libc::SYS_prlimit64, [0, resource, 0, at as usize, 0, 0]);
            *at = *at.add(1);
            call(libc::SYS_prlimit64, [0, resource, at as usize, 0, 0, 0]);
        }
    }
}

/// `bytes` as a C string; cut at a zero byte, which no path or argument of ours has.
fn c_string(bytes: &OsStr) -> CString {
    let bytes = bytes.as_bytes();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
