//! The dialect of libnetmap (`nmport_open` and friends): the result is a header and a register
//! request. The steps are separate functions because libnetmap offers them separately.

use super::options::{Enabled, Options, PortOption};
use super::suffix::{self, Dialect, Suffix};
use super::{NameError, NameErrorKind as Kind, field_name, find_any, is_identifier, until_nul};
use crate::{
    NETMAP_API, NETMAP_REQ_IFNAMSIZ, NETMAP_REQ_REGISTER, NM_BDG_NAME, nmreq_header, nmreq_register,
};
use core::fmt;

/// `nr_name` of a request, NUL-terminated.
pub type NrName = [u8; NETMAP_REQ_IFNAMSIZ];

/// Splits a name behind the part that goes to the kernel (`nmreq_header_decode`). Returns that
/// part and the rest, which is empty or starts with one of `- * ^ / @`.
///
/// # Errors
///
/// `EINVAL`: unknown prefix, no `:`, something between `netmap` and `:`, a switch or pipe name with
/// other bytes than letters, digits and `_`, a pipe name missing at the end, an empty name, more
/// than 63 bytes of name. (The name proper may hold any other byte.)
pub fn decode_header(text: &[u8]) -> Result<(NrName, &[u8]), NameError> {
    let text = until_nul(text);
    let (vale, prefix) = if text.starts_with(b"netmap") {
        (false, b"netmap".len())
    } else if text.starts_with(NM_BDG_NAME.as_bytes()) {
        (true, NM_BDG_NAME.len())
    } else {
        return Err(Kind::UnknownPrefix.into());
    };
    let colon = prefix + find_any(&text[prefix..], b":");
    if colon == text.len() {
        return Err(Kind::MissingColon.into());
    }
    if !vale && colon != prefix {
        return Err(Kind::UnexpectedIdentifier.into());
    }
    if !is_identifier(&text[prefix..colon]) {
        return Err(Kind::BadSwitchName.into());
    }
    let port = colon + 1;
    let end = port + find_any(&text[port..], b"-*^/@");
    check_pipe(&text[port..end], end == text.len())?;
    let name = &text[if vale { 0 } else { port }..end];
    let nr_name = super::to_field(name).ok_or(Kind::TooLong)?;
    if name.is_empty() {
        return Err(Kind::EmptyPortName.into());
    }
    Ok((nr_name, &text[end..]))
}

/// Checks the pipe name in `port`, if there is one. It may be empty, but not at the very end.
fn check_pipe(port: &[u8], at_end: bool) -> Result<(), Kind> {
    let bracket = find_any(port, b"{}");
    match port.get(bracket + 1..) {
        None => Ok(()),
        Some([]) if at_end => Err(Kind::EmptyPipeName),
        Some(id) if is_identifier(id) => Ok(()),
        Some(_) => Err(Kind::BadPipeName),
    }
}

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
