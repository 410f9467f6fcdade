//! The module's parameters as files: `/sys/module/netmap/parameters/<name>`.
//!
//! Opened for reading, a parameter is a sealed memory file with its text. Opened for writing, it is
//! a connection to the daemon that the table knows as a device with a text: reads and writes of
//! this process are served here, with the errors the kernel would give. A write that does not pass
//! here (stdio of the C library on such a descriptor, a program that it came to by exec) goes down
//! the connection and is taken in by the daemon, which has nobody to tell an error.

use super::lookup::DeviceRef;
use super::name::{File, Name};
use super::slot::{Device, Object, Ref};
use super::{entries, paths};
use crate::device::{Errno, Result, Text};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::raw::{self, fail, libc_call};
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next};
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use libc::{FILE, c_char, c_int, c_void, iovec, off_t, size_t, ssize_t};

/// Bytes of a write that count: sysfs cuts at a page.
const MOST: usize = 4096;
/// Buffers of one call, as the kernel has it.
const MAX_IOV: c_int = 1024;

/// Like sysfs: who may not write cannot open for writing, whoever it is.
pub fn open(file: &File, flags: c_int) -> Result<c_int> {
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return open_text(file, flags);
    }
    if !file.parameter.writable {
        return Err(Errno(libc::EACCES));
    }
    let (fd, opened) = guarded(Err(Errno(libc::EIO)), || {
        driver().open_parameter(&file.name, flags)
    })?;
    if !borrowed_memory() && !entries::install(fd, Ref::new(Object::Device(Device::new(opened)))) {
        raw::close(fd);
        return Err(Errno(libc::EMFILE));
    }
    Ok(fd)
}

/// A sealed memory file with the parameter's text, opened for reading.
fn open_text(file: &File, flags: c_int) -> Result<c_int> {
    let line = format!("{}\n", file.parameter.text);
    let cloexec = if flags & libc::O_CLOEXEC != 0 {
        libc::MFD_CLOEXEC
    } else {
        0
    };
    // SAFETY: the name is a C string and `line` outlives the write; the descriptor is ours until we return it.
    unsafe {
        let fd = raw::check(raw::call(
            libc::SYS_memfd_create,
            [
                c"netmap".as_ptr() as usize,
                (cloexec | libc::MFD_ALLOW_SEALING) as usize,
                0,
                0,
                0,
                0,
            ],
        ))? as c_int;
        libc_call!(libc::SYS_pwrite64, fd, line.as_ptr(), line.len(), 0);
        let seals =
            libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
        libc_call!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, seals);
        paths::enter(fd, Name::Parameter(file.clone()));
        Ok(fd)
    }
}

/// A stream, as fopen gives it.
///
/// # Safety
/// `mode` is a C string.
pub unsafe fn stream(file: &File, mode: *const c_char) -> *mut FILE {
    // SAFETY: by contract.
    let wanted = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let made = match wanted.first() {
        // SAFETY: by contract.
        Some(b'r') if !wanted.contains(&b'+') => unsafe { read_stream(file, mode) },
        Some(b'r' | b'w' | b'a') if !file.parameter.writable => Err(Errno(libc::EACCES)),
        // SAFETY: by contract.
        Some(b'r' | b'w' | b'a') => unsafe { cookie_stream(file, mode) },
        _ => Err(Errno(libc::EINVAL)),
    };
    made.unwrap_or_else(|e| {
        fail(e.0);
        null_mut()
    })
}

unsafe fn read_stream(file: &File, mode: *const c_char) -> Result<*mut FILE> {
    type Fdopen = unsafe extern "C" fn(c_int, *const c_char) -> *mut FILE;
    // SAFETY: by contract of `stream`.
    let close_on_exec = unsafe { CStr::from_ptr(mode) }.to_bytes().contains(&b'e');
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    let fdopen = next::symbol(c"fdopen");
    if fdopen.is_null() {
        return Err(Errno(libc::ENOSYS));
    }
    let fd = open_text(file, flags)?;
    // SAFETY: the C library's fdopen with its C type, and a descriptor of ours.
    Ok(unsafe { core::mem::transmute::<*mut c_void, Fdopen>(fdopen)(fd, mode) })
}

