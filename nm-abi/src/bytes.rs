//! ABI structures as bytes and back.

use core::mem::size_of;

/// A fixed-size ABI structure made of integers only, with no implicit padding.
///
/// # Safety
///
/// Every byte of the type is initialized in every value (no implicit padding), and every bit
/// pattern is a valid value.
pub unsafe trait AbiBytes: Copy {
    /// A value whose bytes are all zero, which is what netmap's requests start from.
    fn zeroed() -> Self {
        // SAFETY: the trait promises that every bit pattern, so also all zeroes, is valid.
        unsafe { core::mem::zeroed() }
    }

    /// The structure's bytes, in the machine's byte order.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the slice covers exactly `self`, whose bytes are all initialized (trait promise);
        // it borrows `self`, so nobody writes it meanwhile.
        unsafe { core::slice::from_raw_parts((self as *const Self).cast(), size_of::<Self>()) }
    }

    /// The structure's bytes for writing.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the slice covers exactly `self`, borrowed exclusively; any bytes written leave a
        // valid value (trait promise).
        unsafe { core::slice::from_raw_parts_mut((self as *mut Self).cast(), size_of::<Self>()) }
    }

    /// Copies a structure out of the start of `bytes`; `None` when they are too few.
    /// `bytes` needs no alignment.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size_of::<Self>())?;
        // SAFETY: `bytes` has the size of `Self`, the read needs no alignment, and every bit
        // pattern is valid (trait promise). The slice borrow keeps writers away.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

/// Size in bytes of the field that a function returns.
pub(crate) const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Describes an ABI structure: asserts its size, its alignment and the offset of each field while
/// compiling; proves that it has no implicit padding, by the sum of its fields' sizes; and gives it
/// [`AbiBytes`] and an all-zero `Default`. Fields must be integers, arrays of integers or
/// structures described so.
macro_rules! abi_struct {
    ($ty:ident, size $size:literal, align $align:literal, { $($field:tt $off:literal),* $(,)? }) => {
        const _: () = {
            use core::mem::{align_of, offset_of, size_of};
            assert!(size_of::<$ty>() == $size, concat!("size of ", stringify!($ty)));
            assert!(align_of::<$ty>() == $align, concat!("alignment of ", stringify!($ty)));
            $(assert!(
                offset_of!($ty, $field) == $off,
                concat!("offset of ", stringify!($ty), ".", stringify!($field))
            );)*
            let fields = 0 $(+ $crate::bytes::size_of_field(|value: &$ty| &value.$field))*;
            assert!(fields == $size, concat!("implicit padding in ", stringify!($ty)));
        };
        // SAFETY: integers only, so any bits will do; the assertions above exclude padding.
        unsafe impl $crate::bytes::AbiBytes for $ty {}
        impl Default for $ty {
            fn default() -> Self {
                <Self as $crate::bytes::AbiBytes>::zeroed()
            }
        }
    };
}
pub(crate) use abi_struct;

#[cfg(test)]
mod tests {
    use crate::{AbiBytes, netmap_slot, nmreq_register};

    #[test]
    fn round_trip_and_short_input() {
        let slot = netmap_slot {
            buf_idx: 0x0102_0304,
            len: 60,
            flags: 0x20,
            ptr: u64::MAX,
        };
        let mut copy = [0xaau8; 17];
        copy[1..].copy_from_slice(slot.as_bytes());
        assert_eq!(netmap_slot::from_bytes(&copy[1..]), Some(slot));
        assert_eq!(netmap_slot::from_bytes(&copy[2..]), None);
        let mut reg = nmreq_register::default();
        reg.as_bytes_mut()[34] = 7;
        assert_eq!(reg.nr_ringid, 7);
    }
}
