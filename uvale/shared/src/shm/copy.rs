//! The one payload copy.
//!
//! Packet bytes are copied while the program that owns the source buffer, or a hostile peer that
//! shares the destination region, may write them. Such a race can only change which bytes
//! arrive: nothing here decides by them. What is decided above (where a packet goes, how its virtio-net
//! header is converted) is decided by a private copy, read once.
//!
//! To Rust a race of plain loads and stores is undefined whatever comes of it, and its atomics are too
//! narrow for a copy that is to be fast. So bytes that others may write are moved by instructions the
//! compiler does not look into, and by atomics where a single byte is left.

#[cfg(target_arch = "x86_64")]
use core::sync::atomic::AtomicBool;
use core::sync::atomic::{AtomicU8, Ordering};

use super::Mapping;
use crate::atomics::{reads, writes};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a wide register.
const LANE: usize = 16;
/// Bytes of any other.
const WORD: usize = 8;
/// From so many lines on they are moved by registers that are wider still, if the processor has them.
#[cfg(target_arch = "x86_64")]
const MANY: usize = 8;
/// Has it? Whoever has mapped something knows: a loop that asked the standard library would keep its registers from a
/// call, for short packets, too.
#[cfg(target_arch = "x86_64")]
static HAS_AVX: AtomicBool = AtomicBool::new(false);

/// Looks what the processor has.
pub(super) fn look_at_processor() {
    #[cfg(target_arch = "x86_64")]
    HAS_AVX.store(
        std::arch::is_x86_feature_detected!("avx"),
        Ordering::Relaxed,
    );
}

/// Copies `len` bytes, rounded up to whole lines of 64 bytes as netmap does, from byte `src_ofs`
/// of `src` to byte `dst_ofs` of `dst`.
///
/// Returns false, having done nothing, if the rounded range leaves either mapping or an offset is
/// not a multiple of 8.
#[inline(always)]
#[must_use]
pub fn copy_packet(
    src: &Mapping,
    src_ofs: usize,
    dst: &Mapping,
    dst_ofs: usize,
    len: usize,
) -> bool {
    let lines = len.div_ceil(LINE);
    let bytes = lines * LINE;
    let fits = |m: &Mapping, ofs: usize| ofs <= m.len() && bytes <= m.len() - ofs;
    let are_aligned = (src_ofs | dst_ofs).is_multiple_of(8);
    if !are_aligned || !fits(src, src_ofs) || !fits(dst, dst_ofs) {
        return false;
    }
    let (from, to) = (src.ptr_at(src_ofs), dst.ptr_at(dst_ofs));
    reads(from, bytes);
    writes(to, bytes);
    // SAFETY: both ranges of `bytes` bytes lie inside their mappings (checked above). Source and
    // destination may be written by other processes at the same time; see the head of this file.
    unsafe { copy_lines(from, to, lines) };
    true
}

/// # Safety
/// `from` and `to` point to `lines` lines of memory each.
#[inline(always)]
pub(super) unsafe fn copy_lines(from: *const u8, to: *mut u8, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    if lines >= MANY && HAS_AVX.load(Ordering::Relaxed) {
        // SAFETY: the processor has AVX, and the caller answers for the lines.
        return unsafe { copy_many_lines(from, to, lines) };
    }
    // SAFETY: as above.
    unsafe { copy_few_lines(from, to, lines) };
}

/// # Safety
/// As [`copy_lines`].
#[inline(always)]
unsafe fn copy_few_lines(from: *const u8, to: *mut u8, lines: usize) {
    for line in 0..lines {
        // SAFETY: `line < lines`, so this line is inside both ranges.
        unsafe { move_line(from.add(line * LINE), to.add(line * LINE)) };
    }
}

/// The same of one line or more, by half as many loads and stores. In place, not called, so that loops which copy short
/// packets need not keep their registers from a call.
///
/// # Safety
/// As [`copy_lines`]; the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_many_lines(from: *const u8, to: *mut u8, lines: usize) {
    // SAFETY: reads and writes `lines` lines, which the caller answers for, aligned or not. The upper halves of all
    // wide registers are lost, so that who uses the lower ones next need not wait for them.
    unsafe {
        core::arch::asm!(
            "2:",
            "vmovups ymm0, [{from}]",
            "vmovups ymm1, [{from} + 32]",
            "vmovups [{to}], ymm0",
            "vmovups [{to} + 32], ymm1",
            "add {from}, 64",
            "add {to}, 64",
            "dec {lines}",
            "jnz 2b",
            "vzeroupper",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            lines = inout(reg) lines => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
}

/// # Safety
/// `from` and `to` point to `len` bytes of memory each.
#[inline]
pub(super) unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    let lines = len / LINE;
    // SAFETY: whatever is moved begins at or after the first byte and ends with the last at the latest.
    unsafe {
        copy_lines(from, to, lines);
        if len >= LANE {
            for at in (lines * LINE..len / LANE * LANE).step_by(LANE) {
                move_lane(from.add(at), to.add(at));
            }
            // Some bytes once more, rather than the last ones one by one.
            move_lane(from.add(len - LANE), to.add(len - LANE));
        } else if len >= WORD {
            move_word(from, to);
            move_word(from.add(len - WORD), to.add(len - WORD));
        } else {
            for at in 0..len {
                move_byte(from.add(at), to.add(at));
            }
        }
    }
}

