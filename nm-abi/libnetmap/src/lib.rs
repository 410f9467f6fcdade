//! libnetmap, the C library behind `include/libnetmap.h`: netmap ports by name.
//!
//! A program gets it as `libnetmap.so` or `libnetmap.a`. It reaches netmap through the C library's
//! `open`, `ioctl`, `mmap`, `munmap` and `close` alone, so it does not know who answers: kernel
//! netmap or `libnmshim`.
//!
//! | module | what is in it |
//! |---|---|
//! | [`abi`] | the public structures, as in the header |
//! | `given` | the types of what programs hand over: ports, requests, strings |
//! | `context` | `nmctx_*`: where errors go, memory, the lock |
//! | `ferror` | the variadic `nmctx_ferror` |
//! | `request` | `nmreq_*`: headers, option lists, the parts of a name |
//! | `options` | `nmreq_options_decode`: options and their parsers |
//! | `descriptor` | a port as a program hands it over |
//! | `port` | `nmport_new`, `_parse`, `_register`, `_open`, `_close`, `_clone`, ... |
//! | `region` | regions that ports share, with their counts |
//! | `memory` | `nmport_extmem*`, `nmport_offset`: options with something to clean up |
//! | `port_options` | `@share`, `@conf`, `@extmem`, `@offset` |
//! | `inject` | `nmport_inject` |
//!
//! The grammar of names is [`nm_abi::name`]; what is here says in a sentence which part of a name
//! it refuses.
//!
//! **Trust.** Everything runs for the program, in its address space, on its structures: a pointer
//! is believed to be what the header asks for, and a region's contents to be what netmap put
//! there. The types of the arguments, a `Given` or a `Text`, say what that is; all modules but
//! `abi` are private, so C alone calls the functions.
//!
//! **Threads.** Calls on one `nmport_d` are the caller's to order. The list of regions of a context
//! is used under the context's lock, which no call into netmap's `ioctl` and no error callback
//! happens under.

#![allow(non_camel_case_types)]

pub mod abi;
mod context;
mod descriptor;
mod ferror;
mod given;
mod inject;
mod memory;
mod options;
mod port;
mod port_options;
mod region;
mod request;

pub use abi::*;

/// Runs when the library is loaded.
extern "C" fn loaded() {
    nm_abi::unwinder::prepare();
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;
