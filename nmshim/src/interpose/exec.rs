//! Programs that a program executes. Into one that no loader loads nothing of ours comes: if its file names the device,
//! the person is told that it finds none, and what to do.
//!
//! All of this may run in a child of vfork: nothing is allocated and no lock is taken, but to say the line.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

use super::image::{self, Image};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::next;
use crate::ground::types::Strings;
use core::ffi::CStr;
use core::ptr::null;
use libc::{c_char, c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

unsafe extern "C" {
    static environ: Strings;
}

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
fn is_settled(image: &Image) -> bool {
    // SAFETY: this process's environment, which nobody changes while others read it.
    unsafe { strings(environ) }.any(|variable| {
        let value = |name: &[u8]| variable.to_bytes_with_nul().strip_prefix(name);
        if let Some(program) = value(b"UVALE_PROGRAM=") {
            let uvale = CStr::from_bytes_with_nul(program);
            return uvale.is_ok_and(|uvale| image::identity(uvale) == Some(image.identity));
        }
        value(b"NMSHIM_REACH=").is_some_and(|way| way != b"\0")
            || value(b"UVALE_REACH_DIR=").is_some()
    })
}

/// Tells the person of a program that will not find the device.
fn look(path: *const c_char) {
    let Some(image) = image::unreached(path) else {
        return;
    };
    if !is_settled(&image) {
        tell(path);
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
    let mut room = [0; LONGEST];
    // SAFETY: the program's own arguments.
    unsafe {
        look(found(file, &mut room));
        next::execvp(file, argv)
    }
}

pub unsafe fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let mut room = [0; LONGEST];
    // SAFETY: the program's own arguments.
    unsafe {
        look(found(file, &mut room));
        next::execvpe(file, argv, envp)
    }
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
    let mut room = [0; LONGEST];
    // SAFETY: the program's own arguments.
    unsafe {
        look(found(file, &mut room));
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
