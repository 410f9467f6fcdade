//! `nmreq_*`: headers, lists of options, and the first two parts of a name.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use nm_abi::name::{NameError, NameErrorKind as Kind, field_name, nmport};
use nm_abi::{
    NETMAP_API, NETMAP_REQ_OPT_CSB, NETMAP_REQ_OPT_EXTMEM, NETMAP_REQ_OPT_OFFSETS,
    NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, NETMAP_REQ_OPT_SYNC_KLOOP_MODE, NETMAP_REQ_PORT_INFO_GET,
    NIOCCTRL, nmreq_header, nmreq_option, nmreq_port_info_get, nmreq_register,
};

use crate::abi::Context;
use crate::context::{errno, error_text, set_errno};
use crate::given::{Given, Text, shown};

/// `/dev/netmap`, open for as long as a request needs it; `None` after saying why not.
pub(crate) fn open_device(ctx: Context) -> Option<c_int> {
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::open(c"/dev/netmap".as_ptr(), libc::O_RDWR) };
    if fd < 0 {
        let code = errno();
        let why = error_text(code);
        ctx.fail(code, format_args!("cannot open /dev/netmap: {why}"));
        return None;
    }
    Some(fd)
}

/// Closes a descriptor; errno stays what it is.
pub(crate) fn close(fd: c_int) {
    let before = errno();
    // SAFETY: the descriptor is the library's own, and is not used again.
    unsafe { libc::close(fd) };
    set_errno(before);
}

/// A header for a request of this type with this body.
pub(crate) fn new_header(reqtype: u16, body: *mut c_void) -> nmreq_header {
    nmreq_header {
        nr_version: NETMAP_API,
        nr_reqtype: reqtype,
        nr_body: body as u64,
        ..nmreq_header::default()
    }
}

/// Fills in a header; fields that are no parameter become 0.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_header_init(
    mut hdr: Given<MaybeUninit<nmreq_header>>,
    reqtype: u16,
    body: *mut c_void,
) {
    hdr.write(new_header(reqtype, body));
}

/// Reads the part of a name that netmap is told; returns the rest. Errors are said and set.
pub(crate) fn decode_header(text: &[u8], ctx: Context) -> Option<(nmport::NrName, &[u8])> {
    nmport::decode_header(text)
        .map_err(|error| {
            let part = header_part(text, error.kind);
            refuse(ctx, text, part, error);
        })
        .ok()
}

/// Reads rings, flags and memory id, `rest`, of a name, `text`.
pub(crate) fn decode_register<'a>(
    text: &[u8],
    rest: &'a [u8],
    mem_id: u16,
    ctx: Context,
) -> Option<(nmport::Register, &'a [u8])> {
    nmport::decode_register(rest, mem_id)
        .map_err(|error| refuse(ctx, text, rest, error))
        .ok()
}

/// Says that `part` of the name `text` is wrong, and why.
fn refuse(ctx: Context, text: &[u8], part: &[u8], error: NameError) {
    let name = shown(text);
    if part.is_empty() || part == text {
        ctx.fail(error.errno, format_args!("{name}: {error}"));
    } else {
        let part = shown(part);
        ctx.fail(error.errno, format_args!("{name}: '{part}': {error}"));
    }
}

/// The part of a name that [`nmport::decode_header`] does not like.
fn header_part(text: &[u8], kind: Kind) -> &[u8] {
    let colon = text.iter().position(|&b| b == b':').unwrap_or(text.len());
    let port = text.get(colon + 1..).unwrap_or_default();
    let port_len = port.iter().position(|b| b"-*^/@".contains(b));
    let port = &port[..port_len.unwrap_or(port.len())];
    let prefix = if text.starts_with(b"netmap") { 6 } else { 4 };
    match kind {
        Kind::UnexpectedIdentifier | Kind::BadSwitchName => text.get(prefix..colon),
        Kind::BadPipeName => {
            let bracket = port.iter().position(|b| b"{}".contains(b));
            bracket.and_then(|at| port.get(at + 1..))
        }
        Kind::TooLong => Some(port),
        _ => None,
    }
    .unwrap_or_default()
}

/// Reads a name up to its rings and stores `nr_name`; the cursor moves there.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_header_decode(
    mut ppspec: Given<Text>,
    mut hdr: Given<nmreq_header>,
    ctx: Context,
) -> c_int {
    let Some((name, rest)) = decode_header(ppspec.bytes(), ctx) else {
        return -1;
    };
    hdr.nr_name = name;
    let rest = rest.len();
    ppspec.keep_last(rest);
    0
}

/// Reads rings, flags and memory id and stores them; the cursor moves behind them.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_register_decode(
    mut pmode: Given<Text>,
    mut reg: Given<nmreq_register>,
    ctx: Context,
) -> c_int {
    let text = pmode.bytes();
    let Some((register, rest)) = decode_register(text, text, reg.nr_mem_id, ctx) else {
        return -1;
    };
    register.store(&mut reg);
    let rest = rest.len();
    pmode.keep_last(rest);
    0
}

