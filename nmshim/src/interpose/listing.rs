//! Directories of ours as streams: opendir, readdir and their kin, scandir and glob.
//!
//! A stream is an object of ours behind the `DIR` pointer, told from libc's by a list of those that are open.
//! Its descriptor is a real directory's, entered in the table under the name it stands for.

use super::name::{Dir, Name};
use super::paths::{at, enter, of_descriptor};
use super::stat::inode;
use crate::device::{Errno, Result};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::lock::Lock;
use crate::ground::next;
use crate::ground::raw::{self, fail};
use crate::ground::types::{Compare, Filter, Glob, GlobError, List};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{DIR, c_char, c_int, c_long, c_void, dirent64};

/// An open stream.
struct Stream {
    fd: c_int,
    entries: Vec<dirent64>,
    next: usize,
}

/// Open streams, by address.
static STREAMS: Lock<Vec<usize>> = Lock::new(Vec::new());
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The stream behind `dir` if it is ours.
///
/// # Safety
/// A `DIR` of the program's, used by one thread at a time.
#[inline]
unsafe fn ours<'a>(dir: *mut DIR) -> Option<&'a mut Stream> {
    if OPEN.load(Acquire) == 0 || !STREAMS.lock().contains(&(dir as usize)) {
        return None;
    }
    // SAFETY: made by `stream` and not closed yet; the program's promise covers the rest.
    unsafe { dir.cast::<Stream>().as_mut() }
}

/// Before a fork: nobody is in the middle of opening or closing a stream.
pub fn before_fork() {
    STREAMS.hold();
}

/// After it, in both processes.
///
/// # Safety
/// Held since `before_fork` by this thread, or by the one it is the copy of.
pub unsafe fn after_fork() {
    // SAFETY: by contract.
    unsafe { STREAMS.release() };
}

/// The entries of a directory, asked for anew.
fn entries(directory: Dir) -> Vec<dirent64> {
    let (own, above) = match directory {
        Dir::Module => (Name::Directory(Dir::Module), 1),
        Dir::Parameters => (
            Name::Directory(Dir::Parameters),
            inode(&Name::Directory(Dir::Module)),
        ),
    };
    let mut all = vec![
        (".".to_owned(), inode(&own), libc::DT_DIR),
        ("..".to_owned(), above, libc::DT_DIR),
    ];
    match directory {
        Dir::Module => all.push((
            "parameters".to_owned(),
            inode(&Name::Directory(Dir::Parameters)),
            libc::DT_DIR,
        )),
        Dir::Parameters => {
            let names = guarded(Vec::new(), || driver().parameters());
            all.extend(names.into_iter().map(|name| {
                let inode = super::stat::inode_of_parameter(&name);
                (name, inode, libc::DT_REG)
            }));
        }
    }
    let position = 1..;
    position
        .zip(all)
        .map(|(at, (name, inode, kind))| entry(at, &name, inode, kind))
        .collect()
}

fn entry(position: i64, name: &str, inode: u64, kind: u8) -> dirent64 {
    // SAFETY: integers and bytes, for which zero will do.
    let mut entry: dirent64 = unsafe { core::mem::zeroed() };
    entry.d_ino = inode;
    entry.d_off = position;
    entry.d_reclen = size_of::<dirent64>() as u16;
    entry.d_type = kind;
    let room = entry.d_name.len() - 1;
    for (to, byte) in entry.d_name[..room].iter_mut().zip(name.bytes()) {
        *to = byte as c_char;
    }
    entry
}

