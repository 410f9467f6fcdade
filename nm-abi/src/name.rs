//! Port names: the strings users write, and the names requests carry.
//!
//! netmap reads a name twice, by different rules, and so does this module.
//!
//! 1. A **library** in the program turns the user's string into a request. Two libraries are in
//!    use, with two dialects:
//!    - [`nm_open`]: `nm_open()` of `net/netmap_user.h`; fills a legacy [`nmreq`](crate::nmreq);
//!    - [`nmport`]: libnetmap's `nmport_*`; fills [`nmreq_header`](crate::nmreq_header) and
//!      [`nmreq_register`](crate::nmreq_register), and knows options after `@`
//!      ([`options`]).
//! 2. The **kernel** looks at `nr_name` of the request: [`kernel`].
//!
//! What a string may look like (`k` a number below 4095, *id* letters, digits and `_`):
//!
//! ```text
//! netmap:NAME[pipe][rings][/flags][@memid][@option...]     NAME goes to the kernel
//! vale[id]:PORT[pipe][rings][/flags][@memid][@option...]   "vale[id]:PORT" goes to the kernel
//!
//! pipe    {id }id       master or slave end of a pipe (nm_open: {k }k, and no rings with it)
//! rings   -k            one NIC ring pair       ^    host rings
//!         *             NIC and host rings      ^k   one host ring pair (libnetmap only)
//! flags   x exclusive   z zero-copy monitor     t r  monitor tx, rx     R T  rx, tx rings only
//! option  share=PORT    extmem:file=F,...       conf:rings=n,slots=n,...     offset:initial=n,bits=n
//! ```
//!
//! All inputs are bytes up to the first NUL or the end. No input panics. Errors carry the errno
//! which the library leaves behind.
//!
//! ```
//! use nm_abi::name::{KernelName, NmportName, PipeRole};
//! use nm_abi::{NR_EXCLUSIVE, NR_REG_ONE_NIC};
//!
//! // what a program's user writes ...
//! let name = NmportName::parse("netmap:eth0{jobs-2/x")?;
//! assert_eq!(name.name(), b"eth0{jobs");
//! assert_eq!((name.register.mode(), name.register.ringid()), (NR_REG_ONE_NIC, 2));
//! assert_eq!(name.register.flags(), NR_EXCLUSIVE);
//! // ... and what netmap makes of the name that reaches it
//! let (base, role, id) = (&b"eth0"[..], PipeRole::Master, &b"jobs"[..]);
//! assert_eq!(KernelName::parse(name.name()), Ok(KernelName::Pipe { base, role, id }));
//!
//! let why = NmportName::parse("netmap:eth0/q").unwrap_err();
//! assert_eq!(why.to_string(), "there is no flag 'q'");
//! # Ok::<(), nm_abi::name::NameError>(())
//! ```

mod error;
mod header;
pub mod kernel;
pub mod nm_open;
pub mod nmport;
pub mod options;
mod suffix;

pub use error::{NameError, NameErrorKind};
pub use kernel::{KernelName, KernelNameError, PipeRole};
pub use nm_open::NmOpenName;
pub use nmport::NmportName;
pub use options::{Enabled, PortOption};

/// `bytes` up to its first NUL, or whole.
#[must_use]
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// The name in a fixed-size field whose last byte does not count: netmap overwrites it with NUL
/// before it looks at the field.
#[must_use]
pub fn field_name(field: &[u8]) -> &[u8] {
    until_nul(&field[..field.len().saturating_sub(1)])
}

/// `name` NUL-padded to `N` bytes; `None` when there is no room for it and a NUL.
#[must_use]
pub fn to_field<const N: usize>(name: &[u8]) -> Option<[u8; N]> {
    let mut field = [0; N];
    if name.len() >= N {
        return None;
    }
    field[..name.len()].copy_from_slice(name);
    Some(field)
}

/// Letters, digits and underscores only; the empty string qualifies.
fn is_identifier(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Position of the first byte of `bytes` that is in `set`, or the length.
fn find_any(bytes: &[u8], set: &[u8]) -> usize {
    bytes
        .iter()
        .position(|b| set.contains(b))
        .unwrap_or(bytes.len())
}

/// What C's `strtol(bytes, &end, 10)` gives.
struct Number {
    value: i64,
    /// Bytes up to `end`; 0 when there was no number.
    len: usize,
    /// `strtol` sets errno to ERANGE.
    overflow: bool,
}

fn strtol(bytes: &[u8]) -> Number {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let mut at = bytes.iter().take_while(|&b| blank(b)).count();
    let negative = bytes.get(at) == Some(&b'-');
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    let digits = bytes[at..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    if digits == 0 {
        return Number {
            value: 0,
            len: 0,
            overflow: false,
        };
    }
    let limit = if negative { i64::MIN } else { i64::MAX };
    let value = bytes[at..at + digits]
        .iter()
        .try_fold(0i64, |value, &digit| {
            let digit = i64::from(digit - b'0');
            let value = value.checked_mul(10)?;
            if negative {
                value.checked_sub(digit)
            } else {
                value.checked_add(digit)
            }
        });
    Number {
        value: value.unwrap_or(limit),
        len: at + digits,
        overflow: value.is_none(),
    }
}

/// What C's `atoi` gives in glibc: `strtol` cut down to 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "glibc's atoi truncates")]
fn atoi(bytes: &[u8]) -> i32 {
    strtol(bytes).value as i32
}

/// Writes bytes that are most likely, but not surely, UTF-8.
fn write_bytes(out: &mut core::fmt::Formatter<'_>, bytes: &[u8]) -> core::fmt::Result {
    bytes.utf8_chunks().try_for_each(|chunk| {
        out.write_str(chunk.valid())?;
        if chunk.invalid().is_empty() {
            Ok(())
        } else {
            out.write_str("\u{fffd}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_like_c() {
        let cases: &[(&str, i64, usize, bool)] = &[
            ("", 0, 0, false),
            ("x", 0, 0, false),
            ("-", 0, 0, false),
            (" +12a", 12, 4, false),
            ("-7", -7, 2, false),
            ("9223372036854775807", i64::MAX, 19, false),
            ("-9223372036854775808", i64::MIN, 20, false),
            ("9223372036854775808", i64::MAX, 19, true),
            ("-99999999999999999999", i64::MIN, 21, true),
        ];
        for &(text, value, len, overflow) in cases {
            let n = strtol(text.as_bytes());
            assert_eq!(
                (n.value, n.len, n.overflow),
                (value, len, overflow),
                "{text:?}"
            );
        }
        assert_eq!(atoi(b"4294967297"), 1);
        assert_eq!(atoi(b"-1"), -1);
    }

    #[test]
    fn fields() {
        assert_eq!(field_name(b"ab\0c"), b"ab");
        assert_eq!(field_name(b"abcd"), b"abc");
        assert_eq!(field_name(b""), b"");
        assert_eq!(to_field::<4>(b"abc"), Some(*b"abc\0"));
        assert_eq!(to_field::<4>(b"abcd"), None);
    }
}
