//! The options of port names, and which of them are switched on.

use core::ffi::{CStr, c_char, c_int};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use nm_abi::name::options::{Conf, Extmem};

use crate::abi::{
    NMREQ_OPT_MAXKEYS, NMREQ_OPTF_DISABLED, NMREQ_OPTK_DEFAULT, NMREQ_OPTK_MUSTSET, nmport_d,
    nmreq_opt_key, nmreq_opt_parser, nmreq_opt_parser_cb, nmreq_parse_ctx,
};
use crate::context::{Context, Shared, set_errno};
use crate::memory::{nmport_extmem_from_file, nmport_offset};
use crate::request::{bytes_of, nmreq_get_mem_id};

static SHARE: Shared<nmreq_opt_parser> =
    Shared::new(option(c"share", parse_share, &[c"port"], true, CONF.get()));
static CONF: Shared<nmreq_opt_parser> = Shared::new(option(
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
    EXTMEM.get(),
));
static EXTMEM: Shared<nmreq_opt_parser> = Shared::new(option(
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
    OFFSET.get(),
));
static OFFSET: Shared<nmreq_opt_parser> = Shared::new(nmreq_opt_parser {
    flags: NMREQ_OPTF_DISABLED,
    ..option(
        c"offset",
        parse_offset,
        &[c"initial", c"bits"],
        true,
        null_mut(),
    )
});

/// An option's description. Where `default` says so, the first key is the default key and must be
/// given.
const fn option(
    prefix: &'static CStr,
    parse: unsafe extern "C" fn(*mut nmreq_parse_ctx) -> c_int,
    names: &[&'static CStr],
    default: bool,
    next: *mut nmreq_opt_parser,
) -> nmreq_opt_parser {
    const NO_KEY: nmreq_opt_key = nmreq_opt_key {
        key: core::ptr::null(),
        id: 0,
        flags: 0,
    };
    let mut keys = [NO_KEY; NMREQ_OPT_MAXKEYS];
    let mut i = 0;
    while i < names.len() {
        keys[i] = nmreq_opt_key {
            key: names[i].as_ptr(),
            id: i as c_int,
            flags: if default && i == 0 {
                NMREQ_OPTK_DEFAULT | NMREQ_OPTK_MUSTSET
            } else {
                0
            },
        };
        i += 1;
    }
    let parse: nmreq_opt_parser_cb = Some(parse);
    nmreq_opt_parser {
        prefix: prefix.as_ptr(),
        parse,
        default_key: if default { 0 } else { -1 },
        nr_keys: names.len() as c_int,
        flags: 0,
        next,
        keys,
    }
}

/// The list of options for `nmreq_options_decode`.
pub(crate) fn parsers() -> *mut nmreq_opt_parser {
    SHARE.get()
}

/// Switches an option of this name off or on; `false` if there is none.
unsafe fn set_disabled(name: *const c_char, disabled: bool) -> bool {
    // SAFETY: the caller of the public functions gives a C string.
    let name = unsafe { bytes_of(name) };
    let all = [&SHARE, &CONF, &EXTMEM, &OFFSET];
    // SAFETY: names of options are constant C strings.
    let found = all
        .into_iter()
        .find(|option| unsafe { bytes_of((*option.get()).prefix) } == name);
    let Some(option) = found else {
        return false;
    };
    // SAFETY: the field is aligned and alive; it is only used by whole words, see `load_flags`.
    let flags = unsafe { AtomicU32::from_ptr(&raw mut (*option.get()).flags) };
    if disabled {
        flags.fetch_or(NMREQ_OPTF_DISABLED, Ordering::Relaxed);
    } else {
        flags.fetch_and(!NMREQ_OPTF_DISABLED, Ordering::Relaxed);
    }
    true
}

/// Switches an option off; does nothing if there is none of this name.
///
/// # Safety
/// `opt` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_disable_option(opt: *const c_char) {
    // SAFETY: by contract.
    unsafe { set_disabled(opt, true) };
}

