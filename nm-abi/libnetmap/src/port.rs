//! `nmport_*`: a port's way from its name to its rings and back.

use core::ffi::{c_char, c_int};
use core::ptr::null_mut;

use nm_abi::name::field_name;
use nm_abi::{NETMAP_REQ_REGISTER, NIOCCTRL, nmreq_register};

use crate::abi::nmport_d;
use crate::context::{Context, errno, error_text};
use crate::memory::{cleanup_until, context_of};
use crate::options::decode as decode_options;
use crate::port_options::parsers;
use crate::region::{nmport_mmap, nmport_undo_mmap};
use crate::request::{
    bytes_of, close, decode_header, decode_register, new_header, open_device, option_name, shown,
};

/// The port's name in its request.
///
/// # Safety
/// `d` points to a port, whose name is not changed while the result is used.
pub(crate) unsafe fn name_of<'a>(d: *mut nmport_d) -> &'a [u8] {
    // SAFETY: by contract.
    field_name(unsafe { &(*d).hdr.nr_name })
}

fn new_in(ctx: Context) -> Option<*mut nmport_d> {
    let d = nmport_d {
        hdr: new_header(NETMAP_REQ_REGISTER, null_mut()),
        reg: nmreq_register::default(),
        mem: null_mut(),
        ctx: ctx.as_ptr(),
        register_done: 0,
        mmap_done: 0,
        extmem: null_mut(),
        fd: -1,
        nifp: null_mut(),
        first_tx_ring: 0,
        last_tx_ring: 0,
        first_rx_ring: 0,
        last_rx_ring: 0,
        cur_tx_ring: 0,
        cur_rx_ring: 0,
        clist: null_mut(),
    };
    let d = ctx.allocate(d, "a port descriptor")?;
    // SAFETY: the descriptor was just made.
    unsafe { (*d).hdr.nr_body = (&raw mut (*d).reg) as u64 };
    Some(d)
}

/// A descriptor in the default context, with an empty register request; null without memory.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_new() -> *mut nmport_d {
    new_in(Context::default()).unwrap_or(null_mut())
}

/// Frees a descriptor.
///
/// # Safety
/// `d` points to a port that is not parsed, registered or mapped, and that nobody uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_delete(d: *mut nmport_d) {
    // SAFETY: by contract.
    unsafe { context_of(d).free(d) };
}

/// Fills the port's requests from a name. After a failure they are as before.
///
/// # Safety
/// `d` points to a port that nobody else uses; `portspec` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_parse(d: *mut nmport_d, portspec: *const c_char) -> c_int {
    // SAFETY: by contract.
    unsafe {
        let (hdr, reg, clist) = ((*d).hdr, (*d).reg, (*d).clist);
        if parse(d, bytes_of(portspec)).is_some() {
            return 0;
        }
        cleanup_until(d, clist);
        (*d).hdr = hdr;
        (*d).reg = reg;
    }
    -1
}

unsafe fn parse(d: *mut nmport_d, text: &[u8]) -> Option<()> {
    // SAFETY: the port is ours, by contract of the caller.
    unsafe {
        let ctx = context_of(d);
        let (name, rest) = decode_header(text, ctx)?;
        (*d).hdr.nr_name = name;
        let (register, rest) = decode_register(text, rest, (*d).reg.nr_mem_id, ctx)?;
        register.store(&mut (*d).reg);
        (decode_options(rest, parsers(), d.cast(), ctx) >= 0).then_some(())
    }
}

/// Takes back options and everything a name has set.
///
/// # Safety
/// `d` points to a port that nobody else uses and that is not registered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_undo_parse(d: *mut nmport_d) {
    // SAFETY: by contract.
    unsafe {
        cleanup_until(d, null_mut());
        (*d).hdr = new_header(NETMAP_REQ_REGISTER, (&raw mut (*d).reg).cast());
        (*d).reg = nmreq_register::default();
    }
}

/// [`nmport_new`] and [`nmport_parse`].
///
/// # Safety
/// `portspec` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_prepare(portspec: *const c_char) -> *mut nmport_d {
    let d = nmport_new();
    // SAFETY: by contract; the port was just made.
    unsafe {
        if d.is_null() || nmport_parse(d, portspec) == 0 {
            return d;
        }
        nmport_delete(d);
    }
    null_mut()
}

/// Takes [`nmport_prepare`] back; null is fine.
///
/// # Safety
/// `d` points to a port that is not registered and that nobody uses, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_undo_prepare(d: *mut nmport_d) {
    if !d.is_null() {
        // SAFETY: by contract.
        unsafe {
            nmport_undo_parse(d);
            nmport_delete(d);
        }
    }
}

