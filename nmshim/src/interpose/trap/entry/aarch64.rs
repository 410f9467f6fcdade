//! AArch64, where a system call preserves every register but x0. No jump does: the kernel puts all of them back by the
//! frame that it has made for the signal, of which a copy is kept.

use crate::ground::{mask, raw};
use core::arch::global_asm;
use core::ptr::null;
use libc::{c_long, siginfo_t, ucontext_t};

/// What the kernel puts on the stack for a signal, without the record of the caller behind it.
#[repr(C)]
struct Frame {
    info: siginfo_t,
    context: ucontext_t,
}

/// A record in the room that the context has for more than the general registers, and the one that says that there are
/// others behind the frame.
#[repr(C)]
#[derive(Clone, Copy)]
struct Record {
    magic: u32,
    size: u32,
    /// of an `EXTRA`: where they are, and how many bytes
    at: u64,
    bytes: u32,
}

const EXTRA: u32 = 0x4558_5401;
/// Bytes for records.
const RECORDS: usize = 4096;

global_asm!(
    ".text",
    ".balign 16",
    ".hidden nmshim_trap_entry",
    ".globl nmshim_trap_entry",
    ".type nmshim_trap_entry, %function",
    "nmshim_trap_entry:",
    ".cfi_startproc",
    ".cfi_undefined x30",
    "mov x0, sp",
    "bl {served}",
    "mov x8, #139", // rt_sigreturn
    "svc #0",
    "brk #0",
    ".cfi_endproc",
    ".size nmshim_trap_entry, . - nmshim_trap_entry",
    served = sym served,
);

unsafe extern "C" {
    fn nmshim_trap_entry();
}

pub fn prepare() {}

/// The number and the arguments.
///
/// # Safety
/// The handler's context.
pub unsafe fn call(context: *mut ucontext_t) -> (c_long, [usize; 6]) {
    // SAFETY: by contract.
    let regs = unsafe { (*context).uc_mcontext.regs };
    let args = [0, 1, 2, 3, 4, 5].map(|i| regs[i] as usize);
    (regs[8] as c_long, args)
}

/// The program's stack pointer.
///
/// # Safety
/// The handler's context.
pub unsafe fn stack_pointer(context: *const ucontext_t) -> usize {
    // SAFETY: by contract.
    unsafe { (*context).uc_mcontext.sp as usize }
}

/// That is what the call gives.
///
/// # Safety
/// The handler's context.
pub unsafe fn answer(context: *mut ucontext_t, answer: isize) {
    // SAFETY: by contract.
    unsafe { (*context).uc_mcontext.regs[0] = answer as u64 };
}

/// Nothing: a filter traps only numbers that are known, and these can be served.
///
/// # Safety
/// None.
pub unsafe fn goes_on(_: *mut ucontext_t) -> bool {
    false
}

/// The record of others behind the frame.
///
/// # Safety
/// A context of the kernel's.
unsafe fn extra(context: *mut ucontext_t) -> Option<*mut Record> {
    // SAFETY: by contract: the room is the context's last field, and the kernel's records end with one without a size.
    unsafe {
        let first = context.cast::<u8>().add(size_of::<ucontext_t>() - RECORDS);
        let mut at = 0;
        while at + size_of::<Record>() <= RECORDS {
            let record = first.add(at).cast::<Record>();
            let Record { magic, size, .. } = record.read_unaligned();
            if magic == EXTRA {
                return Some(record);
            }
            if size == 0 {
                return None;
            }
            at += size as usize;
        }
        None
    }
}

/// The thread is to go on in `nmshim_trap_entry`, with a copy of the frame below `below`, and without its alternate
/// stack if it `leaves` that: the copy has it.
///
/// # Safety
/// The handler's context of a trapped call; below `below` there is room that nobody uses.
pub unsafe fn divert(context: *mut ucontext_t, below: usize, leaves: bool) {
    // SAFETY: the kernel's frame begins with what the handler was told of, and ends behind the context or what it says
    // is behind that; the copy is our own.
    unsafe {
        let from = context
            .byte_sub(core::mem::offset_of!(Frame, context))
            .cast::<u8>();
        let mut len = size_of::<Frame>();
        if let Some(extra) = extra(context) {
            let Record { at, bytes, .. } = extra.read_unaligned();
            len = len.max(at as usize + bytes as usize - from as usize);
        }
        let to = ((below - len) & !15) as *mut u8;
        core::ptr::copy_nonoverlapping(from, to, len);
        let copy = &raw mut (*to.cast::<Frame>()).context;
        if let Some(extra) = extra(copy) {
            let mut record = extra.read_unaligned();
            record.at = record.at.wrapping_sub(from as u64).wrapping_add(to as u64);
            extra.write_unaligned(record);
        }
        if leaves {
            // The kernel puts back the stack pointer first, so this is no stack in use.
            (*context).uc_stack.ss_flags = libc::SS_DISABLE;
        }
        (*context).uc_mcontext.sp = to as u64;
        (*context).uc_mcontext.pc = nmshim_trap_entry as *const () as u64;
    }
}

/// Called with the copy. The mask that it has may have been changed by the call.
unsafe extern "C-unwind" fn served(frame: *mut Frame) {
    // SAFETY: the frame that `divert` has made for this thread alone, and the program's own arguments.
    unsafe {
        let context = &raw mut (*frame).context;
        let (number, args) = call(context);
        let value = super::serve(number, args);
        answer(context, value);
        if number == libc::SYS_sigaltstack && args[0] != 0 && value == 0 {
            // The kernel puts back what the copy has.
            let alternate = &raw mut (*context).uc_stack;
            raw::call(number, [0, alternate as usize, 0, 0, 0, 0]);
        }
        mask::set_mask(null(), (&raw mut (*context).uc_sigmask).cast());
    }
}
