//! x86-64.
//!
//! A call that is the kernel's alone is made once more from a `syscall` of ours, with all registers as they are, and a
//! jump behind it leads back. Each place in the program that calls has a pair of its own, because a jump that leaves
//! all registers alone has its target in memory, and a call may return twice: `clone` in the child, and in its parent.

use crate::ground::{mask, raw};
use core::arch::global_asm;
use core::arch::x86_64::__cpuid_count;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};
use libc::{c_long, stack_t, ucontext_t};

/// What is put back when the call is served. The vector registers follow it.
#[repr(C, align(64))]
struct Frame {
    sp: usize,
    pc: usize,
    flags: usize,
    answer: isize,
    number: c_long,
    args: [usize; 6],
    /// what the thread gets back, and its mask
    alternate: Option<(stack_t, u64)>,
}

const _: () = assert!(offset_of!(Frame, args) == 40 && size_of::<Frame>() == 128);

/// How the vector registers are kept: 0 fxsave, 1 xsave, 2 xsavec.
static KEEPING: AtomicU8 = AtomicU8::new(0);
/// Bytes that they take.
static VECTORS: AtomicUsize = AtomicUsize::new(512);
/// Parts of a processor's state that our code may change: x87, SSE, AVX, and AVX-512's three. Tiles, for which there
/// would be 8 KB more, are not among them.
const STATE: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7;

/// Places of the program's that call, each with a `syscall` of ours.
const PLACES: usize = 2048;
/// The address behind the instruction of each; 0: free.
static TARGETS: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];
/// Bytes of a `syscall` with its jump.
const PAIR: usize = 8;

// In here the stack is the frame, and below it room. The first lines of call frame information say where the program's
// stack pointer and address are, for debuggers and unwinding.
global_asm!(
    ".text",
    ".balign 16",
    ".hidden nmshim_trap_entry",
    ".globl nmshim_trap_entry",
    ".type nmshim_trap_entry, @function",
    "nmshim_trap_entry:",
    ".cfi_startproc",
    ".cfi_signal_frame",
    ".cfi_escape 0x0f, 3, 0x77, 0, 6",
    ".cfi_escape 0x10, 16, 2, 0x77, 8",
    "cld",
    "mov eax, {state}",
    "xor edx, edx",
    "cmp byte ptr [rip + {keeping}], 1",
    "ja 2f",
    "je 1f",
    "fxsave64 [rsp + 128]",
    "jmp 3f",
    "1: xsave64 [rsp + 128]",
    "jmp 3f",
    "2: xsavec64 [rsp + 128]",
    "3: mov rdi, rsp",
    "call {served}",
    "mov eax, {state}",
    "xor edx, edx",
    "cmp byte ptr [rip + {keeping}], 0",
    "je 4f",
    "xrstor64 [rsp + 128]",
    "jmp 5f",
    "4: fxrstor64 [rsp + 128]",
    "5: push qword ptr [rsp + 16]",
    "popfq",
    "mov rax, [rsp + 24]",
    "mov rdi, [rsp + 40]",
    "mov rsi, [rsp + 48]",
    "mov rdx, [rsp + 56]",
    "mov r10, [rsp + 64]",
    "mov r8, [rsp + 72]",
    "mov r9, [rsp + 80]",
    // as a system call leaves these two
    "mov r11, [rsp + 16]",
    "mov rcx, [rsp + 8]",
    "mov rsp, [rsp]",
    "jmp rcx",
    ".cfi_endproc",
    ".size nmshim_trap_entry, . - nmshim_trap_entry",
    ".balign 8",
    ".hidden nmshim_trap_pairs",
    ".globl nmshim_trap_pairs",
    ".type nmshim_trap_pairs, @function",
    "nmshim_trap_pairs:",
    ".set nmshim_trap_pair, 0",
    ".rept {places}",
    "syscall",
    "jmp qword ptr [rip + {targets} + 8 * nmshim_trap_pair]",
    ".set nmshim_trap_pair, nmshim_trap_pair + 1",
    ".endr",
    ".size nmshim_trap_pairs, . - nmshim_trap_pairs",
    keeping = sym KEEPING,
    served = sym served,
    targets = sym TARGETS,
    places = const PLACES,
    state = const STATE,
);

unsafe extern "C" {
    fn nmshim_trap_entry();
    fn nmshim_trap_pairs();
}

/// Before the first trap: how does this processor keep vector registers?
#[allow(unused_unsafe, reason = "cpuid is unsafe up to Rust 1.91")]
pub fn prepare() {
    // SAFETY: every x86-64 has it.
    let cpuid = |leaf, part| unsafe { __cpuid_count(leaf, part) };
    // the system has turned xsave on
    if cpuid(1, 0).ecx & 1 << 27 != 0 {
        // The old area with its header, then each part at its place; the compact form is no longer.
        let parts = (2..32).filter(|part| STATE & cpuid(0xd, 0).eax & 1 << part != 0);
        let ends = parts.map(|part| cpuid(0xd, part).ebx + cpuid(0xd, part).eax);
        VECTORS.store(ends.fold(512 + 64, u32::max) as usize, Relaxed);
        let has_xsavec = cpuid(0xd, 1).eax & 1 << 1 != 0;
        KEEPING.store(if has_xsavec { 2 } else { 1 }, Relaxed);
    }
}