/// # Safety
/// `from` and `to` point to a line of memory each.
#[inline(always)]
unsafe fn move_line(from: *const u8, to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads and writes 64 bytes, which the caller answers for, aligned or not. SSE is part of every
    // x86_64.
    unsafe {
        core::arch::asm!(
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            from = in(reg) from,
            to = in(reg) to,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: the same; these registers are part of every aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}, #32]",
            "stp {a:q}, {b:q}, [{to}]",
            "stp {c:q}, {d:q}, [{to}, #32]",
            from = in(reg) from,
            to = in(reg) to,
            a = out(vreg) _,
            b = out(vreg) _,
            c = out(vreg) _,
            d = out(vreg) _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    for at in (0..LINE).step_by(LANE) {
        // SAFETY: inside the line.
        unsafe { move_lane(from.add(at), to.add(at)) };
    }
}

/// # Safety
/// `from` and `to` point to a lane of memory each.
#[inline(always)]
unsafe fn move_lane(from: *const u8, to: *mut u8) {
    // SAFETY: reads and writes 16 bytes, which the caller answers for, aligned or not.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "movups {lane}, [{from}]",
            "movups [{to}], {lane}",
            from = in(reg) from,
            to = in(reg) to,
            lane = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: both words are inside the lane.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        move_word(from, to);
        move_word(from.add(WORD), to.add(WORD));
    }
}

/// # Safety
/// `from` and `to` point to eight bytes of memory each.
#[inline(always)]
unsafe fn move_word(from: *const u8, to: *mut u8) {
    // SAFETY: reads and writes eight bytes, which the caller answers for, aligned or not.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            from = in(reg) from,
            to = in(reg) to,
            word = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "ldr {word}, [{from}]",
            "str {word}, [{to}]",
            from = in(reg) from,
            to = in(reg) to,
            word = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    for at in 0..WORD {
        // SAFETY: inside the word.
        unsafe { move_byte(from.add(at), to.add(at)) };
    }
}

/// Reads a word once, which others may be writing.
///
/// # Safety
/// `from` points to eight bytes of memory.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn load_word(from: *const u8) -> u64 {
    let word: u64;
    // SAFETY: reads eight bytes, which the caller answers for, aligned or not.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "ldr {word}, [{from}]",
            from = in(reg) from,
            word = out(reg) word,
            options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        // SAFETY: the caller answers for the bytes; an AtomicU8 has the layout of one.
        let byte = |at| unsafe { (*from.add(at).cast::<AtomicU8>()).load(Ordering::Relaxed) };
        word = u64::from_ne_bytes(core::array::from_fn(byte));
    }
    word
}

/// Reads the words at `from` and four bytes after it, each once, which others may be writing.
///
/// # Safety
/// `from` points to twelve bytes of memory.
#[inline(always)]
pub(super) unsafe fn load_two_words(from: *const u8) -> (u64, u64) {
    // SAFETY: reads twelve bytes, which the caller answers for, aligned or not.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let (lo, hi): (u64, u64);
        core::arch::asm!(
            "mov {lo}, [{from}]",
            "mov {hi}, [{from} + 4]",
            from = in(reg) from,
            lo = out(reg) lo,
            hi = lateout(reg) hi,
            options(nostack, preserves_flags, readonly),
        );
        (lo, hi)
    }
    // SAFETY: the caller answers for both words.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        (load_word(from), load_word(from.add(4)))
    }
}

/// # Safety
/// `from` and `to` point to a byte of memory each.
#[inline(always)]
unsafe fn move_byte(from: *const u8, to: *mut u8) {
    // SAFETY: the caller answers for both bytes; an AtomicU8 has the layout of one.
    unsafe {
        let byte = (*from.cast::<AtomicU8>()).load(Ordering::Relaxed);
        (*to.cast::<AtomicU8>()).store(byte, Ordering::Relaxed);
    }
}