/// A descriptor for a directory of ours.
pub fn open(directory: Dir, flags: c_int) -> Result<c_int> {
    if flags & libc::O_ACCMODE != libc::O_RDONLY {
        return Err(Errno(libc::EISDIR));
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | flags & libc::O_CLOEXEC;
    let open = |path: &core::ffi::CStr| {
        let here = libc::AT_FDCWD as usize;
        let args = [here, path.as_ptr() as usize, flags as usize, 0, 0, 0];
        // SAFETY: a C string and plain numbers.
        raw::check(unsafe { raw::call(libc::SYS_openat, args) })
    };
    let fd = open(c"/sys/module").or_else(|_| open(c"/"))? as c_int;
    enter(fd, Name::Directory(directory));
    Ok(fd)
}

/// A stream on `fd`, which is its own from here on.
fn stream(fd: c_int, directory: Dir) -> *mut DIR {
    let stream = Box::into_raw(Box::new(Stream {
        fd,
        entries: entries(directory),
        next: 0,
    }));
    STREAMS.lock().push(stream as usize);
    OPEN.fetch_add(1, Release);
    stream.cast()
}

pub unsafe fn opendir(path: *const c_char) -> *mut DIR {
    // SAFETY: the program's own argument, which the kernel has read when it is looked at.
    unsafe {
        let dir = next::opendir(path);
        let error = raw::errno();
        if !dir.is_null() || !matches!(error, libc::ENOENT | libc::ENOTDIR) {
            return dir;
        }
        let opened = match at(libc::AT_FDCWD, path) {
            Some(Name::Directory(directory)) => {
                open(directory, libc::O_CLOEXEC).map(|fd| (fd, directory))
            }
            Some(_) => Err(Errno(libc::ENOTDIR)),
            None => Err(Errno(error)),
        };
        match opened {
            Ok((fd, directory)) => stream(fd, directory),
            Err(e) => {
                fail(e.0);
                null_mut()
            }
        }
    }
}

pub unsafe fn fdopendir(fd: c_int) -> *mut DIR {
    match of_descriptor(fd) {
        Some(Name::Directory(directory)) => stream(fd, directory),
        // SAFETY: the program's own argument.
        _ => unsafe { next::fdopendir(fd) },
    }
}

/// The next entry of a stream of ours; null at the end.
fn advance(stream: &mut Stream) -> *mut dirent64 {
    let entry = stream.entries.get_mut(stream.next);
    stream.next += usize::from(entry.is_some());
    entry.map_or(null_mut(), |e| e)
}

pub unsafe fn readdir(dir: *mut DIR) -> *mut dirent64 {
    // SAFETY: the program's own argument.
    unsafe {
        match ours(dir) {
            Some(stream) => advance(stream),
            None => next::readdir64(dir),
        }
    }
}

pub unsafe fn readdir_r(dir: *mut DIR, room: *mut dirent64, result: *mut *mut dirent64) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        let Some(stream) = ours(dir) else {
            return next::readdir64_r(dir, room, result);
        };
        *result = match advance(stream).as_ref() {
            Some(entry) => {
                room.write(*entry);
                room
            }
            None => null_mut(),
        };
        0
    }
}

pub unsafe fn closedir(dir: *mut DIR) -> c_int {
    // SAFETY: the program's own argument.
    unsafe {
        let Some(stream) = ours(dir) else {
            return next::closedir(dir);
        };
        STREAMS.lock().retain(|s| *s != dir as usize);
        OPEN.fetch_sub(1, Release);
        let stream = Box::from_raw(core::ptr::from_mut(stream));
        super::fds::close(stream.fd)
    }
}

pub unsafe fn rewinddir(dir: *mut DIR) {
    // SAFETY: the program's own argument.
    unsafe {
        match ours(dir) {
            Some(stream) => {
                if let Some(Name::Directory(directory)) = of_descriptor(stream.fd) {
                    stream.entries = entries(directory);
                }
                stream.next = 0;
            }
            None => next::rewinddir(dir),
        }
    }
}

pub unsafe fn seekdir(dir: *mut DIR, position: c_long) {
    // SAFETY: the program's own argument.
    unsafe {
        match ours(dir) {
            Some(stream) => stream.next = usize::try_from(position).unwrap_or(0),
            None => next::seekdir(dir, position),
        }
    }
}

pub unsafe fn telldir(dir: *mut DIR) -> c_long {
    // SAFETY: the program's own argument.
    unsafe {
        match ours(dir) {
            Some(stream) => stream.next as c_long,
            None => next::telldir(dir),
        }
    }
}