/// Opens `/dev/netmap` and sends the port's request.
///
/// # Safety
/// `d` points to a port that nobody else uses; its request is whole.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_register(d: *mut nmport_d) -> c_int {
    // SAFETY: by contract.
    let (ctx, registered) = unsafe { (context_of(d), (*d).register_done) };
    if registered != 0 {
        // SAFETY: by contract.
        let name = shown(unsafe { name_of(d) });
        return ctx.fail(libc::EINVAL, format_args!("{name}: is registered already"));
    }
    let fd = open_device();
    if fd < 0 {
        let code = errno();
        let why = error_text(code);
        return ctx.fail(code, format_args!("cannot open /dev/netmap: {why}"));
    }
    // SAFETY: by contract: the request is the program's and whole; netmap writes its answer into it.
    let rc = unsafe { libc::ioctl(fd, NIOCCTRL as _, &raw mut (*d).hdr) };
    if rc < 0 {
        let code = errno();
        // SAFETY: by contract.
        unsafe { say_refusal(d, code, ctx) };
        close(fd);
        return -1;
    }
    // SAFETY: by contract.
    unsafe {
        (*d).fd = fd;
        (*d).register_done = 1;
    }
    0
}

/// Says which options netmap did not like, or else that it did not like the request.
unsafe fn say_refusal(d: *mut nmport_d, code: c_int, ctx: Context) {
    // SAFETY: the port is ours and its options are the program's, by contract of the caller.
    unsafe {
        let name = shown(name_of(d));
        let mut option = (*d).hdr.nr_options as usize as *mut nm_abi::nmreq_option;
        let mut said = false;
        while let Some(o) = option.as_ref() {
            if o.nro_status != 0 {
                let what = option_name(o.nro_reqtype).to_string_lossy();
                let why = error_text(o.nro_status.cast_signed());
                ctx.fail(code, format_args!("{name}: option {what}: {why}"));
                said = true;
            }
            option = o.nro_next as usize as *mut nm_abi::nmreq_option;
        }
        if !said {
            let why = error_text(code);
            ctx.fail(code, format_args!("{name}: {why}"));
        }
    }
    crate::context::set_errno(code);
}

/// Closes the port's descriptor, if it has one.
///
/// # Safety
/// `d` points to a port that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_undo_register(d: *mut nmport_d) {
    // SAFETY: by contract.
    unsafe {
        if (*d).fd >= 0 {
            close((*d).fd);
        }
        (*d).fd = -1;
        (*d).register_done = 0;
    }
}

/// [`nmport_register`] and [`nmport_mmap`].
///
/// # Safety
/// As [`nmport_register`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_open_desc(d: *mut nmport_d) -> c_int {
    // SAFETY: by contract.
    unsafe {
        if nmport_register(d) == 0 && nmport_mmap(d) == 0 {
            return 0;
        }
        nmport_undo_open_desc(d);
    }
    -1
}

/// Takes [`nmport_open_desc`] back.
///
/// # Safety
/// `d` points to a port that nobody else uses. Nobody uses its rings any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_undo_open_desc(d: *mut nmport_d) {
    // SAFETY: by contract.
    unsafe {
        nmport_undo_mmap(d);
        nmport_undo_register(d);
    }
}

/// [`nmport_prepare`] and [`nmport_open_desc`].
///
/// # Safety
/// `portspec` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_open(portspec: *const c_char) -> *mut nmport_d {
    // SAFETY: by contract; the port was just made.
    unsafe {
        let d = nmport_prepare(portspec);
        if d.is_null() || nmport_open_desc(d) == 0 {
            return d;
        }
        nmport_close(d);
    }
    null_mut()
}

/// Takes [`nmport_open`] back; null is fine.
///
/// # Safety
/// `d` points to a port that nobody uses, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_close(d: *mut nmport_d) {
    if !d.is_null() {
        // SAFETY: by contract.
        unsafe {
            nmport_undo_open_desc(d);
            nmport_undo_prepare(d);
        }
    }
}

/// A new descriptor with the same requests, options left out.
///
/// # Safety
/// `d` points to a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_clone(d: *mut nmport_d) -> *mut nmport_d {
    // SAFETY: by contract.
    let (ctx, extmem, registered) = unsafe { (context_of(d), (*d).extmem, (*d).register_done) };
    if !extmem.is_null() && registered == 0 {
        // SAFETY: by contract.
        let name = shown(unsafe { name_of(d) });
        ctx.fail(
            libc::EINVAL,
            format_args!("{name}: uses extmem, so it must be registered before it can be cloned"),
        );
        return null_mut();
    }
    let Some(clone) = new_in(ctx) else {
        return null_mut();
    };
    // SAFETY: `d` by contract; the clone was just made.
    unsafe {
        let body = (*clone).hdr.nr_body;
        (*clone).hdr = (*d).hdr;
        (*clone).hdr.nr_body = body;
        (*clone).hdr.nr_options = 0;
        (*clone).reg = (*d).reg;
    }
    clone
}
