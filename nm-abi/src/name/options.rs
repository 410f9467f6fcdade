//! libnetmap's options, the `@option...` at the end of a name.
//!
//! An option runs up to the next `@`. It is `option=VALUE`, which sets the option's default key to
//! all that follows, or `option:key=value,key=value`. In keys `-` and `_` are the same, except as
//! first byte. Numbers are read as C's `atoi` does: garbage counts as 0.

use super::header::{NrName, decode_header};
use super::{NameError, NameErrorKind as Kind, atoi, field_name, find_any, until_nul};
use crate::{nmreq_opt_offsets, nmreq_pools_info, nmreq_register};
use core::fmt;

/// Which options are switched on (`nmport_enable_option`, `nmport_disable_option`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches")]
pub struct Enabled {
    /// `share`
    pub share: bool,
    /// `extmem`
    pub extmem: bool,
    /// `conf`
    pub conf: bool,
    /// `offset`
    pub offset: bool,
}

/// libnetmap starts with `offset` off and the rest on.
impl Default for Enabled {
    fn default() -> Self {
        Self {
            share: true,
            extmem: true,
            conf: true,
            offset: false,
        }
    }
}

/// One option. Numbers that were not given are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOption<'a> {
    /// `share=PORT`: use the memory region of that port. It is the caller's job to ask netmap for
    /// the region's id (PORT_INFO_GET), and to fail with `EINVAL` if the name gave another one.
    Share(NrName),
    /// `extmem=FILE` or `extmem:file=FILE,...`: use the file as memory region.
    Extmem(Extmem<'a>),
    /// `conf:...`: ask for numbers of rings and slots.
    Conf(Conf),
    /// `offset=N` or `offset:initial=N,bits=N`: packets start at an offset in their buffers.
    Offset(Offset),
}

/// The `extmem` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extmem<'a> {
    /// Path of the file.
    pub file: &'a [u8],
    /// `if-num`, `if-size`, `ring-num`, `ring-size`, `buf-num`, `buf-size`.
    pub pools: [Option<u32>; 6],
}

impl Extmem<'_> {
    /// Stores the numbers that were given in `info`.
    pub fn store(&self, info: &mut nmreq_pools_info) {
        let fields = [
            &mut info.nr_if_pool_objtotal,
            &mut info.nr_if_pool_objsize,
            &mut info.nr_ring_pool_objtotal,
            &mut info.nr_ring_pool_objsize,
            &mut info.nr_buf_pool_objtotal,
            &mut info.nr_buf_pool_objsize,
        ];
        store_given(fields, self.pools);
    }
}

/// The `conf` option. The keys `rings`, `host-rings` and `slots` set both directions; the keys
/// for one direction win over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conf {
    /// Number of tx rings, rx rings, host tx rings, host rx rings.
    pub rings: [Option<u16>; 4],
    /// Slots per tx ring, rx ring.
    pub slots: [Option<u32>; 2],
}

impl Conf {
    /// Stores the numbers that were given in `request`.
    pub fn store(&self, request: &mut nmreq_register) {
        let rings = [
            &mut request.nr_tx_rings,
            &mut request.nr_rx_rings,
            &mut request.nr_host_tx_rings,
            &mut request.nr_host_rx_rings,
        ];
        store_given(rings, self.rings);
        store_given(
            [&mut request.nr_tx_slots, &mut request.nr_rx_slots],
            self.slots,
        );
    }
}

fn store_given<T, const N: usize>(fields: [&mut T; N], values: [Option<T>; N]) {
    for (field, value) in fields.into_iter().zip(values) {
        if let Some(value) = value {
            *field = value;
        }
    }
}

/// The `offset` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Initial and maximal offset in bytes.
    pub initial: u64,
    /// Bits of the slot's `ptr` that hold the offset; 0 for all.
    pub bits: u32,
}

impl Offset {
    /// The option's numbers as netmap takes them; the head is the caller's to fill.
    #[must_use]
    pub fn to_option(self) -> nmreq_opt_offsets {
        nmreq_opt_offsets {
            nro_max_offset: self.initial,
            nro_initial_offset: self.initial,
            nro_offset_bits: self.bits,
            ..nmreq_opt_offsets::default()
        }
    }
}