fn register(context: *mut ucontext_t, which: i32) -> *mut i64 {
    // SAFETY: a place in the context, which is not read.
    unsafe { &raw mut (*context).uc_mcontext.gregs[which as usize] }
}

/// The kernel's part of the mask that the thread goes back to.
fn mask_of(context: *mut ucontext_t) -> *mut u64 {
    // SAFETY: a place in the context, which is not read.
    unsafe { (&raw mut (*context).uc_sigmask).cast() }
}

/// The number and the arguments.
///
/// # Safety
/// The handler's context.
pub unsafe fn call(context: *mut ucontext_t) -> (c_long, [usize; 6]) {
    // SAFETY: by contract.
    let read = |which| unsafe { register(context, which).read() };
    let args = [
        libc::REG_RDI,
        libc::REG_RSI,
        libc::REG_RDX,
        libc::REG_R10,
        libc::REG_R8,
        libc::REG_R9,
    ];
    (read(libc::REG_RAX), args.map(|which| read(which) as usize))
}

/// The program's stack pointer.
///
/// # Safety
/// The handler's context.
pub unsafe fn stack_pointer(context: *const ucontext_t) -> usize {
    // SAFETY: by contract.
    unsafe { register(context.cast_mut(), libc::REG_RSP).read() as usize }
}

/// That is what the call gives.
///
/// # Safety
/// The handler's context.
pub unsafe fn answer(context: *mut ucontext_t, answer: isize) {
    // SAFETY: by contract.
    unsafe { register(context, libc::REG_RAX).write(answer as i64) };
}

/// The thread is to make the call from one of our instructions. False: there is none left for its place.
///
/// # Safety
/// The handler's context of a trapped call.
pub unsafe fn goes_on(context: *mut ucontext_t) -> bool {
    let pc = register(context, libc::REG_RIP);
    // SAFETY: by contract.
    let (target, nr) = unsafe { (pc.read() as usize, register(context, libc::REG_RAX).read()) };
    let pair = match pair(target) {
        Some(pair) => pair,
        // It does not come back.
        None if nr == libc::SYS_rt_sigreturn => 0,
        None => return false,
    };
    let at = nmshim_trap_pairs as *const () as usize + pair * PAIR;
    // SAFETY: by contract; an instruction of ours, behind which is a jump to where the program's stands.
    unsafe { pc.write(at as i64) };
    true
}

/// The pair that leads back to `target`.
fn pair(target: usize) -> Option<usize> {
    let first = (target ^ target >> 11) % PLACES;
    (0..64).map(|i| (first + i) % PLACES).find(|&i| {
        let taken = TARGETS[i].compare_exchange(0, target, Relaxed, Relaxed);
        taken.is_ok() || taken == Err(target)
    })
}

/// The thread is to go on in `nmshim_trap_entry`, with a frame below `below`, and without its alternate stack if it
/// `leaves` that.
///
/// # Safety
/// The handler's context of a trapped call; below `below` there is room that nobody uses.
pub unsafe fn divert(context: *mut ucontext_t, below: usize, leaves: bool) {
    let vectors = VECTORS.load(Relaxed);
    let frame = ((below - size_of::<Frame>() - vectors) & !63) as *mut Frame;
    // SAFETY: by contract; the header of the area for vector registers is to be zero.
    unsafe {
        let read = |which| register(context, which).read() as usize;
        let (number, args) = call(context);
        frame.write(Frame {
            sp: read(libc::REG_RSP),
            pc: read(libc::REG_RIP),
            flags: read(libc::REG_EFL),
            answer: 0,
            number,
            args,
            alternate: leaves.then(|| ((*context).uc_stack, mask_of(context).read())),
        });
        if leaves {
            // Until it is taken away: the kernel would not take it in this handler, which may run there.
            mask_of(context).write(mask::ALL);
        }
        if vectors > 512 {
            frame
                .cast::<u8>()
                .add(size_of::<Frame>() + 512)
                .write_bytes(0, 64);
        }
        register(context, libc::REG_RSP).write(frame as i64);
        register(context, libc::REG_RIP).write(nmshim_trap_entry as *const () as i64);
    }
}

/// Called with the frame.
unsafe extern "C-unwind" fn served(frame: *mut Frame) {
    // SAFETY: the frame that `divert` has made for this thread alone, and the program's own arguments.
    unsafe {
        let Frame {
            number,
            args,
            alternate,
            ..
        } = *frame;
        let set = |stack: &stack_t| {
            let args = [core::ptr::from_ref(stack) as usize, 0, 0, 0, 0, 0];
            raw::call(libc::SYS_sigaltstack, args);
        };
        if let Some((alternate, mask)) = &alternate {
            set(&stack_t {
                ss_flags: libc::SS_DISABLE,
                ..*alternate
            });
            mask::set_mask(mask, null_mut());
        }
        (*frame).answer = super::serve(number, args);
        // A handler that comes in the few instructions until this thread is back there begins at its top.
        if let Some((alternate, _)) = &alternate {
            set(alternate);
        }
    }
}
