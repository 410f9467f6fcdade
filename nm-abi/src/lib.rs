//! netmap's user-visible ABI, API version 14, as plain Rust data.
//!
//! Everything a program sees when it includes `net/netmap.h` (with its legacy part) or
//! `net/netmap_virt.h` is here under its C name, so that code which speaks the ABI can be read
//! beside netmap's own. Nothing here does I/O or allocates; the crate is `no_std`.
//!
//! | module | what is in it |
//! |---|---|
//! | [`ring`] | `netmap_slot`, `netmap_ring`, `netmap_if`, slot and ring flags, index arithmetic |
//! | [`request`] | `nmreq_header` and the body of each `NIOCCTRL` request |
//! | [`option`] | `nmreq_option` and the body of each option, CSB entries |
//! | [`legacy`] | `nmreq`, its commands and ring bits (`NIOCREGIF`, `NIOCGINFO`) |
//! | [`virt`] | registers of the `ptnet` and `ptnetmap-memdev` PCI devices |
//! | [`ioctl`] | ioctl numbers, computed with Linux's `_IO`/`_IOWR` encoding |
//! | [`name`] | the port name grammar, on the library side and on the kernel side |
//! | [`unwinder`] | what a library does when it is loaded with an unwinder of its own |
//! | [`bytes`] | structures as bytes and back, for messages and for copies from user memory |
//!
//! Size, alignment and every field offset of every structure are asserted at compile time, next
//! to the structure, and deriving `IntoBytes` proves that there is no hidden padding;
//! `tests/layout.rs` compares all of it with the C headers.
//!
//! A program binds a port so (and maps `nr_memsize` bytes of the descriptor, where `nr_offset` leads
//! to its [`netmap_if`]):
//!
//! ```
//! use nm_abi::name::NmportName;
//! use nm_abi::{NIOCCTRL, nmreq_header};
//!
//! let name = NmportName::parse("vale0:a@conf:rings=2")?;
//! let mut body = name.to_register();
//! let mut header = nmreq_header {
//!     nr_body: &raw mut body as u64,
//!     ..name.to_header()
//! };
//! assert_eq!((body.nr_tx_rings, body.nr_rx_rings), (2, 2));
//! // ioctl(fd of /dev/netmap, NIOCCTRL, &mut header)
//! # let _ = (NIOCCTRL, &mut header);
//! # Ok::<(), nm_abi::name::NameError>(())
//! ```
//!
//! The ABI is that of 64-bit Linux. (`struct timeval`, `ssize_t` and alignment of 64-bit integers
//! change the layout elsewhere.)

#![no_std]
#![deny(unsafe_code)]
#![allow(non_camel_case_types)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("nm-abi describes netmap's ABI on 64-bit Linux only");

pub mod bytes;
pub mod csb_words;
pub mod ioctl;
pub mod legacy;
pub mod name;
pub mod option;
pub mod request;
pub mod ring;
pub mod unwinder;
pub mod virt;

pub use bytes::AbiBytes;
pub use ioctl::*;
pub use legacy::*;
pub use option::*;
pub use request::*;
pub use ring::*;

/// Version of the API described here; goes into `nr_version`.
pub const NETMAP_API: u16 = 14;
/// Oldest version that a request may carry.
pub const NETMAP_MIN_API: u16 = 14;
/// Newest version that a request may carry.
pub const NETMAP_MAX_API: u16 = 15;
/// Alignment, in bytes, of fields that must not share a cache line.
pub const NM_CACHE_ALIGN: usize = 128;
/// Most slots that one packet may span.
pub const NETMAP_MAX_FRAGS: usize = 64;
/// Size in bytes, final NUL included, of a legacy or `netmap_if` name (Linux's `IFNAMSIZ`).
pub const IFNAMSIZ: usize = 16;
/// Prefix of the names of VALE switches and their ports.
pub const NM_BDG_NAME: &str = "vale";
/// The control device that programs open.
pub const NETMAP_DEVICE_NAME: &str = "/dev/netmap";
