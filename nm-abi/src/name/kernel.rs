//! The kernel's reading of `nr_name`.
//!
//! Register modes NULL and the monitor flags are looked at before the name; then a name is a pipe
//! if it holds a bracket, else a VALE port if it starts with `val`, else an interface. The kernel
//! is lenient: what stands behind `vale0:` or a bracket may be any bytes at all, none included
//! (`vale0:` is a port); pipes of pipes are possible.

use super::{to_field, until_nul};
use crate::{IFNAMSIZ, NETMAP_REQ_IFNAMSIZ, NETMAP_RING_MASK, NM_BDG_NAME};

/// Which end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeRole {
    /// `{`
    Master,
    /// `}`
    Slave,
}

impl PipeRole {
    /// The bracket that stands for this end.
    #[must_use]
    pub const fn bracket(self) -> u8 {
        match self {
            Self::Master => b'{',
            Self::Slave => b'}',
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Master => Self::Slave,
            Self::Slave => Self::Master,
        }
    }
}

/// What a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelName<'a> {
    /// An end of the pipe `id` of the port `base`, a name of its own (not checked yet).
    Pipe {
        /// Name of the parent port; not empty.
        base: &'a [u8],
        /// Which end.
        role: PipeRole,
        /// Name of the pipe within its parent; not empty.
        id: &'a [u8],
    },
    /// A port of a VALE switch. Switches and ports are told apart by these bytes alone; the port's
    /// full name is the whole `nr_name`.
    Vale {
        /// Name of the switch, prefix included, `:` not: at least `val:`'s `val`, at most 15 bytes.
        switch: &'a [u8],
        /// Name of the port in the switch, 0 to 15 bytes.
        port: &'a [u8],
    },
    /// A network interface (or persistent VALE port), to be looked up by this name; `ENXIO` when
    /// there is none.
    Interface(&'a [u8]),
}

/// A name that the kernel refuses before it looks anything up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelNameError {
    /// Nothing in front of the bracket, or nothing behind it: `EINVAL`.
    BadPipe,
    /// Starts with `val`, but is shorter than `vale`, has no `:`, has it behind the first 16 bytes,
    /// has other bytes than letters, digits and `_` in front of it, or more than 15 bytes behind
    /// it. The kernel says it found no switch: `ENOMEM` when it would create the port, `ENXIO`
    /// when it only looks for it (and `ENOENT` from VALE_LIST).
    BadSwitch,
}

impl KernelNameError {
    /// The errno; `create` tells whether the request would create the port (REGISTER,
    /// PORT_INFO_GET and VALE_ATTACH would).
    #[must_use]
    pub const fn errno(self, create: bool) -> i32 {
        const ENXIO: i32 = 6;
        const ENOMEM: i32 = 12;
        match self {
            Self::BadPipe => super::error::EINVAL,
            Self::BadSwitch if create => ENOMEM,
            Self::BadSwitch => ENXIO,
        }
    }
}

impl core::fmt::Display for KernelNameError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(match self {
            Self::BadPipe => "a pipe needs a name in front of its bracket and one behind it",
            Self::BadSwitch => {
                "a switch port is called valeX:Y, where X has letters, digits and '_' only, \
                 valeX at most 15 bytes and Y at most 15"
            }
        })
    }
}

impl core::error::Error for KernelNameError {}

impl<'a> KernelName<'a> {
    /// Takes `nr_name` apart. Call it with [`field_name`](super::field_name) of the field: the
    /// kernel puts a NUL into the last byte first.
    ///
    /// A `{` counts before any `}`, and of several the last one counts: `a}1{2` is master end `2`
    /// of the port `a}1`, and `a{1}2` is master end `1}2` of `a`.
    ///
    /// # Errors
    ///
    /// See [`KernelNameError`].
    pub fn parse(nr_name: &'a [u8]) -> Result<Self, KernelNameError> {
        let name = until_nul(nr_name);
        for role in [PipeRole::Master, PipeRole::Slave] {
            if let Some(at) = name.iter().rposition(|&b| b == role.bracket()) {
                let (base, id) = (&name[..at], &name[at + 1..]);
                if base.is_empty() || id.is_empty() {
                    return Err(KernelNameError::BadPipe);
                }
                return Ok(Self::Pipe { base, role, id });
            }
        }
        // the comparison leaves out the prefix's last byte
        if !name.starts_with(&NM_BDG_NAME.as_bytes()[..NM_BDG_NAME.len() - 1]) {
            return Ok(Self::Interface(name));
        }
        let colon = switch_len(name, NM_BDG_NAME.len()).ok_or(KernelNameError::BadSwitch)?;
        Ok(Self::Vale {
            switch: &name[..colon],
            port: &name[colon + 1..],
        })
    }
}

/// Length of the switch name that `name` starts with, the position of its `:`; `None` when the
/// kernel finds the name invalid. `prefix_len` is 4, except for VALE_LIST, which has checked the
/// prefix itself and passes 0.
#[must_use]
pub fn switch_len(name: &[u8], prefix_len: usize) -> Option<usize> {
    if name.len() < prefix_len {
        return None;
    }
    let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let colon = name.iter().take(IFNAMSIZ).position(|&b| !is_id(b))?;
    (name[colon] == b':' && name.len() - colon <= IFNAMSIZ).then_some(colon)
}

/// Checks the name of a persistent VALE port that is to be created (VALE_NEWIF, or the parent of
/// a pipe): at most 15 bytes and not starting with `vale`, else `EINVAL`. What the system then
/// says to the name of a network interface comes on top.
#[must_use]
pub fn is_persistent_name(name: &[u8]) -> bool {
    !name.starts_with(NM_BDG_NAME.as_bytes()) && name.len() < IFNAMSIZ
}