/// Asks netmap for the memory region of a port; -1 after saying why not.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_get_mem_id(mut portname: Given<Option<Text>>, ctx: Context) -> i32 {
    match &mut *portname {
        Some(name) => mem_id_of(name, ctx).map_or(-1, i32::from),
        None => {
            set_errno(libc::EINVAL);
            -1
        }
    }
}

/// The memory region of the port that `cursor` begins with, and moves the cursor behind the port's
/// name; `None` after saying why not.
pub(crate) fn mem_id_of(cursor: &mut Text, ctx: Context) -> Option<u16> {
    let (name, rest) = decode_header(cursor.bytes(), ctx)?;
    let mem_id = ask_mem_id(name, ctx)?;
    let rest = rest.len();
    cursor.keep_last(rest);
    Some(mem_id)
}

/// The memory region of the port `name`; `None` after saying why not.
fn ask_mem_id(name: nmport::NrName, ctx: Context) -> Option<u16> {
    let fd = open_device(ctx)?;
    let mut info = nmreq_port_info_get::default();
    let mut header = new_header(NETMAP_REQ_PORT_INFO_GET, (&raw mut info).cast());
    header.nr_name = name;
    // SAFETY: header and body are ours and live until after the call, which writes to both.
    let rc = unsafe { libc::ioctl(fd, NIOCCTRL as _, &raw mut header) };
    let code = errno();
    close(fd);
    if rc < 0 {
        let (name, why) = (shown(field_name(&name)), error_text(code));
        ctx.fail(
            code,
            format_args!("cannot ask for the memory of port '{name}': {why}"),
        );
        return None;
    }
    // SAFETY: the body is ours; the call that wrote to it is over.
    Some(unsafe { (&raw const info.nr_mem_id).read_volatile() })
}

/// The option that a link of a list leads to, or its end.
fn option_at(link: u64) -> Option<Given<nmreq_option>> {
    let option = NonNull::new(link as usize as *mut nmreq_option)?;
    // SAFETY: the list of a request is whole and belongs to whoever hands the request over: each
    // link is 0 or the address of an option that is there. What is here uses one option at a time.
    Some(unsafe { Given::new(option) })
}

/// The options of a request.
pub(crate) fn options(hdr: &nmreq_header) -> impl Iterator<Item = Given<nmreq_option>> + use<> {
    let mut link = hdr.nr_options;
    core::iter::from_fn(move || {
        let option = option_at(link)?;
        link = option.nro_next;
        Some(option)
    })
}

/// Puts an option in front of a request's list, where it stays until it is taken out.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_push_option(hdr: &mut nmreq_header, opt: &mut nmreq_option) {
    opt.nro_next = hdr.nr_options;
    hdr.nr_options = (&raw mut *opt) as u64;
}

/// Takes an option out of a request's list, if it is there.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_remove_option(hdr: &mut nmreq_header, opt: *mut nmreq_option) {
    let mut before: Option<Given<nmreq_option>> = None;
    for mut option in options(hdr) {
        if option.as_ptr() == opt {
            let next = core::mem::take(&mut option.nro_next);
            match before {
                Some(mut before) => before.nro_next = next,
                None => hdr.nr_options = next,
            }
            return;
        }
        before = Some(option);
    }
}

/// The first option of a type in a request's list, or null.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_find_option(hdr: &nmreq_header, reqtype: u32) -> *mut nmreq_option {
    options(hdr)
        .find(|option| option.nro_reqtype == reqtype)
        .map_or(null_mut(), |option| option.as_ptr())
}

/// Gives each option of a request's list to `free`, and empties the list.
///
/// # Safety
/// All options are from `malloc` and are not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_free_options(hdr: &mut nmreq_header) {
    for option in options(hdr) {
        // SAFETY: from malloc, as the caller says; `options` has read the link behind it already.
        unsafe { libc::free(option.as_ptr().cast()) };
    }
    hdr.nr_options = 0;
}

/// What people call an option.
#[unsafe(no_mangle)]
pub extern "C" fn nmreq_option_name(reqtype: u32) -> *const c_char {
    option_name(reqtype).as_ptr()
}

/// What people call an option.
pub(crate) fn option_name(reqtype: u32) -> &'static CStr {
    match reqtype {
        NETMAP_REQ_OPT_EXTMEM => c"extmem",
        NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS => c"sync-kloop-eventfds",
        NETMAP_REQ_OPT_CSB => c"csb",
        NETMAP_REQ_OPT_SYNC_KLOOP_MODE => c"sync-kloop-mode",
        NETMAP_REQ_OPT_OFFSETS => c"offsets",
        _ => c"unknown",
    }
}
