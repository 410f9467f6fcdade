//! The end of a process whose guest's RAM has been cut short: the file is not sealed, and a page is gone that is mapped
//! here. Nothing can be done about it, but it can be said, and the sockets removed.
#![allow(unsafe_code)]

use core::ffi::c_int;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Our sockets, which go with us.
static SOCKETS: OnceLock<Vec<CString>> = OnceLock::new();

const WHY: &[u8] =
    b"uvale vm: the guest's RAM has been truncated by a process that has its file, which QEMU does not do with \
    memory-backend-memfd: this guest's port is closed\n";

/// From now on. `sockets` are removed then. The first call counts.
pub fn take(sockets: &[&Path]) -> Result<(), String> {
    let name = |path: &&Path| CString::new(path.as_os_str().as_bytes()).ok();
    let _ = SOCKETS.set(sockets.iter().filter_map(name).collect());
    let action = SigAction::new(
        SigHandler::Handler(give_up),
        SaFlags::empty(),
        SigSet::all(),
    );
    // SAFETY: the handler makes system calls that are async-signal-safe, and does not return.
    unsafe { sigaction(Signal::SIGBUS, &action) }
        .map(drop)
        .map_err(|e| format!("cannot handle SIGBUS: {e}"))
}

extern "C" fn give_up(_: c_int) {
    // What the lock holds was set before the handler was, and is never changed.
    let sockets = SOCKETS.get().into_iter().flatten();
    // SAFETY: async-signal-safe calls, with strings that end in zero and live for ever, and with a static.
    unsafe {
        for socket in sockets {
            libc::unlink(socket.as_ptr());
        }
        libc::write(2, WHY.as_ptr().cast(), WHY.len());
        libc::_exit(1)
    }
}
