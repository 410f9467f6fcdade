//! The raw system call: past libc, and past whatever a program under the shim exports in libc's place.

use core::ffi::c_long;

use rustix::io::Errno;

/// One system call, kernel convention: a value, or `-errno`.
///
/// # Safety
/// As the system call.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn call(nr: c_long, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel's calling convention; rcx and r11 are what it clobbers; the caller vouches
    // for the arguments.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") nr as isize => ret, in("rdi") a[0], in("rsi") a[1],
             in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _,
             options(nostack));
    }
    ret
}

/// One system call, kernel convention: a value, or `-errno`.
///
/// # Safety
/// As the system call.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn call(nr: c_long, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel's calling convention; the caller vouches for the arguments.
    unsafe {
        core::arch::asm!("svc 0", in("x8") nr, inlateout("x0") a[0] as isize => ret, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    ret
}

/// One system call, kernel convention: a value, or `-errno`. Through libc on processors that the shim does not serve:
/// there is no program whose function it could be.
///
/// # Safety
/// As the system call.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn call(nr: c_long, a: [usize; 6]) -> isize {
    // SAFETY: the caller vouches for the arguments.
    match unsafe { libc::syscall(nr as _, a[0], a[1], a[2], a[3], a[4], a[5]) } {
        -1 => -(std::io::Error::last_os_error().raw_os_error().unwrap_or(0) as isize),
        value => value as isize,
    }
}

/// The kernel's answer.
pub fn check(answer: isize) -> Result<isize, Errno> {
    match answer {
        -4095..0 => Err(Errno::from_raw_os_error(-answer as i32)),
        value => Ok(value),
    }
}

/// A number that no two living threads of this process share.
#[inline]
pub fn thread_pointer() -> usize {
    let p: usize;
    // SAFETY: reads a register (x86-64: the TCB's first word, which holds its own address); no memory is written.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("mov {}, fs:0", out(reg) p, options(nostack, preserves_flags, readonly));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) p, options(nostack, preserves_flags, nomem));
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            p = libc::pthread_self() as usize;
        }
    }
    p
}