/// A stream whose flushes are writes of this process: errors reach fflush and fclose.
unsafe fn cookie_stream(file: &File, mode: *const c_char) -> Result<*mut FILE> {
    type Fopencookie =
        unsafe extern "C" fn(*mut c_void, *const c_char, CookieFunctions) -> *mut FILE;
    let make = next::symbol(c"fopencookie");
    if make.is_null() {
        return Err(Errno(libc::ENOSYS));
    }
    let cookie = Box::into_raw(Box::new(Cookie {
        name: file.name.clone(),
        position: AtomicI64::new(0),
    }));
    // SAFETY: the C library's fopencookie with its C type; the cookie lives until `cookie_close`.
    let stream = unsafe {
        core::mem::transmute::<*mut c_void, Fopencookie>(make)(
            cookie.cast(),
            mode,
            CookieFunctions {
                read: Some(cookie_read),
                write: Some(cookie_write),
                seek: Some(cookie_seek),
                close: Some(cookie_close),
            },
        )
    };
    if stream.is_null() {
        // SAFETY: nobody has the cookie.
        drop(unsafe { Box::from_raw(cookie) });
        return Err(Errno(libc::ENOMEM));
    }
    Ok(stream)
}

/// `cookie_io_functions_t`.
#[repr(C)]
struct CookieFunctions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, size_t) -> ssize_t>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, size_t) -> ssize_t>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut i64, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

/// What a stream is about.
struct Cookie {
    name: String,
    position: AtomicI64,
}

impl Text for Cookie {
    fn load(&self) -> Result<String> {
        let parameter = guarded(None, || driver().parameter(&self.name));
        parameter.map(|p| p.text).ok_or(Errno(libc::EIO))
    }

    fn store(&self, bytes: &[u8]) -> Result<()> {
        guarded(Err(Errno(libc::EIO)), || {
            driver().write_parameter(&self.name, bytes)
        })
    }

    fn position(&self) -> &AtomicI64 {
        &self.position
    }
}

unsafe extern "C" fn cookie_read(cookie: *mut c_void, to: *mut c_char, len: size_t) -> ssize_t {
    let piece = piece(to.cast(), len);
    // SAFETY: the cookie that `cookie_stream` gave, and a buffer of stdio's.
    unsafe { told(get(&*cookie.cast::<Cookie>(), &[piece], None)) as ssize_t }
}

/// Stdio takes 0 for an error.
unsafe extern "C" fn cookie_write(
    cookie: *mut c_void,
    from: *const c_char,
    len: size_t,
) -> ssize_t {
    let piece = piece(from.cast_mut().cast(), len);
    // SAFETY: as above.
    let written = unsafe { told(put(&*cookie.cast::<Cookie>(), &[piece])) };
    written.max(0) as ssize_t
}

unsafe extern "C" fn cookie_seek(cookie: *mut c_void, offset: *mut i64, whence: c_int) -> c_int {
    // SAFETY: as above; the offset is stdio's.
    unsafe {
        match seek_in(&*cookie.cast::<Cookie>(), *offset, whence) {
            Ok(at) => {
                *offset = at;
                0
            }
            Err(e) => fail(e.0),
        }
    }
}

unsafe extern "C" fn cookie_close(cookie: *mut c_void) -> c_int {
    // SAFETY: the cookie that `cookie_stream` gave, for the last time.
    drop(unsafe { Box::from_raw(cookie.cast::<Cookie>()) });
    0
}

/// A value, or -1 and errno.
fn told(result: Result<i64>) -> i64 {
    result.unwrap_or_else(|e| fail(e.0).into())
}

/// One buffer as a list of buffers.
pub fn piece(base: *mut c_void, len: size_t) -> iovec {
    iovec {
        iov_base: base,
        iov_len: len,
    }
}