pub unsafe fn dirfd(dir: *mut DIR) -> c_int {
    // SAFETY: the program's own argument.
    unsafe {
        match ours(dir) {
            Some(stream) => stream.fd,
            None => next::dirfd(dir),
        }
    }
}

/// libc does not come to us for the directory: what it does not find is done here.
pub unsafe fn scandirat(
    dir: c_int,
    path: *const c_char,
    list: List,
    filter: Filter,
    compare: Compare,
) -> c_int {
    // SAFETY: the program's own arguments, as the C function's contract asks for; the kernel has read the path.
    unsafe {
        let n = next::scandirat64(dir, path, list, filter, compare);
        let error = raw::errno();
        if n >= 0 || !matches!(error, libc::ENOENT | libc::ENOTDIR) {
            return n;
        }
        let Some(Name::Directory(directory)) = at(dir, path) else {
            return fail(error);
        };
        let all = entries(directory);
        let wanted = |e: &&dirent64| filter.is_none_or(|f| f(*e) != 0);
        let chosen: Vec<&dirent64> = all.iter().filter(wanted).collect();
        let array: *mut *mut dirent64 =
            libc::malloc(chosen.len().max(1) * size_of::<usize>()).cast();
        if array.is_null() {
            return fail(libc::ENOMEM);
        }
        for (i, entry) in chosen.iter().enumerate() {
            let copy: *mut dirent64 = libc::malloc(size_of::<dirent64>()).cast();
            if copy.is_null() {
                (0..i).for_each(|i| libc::free((*array.add(i)).cast()));
                libc::free(array.cast());
                return fail(libc::ENOMEM);
            }
            copy.write(**entry);
            array.add(i).write(copy);
        }
        if let Some(compare) = compare {
            type Any = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;
            let compare = core::mem::transmute::<*const (), Any>(compare as *const ());
            libc::qsort(
                array.cast(),
                chosen.len(),
                size_of::<usize>(),
                Some(compare),
            );
        }
        *list = array;
        chosen.len() as c_int
    }
}

pub unsafe fn scandir(path: *const c_char, list: List, filter: Filter, compare: Compare) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { scandirat(libc::AT_FDCWD, path, list, filter, compare) }
}

/// The caller gives functions to read directories with.
const GLOB_ALTDIRFUNC: c_int = 1 << 9;

unsafe extern "C" fn glob_opendir(path: *const c_char) -> *mut c_void {
    // SAFETY: glob's own argument.
    unsafe { opendir(path) }.cast()
}

unsafe extern "C" fn glob_readdir(dir: *mut c_void) -> *mut dirent64 {
    // SAFETY: as above.
    unsafe { readdir(dir.cast()) }
}

unsafe extern "C" fn glob_closedir(dir: *mut c_void) {
    // SAFETY: as above.
    unsafe { closedir(dir.cast()) };
}

unsafe extern "C" fn glob_stat(path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: as above.
    unsafe { super::stat::stat(path, buf) }
}

unsafe extern "C" fn glob_lstat(path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: as above.
    unsafe { super::stat::lstat(path, buf) }
}

/// libc reads directories past us, unless it is given functions to do it with.
pub unsafe fn glob(
    pattern: *const c_char,
    flags: c_int,
    error: GlobError,
    result: *mut Glob,
) -> c_int {
    // SAFETY: the program's own arguments; glob reads the pattern itself.
    unsafe {
        let begins = core::ffi::CStr::from_ptr(pattern)
            .to_bytes()
            .starts_with(b"/sys/module/netmap");
        if !begins || flags & GLOB_ALTDIRFUNC != 0 {
            return next::glob64(pattern, flags, error, result);
        }
        (*result).opendir = Some(glob_opendir);
        (*result).readdir = Some(glob_readdir);
        (*result).closedir = Some(glob_closedir);
        (*result).stat = Some(glob_stat);
        (*result).lstat = Some(glob_lstat);
        next::glob64(pattern, flags | GLOB_ALTDIRFUNC, error, result)
    }
}
