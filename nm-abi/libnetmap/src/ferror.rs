//! `nmctx_ferror(ctx, format, ...)`. Rust defines no variadic functions, so a few instructions per
//! architecture store the argument registers the way `va_start` does, and hand the `va_list`
//! to [`send`].

use core::ffi::{c_char, c_int, c_void};

use crate::abi::Context;

/// `va_list` as a C function receives it: on the architectures here, the address of the real
/// thing.
type VaList = *mut c_void;

/// Most bytes of a sentence; longer ones are cut.
const LONGEST: usize = 8192;

unsafe extern "C" {
    fn vsnprintf(text: *mut c_char, size: usize, format: *const c_char, args: VaList) -> c_int;
}

/// Formats the sentence and sends it.
///
/// # Safety
/// `format` is a format string and `args` what it asks for.
unsafe extern "C" fn send(ctx: Context, format: *const c_char, args: VaList) {
    if !ctx.is_verbose() {
        return;
    }
    let mut text = vec![0u8; LONGEST];
    // SAFETY: the buffer has the length given and is ours; the arguments are what
    // the format asks for, as the caller says.
    let written = unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, args) };
    if written < 0 {
        return ctx.say(format_args!("an error message could not be formatted"));
    }
    text.truncate(nm_abi::name::until_nul(&text).len());
    ctx.say_bytes(text);
}

/// Formats a sentence as `printf` does, and sends it to the context's `error`.
///
/// # Safety
/// As `printf`: the arguments are what the format asks for.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmctx_ferror(ctx: Context, format: *const c_char) {
    // Frame: va_list at 0 (24 bytes), register save area at 32 (6 * 8 + 8 * 16 bytes), 8 bytes that
    // make it a multiple of 16 with the return address. The two named arguments use 16 bytes of
    // the save area.
    core::arch::naked_asm!(
        ".cfi_startproc",
        "sub rsp, 216",
        ".cfi_adjust_cfa_offset 216",
        "mov [rsp + 48], rdx",
        "mov [rsp + 56], rcx",
        "mov [rsp + 64], r8",
        "mov [rsp + 72], r9",
        "test al, al",
        "je 2f",
        "movaps [rsp + 80], xmm0",
        "movaps [rsp + 96], xmm1",
        "movaps [rsp + 112], xmm2",
        "movaps [rsp + 128], xmm3",
        "movaps [rsp + 144], xmm4",
        "movaps [rsp + 160], xmm5",
        "movaps [rsp + 176], xmm6",
        "movaps [rsp + 192], xmm7",
        "2:",
        "mov dword ptr [rsp], 16",
        "mov dword ptr [rsp + 4], 48",
        "lea rax, [rsp + 224]",
        "mov [rsp + 8], rax",
        "lea rax, [rsp + 32]",
        "mov [rsp + 16], rax",
        "mov rdx, rsp",
        "call {send}",
        "add rsp, 216",
        ".cfi_adjust_cfa_offset -216",
        "ret",
        ".cfi_endproc",
        send = sym send,
    )
}

/// Formats a sentence as `printf` does, and sends it to the context's `error`.
///
/// # Safety
/// As `printf`: the arguments are what the format asks for.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmctx_ferror(ctx: Context, format: *const c_char) {
    // Frame of 256 bytes: x29 and x30 at 0, va_list at 16 (__stack, __gr_top, __vr_top, __gr_offs,
    // __vr_offs), x2 to x7 at 80, q0 to q7 at 128.
    core::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-256]!",
        ".cfi_adjust_cfa_offset 256",
        ".cfi_rel_offset x29, 0",
        ".cfi_rel_offset x30, 8",
        "mov x29, sp",
        "stp x2, x3, [sp, #80]",
        "stp x4, x5, [sp, #96]",
        "stp x6, x7, [sp, #112]",
        "stp q0, q1, [sp, #128]",
        "stp q2, q3, [sp, #160]",
        "stp q4, q5, [sp, #192]",
        "stp q6, q7, [sp, #224]",
        "add x9, sp, #256",
        "add x10, sp, #128",
        "stp x9, x10, [sp, #16]",
        "str x9, [sp, #32]",
        "mov w10, #-48",
        "mov w11, #-128",
        "stp w10, w11, [sp, #40]",
        "add x2, sp, #16",
        "bl {send}",
        "ldp x29, x30, [sp], #256",
        ".cfi_adjust_cfa_offset -256",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "ret",
        ".cfi_endproc",
        send = sym send,
    )
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("nmctx_ferror is written for x86_64 and aarch64");
