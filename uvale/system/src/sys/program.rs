//! Which file this code is in.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Path of the shared object or program that this code lies in.
pub fn own_object() -> Option<PathBuf> {
    let mut info: libc::Dl_info = libc::Dl_info {
        dli_fname: core::ptr::null(),
        dli_fbase: core::ptr::null_mut(),
        dli_sname: core::ptr::null(),
        dli_saddr: core::ptr::null_mut(),
    };
    let here = own_object as *const () as *const libc::c_void;
    // SAFETY: any address may be asked for; `info` is ours.
    if unsafe { libc::dladdr(here, &mut info) } == 0 || info.dli_fname.is_null() {
        // no loader has loaded anything: a static program
        return this_program().ok();
    }
    // SAFETY: on success the loader gives a NUL-terminated name that lives as long as the object.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    // The loader knows the main program by the name that its caller chose.
    let is_named = path.components().count() > 1;
    is_named
        .then(|| path.canonicalize().ok())
        .flatten()
        .or_else(|| this_program().ok())
}

/// This very program. Where /proc is not mounted: as it was named when it was started.
pub fn this_program() -> std::io::Result<PathBuf> {
    std::env::current_exe().or_else(|no_proc| {
        let name = OsStr::from_bytes(rustix::param::linux_execfn().to_bytes());
        Path::new(name).canonicalize().map_err(|_| no_proc)
    })
}
