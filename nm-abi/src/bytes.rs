//! ABI structures as bytes and back.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Any structure without implicit padding in which every bit pattern is a value: `zerocopy`'s
/// traits prove both, and each structure of this crate derives them.
pub trait AbiBytes: Copy + proved::Proved {
    /// A value whose bytes are all zero, which is what netmap's requests start from.
    fn zeroed() -> Self;

    /// The structure's bytes, in the machine's byte order.
    fn as_bytes(&self) -> &[u8];

    /// The structure's bytes for writing.
    fn as_bytes_mut(&mut self) -> &mut [u8];

    /// Copies a structure out of the start of `bytes`; `None` when they are too few.
    /// `bytes` needs no alignment.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// Keeps types without the proof from being [`AbiBytes`].
mod proved {
    pub trait Proved {}
    impl<T: super::FromBytes + super::Immutable + super::IntoBytes> Proved for T {}
}

impl<T: Copy + FromBytes + Immutable + IntoBytes> AbiBytes for T {
    fn zeroed() -> Self {
        T::new_zeroed()
    }

    fn as_bytes(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(T::read_from_prefix(bytes).ok()?.0)
    }
}

/// Describes an ABI structure: asserts its size, its alignment and the offset of each field while
/// compiling, and gives it an all-zero `Default`.
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
        };
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
