//! The part of a name that goes to the kernel, as libnetmap reads it.

use super::{NameError, NameErrorKind as Kind, find_any, is_identifier, until_nul};
use crate::{NETMAP_REQ_IFNAMSIZ, NM_BDG_NAME};

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
