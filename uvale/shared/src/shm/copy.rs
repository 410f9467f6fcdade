//! The one payload copy.
//!
//! Packet bytes are copied while the program that owns the source buffer, or a hostile peer that
//! shares the destination region, may write them. Such a race can only change which bytes
//! arrive: nothing here, and nothing above, takes a decision on a byte of the payload after the
//! copy. The loads and stores are wide relaxed atomics where the compiler would otherwise be free
//! to assume that the bytes hold still.

use core::sync::atomic::{AtomicU64, Ordering};

use super::Mapping;

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
    let lines = len.div_ceil(64);
    let bytes = lines * 64;
    let fits =
        |m: &Mapping, ofs: usize| ofs.is_multiple_of(8) && ofs <= m.len() && bytes <= m.len() - ofs;
    if !fits(src, src_ofs) || !fits(dst, dst_ofs) {
        return false;
    }
    let (from, to) = (src.ptr_at(src_ofs), dst.ptr_at(dst_ofs));
    // SAFETY: both ranges of `bytes` bytes lie inside their mappings (checked above) and are
    // aligned to 8. Source and destination may be written by other processes at the same time;
    // see the head of this file.
    unsafe { copy_lines(from.cast(), to.cast(), lines) };
    true
}

/// # Safety
/// `from` and `to` point to `lines * 64` mapped bytes each, aligned to 8.
#[inline]
unsafe fn copy_lines(from: *const u64, to: *mut u64, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};
        for line in 0..lines {
            // SAFETY: `line < lines`, so all eight accesses stay inside the two ranges; SSE2 is
            // part of every x86_64.
            unsafe {
                let s = from.add(line * 8).cast::<__m128i>();
                let d = to.add(line * 8).cast::<__m128i>();
                let (a, b) = (_mm_loadu_si128(s), _mm_loadu_si128(s.add(1)));
                let (c, e) = (_mm_loadu_si128(s.add(2)), _mm_loadu_si128(s.add(3)));
                _mm_storeu_si128(d, a);
                _mm_storeu_si128(d.add(1), b);
                _mm_storeu_si128(d.add(2), c);
                _mm_storeu_si128(d.add(3), e);
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    for word in 0..lines * 8 {
        // SAFETY: `word < lines * 8`, inside both ranges, aligned to 8; AtomicU64 has the layout
        // of u64.
        unsafe {
            let value = (*from.add(word).cast::<AtomicU64>()).load(Ordering::Relaxed);
            (*to.add(word).cast::<AtomicU64>()).store(value, Ordering::Relaxed);
        }
    }
    let _ = (AtomicU64::new(0), Ordering::Relaxed);
}

/// Copies `len` bytes from byte `src_ofs` of `src` to byte `dst_ofs` of `dst`, no more and from and
/// to anywhere. False, having done nothing, if a range leaves its mapping.
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
    // SAFETY: both ranges of `len` bytes lie inside their mappings (checked above). They may overlap,
    // and other processes may write them at the same time; see the head of this file.
    unsafe { core::ptr::copy(src.ptr_at(src_ofs), dst.ptr_at(dst_ofs), len) };
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
    // SAFETY: the destination range was checked above. The source is only read by the kernel,
    // which answers EFAULT for addresses that are not mapped.
    unsafe { uvale_system::sys::read_own_memory(address, dst.ptr_at(dst_ofs), len) }
}

/// A private copy of `len` bytes at byte `ofs` of `src`; `None` if they leave the mapping.
pub fn copy_out(src: &Mapping, ofs: usize, len: usize) -> Option<Vec<u8>> {
    if ofs > src.len() || len > src.len() - ofs {
        return None;
    }
    let mut bytes = vec![0; len];
    // SAFETY: the source range was checked, the destination is our own and of the same length.
    // The source may change while it is copied; see the head of this file.
    unsafe { core::ptr::copy_nonoverlapping(src.ptr_at(ofs), bytes.as_mut_ptr(), len) };
    Some(bytes)
}

/// Puts `bytes` at byte `ofs` of `dst`; false if they leave the mapping.
#[must_use]
pub fn copy_in(bytes: &[u8], dst: &Mapping, ofs: usize) -> bool {
    if ofs > dst.len() || bytes.len() > dst.len() - ofs {
        return false;
    }
    // SAFETY: the destination range was checked, the source is our own and of the same length.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), dst.ptr_at(ofs), bytes.len()) };
    true
}
