//! Programs that a program executes. Into one that no loader loads nothing of ours comes: if its file names the device,
//! `uvale run` is executed in its place, which starts it and serves it from beside.
//!
//! All of this may run in a child of vfork: nothing is allocated and no lock is taken, but to say a line.

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

/// Arguments of a program that is served so, at most.
const MOST: usize = 500;
/// Arguments of `uvale run` before the program's own.
const OURS: usize = 6;
/// A name that was searched for, with its zero byte: longer ones are not looked into.
const LONGEST: usize = 1024;

/// What the environment of the program says.
struct Environment<'e> {
    /// the shim is among its preloads
    is_preloaded: bool,
    /// where `uvale` is
    uvale: Option<&'e CStr>,
    /// it is served from beside already
    is_served: bool,
    /// the person wants another way
    has_way: bool,
}

impl Environment<'_> {
    /// # Safety
    /// A list of strings that lives, or null.
    unsafe fn of(envp: Strings) -> Self {
        let mut found = Self {
            is_preloaded: false,
            uvale: None,
            is_served: false,
            has_way: false,
        };
        // SAFETY: by contract.
        for variable in unsafe { strings(envp) } {
            let value = |name: &[u8]| variable.to_bytes_with_nul().strip_prefix(name);
            if let Some(list) = value(b"LD_PRELOAD=") {
                found.is_preloaded = image::finds(list, b"libnmshim");
            } else if let Some(program) = value(b"UVALE_PROGRAM=") {
                found.uvale = CStr::from_bytes_with_nul(program).ok();
            } else if let Some(way) = value(b"NMSHIM_REACH=") {
                found.has_way = way != b"\0";
            } else if value(b"UVALE_REACH_DIR=").is_some() {
                found.is_served = true;
            }
        }
        found
    }
}

impl<'e> Environment<'e> {
    /// Who is to serve the program; `None`: it is that one itself.
    fn uvale_for(&self, image: &Image) -> Result<Option<&'e CStr>, Why> {
        if self.has_way {
            return Err(Why::OtherWay);
        }
        if image.gains {
            return Err(Why::Gains);
        }
        let uvale = self.uvale.ok_or(Why::NoUvale)?;
        let identity = image::identity(uvale).ok_or(Why::NoUvale)?;
        Ok((identity != image.identity).then_some(uvale))
    }
}

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

/// Why a program is not served.
#[derive(Clone, Copy)]
enum Why {
    OtherWay,
    NoUvale,
    Gains,
    Arguments,
}

impl Why {
    fn sentence(self) -> &'static str {
        match self {
            Self::OtherWay => {
                "NMSHIM_REACH names another way; start it by `uvale run --reach=notify`"
            }
            Self::NoUvale => "UVALE_PROGRAM names no uvale; start it by `uvale run`",
            Self::Gains => "it is set-uid; start a copy without that",
            Self::Arguments => "it has more arguments than are passed on; start it by `uvale run`",
        }
    }
}

/// Executes `path`, or `uvale run` in its place, by `by`.
///
/// # Safety
/// Strings that live, as of execve(2), unless the kernel would refuse them.
unsafe fn executed<T>(
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    by: impl FnOnce(Option<(*const c_char, Strings)>) -> T,
) -> T {
    let Some(image) = image::unreached(path) else {
        return by(None);
    };
    // SAFETY: by contract.
    let environment = unsafe { Environment::of(envp) };
    if !environment.is_preloaded || environment.is_served {
        return by(None);
    }
    // SAFETY: by contract, and the name of a file that was opened.
    unsafe { in_its_place(CStr::from_ptr(path), &image, argv, &environment, by) }
}

/// Executes `uvale` in the place of a program, unless it is `uvale`, which finds the device by itself. Not a part of
/// its caller, which has little room on the stack of who knows whom.
///
/// # Safety
/// Strings that live.
#[inline(never)]
unsafe fn in_its_place<T>(
    name: &CStr,
    image: &Image,
    argv: Strings,
    environment: &Environment<'_>,
    by: impl FnOnce(Option<(*const c_char, Strings)>) -> T,
) -> T {
    let mut room = [null(); MOST + OURS + 1];
    // SAFETY: by contract.
    let given = unsafe { strings(argv) };
    match environment.uvale_for(image).and_then(|uvale| match uvale {
        Some(uvale) => fill(&mut room, uvale, name, given).map(|()| Some(uvale)),
        None => Ok(None),
    }) {
        Ok(Some(uvale)) => by(Some((uvale.as_ptr(), room.as_ptr()))),
        Ok(None) => by(None),
        Err(why) => {
            let (name, why) = (name.to_string_lossy(), why.sentence());
            let line =
                format_args!("{name} is static: it is not served, and finds no /dev/netmap: {why}");
            guarded((), || driver().remark(line));
            by(None)
        }
    }
}

/// The arguments of `uvale`, and a null pointer behind them.
fn fill<'s>(
    room: &mut [*const c_char; MOST + OURS + 1],
    uvale: &'s CStr,
    name: &'s CStr,
    mut given: impl Iterator<Item = &'s CStr>,
) -> Result<(), Why> {
    let first = given.next().unwrap_or(name);
    let ours = [uvale, c"run", c"--in-place-of", first, c"--", name];
    let mut free = room.iter_mut();
    for argument in ours.into_iter().chain(given) {
        *free.next().ok_or(Why::Arguments)? = argument.as_ptr();
    }
    // It is null already.
    free.next().map(drop).ok_or(Why::Arguments)
}

pub unsafe fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(path, argv, envp, |instead| {
            let (path, argv) = instead.unwrap_or((path, argv));
            next::execve(path, argv, envp)
        })
    }
}

pub unsafe fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(path, argv, environ, |instead| match instead {
            Some((path, argv)) => next::execve(path, argv, environ),
            None => next::execv(path, argv),
        })
    }
}

pub unsafe fn execvp(file: *const c_char, argv: Strings) -> c_int {
    let mut room = [0; LONGEST];
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(
            found(file, &mut room),
            argv,
            environ,
            |instead| match instead {
                Some((path, argv)) => next::execve(path, argv, environ),
                None => next::execvp(file, argv),
            },
        )
    }
}

pub unsafe fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let mut room = [0; LONGEST];
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(
            found(file, &mut room),
            argv,
            envp,
            |instead| match instead {
                Some((path, argv)) => next::execve(path, argv, envp),
                None => next::execvpe(file, argv, envp),
            },
        )
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
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(path, argv, envp, |instead| {
            let (path, argv) = instead.unwrap_or((path, argv));
            next::posix_spawn(pid, path, actions, attributes, argv, envp)
        })
    }
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
    // SAFETY: the program's own arguments, or our own in their place.
    unsafe {
        executed(
            found(file, &mut room),
            argv,
            envp,
            |instead| match instead {
                Some((path, argv)) => next::posix_spawn(pid, path, actions, attributes, argv, envp),
                None => next::posix_spawnp(pid, file, actions, attributes, argv, envp),
            },
        )
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
