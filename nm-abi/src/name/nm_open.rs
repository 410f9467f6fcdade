//! The dialect of `nm_open()` (`net/netmap_user.h`): the result is a legacy request.

use super::suffix::{self, Dialect, Suffix};
use super::{NameError, NameErrorKind as Kind, field_name, find_any, is_identifier, until_nul};
use crate::{IFNAMSIZ, NETMAP_API, NM_BDG_NAME, nmreq};
use core::fmt;

/// A name as `nm_open()` understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmOpenName {
    /// For `nmreq.nr_name`, NUL-terminated. May be empty.
    pub nr_name: [u8; IFNAMSIZ],
    suffix: Suffix,
}

impl NmOpenName {
    /// Parses a complete name.
    ///
    /// # Errors
    ///
    /// - errno 0, [`Kind::NotNetmap`]: starts neither with `netmap:` nor with `vale`;
    /// - `EINVAL`: a VALE name without `:` or with something else than letters, digits and `_`
    ///   around it; more than 15 bytes of name (for VALE the prefix counts); a bad suffix;
    /// - `ERANGE`: as `EINVAL`, after a number that does not fit a C `long`.
    ///
    /// Not errors: an empty name, and `-`, `{`, `}` followed by no number but by `/` or `@`, which
    /// count as number 0.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let text = until_nul(text.as_ref());
        let (name, rest) = if let Some(name) = text.strip_prefix(b"netmap:") {
            name.split_at(find_any(name, b"-*^{}/@"))
        } else if text.starts_with(NM_BDG_NAME.as_bytes()) {
            split_vale(text)?
        } else {
            return Err(Kind::NotNetmap.into());
        };
        let nr_name = super::to_field(name).ok_or(Kind::TooLong)?;
        let (suffix, _) = suffix::parse(Dialect::NmOpen, rest, 0)?;
        Ok(Self { nr_name, suffix })
    }

    /// The name without padding.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        field_name(&self.nr_name)
    }

    /// `NR_REG_*` mode and `NR_*` flags together, as `nmreq.nr_flags` takes them.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the flags of names are below bit 16"
    )]
    pub fn nr_flags(&self) -> u32 {
        self.suffix.mode | self.suffix.flags as u32
    }

    /// Ring or pipe number, for `nmreq.nr_ringid`.
    #[must_use]
    pub fn nr_ringid(&self) -> u16 {
        self.suffix.ringid
    }

    /// Memory id or 0, for `nmreq.nr_arg2`.
    #[must_use]
    pub fn nr_arg2(&self) -> u16 {
        self.suffix.mem_id
    }

    /// The request that `nm_open(name, NULL, 0, NULL)` sends with `NIOCREGIF`.
    #[must_use]
    pub fn to_nmreq(&self) -> nmreq {
        nmreq {
            nr_name: self.nr_name,
            nr_version: u32::from(NETMAP_API),
            nr_ringid: self.nr_ringid(),
            nr_arg2: self.nr_arg2(),
            nr_flags: self.nr_flags(),
            ..nmreq::default()
        }
    }
}

/// Splits `vale...` behind the port name.
fn split_vale(text: &[u8]) -> Result<(&[u8], &[u8]), Kind> {
    let colon = text
        .iter()
        .position(|&b| b == b':')
        .ok_or(Kind::MissingColon)?;
    if !is_identifier(&text[NM_BDG_NAME.len()..colon]) {
        return Err(Kind::BadSwitchName);
    }
    let end = colon + 1 + find_any(&text[colon + 1..], b"-*^{}/@");
    if !is_identifier(&text[colon + 1..end]) {
        return Err(Kind::BadSwitchPortName);
    }
    Ok(text.split_at(end))
}

/// Writes a name that parses to the same value.
impl fmt::Display for NmOpenName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vale = self.name().starts_with(NM_BDG_NAME.as_bytes())
            && split_vale(self.name()).is_ok_and(|(_, rest)| rest.is_empty());
        if !vale {
            out.write_str("netmap:")?;
        }
        super::write_bytes(out, self.name())?;
        self.suffix.fmt(out)
    }
}
