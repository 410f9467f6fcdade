//! The dialect of libnetmap (`nmport_open` and friends): the result is a header and a register
//! request. The steps are separate functions because libnetmap offers them separately.

use super::options::{Enabled, Options, PortOption};
use super::suffix::{self, Dialect, Suffix};
use super::{NameError, field_name, until_nul};
use crate::{NETMAP_API, NETMAP_REQ_REGISTER, nmreq_header, nmreq_register};
use core::fmt;

pub use super::header::{NrName, decode_header};

/// What [`decode_register`] finds: the fields of [`nmreq_register`] that a name sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(Suffix);

impl Register {
    /// `NR_REG_*`: ALL_NIC, SW, NIC_SW, ONE_NIC or ONE_SW.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.0.mode
    }

    /// Ring number; 0 unless the mode needs one.
    #[must_use]
    pub fn ringid(&self) -> u16 {
        self.0.ringid
    }

    /// `NR_*` flags.
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.0.flags
    }

    /// Memory id, 0 when not given.
    #[must_use]
    pub fn mem_id(&self) -> u16 {
        self.0.mem_id
    }

    /// Stores the four fields in `request`.
    pub fn store(&self, request: &mut nmreq_register) {
        request.nr_mode = self.mode();
        request.nr_ringid = self.ringid();
        request.nr_flags = self.flags();
        request.nr_mem_id = self.mem_id();
    }
}

/// Reads rings, flags and memory id (`nmreq_register_decode`). Returns what it found and the
/// options. `mem_id`, when not 0, is the memory id the request has already.
///
/// # Errors
///
/// `EINVAL`: an unknown suffix or flag, a ring number that is missing or not in 0..=4094, a memory
/// id of 0, or different from another one, a name that ends early. `ERANGE`: as `EINVAL`, after a
/// number that does not fit a C `long`.
pub fn decode_register(text: &[u8], mem_id: u16) -> Result<(Register, &[u8]), NameError> {
    let (suffix, rest) = suffix::parse(Dialect::Libnetmap, until_nul(text), mem_id)?;
    Ok((Register(suffix), rest))
}

/// A complete name as libnetmap understands it.
#[derive(Clone, Copy, Debug)]
pub struct NmportName<'a> {
    /// For `nmreq_header.nr_name`.
    pub nr_name: NrName,
    /// Rings, flags and memory id.
    pub register: Register,
    options: Options<'a>,
}

impl<'a> NmportName<'a> {
    /// Parses a complete name with the options that libnetmap enables by default.
    ///
    /// # Errors
    ///
    /// Those of [`decode_header`], [`decode_register`] and [`Options::parse`]. `share` and
    /// `extmem` are only parsed; what they name is not looked up.
    pub fn parse(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<Self, NameError> {
        Self::parse_with(text.as_ref(), Enabled::default())
    }

    /// Parses a complete name with the given options enabled.
    ///
    /// # Errors
    ///
    /// As [`NmportName::parse`].
    pub fn parse_with(text: &'a [u8], enabled: Enabled) -> Result<Self, NameError> {
        let (nr_name, rest) = decode_header(text)?;
        let (register, rest) = decode_register(rest, 0)?;
        let options = Options::parse(rest, enabled)?;
        Ok(Self {
            nr_name,
            register,
            options,
        })
    }

    /// The name without padding.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        field_name(&self.nr_name)
    }

    /// The options in the order of the name.
    pub fn options(&self) -> impl Iterator<Item = PortOption<'a>> + use<'a> {
        self.options.iter()
    }

    /// The header of the register request; body and options are the caller's to set.
    #[must_use]
    pub fn to_header(&self) -> nmreq_header {
        nmreq_header {
            nr_version: NETMAP_API,
            nr_reqtype: NETMAP_REQ_REGISTER,
            nr_name: self.nr_name,
            ..nmreq_header::default()
        }
    }

    /// The body of the register request, with `conf` options applied.
    #[must_use]
    pub fn to_register(&self) -> nmreq_register {
        let mut request = nmreq_register::default();
        self.register.store(&mut request);
        for option in self.options() {
            if let PortOption::Conf(conf) = option {
                conf.store(&mut request);
            }
        }
        request
    }
}

/// Two names are equal when they ask for the same thing.
impl PartialEq for NmportName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.nr_name == other.nr_name
            && self.register == other.register
            && self.options().eq(other.options())
    }
}

/// Writes a name that parses to an equal value.
impl fmt::Display for NmportName<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vale = decode_header(self.name()).is_ok_and(|(name, rest)| {
            name == self.nr_name && rest.is_empty() && self.name().starts_with(b"vale")
        });
        if !vale {
            out.write_str("netmap:")?;
        }
        super::write_bytes(out, self.name())?;
        self.register.0.fmt(out)?;
        self.options()
            .try_for_each(|option| write!(out, "@{option}"))
    }
}
