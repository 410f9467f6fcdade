//! Calls past the C library, calls that are handed over and calls that are trapped: what `reach` needs unsafe code for.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::io::Errno;
use uvale_system::raw::{call, check};

/// A system call without arguments that nothing else here makes.
const NOBODYS: libc::c_long = libc::SYS_getppid;

/// What it is answered with: the number of no process.
pub const ANSWER: i64 = 0x7eed_0001;

/// Makes that call.
#[inline(always)]
pub fn nobodys_call() -> Result<(), String> {
    // SAFETY: it takes nothing and changes nothing.
    match unsafe { call(NOBODYS, [0; 6]) } as i64 {
        ANSWER => Ok(()),
        other => Err(format!("a call was answered with {other}")),
    }
}

/// `NIOCTXSYNC` or `NIOCRXSYNC` by a system call of this program's own.
#[inline(always)]
pub fn sync(fd: &impl AsRawFd, which: u32) -> Result<(), Errno> {
    let args = [fd.as_raw_fd() as usize, which as usize, 0, 0, 0, 0];
    // SAFETY: the requests take no argument.
    check(unsafe { call(libc::SYS_ioctl, args) }).map(drop)
}

/// From here on that call of this thread waits until somebody answers it who has what this gives.
pub fn hand_over() -> Result<OwnedFd, Errno> {
    const SET_MODE_FILTER: usize = 1;
    const NEW_LISTENER: usize = 1 << 3;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, k: u32, jf| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let mut filter = [
        // the number is what the kernel's data begin with
        instruction(LOAD, 0, 0),
        instruction(EQUALS, NOBODYS as u32, 1),
        instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    let place = &raw const program as usize;
    let args = [SET_MODE_FILTER, NEW_LISTENER, place, 0, 0, 0];
    // SAFETY: the kernel reads the program and its instructions, which are alive.
    let listener = check(unsafe { call(libc::SYS_seccomp, args) })?;
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// What the kernel reads before each call: is it trapped?
static DISPATCH: AtomicU8 = AtomicU8::new(ALLOW);
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;

/// From here on the kernel traps calls of this thread where [`trapped_call`] makes them.
pub fn trap_calls() -> Result<(), Errno> {
    const SET_DISPATCH: usize = 59;
    const ON: usize = 1;
    let handler = SigHandler::SigAction(answered);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler changes a static, and the answer of the call that it interrupted.
    let installed = unsafe { sigaction(Signal::SIGSYS, &action) };
    installed.map_err(|e| Errno::from_raw_os_error(e as i32))?;
    let args = [SET_DISPATCH, ON, 0, 0, DISPATCH.as_ptr() as usize, 0];
    // SAFETY: the kernel reads a byte that lives as long as the process.
    check(unsafe { call(libc::SYS_prctl, args) }).map(drop)
}

/// Makes that call, which is trapped.
#[inline(always)]
pub fn trapped_call() -> Result<(), String> {
    DISPATCH.store(BLOCK, Relaxed);
    nobodys_call()
}

/// The kernel is to trap no call of this handler's, its return among them.
extern "C" fn answered(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    DISPATCH.store(ALLOW, Relaxed);
    // SAFETY: the kernel's context of the call, which is this handler's alone until it returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    #[cfg(target_arch = "x86_64")]
    {
        context.uc_mcontext.gregs[libc::REG_RAX as usize] = ANSWER;
    }
    #[cfg(target_arch = "aarch64")]
    {
        context.uc_mcontext.regs[0] = ANSWER as u64;
    }
}

/// What `command` starts stays on that processor, all of its threads and whatever they start.
pub fn start_on(command: &mut Command, cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let stay = move || Ok(rustix::thread::sched_setaffinity(None, &set)?);
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(stay) };
}