/// Copies `len` bytes from byte `src_ofs` of `src` to byte `dst_ofs` of `dst`, no more and from and
/// to anywhere. False, having done nothing, if a range leaves its mapping. If the ranges overlap,
/// which those of two buffers do not, other bytes arrive.
#[must_use]
pub fn copy_exact(
    src: &Mapping,
    src_ofs: usize,
    dst: &Mapping,
    dst_ofs: usize,
    len: usize,
) -> bool {
    let fits = |m: &Mapping, ofs: usize| ofs <= m.len() && len <= m.len() - ofs;
    if !fits(src, src_ofs) || !fits(dst, dst_ofs) {
        return false;
    }
    let (from, to) = (src.ptr_at(src_ofs), dst.ptr_at(dst_ofs));
    reads(from, len);
    writes(to, len);
    // SAFETY: both ranges of `len` bytes lie inside their mappings (checked above). Other processes may
    // write them at the same time; see the head of this file.
    unsafe { copy_bytes(from, to, len) };
    true
}

/// Copies `len` bytes from address `address` of this process (NS_INDIRECT) to byte `dst_ofs` of
/// `dst`. A bad address does not fault: the kernel does the reading and says so, and the result
/// is false, as it is when the destination range leaves the mapping.
#[must_use]
pub fn copy_from_address(address: u64, dst: &Mapping, dst_ofs: usize, len: usize) -> bool {
    if dst_ofs > dst.len() || len > dst.len() - dst_ofs {
        return false;
    }
    writes(dst.ptr_at(dst_ofs), len);
    // SAFETY: the destination range was checked above. The source is only read by the kernel,
    // which answers EFAULT for addresses that are not mapped. Where a sandbox forbids that,
    // `copy_bytes` reads what the program asked us to read, and writes `len` bytes.
    unsafe { uvale_system::sys::read_own_memory(address, dst.ptr_at(dst_ofs), len, copy_bytes) }
}

/// A private copy of `len` bytes at byte `ofs` of `src`; `None` if they leave the mapping.
pub fn copy_out(src: &Mapping, ofs: usize, len: usize) -> Option<Vec<u8>> {
    if ofs > src.len() || len > src.len() - ofs {
        return None;
    }
    let mut bytes = vec![0; len];
    copy_out_to(src, ofs, &mut bytes).then_some(bytes)
}

/// The same into `bytes`, as many as it has; false if they leave the mapping.
#[must_use]
pub fn copy_out_to(src: &Mapping, ofs: usize, bytes: &mut [u8]) -> bool {
    if ofs > src.len() || bytes.len() > src.len() - ofs {
        return false;
    }
    reads(src.ptr_at(ofs), bytes.len());
    // SAFETY: the source range was checked, the destination is our own and of the same length.
    // The source may change while it is copied; see the head of this file.
    unsafe { copy_bytes(src.ptr_at(ofs), bytes.as_mut_ptr(), bytes.len()) };
    true
}

/// Puts `bytes` at byte `ofs` of `dst`; false if they leave the mapping.
#[must_use]
pub fn copy_in(bytes: &[u8], dst: &Mapping, ofs: usize) -> bool {
    if ofs > dst.len() || bytes.len() > dst.len() - ofs {
        return false;
    }
    writes(dst.ptr_at(ofs), bytes.len());
    // SAFETY: the destination range was checked, the source is our own and of the same length.
    // Others may write the destination at the same time; see the head of this file.
    unsafe { copy_bytes(bytes.as_ptr(), dst.ptr_at(ofs), bytes.len()) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_are_copied_as_are_asked_for() {
        const LINES: usize = 40;
        type Copy = unsafe fn(*const u8, *mut u8, usize);
        // SAFETY: of all, as below.
        let few: Copy = |from, to, lines| unsafe { copy_few_lines(from, to, lines) };
        #[cfg(target_arch = "x86_64")]
        let many: Copy = |from, to, lines| match HAS_AVX.load(Ordering::Relaxed) && lines > 0 {
            // SAFETY: as below, and the processor has AVX.
            true => unsafe { copy_many_lines(from, to, lines) },
            // SAFETY: as below.
            false => unsafe { copy_few_lines(from, to, lines) },
        };
        look_at_processor();
        let ways = [
            copy_lines as Copy,
            few,
            #[cfg(target_arch = "x86_64")]
            many,
        ];
        let from: Vec<u8> = (0..LINES * LINE + 8).map(|i| (i % 251) as u8).collect();
        for copy in ways {
            for lines in 0..=LINES {
                for ahead in [0, 8] {
                    let mut to = vec![255; from.len() + 8];
                    // SAFETY: both have `LINES` lines from there on.
                    unsafe { copy(from.as_ptr().add(ahead), to.as_mut_ptr().add(ahead), lines) };
                    let (before, to) = to.split_at(ahead);
                    let (copied, after) = to.split_at(lines * LINE);
                    assert_eq!(copied, &from[ahead..ahead + lines * LINE]);
                    assert!(before.iter().chain(after).all(|byte| *byte == 255));
                }
            }
        }
    }
}
