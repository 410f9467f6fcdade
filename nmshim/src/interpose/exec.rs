//! Programs that a program executes. Into one that no loader loads nothing of ours comes: if its file names the device,
//! the person is told that it finds none, and what to do.
//!
//! All of this may run in a child of vfork: nothing is allocated and no lock is taken, but to say the line.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

mod lists;

use super::image::{self, Identity};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::types::Strings;
use crate::ground::{memory, next};
use core::ffi::CStr;
use core::ptr::null;
use libc::{c_char, c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};
use std::io::Write;

unsafe extern "C" {
    static environ: Strings;
}

pub use lists::resolve;

/// A name that was searched for, with its zero byte: longer ones are not looked into.
const LONGEST: usize = 1024;

/// # Safety
/// A list of strings that lives, or null.
unsafe fn strings<'s>(list: Strings) -> impl Iterator<Item = &'s CStr> {
    let mut at = list;
    core::iter::from_fn(move || {
        // SAFETY: by contract: each is a string until the first that is null.
        unsafe {
            if at.is_null() || (*at).is_null() {
                return None;
            }
            let string = CStr::from_ptr(*at);
            at = at.add(1);
            Some(string)
        }
    })
}

/// Does the program find the device all the same, or does the person know? What is executed is served from beside as
/// its parent is, it is `uvale`, or a way was asked for that leaves it out.
fn is_settled(program: Identity) -> bool {
    // SAFETY: this process's environment, which nobody changes while others read it.
    let is_settled = unsafe { strings(environ) }.any(|variable| {
        let value = |name: &[u8]| variable.to_bytes_with_nul().strip_prefix(name);
        if let Some(uvale) = value(b"UVALE_PROGRAM=") {
            let uvale = CStr::from_bytes_with_nul(uvale);
            return uvale.is_ok_and(|uvale| image::identity(uvale) == Some(program));
        }
        value(b"NMSHIM_REACH=").is_some_and(|way| way != b"\0")
    });
    is_settled || image::is_there(c"/dev/netmap")
}

/// Tells the person of a program that will not find the device.
fn look(mut path: *const c_char) {
    let mut room = [0; image::LINE];
    if let Some(program) = image::unreached(&mut path, &mut room)
        && !is_settled(program)
    {
        tell(path);
    }
}

/// The same of what is found in `PATH`.
///
/// # Safety
/// A string, or null.
unsafe fn look_for(file: *const c_char) {
    let mut room = [0; LONGEST];
    // SAFETY: by contract.
    look(unsafe { found(file, &mut room) });
}

/// The same of a name as execveat(2) takes it; an empty one is what is open as `dir` itself.
fn look_at(dir: c_int, path: *const c_char) {
    // SAFETY: any byte is one; where there is none that is an error.
    let first = unsafe { memory::read(path.cast::<u8>()) };
    let slash = match first {
        Ok(0) => "",
        Ok(b'/') => return look(path),
        Ok(_) if dir == libc::AT_FDCWD => return look(path),
        _ => "/",
    };
    let mut room = [0u8; LONGEST];
    let mut rest = &mut room[..];
    if write!(rest, "/proc/self/fd/{dir}{slash}").is_err() {
        return;
    }
    for (at, to) in rest.iter_mut().enumerate() {
        // SAFETY: any byte is one; where there is none that is an error.
        let byte = unsafe { memory::read(path.cast::<u8>().wrapping_add(at)) };
        match byte {
            Ok(0) => return look(room.as_ptr().cast()),
            // The kernel says what that is.
            Err(_) => return,
            Ok(byte) => *to = byte,
        }
    }
}

/// Not a part of its callers, which have little room on the stack of who knows whom.
#[inline(never)]
fn tell(path: *const c_char) {
    // SAFETY: the name of a file that was opened.
    let name = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    let line = format_args!(
        "{name} is static and finds no /dev/netmap: start it, or the script that does, by `uvale run --reach=notify`"
    );
    guarded((), || driver().remark(line));
}

pub unsafe fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    look(path);
    // SAFETY: the program's own arguments.
    unsafe { next::execve(path, argv, envp) }
}

pub unsafe fn execv(path: *const c_char, argv: Strings) -> c_int {
    look(path);
    // SAFETY: the program's own arguments.
    unsafe { next::execv(path, argv) }
}

pub unsafe fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        look_for(file);
        next::execvp(file, argv)
    }
}

pub unsafe fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        look_for(file);
        next::execvpe(file, argv, envp)
    }
}

pub unsafe fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
    look_at(fd, c"".as_ptr());
    // SAFETY: the program's own arguments.
    unsafe { next::fexecve(fd, argv, envp) }
}

pub unsafe fn execveat(
    dir: c_int,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    flags: c_int,
) -> c_int {
    look_at(dir, path);
    // SAFETY: the program's own arguments.
    unsafe { next::execveat(dir, path, argv, envp, flags) }
}

pub unsafe fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    argv: Strings,
    envp: Strings,
) -> c_int {
    look(path);
    // SAFETY: the program's own arguments.
    unsafe { next::posix_spawn(pid, path, actions, attributes, argv, envp) }
}

pub unsafe fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    argv: Strings,
    envp: Strings,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        look_for(file);
        next::posix_spawnp(pid, file, actions, attributes, argv, envp)
    }
}

/// The file that the C library finds for the name in this process's `PATH`; itself, if it has a slash in it.
///
/// # Safety
/// A string, or null.
unsafe fn found(file: *const c_char, room: &mut [u8; LONGEST]) -> *const c_char {
    if file.is_null() {
        return file;
    }
    // SAFETY: by contract, and this process's environment, which nobody changes while others read it.
    let (name, path) = unsafe {
        let is_path = |variable: &&CStr| variable.to_bytes().starts_with(b"PATH=");
        let path = strings(environ).find(is_path);
        (CStr::from_ptr(file).to_bytes(), path)
    };
    if name.is_empty() || name.contains(&b'/') {
        return file;
    }
    let path = path.map_or(&b"/bin:/usr/bin"[..], |path| &path.to_bytes()[5..]);
    for folder in path.split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let len = folder.len() + 1 + name.len();
        let Some(whole) = room.get_mut(..=len) else {
            continue;
        };
        whole[..folder.len()].copy_from_slice(folder);
        whole[folder.len()] = b'/';
        whole[folder.len() + 1..len].copy_from_slice(name);
        whole[len] = 0;
        if CStr::from_bytes_with_nul(whole).is_ok_and(image::is_program) {
            return room.as_ptr().cast();
        }
    }
    null()
}
