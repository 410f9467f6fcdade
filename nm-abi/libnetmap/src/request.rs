//! `nmreq_*`: headers, lists of options, and the first two parts of a name.

use core::ffi::{CStr, c_char, c_int, c_void};

use nm_abi::name::{NameError, NameErrorKind as Kind, field_name, nmport};
use nm_abi::{
    NETMAP_API, NETMAP_REQ_OPT_CSB, NETMAP_REQ_OPT_EXTMEM, NETMAP_REQ_OPT_OFFSETS,
    NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, NETMAP_REQ_OPT_SYNC_KLOOP_MODE, NETMAP_REQ_PORT_INFO_GET,
    NIOCCTRL, nmreq_header, nmreq_option, nmreq_port_info_get, nmreq_register,
};

use crate::abi::nmctx;
use crate::context::{Context, errno, error_text, set_errno};

/// The bytes of a C string.
///
/// # Safety
/// `text` points to a C string that is not changed while the result is used.
pub(crate) unsafe fn bytes_of<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// Bytes for a sentence.
pub(crate) fn shown(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// `/dev/netmap`, open for as long as a request needs it.
pub(crate) fn open_device() -> c_int {
    // SAFETY: the path is a C string.
    unsafe { libc::open(c"/dev/netmap".as_ptr(), libc::O_RDWR) }
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
///
/// # Safety
/// `hdr` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_header_init(
    hdr: *mut nmreq_header,
    reqtype: u16,
    body: *mut c_void,
) {
    // SAFETY: by contract.
    unsafe { hdr.write(new_header(reqtype, body)) };
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

/// Moves the cursor behind what was read of `text`, up to `rest`.
///
/// # Safety
/// `cursor` points to a pointer to `text`, of which `rest` is the end.
unsafe fn advance(cursor: *mut *const c_char, text: &[u8], rest: &[u8]) {
    // SAFETY: the result lies within the string, at most at its NUL.
    unsafe { *cursor = (*cursor).add(text.len() - rest.len()) };
}

/// Reads a name up to its rings and stores `nr_name`.
///
/// # Safety
/// `ppspec` points to a pointer to a C string; `hdr` may be written; `ctx` points to a living context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_header_decode(
    ppspec: *mut *const c_char,
    hdr: *mut nmreq_header,
    ctx: *mut nmctx,
) -> c_int {
    // SAFETY: by contract.
    let (ctx, text) = unsafe { (Context::new(ctx), bytes_of(*ppspec)) };
    let Some((name, rest)) = decode_header(text, ctx) else {
        return -1;
    };
    // SAFETY: by contract.
    unsafe {
        (*hdr).nr_name = name;
        advance(ppspec, text, rest);
    }
    0
}

/// Reads rings, flags and memory id and stores them.
///
/// # Safety
/// `pmode` points to a pointer to a C string; `reg` may be read and written; `ctx` points to a
/// living context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_register_decode(
    pmode: *mut *const c_char,
    reg: *mut nmreq_register,
    ctx: *mut nmctx,
) -> c_int {
    // SAFETY: by contract.
    let (ctx, text, mem_id) = unsafe { (Context::new(ctx), bytes_of(*pmode), (*reg).nr_mem_id) };
    let Some((register, rest)) = decode_register(text, text, mem_id, ctx) else {
        return -1;
    };
    // SAFETY: by contract; nobody else uses the request meanwhile.
    unsafe {
        register.store(&mut *reg);
        advance(pmode, text, rest);
    }
    0
}

/// Asks netmap for the memory region of a port; -1 after saying why not.
///
/// # Safety
/// `portname` points to a pointer to a C string or to null; `ctx` points to a living context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_get_mem_id(portname: *mut *const c_char, ctx: *mut nmctx) -> i32 {
    // SAFETY: by contract.
    let ctx = unsafe { Context::new(ctx) };
    // SAFETY: by contract.
    if unsafe { *portname }.is_null() {
        set_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: by contract, and it is not null.
    let text = unsafe { bytes_of(*portname) };
    let Some((name, rest)) = decode_header(text, ctx) else {
        return -1;
    };
    let Some(mem_id) = ask_mem_id(name, ctx) else {
        return -1;
    };
    // SAFETY: `rest` is the end of the string.
    unsafe { advance(portname, text, rest) };
    i32::from(mem_id)
}

fn ask_mem_id(name: nmport::NrName, ctx: Context) -> Option<u16> {
    let fd = open_device();
    if fd < 0 {
        let code = errno();
        let why = error_text(code);
        ctx.fail(code, format_args!("cannot open /dev/netmap: {why}"));
        return None;
    }
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

/// An option as a pointer.
fn option_at(address: u64) -> *mut nmreq_option {
    address as usize as *mut nmreq_option
}

/// Puts an option in front of a request's list.
///
/// # Safety
/// `hdr` and `opt` may be read and written; the option stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_push_option(hdr: *mut nmreq_header, opt: *mut nmreq_option) {
    // SAFETY: by contract.
    unsafe {
        (*opt).nro_next = (*hdr).nr_options;
        (*hdr).nr_options = opt as u64;
    }
}

/// Takes an option out of a request's list, if it is there.
///
/// # Safety
/// `hdr` and all options of its list may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_remove_option(hdr: *mut nmreq_header, opt: *mut nmreq_option) {
    // SAFETY: the list is the program's and whole, by contract; each link is in the header or in
    // an option of the list.
    unsafe {
        let mut link = &raw mut (*hdr).nr_options;
        while *link != 0 {
            let here = option_at(*link);
            if here == opt {
                *link = (*opt).nro_next;
                (*opt).nro_next = 0;
                return;
            }
            link = &raw mut (*here).nro_next;
        }
    }
}

/// The first option of a type in a request's list, or null.
///
/// # Safety
/// `hdr` and all options of its list may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_find_option(
    hdr: *mut nmreq_header,
    reqtype: u32,
) -> *mut nmreq_option {
    // SAFETY: the list is the program's and whole, by contract.
    unsafe {
        let mut here = option_at((*hdr).nr_options);
        while !here.is_null() && (*here).nro_reqtype != reqtype {
            here = option_at((*here).nro_next);
        }
        here
    }
}

/// Gives each option of a request's list to `free`, and empties the list.
///
/// # Safety
/// All options are from `malloc` and are not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmreq_free_options(hdr: *mut nmreq_header) {
    // SAFETY: the list is the program's and whole, by contract; an option is not read after free.
    unsafe {
        let mut here = option_at((*hdr).nr_options);
        (*hdr).nr_options = 0;
        while !here.is_null() {
            let next = option_at((*here).nro_next);
            libc::free(here.cast());
            here = next;
        }
    }
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