/// `nr_name` of the current API for a legacy request in mode `NR_REG_PIPE_MASTER` or
/// `NR_REG_PIPE_SLAVE`: the name with bracket and pipe number behind it.
#[must_use]
pub fn legacy_pipe_name(
    legacy: &[u8; IFNAMSIZ],
    role: PipeRole,
    ringid: u16,
) -> [u8; NETMAP_REQ_IFNAMSIZ] {
    let name = super::field_name(legacy);
    let mut field = to_field(name).unwrap_or([0; NETMAP_REQ_IFNAMSIZ]);
    let mut number = ringid & NETMAP_RING_MASK;
    let mut digits = [0u8; 4];
    let mut first = digits.len();
    while first == digits.len() || number > 0 {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    field[name.len()] = role.bracket();
    let digits = &digits[first..];
    field[name.len() + 1..][..digits.len()].copy_from_slice(digits);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<KernelName<'_>, KernelNameError> {
        KernelName::parse(name.as_bytes())
    }

    fn pipe<'a>(base: &'a str, role: PipeRole, id: &'a str) -> KernelName<'a> {
        KernelName::Pipe {
            base: base.as_bytes(),
            role,
            id: id.as_bytes(),
        }
    }

    fn vale<'a>(switch: &'a str, port: &'a str) -> KernelName<'a> {
        KernelName::Vale {
            switch: switch.as_bytes(),
            port: port.as_bytes(),
        }
    }

    #[test]
    fn pipes() {
        assert_eq!(parse("foo{1"), Ok(pipe("foo", PipeRole::Master, "1")));
        assert_eq!(parse("foo}abc"), Ok(pipe("foo", PipeRole::Slave, "abc")));
        assert_eq!(parse("foo{1{2"), Ok(pipe("foo{1", PipeRole::Master, "2")));
        assert_eq!(parse("foo{1}2"), Ok(pipe("foo", PipeRole::Master, "1}2")));
        assert_eq!(parse("foo}1{2"), Ok(pipe("foo}1", PipeRole::Master, "2")));
        assert_eq!(
            parse("vale0:1}3"),
            Ok(pipe("vale0:1", PipeRole::Slave, "3"))
        );
        for bad in ["foo{", "foo}", "{1", "}1", "{", "}"] {
            assert_eq!(parse(bad), Err(KernelNameError::BadPipe), "{bad}");
        }
        assert_eq!(KernelNameError::BadPipe.errno(true), 22);
    }

    #[test]
    fn switches() {
        // what real netmap answered to these names: kernel-record, section err_reg
        assert_eq!(parse("vale:"), Ok(vale("vale", "")));
        assert_eq!(parse("vale0:"), Ok(vale("vale0", "")));
        assert_eq!(parse("vale_b:y"), Ok(vale("vale_b", "y")));
        assert_eq!(parse("vale0:x:y"), Ok(vale("vale0", "x:y")));
        assert_eq!(parse("vale0:x y"), Ok(vale("vale0", "x y")));
        assert_eq!(parse("vale0:a/b"), Ok(vale("vale0", "a/b")));
        assert_eq!(parse("vale0:é"), Ok(vale("vale0", "é")));
        assert_eq!(
            parse("vale0:123456789abcdef"),
            Ok(vale("vale0", "123456789abcdef"))
        );
        assert_eq!(parse("vale0123456789:a"), Ok(vale("vale0123456789", "a")));
        // 15 bytes of switch name put the colon at index 15, the last one looked at
        assert_eq!(parse("vale01234567890:a"), Ok(vale("vale01234567890", "a")));
        // the kernel compares three bytes of the prefix only
        assert_eq!(parse("valX:a"), Ok(vale("valX", "a")));
        assert_eq!(parse("val:a"), Ok(vale("val", "a")));
        assert_eq!(parse("val:"), Ok(vale("val", "")));
        for bad in [
            "vale",
            "vale0",
            "vale-b:y",
            "vale.b:y",
            "vale012345678901:a",
            "val",
            "valley0",
            "vale0:123456789abcdefg",
        ] {
            assert_eq!(parse(bad), Err(KernelNameError::BadSwitch), "{bad}");
        }
        assert_eq!(KernelNameError::BadSwitch.errno(true), 12);
        assert_eq!(KernelNameError::BadSwitch.errno(false), 6);
    }

    #[test]
    fn interfaces() {
        for name in [
            "", "nope", "netmap:x", "Vale0:x", "VALE0:x", ":", ":x", "a/b", " ", "va",
        ] {
            assert_eq!(
                parse(name),
                Ok(KernelName::Interface(name.as_bytes())),
                "{name}"
            );
        }
    }

    #[test]
    fn persistent_names() {
        assert!(is_persistent_name(b"foo"));
        assert!(is_persistent_name(b"abcdefghijklmno"));
        assert!(!is_persistent_name(b"abcdefghijklmnop"));
        assert!(!is_persistent_name(b"vale0:x"));
        assert!(is_persistent_name(b"valx"));
    }

    #[test]
    fn legacy_pipes() {
        let foo = to_field(b"foo").unwrap();
        assert_eq!(
            until_nul(&legacy_pipe_name(&foo, PipeRole::Master, 3)),
            b"foo{3"
        );
        assert_eq!(
            until_nul(&legacy_pipe_name(&foo, PipeRole::Slave, 0x9fff)),
            b"foo}4095"
        );
        assert_eq!(
            until_nul(&legacy_pipe_name(&foo, PipeRole::Slave, 0)),
            b"foo}0"
        );
        let full = [b'a'; IFNAMSIZ];
        assert_eq!(
            until_nul(&legacy_pipe_name(&full, PipeRole::Master, 12)),
            b"aaaaaaaaaaaaaaa{12"
        );
    }
}
