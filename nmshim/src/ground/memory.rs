//! The program's memory, by pointers that may be bad: `EFAULT` where the kernel says so, and no system call.
//!
//! One routine copies, and two move what poll's usual array has without a loop. A fault in them is found by `handlers`,
//! which goes on behind them. Without that (a program that has
//! not used the device, or one that blocks SIGSEGV) a bad pointer faults, so only calls on descriptors of ours come
//! here.

use crate::device::{Errno, Result};
use core::arch::global_asm;
use core::mem::MaybeUninit;
use libc::{c_int, ucontext_t};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".text",
    ".hidden nmshim_copy",
    ".globl nmshim_copy",
    ".type nmshim_copy, @function",
    "nmshim_copy:", // rdi: to, rsi: from, rdx: bytes
    ".cfi_startproc",
    "mov rcx, rdx",
    "shr rcx, 3",
    "jz 3f",
    "2: mov rax, qword ptr [rsi]",
    "mov qword ptr [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "dec rcx",
    "jnz 2b",
    "3: and edx, 7",
    "jz 5f",
    "4: mov al, byte ptr [rsi]",
    "mov byte ptr [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec edx",
    "jnz 4b",
    "5: xor eax, eax",
    "ret",
    ".hidden nmshim_get8",
    ".globl nmshim_get8",
    "nmshim_get8:", // rdi: from
    "mov rdx, qword ptr [rdi]",
    "xor eax, eax",
    "ret",
    ".hidden nmshim_put2",
    ".globl nmshim_put2",
    "nmshim_put2:", // rdi: to, si: value
    "mov word ptr [rdi], si",
    "xor eax, eax",
    "ret",
    ".hidden nmshim_copy_faulted",
    ".globl nmshim_copy_faulted",
    "nmshim_copy_faulted:",
    "mov eax, 1",
    "ret",
    ".cfi_endproc",
    ".size nmshim_copy, . - nmshim_copy",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".text",
    ".hidden nmshim_copy",
    ".globl nmshim_copy",
    ".type nmshim_copy, %function",
    "nmshim_copy:", // x0: to, x1: from, x2: bytes
    ".cfi_startproc",
    "2: cmp x2, #8",
    "b.lo 3f",
    "ldr x3, [x1], #8",
    "str x3, [x0], #8",
    "sub x2, x2, #8",
    "b 2b",
    "3: cbz x2, 4f",
    "ldrb w3, [x1], #1",
    "strb w3, [x0], #1",
    "sub x2, x2, #1",
    "b 3b",
    "4: mov w0, #0",
    "ret",
    ".hidden nmshim_get8",
    ".globl nmshim_get8",
    "nmshim_get8:", // x0: from
    "ldr x1, [x0]",
    "mov x0, #0",
    "ret",
    ".hidden nmshim_put2",
    ".globl nmshim_put2",
    "nmshim_put2:", // x0: to, w1: value
    "strh w1, [x0]",
    "mov x0, #0",
    "ret",
    ".hidden nmshim_copy_faulted",
    ".globl nmshim_copy_faulted",
    "nmshim_copy_faulted:",
    "mov x0, #1",
    "ret",
    ".cfi_endproc",
    ".size nmshim_copy, . - nmshim_copy",
);

unsafe extern "C" {
    /// Copies forward; 0, or 1 if an address was bad.
    fn nmshim_copy(to: *mut u8, from: *const u8, bytes: usize) -> c_int;
    /// Eight bytes.
    fn nmshim_get8(from: *const u8) -> Got;
    /// Puts two bytes; as `nmshim_copy`.
    fn nmshim_put2(to: *mut u8, value: u16) -> c_int;
    /// Where each of them goes on after a fault: no stack is in use.
    fn nmshim_copy_faulted();
}

/// What `nmshim_get8` gives, in two registers.
#[repr(C)]
struct Got {
    /// 1: the address was bad
    faulted: u64,
    value: u64,
}

/// Was it the copying that faulted? Then it goes on with its error when the handler returns.
///
/// # Safety
/// `context` is what the kernel gave the handler.
pub unsafe fn goes_on(context: *mut ucontext_t) -> bool {
    // SAFETY: by contract.
    let at = unsafe {
        #[cfg(target_arch = "x86_64")]
        let at = (&raw mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize]).cast::<u64>();
        #[cfg(target_arch = "aarch64")]
        let at = &raw mut (*context).uc_mcontext.pc;
        at
    };
    let begin = nmshim_copy as *const () as u64;
    let end = nmshim_copy_faulted as *const () as u64;
    // SAFETY: as above.
    unsafe {
        let faulted = (begin..end).contains(&*at);
        if faulted {
            *at = end;
        }
        faulted
    }
}

fn copy(to: *mut u8, from: *const u8, bytes: usize) -> Result<()> {
    // SAFETY: one side is ours, the other the program's, where a fault is an answer.
    match unsafe { nmshim_copy(to, from, bytes) } {
        0 => Ok(()),
        _ => Err(Errno(libc::EFAULT)),
    }
}

/// The eight bytes that the program has at `from`, aligned or not.
///
/// # Safety
/// As `read`.
#[inline(always)]
pub unsafe fn read_word(from: *const u64) -> Result<u64> {
    // SAFETY: reads eight bytes of the program's, where a fault is an answer.
    match unsafe { nmshim_get8(from.cast()) } {
        Got { faulted: 0, value } => Ok(value),
        _ => Err(Errno(libc::EFAULT)),
    }
}

/// Puts a short where the program wants it, aligned or not.
///
/// # Safety
/// As `write`.
#[inline(always)]
pub unsafe fn write_short(to: *mut i16, value: i16) -> Result<()> {
    // SAFETY: writes two bytes of the program's, where a fault is an answer.
    match unsafe { nmshim_put2(to.cast(), value as u16) } {
        0 => Ok(()),
        _ => Err(Errno(libc::EFAULT)),
    }
}

/// What the program has at `from`.
///
/// # Safety
/// Any bytes are a valid `T`.
#[inline]
pub unsafe fn read<T: Copy>(from: *const T) -> Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    copy(value.as_mut_ptr().cast(), from.cast(), size_of::<T>())?;
    // SAFETY: written in full, and any bytes will do.
    Ok(unsafe { value.assume_init() })
}

/// The same where null means that there is nothing.
///
/// # Safety
/// As `read`.
#[inline]
pub unsafe fn read_if<T: Copy>(from: *const T) -> Result<Option<T>> {
    // SAFETY: by contract.
    (!from.is_null()).then(|| unsafe { read(from) }).transpose()
}

/// Fills `to` with what the program has at `from`.
///
/// # Safety
/// As `read`.
#[inline]
pub unsafe fn read_into<T: Copy>(to: &mut [T], from: *const T) -> Result<()> {
    copy(to.as_mut_ptr().cast(), from.cast(), size_of_val(to))
}

/// Puts `value` where the program wants it, which need not be aligned.
///
/// # Safety
/// `to` is the program's own to give.
#[inline]
pub unsafe fn write<T: Copy>(to: *mut T, value: T) -> Result<()> {
    copy(to.cast(), (&raw const value).cast(), size_of::<T>())
}

/// Puts `from` where the program wants it.
///
/// # Safety
/// As `write`.
pub unsafe fn write_from<T: Copy>(to: *mut T, from: &[T]) -> Result<()> {
    copy(to.cast(), from.as_ptr().cast(), size_of_val(from))
}
