//! Directories of ours as streams: opendir, readdir and their kin, scandir and glob.
//!
//! A stream is an object of ours behind the `DIR` pointer, told from libc's by a list of those that are open.
//! Its descriptor is a real directory's, entered in the table under the name it stands for.

use super::interfaces::files;
use super::name::{Dir, Name};
use super::paths::{self, at, enter, of_descriptor};
use super::stat::{inode, inode_of_parameter};
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

/// An entry's name, inode and type.
type Entry = (String, u64, u8);

/// The entries of a directory, asked for anew.
fn entries(directory: &Dir) -> Vec<dirent64> {
    let module = || inode(&Name::Directory(Dir::Module));
    let all = match directory {
        Dir::Module => {
            let parameters = inode(&Name::Directory(Dir::Parameters));
            let only = ("parameters".to_owned(), parameters, libc::DT_DIR);
            in_directory(module(), 1, [only])
        }
        Dir::Parameters => {
            let names = guarded(Vec::new(), || driver().parameters());
            let file = |name: String| {
                let inode = inode_of_parameter(&name);
                (name, inode, libc::DT_REG)
            };
            let own = inode(&Name::Directory(Dir::Parameters));
            in_directory(own, module(), names.into_iter().map(file))
        }
        Dir::Interfaces => return with_interfaces(),
        Dir::Interface(path) => {
            let entry = |(name, is_directory): (&str, bool)| {
                let kind = if is_directory {
                    libc::DT_DIR
                } else {
                    libc::DT_REG
                };
                let inode = inode_of_parameter(&format!("{path}/{name}"));
                (name.to_owned(), inode, kind)
            };
            let list = files::entries(path).into_iter().map(entry);
            in_directory(inode_of_parameter(path), 1, list)
        }
    };
    let position = 1..;
    position
        .zip(all)
        .map(|(at, (name, inode, kind))| entry(at, &name, inode, kind))
        .collect()
}

/// A directory with the inode `own`, in the one with the inode `above`.
fn in_directory(own: u64, above: u64, list: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let dots = [(".", own), ("..", above)];
    let dots = dots.map(|(name, inode)| (name.to_owned(), inode, libc::DT_DIR));
    dots.into_iter().chain(list).collect()
}

/// What the kernel has in the directory of all network interfaces, and ours behind it.
fn with_interfaces() -> Vec<dirent64> {
    let mut all = Vec::new();
    // SAFETY: a C string, and a stream of libc's that is closed when it has been read.
    unsafe {
        let dir = next::opendir(files::CLASS.as_ptr());
        if !dir.is_null() {
            while let Some(entry) = next::readdir64(dir).as_ref() {
                all.push(copy_of(entry));
            }
            next::closedir(dir);
        }
    }
    for name in files::names() {
        let at = all.len() as i64 + 1;
        let inode = inode(&Name::Link(name.clone()));
        all.push(entry(at, &name, inode, libc::DT_LNK));
    }
    all
}

/// A copy of an entry of libc's, which has no more bytes than its name needs.
fn copy_of(from: &dirent64) -> dirent64 {
    // SAFETY: a C string, in memory of libc's.
    let name = unsafe { core::ffi::CStr::from_ptr(from.d_name.as_ptr()) };
    entry(from.d_off, &name.to_string_lossy(), from.d_ino, from.d_type)
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

/// Is this the directory of all network interfaces, and are there any that the kernel does not list?
///
/// # Safety
/// A C string.
unsafe fn lists_more(path: *const c_char) -> bool {
    // SAFETY: by contract.
    unsafe { files::is_class(path) && !files::names().is_empty() }
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
    let real = match directory {
        Dir::Interfaces => files::CLASS,
        _ => c"/sys/module",
    };
    let fd = open(real).or_else(|_| open(c"/"))? as c_int;
    enter(fd, Name::Directory(directory));
    Ok(fd)
}

/// A stream on `fd`, which is its own from here on.
fn stream(fd: c_int, directory: &Dir) -> *mut DIR {
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
        if !dir.is_null() && lists_more(path) {
            let with_ours = open(Dir::Interfaces, libc::O_CLOEXEC);
            let with_ours = with_ours.map_or(null_mut(), |fd| stream(fd, &Dir::Interfaces));
            if !with_ours.is_null() {
                next::closedir(dir);
                return with_ours;
            }
        }
        if !dir.is_null() || !matches!(error, libc::ENOENT | libc::ENOTDIR) {
            return dir;
        }
        let opened = match at(libc::AT_FDCWD, path) {
            Some(Name::Directory(directory)) => {
                open(directory.clone(), libc::O_CLOEXEC).map(|fd| (fd, directory))
            }
            Some(_) => Err(Errno(libc::ENOTDIR)),
            None => Err(Errno(error)),
        };
        match opened {
            Ok((fd, directory)) => stream(fd, &directory),
            Err(e) => {
                fail(e.0);
                null_mut()
            }
        }
    }
}

pub unsafe fn fdopendir(fd: c_int) -> *mut DIR {
    match of_descriptor(fd) {
        Some(Name::Directory(directory)) => stream(fd, &directory),
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
                    stream.entries = entries(&directory);
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

/// libc does not come to us for the directory: what it does not find, or not all of, is done here.
pub unsafe fn scandirat(
    dir: c_int,
    path: *const c_char,
    list: List,
    filter: Filter,
    compare: Compare,
) -> c_int {
    // SAFETY: the program's own arguments, as the C function's contract asks for; the kernel has read the path.
    unsafe {
        let directory = if paths::is_readable(path) && lists_more(path) {
            Dir::Interfaces
        } else {
            let n = next::scandirat64(dir, path, list, filter, compare);
            let error = raw::errno();
            if n >= 0 || !matches!(error, libc::ENOENT | libc::ENOTDIR) {
                return n;
            }
            let Some(Name::Directory(directory)) = at(dir, path) else {
                return fail(error);
            };
            directory
        };
        let all = entries(&directory);
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
        let wanted = core::ffi::CStr::from_ptr(pattern).to_bytes();
        let begins = |with: &core::ffi::CStr| wanted.starts_with(with.to_bytes());
        let is_ours =
            begins(c"/sys/module/netmap") || begins(files::CLASS) && !files::names().is_empty();
        if !is_ours || flags & GLOB_ALTDIRFUNC != 0 {
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
