//! The handler of SIGSYS. It only decides: the work is done behind it (`entry`), where signals come as they do in a
//! system call, and on a stack that is large enough.

use super::{entry, filter, stack};
use crate::ground::{mask, next, trapped};
use crate::interpose::{handlers, syscall};
use core::mem::zeroed;
use core::ptr::null_mut;
use libc::{c_int, siginfo_t, ucontext_t};

/// Why SIGSYS came, as `si_code` tells.
const SYS_SECCOMP: c_int = 1;
const SYS_USER_DISPATCH: c_int = 2;

/// `siginfo_t` of a SIGSYS of the kernel's.
#[repr(C)]
struct About {
    signal: c_int,
    /// what a seccomp filter gave
    data: c_int,
    code: c_int,
    address: usize,
    number: c_int,
    architecture: u32,
}

/// Installs the handler, and turns the trap on for the rest of the library.
pub fn install() {
    // SAFETY: zeroes are an action; ours is a handler of this type, and its mask begins with the kernel's 8 bytes.
    unsafe {
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = (zeroed(), zeroed());
        new.sa_sigaction = on_sigsys as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        (&raw mut new.sa_mask).cast::<u64>().write(mask::ALL);
        next::sigaction(libc::SIGSYS, &raw const new, &raw mut old);
        entry::prepare();
        trapped::turn_on();
        handlers::sigaction(libc::SIGSYS, &raw const old, null_mut());
        handlers::unblock_in_handlers();
        handlers::take_over();
    }
}

unsafe extern "C-unwind" fn on_sigsys(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
) {
    // SAFETY: the kernel's arguments.
    unsafe {
        let about = &*info.cast::<About>();
        let is_ours = match about.code {
            SYS_USER_DISPATCH => true,
            SYS_SECCOMP => about.data == c_int::from(filter::MARK),
            _ => false,
        };
        if !is_ours {
            // As it would run without us.
            mask::set_mask((&raw const (*context).uc_sigmask).cast(), null_mut());
            return handlers::trampoline(signal, info, context);
        }
        let (nr, args) = entry::call(context);
        if about.architecture != filter::ARCHITECTURE {
            // int 0x80 of a 64-bit program
            return entry::answer(context, -libc::ENOSYS as isize);
        }
        let is_refused = nr == libc::SYS_sigaltstack
            && room(context).is_some()
            && !stack::is_alternate(&(*context).uc_stack);
        if is_refused || syscall::is_ordinary(nr, args) && !entry::is_fork(nr, args) {
            if entry::goes_on(context) {
                return;
            }
            if entry::needs_own_stack(nr) {
                return entry::answer(context, -libc::EAGAIN as isize);
            }
        }
        match place(context) {
            Some((below, leaves)) => entry::divert(context, below, leaves),
            None => entry::answer(context, -libc::ENOMEM as isize),
        }
    }
}

/// Bytes that are left on the alternate stack; `None`: the call does not come from there.
///
/// # Safety
/// The handler's context.
unsafe fn room(context: *const ucontext_t) -> Option<usize> {
    // SAFETY: by contract.
    let (sp, alternate) = unsafe { (entry::stack_pointer(context), (*context).uc_stack) };
    let begin = alternate.ss_sp as usize;
    let is_alternate = alternate.ss_flags & libc::SS_DISABLE == 0
        && (begin..begin.saturating_add(alternate.ss_size)).contains(&sp);
    is_alternate.then(|| sp - begin)
}

/// Below which address the call may be served, and whether it leaves an alternate stack, where the next handler would
/// begin at the top again: that is taken from the thread meanwhile.
///
/// | the call comes from | is served |
/// |---|---|
/// | a handler on an alternate stack with room | below it |
/// | one without | on the other part of the thread's stack; the handler may have interrupted a call on the first |
/// | a handler on the thread's stack | below it |
/// | elsewhere | on the thread's stack, of which nothing is in use |
///
/// # Safety
/// The handler's context.
unsafe fn place(context: *const ucontext_t) -> Option<(usize, bool)> {
    /// Bytes that are enough for what runtimes call in handlers. More would take it from those of Go, which have 32 KB
    /// and do without handlers on other stacks.
    const ROOM: usize = 16 << 10;
    /// What a program may keep below its stack pointer.
    const RED_ZONE: usize = 128;
    // SAFETY: by contract.
    let (sp, room) = unsafe { (entry::stack_pointer(context), room(context)) };
    if room.map_or_else(|| stack::holds(sp), |room| room >= ROOM) {
        return Some((sp - RED_ZONE, false));
    }
    let end = stack::of_this_thread()?;
    Some(match room.is_some() {
        true => (stack::aside(end), true),
        false => (end, false),
    })
}