/// Switches an option on; `EOPNOTSUPP` if there is none of this name.
///
/// # Safety
/// `opt` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_enable_option(opt: *const c_char) -> c_int {
    // SAFETY: by contract.
    if unsafe { set_disabled(opt, false) } {
        return 0;
    }
    set_errno(libc::EOPNOTSUPP);
    -1
}

/// The port that an option is for, and the values of its keys.
///
/// # Safety
/// `p` is what `nmreq_options_decode` gave the parser.
unsafe fn arguments(
    p: *mut nmreq_parse_ctx,
) -> (*mut nmport_d, [*const c_char; NMREQ_OPT_MAXKEYS]) {
    // SAFETY: by contract; nobody else has the arguments.
    unsafe { ((*p).token.cast(), (*p).keys) }
}

/// The number that a value means to C's `atoi`.
fn number(value: *const c_char) -> Option<c_int> {
    // SAFETY: the value of a key is a C string, which lasts as long as the parser's call.
    (!value.is_null()).then(|| unsafe { libc::atoi(value) })
}

unsafe extern "C" fn parse_share(p: *mut nmreq_parse_ctx) -> c_int {
    // SAFETY: called by `nmreq_options_decode`.
    let (d, keys) = unsafe { arguments(p) };
    let mut port = keys[0];
    // SAFETY: the value is a C string; the descriptor's context is alive.
    let mem_id = unsafe { nmreq_get_mem_id(&raw mut port, (*d).ctx) };
    let Ok(mem_id) = u16::try_from(mem_id) else {
        return -1;
    };
    // SAFETY: the descriptor is the caller's of `nmport_parse`, who lets nobody else use it.
    let (ctx, reg) = unsafe { (Context::new((*d).ctx), &mut (*d).reg) };
    if reg.nr_mem_id != 0 && reg.nr_mem_id != mem_id {
        let named = reg.nr_mem_id;
        // SAFETY: as above.
        let port = crate::request::shown(unsafe { bytes_of(keys[0]) });
        return ctx.fail(
            libc::EINVAL,
            format_args!(
                "option 'share': '{port}' uses memory {mem_id}, but the name asks for {named}"
            ),
        );
    }
    reg.nr_mem_id = mem_id;
    0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "C programs know these numbers to be cut down"
)]
unsafe extern "C" fn parse_conf(p: *mut nmreq_parse_ctx) -> c_int {
    // SAFETY: called by `nmreq_options_decode`.
    let (d, keys) = unsafe { arguments(p) };
    let value = |i: usize| number(keys[i]);
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
    // SAFETY: the descriptor is the caller's of `nmport_parse`, who lets nobody else use it.
    conf.store(unsafe { &mut (*d).reg });
    0
}

#[expect(clippy::cast_sign_loss, reason = "as C programs know it")]
unsafe extern "C" fn parse_extmem(p: *mut nmreq_parse_ctx) -> c_int {
    // SAFETY: called by `nmreq_options_decode`.
    let (d, keys) = unsafe { arguments(p) };
    // SAFETY: the value is a C string; it is there, because the key is mandatory.
    if unsafe { nmport_extmem_from_file(d, keys[0]) } < 0 {
        return -1;
    }
    let numbers = Extmem {
        file: &[],
        pools: core::array::from_fn(|i| number(keys[i + 1]).map(|n| n as u32)),
    };
    // SAFETY: the option was just made; nobody else uses the descriptor.
    numbers.store(unsafe { &mut (*(*d).extmem).nro_info });
    0
}

#[expect(clippy::cast_sign_loss, reason = "as C programs know it")]
unsafe extern "C" fn parse_offset(p: *mut nmreq_parse_ctx) -> c_int {
    // SAFETY: called by `nmreq_options_decode`.
    let (d, keys) = unsafe { arguments(p) };
    let value = |i: usize| i64::from(number(keys[i]).unwrap_or(0)) as u64;
    let initial = value(0);
    // SAFETY: the descriptor is the caller's of `nmport_parse`.
    unsafe { nmport_offset(d, initial, initial, value(1), 0) }
}
