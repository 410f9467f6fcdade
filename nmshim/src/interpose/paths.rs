//! Which paths are ours: the device node, the module's directory with its parameters, and network interfaces.
//!
//! Calls that take a path go to the kernel first where that changes nothing, and ours is looked for when it has
//! answered: by then it has said whether the pointer is good, and what is really there is the kernel's to show.

use super::interfaces::files;
use super::name::{Dir, File, Name};
use super::slot::{Device, Object, Ref};
use super::{entries, handlers, lookup, table};
use crate::device::{DEVICE_PATH, Parameter};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::raw;
use crate::ground::vfork::borrowed_memory;
use core::ffi::CStr;
use libc::{c_char, c_int};

/// The module's directory under /sys.
const MODULE: &CStr = c"/sys/module/netmap";

/// Is `path` one of ours? Ordinary paths cost a comparison that ends at the first differing byte.
///
/// # Safety
/// `path` is null, or a C string that may be read.
#[inline]
pub unsafe fn recognise(path: *const c_char) -> Option<Name> {
    // SAFETY: reads the string up to its first difference and never past its end.
    unsafe {
        if path.is_null() || *path != b'/' as c_char {
            return None;
        }
        if rest_after(path, DEVICE_PATH).is_some_and(|rest| *rest == 0) {
            handlers::take_over();
            return Some(Name::Device);
        }
        if let Some(rest) = rest_after(path, MODULE) {
            return below_path(rest, find);
        }
        let rest = rest_after(path, files::CLASS).or_else(|| rest_after(path, files::VIRTUAL))?;
        below_path(rest, find_interface)
    }
}

/// The same for a path that counts from the directory `dir`.
///
/// # Safety
/// As `recognise`.
#[inline]
pub unsafe fn at(dir: c_int, path: *const c_char) -> Option<Name> {
    // SAFETY: by contract.
    unsafe {
        if dir < 0 || table::word(dir) == 0 {
            recognise(path)
        } else {
            below(dir, path)
        }
    }
}

#[cold]
unsafe fn below(dir: c_int, path: *const c_char) -> Option<Name> {
    // SAFETY: by contract of `at`.
    unsafe {
        if path.is_null() || *path == b'/' as c_char {
            return recognise(path);
        }
        let Some(Name::Directory(directory)) = of_descriptor(dir) else {
            return None;
        };
        let text = CStr::from_ptr(path).to_string_lossy();
        match directory {
            Dir::Module => find(&text),
            Dir::Parameters => find(&format!("parameters/{text}")),
            Dir::Interfaces => find_interface(&text),
            Dir::Interface(path) => find_interface(&format!("{path}/{text}")),
        }
    }
}

/// Which link is `path`, if `name`, which was found there, is behind one?
///
/// # Safety
/// A C string.
pub unsafe fn link(name: &Name, path: *const c_char) -> Option<String> {
    let Name::Directory(Dir::Interface(interface)) = name else {
        return None;
    };
    // SAFETY: by contract.
    let is_target = unsafe { rest_after(path, files::VIRTUAL) }.is_some();
    // SAFETY: by contract.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let last = path.rsplit(|byte| *byte == b'/').next();
    (!is_target && last == Some(interface.as_bytes())).then(|| interface.clone())
}

/// Where `name` really is, without links on the way.
pub fn real(name: &Name) -> Option<String> {
    let path = match name {
        Name::Directory(Dir::Interface(path)) => path,
        Name::Parameter(file) if file.name.contains('/') => &file.name,
        _ => return None,
    };
    Some(format!("/sys/devices/virtual/net/{path}"))
}

/// What a descriptor of ours is; `None` for ordinary ones and epoll sets.
#[inline]
pub fn of_descriptor(fd: c_int) -> Option<Name> {
    (fd >= 0 && table::word(fd) != 0)
        .then(|| known(fd))
        .flatten()
}

#[cold]
fn known(fd: c_int) -> Option<Name> {
    let slot = lookup::slot(fd)?;
    match slot.object() {
        Object::Device(d) => Some(name_of(d)),
        Object::Named(name) => Some(name.clone()),
        Object::Epoll(_) => None,
    }
}

/// What a descriptor of ours looks like.
fn name_of(d: &Device) -> Name {
    match d.file.text() {
        None => Name::Device,
        Some(_) => Name::Parameter(File {
            name: String::new(),
            parameter: Parameter {
                text: String::new(),
                writable: true,
            },
        }),
    }
}

/// The part of `path` behind `prefix`.
///
/// # Safety
/// `path` is a C string.
unsafe fn rest_after(path: *const c_char, prefix: &CStr) -> Option<*const c_char> {
    let prefix = prefix.to_bytes();
    // SAFETY: stops at the first difference, hence at the end of `path` at the latest.
    unsafe {
        for (i, &b) in prefix.iter().enumerate() {
            if *path.add(i) != b as c_char {
                return None;
            }
        }
        Some(path.add(prefix.len()))
    }
}

/// What `find` finds at `rest`, which stands behind a directory's name.
///
/// # Safety
/// A C string.
#[cold]
unsafe fn below_path(rest: *const c_char, find: fn(&str) -> Option<Name>) -> Option<Name> {
    // SAFETY: by contract.
    let rest = unsafe { CStr::from_ptr(rest) }.to_str().ok()?;
    (rest.is_empty() || rest.starts_with('/'))
        .then(|| find(rest))
        .flatten()
}

/// The parts of a path, which does not lead out of where it begins.
fn parts(path: &str) -> Option<Vec<&str>> {
    handlers::take_over();
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts)
}

/// `path` counts from the directory of all network interfaces.
fn find_interface(path: &str) -> Option<Name> {
    files::find(&parts(path)?)
}

/// `path` counts from the module's directory.
fn find(path: &str) -> Option<Name> {
    match parts(path)?[..] {
        [] => module().then_some(Name::Directory(Dir::Module)),
        ["parameters"] => module().then_some(Name::Directory(Dir::Parameters)),
        ["parameters", name] => File::find(name).map(Name::Parameter),
        _ => None,
    }
}

/// The module is there if it has any parameter that programs read.
fn module() -> bool {
    guarded(None, || driver().parameter("buf_size")).is_some()
}

/// After a call that gave `answer` to a path: has the kernel read it to its end?
#[inline]
pub fn was_readable(answer: c_int) -> bool {
    answer >= 0 || is_of_a_path(raw::errno())
}

/// Errors that are not said before the path was read. A call that the kernel refuses for its flags is refused here too.
fn is_of_a_path(error: c_int) -> bool {
    !matches!(
        error,
        libc::EFAULT | libc::ENAMETOOLONG | libc::EINVAL | libc::ENOSYS
    )
}

/// Before a call that may change something: can the kernel read the path?
pub fn is_readable(path: *const c_char) -> bool {
    let args = [libc::AT_FDCWD as usize, path as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads the string, or says that it cannot.
    let answer = unsafe { raw::call(libc::SYS_faccessat, args) };
    raw::check(answer).map_or_else(|e| is_of_a_path(e.0), |_| true)
}

/// Enters a descriptor that stands for a name and is an ordinary one otherwise.
pub fn enter(fd: c_int, name: Name) {
    if !borrowed_memory() {
        entries::install(fd, Ref::new(Object::Named(name)));
    }
}
