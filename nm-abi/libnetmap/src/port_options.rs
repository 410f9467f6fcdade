//! The options of port names, and which of them are switched on.

use core::ffi::{CStr, c_int};
use core::ptr::{NonNull, null};
use core::sync::atomic::{AtomicU32, Ordering};

use nm_abi::name::options::{Conf, Extmem};

use crate::abi::{
    NMREQ_OPT_MAXKEYS, NMREQ_OPTF_DISABLED, NMREQ_OPTK_DEFAULT, NMREQ_OPTK_MUSTSET, nmreq_opt_key,
    nmreq_opt_parser, nmreq_parse_ctx,
};
use crate::context::{set_errno, status};
use crate::descriptor::Port;
use crate::given::{Given, Text, shown};
use crate::request::mem_id_of;

// SAFETY: what a parser points to, strings, functions and the next parser, is constant; its flags
// are atomic.
unsafe impl Sync for nmreq_opt_parser {}

static SHARE: nmreq_opt_parser = option(c"share", parse_share, &[c"port"], true, &raw const CONF);
static CONF: nmreq_opt_parser = option(
    c"conf",
    parse_conf,
    &[
        c"rings",
        c"host_rings",
        c"slots",
        c"tx_rings",
        c"rx_rings",
        c"host_tx_rings",
        c"host_rx_rings",
        c"tx_slots",
        c"rx_slots",
    ],
    false,
    &raw const EXTMEM,
);
static EXTMEM: nmreq_opt_parser = option(
    c"extmem",
    parse_extmem,
    &[
        c"file",
        c"if_num",
        c"if_size",
        c"ring_num",
        c"ring_size",
        c"buf_num",
        c"buf_size",
    ],
    true,
    &raw const OFFSET,
);
static OFFSET: nmreq_opt_parser = nmreq_opt_parser {
    flags: AtomicU32::new(NMREQ_OPTF_DISABLED),
    ..option(
        c"offset",
        parse_offset,
        &[c"initial", c"bits"],
        true,
        null(),
    )
};

/// An option's description. Where `default` says so, the first key is the default key and must be
/// given.
const fn option(
    prefix: &'static CStr,
    parse: extern "C" fn(&mut nmreq_parse_ctx) -> c_int,
    names: &[&'static CStr],
    default: bool,
    next: *const nmreq_opt_parser,
) -> nmreq_opt_parser {
    const NO_KEY: nmreq_opt_key = nmreq_opt_key {
        key: None,
        id: 0,
        flags: 0,
    };
    let mut keys = [NO_KEY; NMREQ_OPT_MAXKEYS];
    let mut i = 0;
    while i < names.len() {
        keys[i] = nmreq_opt_key {
            key: Some(Text::constant(names[i])),
            id: i as c_int,
            flags: if default && i == 0 {
                NMREQ_OPTK_DEFAULT | NMREQ_OPTK_MUSTSET
            } else {
                0
            },
        };
        i += 1;
    }
    nmreq_opt_parser {
        prefix: Text::constant(prefix),
        parse: Some(parse),
        default_key: if default { 0 } else { -1 },
        nr_keys: names.len() as c_int,
        flags: AtomicU32::new(0),
        next,
        keys,
    }
}

/// The list of options for `nmreq_options_decode`.
pub(crate) fn parsers() -> Option<&'static nmreq_opt_parser> {
    Some(&SHARE)
}

/// The flags of the option of this name.
fn flags(name: Text) -> Option<&'static AtomicU32> {
    let all = [&SHARE, &CONF, &EXTMEM, &OFFSET];
    let found = all
        .into_iter()
        .find(|option| option.prefix.bytes() == name.bytes());
    found.map(|option| &option.flags)
}

/// Switches an option off; does nothing if there is none of this name.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_disable_option(opt: Text) {
    if let Some(flags) = flags(opt) {
        flags.fetch_or(NMREQ_OPTF_DISABLED, Ordering::Relaxed);
    }
}

/// Switches an option on; `EOPNOTSUPP` if there is none of this name.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_enable_option(opt: Text) -> c_int {
    let Some(flags) = flags(opt) else {
        set_errno(libc::EOPNOTSUPP);
        return -1;
    };
    flags.fetch_and(!NMREQ_OPTF_DISABLED, Ordering::Relaxed);
    0
}

/// The port that an option is for.
fn port_of(p: &nmreq_parse_ctx) -> Option<Port> {
    let port = NonNull::new(p.token.cast())?;
    // SAFETY: these parsers are called with the port that `nmport_parse` was given as token, and it
    // does not use the port meanwhile.
    Some(unsafe { Given::new(port) })
}

/// The number that a value means to C's `atoi`.
fn number(value: Option<Text>) -> Option<c_int> {
    // SAFETY: a C string.
    value.map(|value| unsafe { libc::atoi(value.as_ptr()) })
}

extern "C" fn parse_share(p: &mut nmreq_parse_ctx) -> c_int {
    status(share(p))
}

fn share(p: &nmreq_parse_ctx) -> Option<()> {
    let (mut port, name) = (port_of(p)?, p.keys[0]?);
    let mem_id = mem_id_of(&mut { name }, port.ctx)?;
    let named = port.reg.nr_mem_id;
    if named != 0 && named != mem_id {
        let name = shown(name.bytes());
        port.ctx.fail(
            libc::EINVAL,
            format_args!(
                "option 'share': '{name}' uses memory {mem_id}, but the name asks for {named}"
            ),
        );
        return None;
    }
    port.reg.nr_mem_id = mem_id;
    Some(())
}

extern "C" fn parse_conf(p: &mut nmreq_parse_ctx) -> c_int {
    status(conf(p))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "C programs know these numbers to be cut down"
)]
fn conf(p: &nmreq_parse_ctx) -> Option<()> {
    let value = |i: usize| number(p.keys[i]);
    let (rings, host_rings, slots) = (value(0), value(1), value(2));
    let conf = Conf {
        rings: [
            value(3).or(rings),
            value(4).or(rings),
            value(5).or(host_rings),
            value(6).or(host_rings),
        ]
        .map(|n| n.map(|n| n as u16)),
        slots: [value(7).or(slots), value(8).or(slots)].map(|n| n.map(|n| n as u32)),
    };
    conf.store(&mut port_of(p)?.reg);
    Some(())
}

extern "C" fn parse_extmem(p: &mut nmreq_parse_ctx) -> c_int {
    status(extmem(p))
}

#[expect(clippy::cast_sign_loss, reason = "as C programs know it")]
fn extmem(p: &nmreq_parse_ctx) -> Option<()> {
    let mut port = port_of(p)?;
    port.use_extmem_file(p.keys[0]?)?;
    let numbers = Extmem {
        file: &[],
        pools: core::array::from_fn(|i| number(p.keys[i + 1]).map(|n| n as u32)),
    };
    numbers.store(&mut port.extmem.as_mut()?.nro_info);
    Some(())
}

extern "C" fn parse_offset(p: &mut nmreq_parse_ctx) -> c_int {
    status(offset(p))
}

#[expect(clippy::cast_sign_loss, reason = "as C programs know it")]
fn offset(p: &nmreq_parse_ctx) -> Option<()> {
    let value = |i: usize| i64::from(number(p.keys[i]).unwrap_or(0)) as u64;
    let initial = value(0);
    port_of(p)?.use_offsets(initial, initial, value(1), 0)
}