/// A list of options that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Checks a list of options, `text` (`nmreq_options_decode`).
    ///
    /// # Errors
    ///
    /// `EINVAL`: not empty and not starting with `@`; an option that is empty or unknown or lacks
    /// its body; an unknown key, the same key twice, a key without value, a mandatory key missing
    /// (`port`, `file`, `initial`); `=` after an option without default key (`conf`); a bad port
    /// name in `share`; `extmem` twice. `EOPNOTSUPP`: an option that is not enabled.
    pub fn parse(text: &'a [u8], enabled: Enabled) -> Result<Self, NameError> {
        let text = until_nul(text);
        let options = match text.split_first() {
            None => Self(&[]),
            Some((b'@', options)) => {
                if options.is_empty() {
                    return Err(Kind::EmptyOption.into());
                }
                Self(options)
            }
            Some(_) => return Err(Kind::ExpectedOption.into()),
        };
        let mut extmem = false;
        for option in options.pieces() {
            let option = parse_option(option, enabled)?;
            if matches!(option, PortOption::Extmem(_)) && core::mem::replace(&mut extmem, true) {
                return Err(Kind::ExtmemTwice.into());
            }
        }
        Ok(options)
    }

    /// The options.
    pub fn iter(&self) -> impl Iterator<Item = PortOption<'a>> + use<'a> {
        let all = Enabled {
            share: true,
            extmem: true,
            conf: true,
            offset: true,
        };
        // every piece has passed `parse`, so none is left out
        self.pieces()
            .filter_map(move |option| parse_option(option, all).ok())
    }

    fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let pieces = self.0.split(|&b| b == b'@');
        pieces.take(if self.0.is_empty() { 0 } else { usize::MAX })
    }
}

const SHARE_KEYS: &[&[u8]] = &[b"port"];
const EXTMEM_KEYS: &[&[u8]] = &[
    b"file",
    b"if_num",
    b"if_size",
    b"ring_num",
    b"ring_size",
    b"buf_num",
    b"buf_size",
];
const CONF_KEYS: &[&[u8]] = &[
    b"rings",
    b"host_rings",
    b"slots",
    b"tx_rings",
    b"rx_rings",
    b"host_tx_rings",
    b"host_rx_rings",
    b"tx_slots",
    b"rx_slots",
];
const OFFSET_KEYS: &[&[u8]] = &[b"initial", b"bits"];
const MAX_KEYS: usize = 9;

/// The values of an option's keys, in the order of its key list.
type Values<'a> = [Option<&'a [u8]>; MAX_KEYS];

fn parse_option(text: &[u8], enabled: Enabled) -> Result<PortOption<'_>, NameError> {
    if text.is_empty() {
        return Err(Kind::EmptyOption.into());
    }
    let (option, body) = text.split_at(find_any(text, b":="));
    let (on, keys) = match option {
        b"share" => (enabled.share, SHARE_KEYS),
        b"extmem" => (enabled.extmem, EXTMEM_KEYS),
        b"conf" => (enabled.conf, CONF_KEYS),
        b"offset" => (enabled.offset, OFFSET_KEYS),
        _ => return Err(Kind::UnknownOption.into()),
    };
    if !on {
        return Err(Kind::OptionDisabled.into());
    }
    // in every option but conf the first key is the default key, and it must be set
    let first_is_default = option != b"conf";
    let values = match body.split_first() {
        None => return Err(Kind::MissingBody.into()),
        Some((b'=', _)) if !first_is_default => return Err(Kind::NoDefaultKey.into()),
        Some((b'=', [])) => return Err(Kind::MissingValue.into()),
        Some((b'=', value)) => {
            let mut values = Values::default();
            values[0] = Some(value);
            values
        }
        Some((_, body)) => parse_keys(body, keys)?,
    };
    if first_is_default && values[0].is_none() {
        return Err(Kind::MandatoryKey.into());
    }
    Ok(match option {
        b"share" => PortOption::Share(decode_header(values[0].unwrap_or_default())?.0),
        b"extmem" => PortOption::Extmem(extmem(&values)),
        b"conf" => PortOption::Conf(conf(&values)),
        _ => PortOption::Offset(offset(&values)),
    })
}

fn parse_keys<'a>(body: &'a [u8], keys: &[&[u8]]) -> Result<Values<'a>, Kind> {
    let mut values = Values::default();
    let mut rest = Some(body).filter(|body| !body.is_empty());
    while let Some(text) = rest {
        // the first byte is never a delimiter
        let Some(tail) = text.get(1..) else {
            return Err(Kind::UnknownKey);
        };
        let (key, tail) = text.split_at(1 + find_any(tail, b"=,"));
        let index = keys
            .iter()
            .position(|k| same_key(k, key))
            .ok_or(Kind::UnknownKey)?;
        if values[index].is_some() {
            return Err(Kind::DuplicateKey);
        }
        let Some((b'=', tail)) = tail.split_first() else {
            return Err(Kind::KeyWithoutValue);
        };
        let (value, tail) = tail.split_at(find_any(tail, b","));
        values[index] = Some(value).filter(|value| !value.is_empty());
        rest = tail.get(1..);
    }
    Ok(values)
}