/// The program's list of buffers, if it is one.
///
/// # Safety
/// A pointer of the program's.
pub unsafe fn pieces(iov: *const iovec, n: c_int) -> Result<Vec<iovec>> {
    if !(0..=MAX_IOV).contains(&n) {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: by contract.
    (0..n as usize)
        .map(|i| unsafe { memory::read(iov.wrapping_add(i)) })
        .collect()
}

/// Reads into the program's buffers, from `at` or from where the description stands.
///
/// # Safety
/// The buffers may be written.
unsafe fn get(text: &dyn Text, to: &[iovec], at: Option<off_t>) -> Result<i64> {
    let line = text.load()? + "\n";
    let from = at.unwrap_or_else(|| text.position().load(Relaxed));
    let from = usize::try_from(from).map_err(|_| Errno(libc::EINVAL))?;
    let mut rest = line.as_bytes().get(from..).unwrap_or_default();
    let before = rest.len();
    for piece in to {
        let n = rest.len().min(piece.iov_len);
        // SAFETY: by contract; the text is ours.
        unsafe { memory::write_from(piece.iov_base.cast(), &rest[..n]) }?;
        rest = &rest[n..];
    }
    let n = before - rest.len();
    if at.is_none() {
        text.position().store((from + n) as i64, Relaxed);
    }
    Ok(n as i64)
}

/// One write, as one value.
///
/// # Safety
/// The buffers may be read.
unsafe fn put(text: &dyn Text, from: &[iovec]) -> Result<i64> {
    let mut bytes = Vec::new();
    for piece in from {
        let n = piece.iov_len.min(MOST - bytes.len());
        if n > 0 {
            let at = bytes.len();
            bytes.resize(at + n, 0);
            // SAFETY: by contract.
            unsafe { memory::read_into(&mut bytes[at..], piece.iov_base.cast()) }?;
        }
    }
    if !bytes.is_empty() {
        text.store(&bytes)?;
        text.position().fetch_add(bytes.len() as i64, Relaxed);
    }
    Ok(bytes.len() as i64)
}

fn seek_in(text: &dyn Text, offset: off_t, whence: c_int) -> Result<off_t> {
    let from = match whence {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => text.position().load(Relaxed),
        // sysfs says that a file has a page
        libc::SEEK_END => MOST as off_t,
        _ => return Err(Errno(libc::EINVAL)),
    };
    let to = from.checked_add(offset).filter(|to| *to >= 0);
    let to = to.ok_or(Errno(libc::EINVAL))?;
    text.position().store(to, Relaxed);
    Ok(to)
}

/// read and its kin on a descriptor of ours; `None`: it has no text.
///
/// # Safety
/// The buffers may be written.
#[cold]
pub unsafe fn read(d: &DeviceRef, to: Result<Vec<iovec>>, at: Option<off_t>) -> Option<ssize_t> {
    let text = d.file.text()?;
    if guarded(0, || d.file.open_flags()) & libc::O_ACCMODE == libc::O_WRONLY {
        return Some(fail(libc::EBADF) as ssize_t);
    }
    // SAFETY: by contract.
    Some(told(to.and_then(|to| unsafe { get(text, &to, at) })) as ssize_t)
}

/// write and its kin on a descriptor of ours; `None`: it has no text.
///
/// # Safety
/// The buffers may be read.
#[cold]
pub unsafe fn write(d: &DeviceRef, from: Result<Vec<iovec>>) -> Option<ssize_t> {
    let text = d.file.text()?;
    // SAFETY: by contract.
    Some(told(from.and_then(|from| unsafe { put(text, &from) })) as ssize_t)
}

/// lseek on a descriptor of ours.
#[cold]
pub fn seek(d: &DeviceRef, offset: off_t, whence: c_int) -> off_t {
    match d.file.text() {
        Some(text) => told(seek_in(text, offset, whence)),
        None => off_t::from(fail(libc::ESPIPE)),
    }
}

/// fsync and ftruncate on a descriptor of ours: a text has nothing to do, a device refuses.
#[cold]
pub fn nothing_to_do(d: &DeviceRef) -> c_int {
    match d.file.text() {
        Some(_) => 0,
        None => fail(libc::EINVAL),
    }
}
