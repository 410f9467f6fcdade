//! The exported functions: what the program calls in the place of the C library's.
//!
//! They are `C-unwind` because glibc's thread cancellation unwinds through blocking calls; panics end at
//! `guarded`.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

use super::interfaces::lists;
use super::{
    arrivals, attributes, epoll, exec, fds, file, handlers, listing, locked, mapped, masks, open,
    poll, rings, select, stat, syscall, trap,
};
use crate::ground::section;
use crate::ground::symbols::symbols;
use crate::ground::types::{
    Compare, Filter, Glob, GlobError, IfAddrs, List, NameIndex, Start, StatBuf, StatxBuf, Strings,
};
use libc::{
    DIR, FILE, c_char, c_int, c_long, c_uint, c_ulong, c_void, dev_t, dirent64, epoll_event,
    fd_set, gid_t, iovec, mmsghdr, mode_t, msghdr, nfds_t, off_t, pid_t, pollfd,
    posix_spawn_file_actions_t, posix_spawnattr_t, pthread_attr_t, pthread_t, sighandler_t,
    sigset_t, size_t, ssize_t, stack_t, timespec, timeval, uid_t, utimbuf,
};

macro_rules! export {
    (
        numbered { $( fn $num:ident($($narg:ident: $nty:ty),*) -> $nret:ty = $nours:path, $number:ident; )* }
        next { $( fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $ours:path, otherwise $raw:expr; )* }
        late { $( fn $late:ident($($larg:ident: $lty:ty),*) $(-> $lret:ty)? = $lours:path; )* }
        same { $( fn $same:ident($($sarg:ident: $sty:ty),*) $(-> $sret:ty)? = $sours:path; )* }
    ) => {
        export!(each $( $num($($narg: $nty),*) (-> $nret) = $nours; )*);
        export!(each $( $name($($arg: $ty),*) (-> $ret) = $ours; )*);
        export!(each $( $late($($larg: $lty),*) ($(-> $lret)?) = $lours; )*);
        export!(each $( $same($($sarg: $sty),*) ($(-> $sret)?) = $sours; )*);
    };
    (each $( $name:ident($($arg:ident: $ty:ty),*) ($(-> $ret:ty)?) = $ours:path; )*) => { $(
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the program's own arguments, as the C function's contract asks for.
            unsafe { $ours($($arg),*) }
        }
    )* };
}

symbols!(export);