/// Whether `written` names `key`, with `-` for `_` except in front.
fn same_key(key: &[u8], written: &[u8]) -> bool {
    key.len() == written.len()
        && key.first() == written.first()
        && key
            .iter()
            .zip(written)
            .all(|(k, w)| k == w || (*k == b'_' && *w == b'-'))
}

#[expect(
    clippy::cast_sign_loss,
    reason = "libnetmap stores atoi's result in unsigned fields"
)]
fn extmem<'a>(values: &Values<'a>) -> Extmem<'a> {
    let mut pools = [None; 6];
    for (pool, value) in pools.iter_mut().zip(&values[1..]) {
        *pool = value.map(|value| atoi(value) as u32);
    }
    Extmem {
        file: values[0].unwrap_or_default(),
        pools,
    }
}

#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "libnetmap stores atoi's result in narrower unsigned fields"
)]
fn conf(values: &Values<'_>) -> Conf {
    let [
        rings,
        host_rings,
        slots,
        tx,
        rx,
        host_tx,
        host_rx,
        tx_slots,
        rx_slots,
    ] = values.map(|value| value.map(atoi));
    let rings = [
        tx.or(rings),
        rx.or(rings),
        host_tx.or(host_rings),
        host_rx.or(host_rings),
    ];
    Conf {
        rings: rings.map(|n| n.map(|n| n as u16)),
        slots: [tx_slots.or(slots), rx_slots.or(slots)].map(|n| n.map(|n| n as u32)),
    }
}

#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "libnetmap widens atoi's result with its sign, then narrows the bits"
)]
fn offset(values: &Values<'_>) -> Offset {
    let number = |value: Option<&[u8]>| i64::from(value.map_or(0, atoi)) as u64;
    Offset {
        initial: number(values[0]),
        bits: number(values[1]) as u32,
    }
}

/// The signed number that reads back as `number`, since `atoi` wraps.
fn signed(number: u32) -> i64 {
    i64::from(number as i32)
}

/// Writes the option without its `@`; the text parses to an equal option.
impl fmt::Display for PortOption<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(name) => {
                let name = field_name(name);
                let bare = name.starts_with(b"vale")
                    && decode_header(name).is_ok_and(|(decoded, _)| field_name(&decoded) == name);
                out.write_str(if bare { "share=" } else { "share=netmap:" })?;
                super::write_bytes(out, name)
            }
            Self::Extmem(extmem) if extmem.pools == [None; 6] => {
                out.write_str("extmem=")?;
                super::write_bytes(out, extmem.file)
            }
            Self::Extmem(extmem) => {
                out.write_str("extmem:file=")?;
                super::write_bytes(out, extmem.file)?;
                let pools = extmem.pools.map(|n| n.map(signed));
                write_keys(out, ",", &EXTMEM_KEYS[1..], &pools)
            }
            Self::Conf(Conf { rings, slots }) => {
                out.write_str("conf:")?;
                let mut numbers = [None; 6];
                let rings = rings.map(|n| n.map(i64::from));
                let slots = slots.map(|n| n.map(signed));
                numbers[..4].copy_from_slice(&rings);
                numbers[4..].copy_from_slice(&slots);
                write_keys(out, "", &CONF_KEYS[3..], &numbers)
            }
            Self::Offset(Offset { initial, bits }) => {
                write!(
                    out,
                    "offset:initial={},bits={}",
                    *initial as i64, *bits as i32
                )
            }
        }
    }
}

/// Writes `key=number` for the numbers there are; `comma` goes in front of the first.
fn write_keys(
    out: &mut fmt::Formatter<'_>,
    mut comma: &str,
    keys: &[&[u8]],
    numbers: &[Option<i64>],
) -> fmt::Result {
    for (key, number) in keys.iter().zip(numbers) {
        if let Some(number) = number {
            out.write_str(comma)?;
            super::write_bytes(out, key)?;
            write!(out, "={number}")?;
            comma = ",";
        }
    }
    Ok(())
}
