//! Where instructions lie: the program's own, and those of its libraries.

use super::super::image::DEVICE;
use core::ffi::c_void;
use core::ops::Range;
use libc::{c_int, dl_phdr_info, size_t};

/// The machine's instruction for a system call, as bytes. That they may be a part of something else does no harm.
#[cfg(target_arch = "x86_64")]
const CALL: [u8; 2] = [0x0f, 0x05];
#[cfg(target_arch = "aarch64")]
const CALL: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];

/// More calls than these are not counted.
pub const MANY: usize = 200;

/// What is loaded.
#[derive(Default)]
pub struct Text {
    /// from the program's first instruction to behind its last
    pub program: Range<usize>,
    /// where the lowest instruction of a library is
    pub libraries: usize,
    /// addresses behind the program's instructions for system calls, at most [`MANY`]
    pub calls: Vec<usize>,
}

/// The program's text, if it makes system calls.
pub fn of_program() -> Option<Text> {
    let mut found = Found {
        program: None,
        calls: Vec::new(),
        libraries: usize::MAX,
    };
    // SAFETY: the callback gets back the pointer to `found`, which lives, and is called before this returns.
    unsafe { libc::dl_iterate_phdr(Some(object), (&raw mut found).cast()) };
    let Found {
        program: Some(program),
        calls,
        libraries,
    } = found
    else {
        return None;
    };
    (!calls.is_empty()).then_some(Text {
        program,
        libraries,
        calls,
    })
}

/// Has the Go compiler made the program, and does it name the device?
pub fn is_of_go() -> bool {
    let mut found = Marks::default();
    // SAFETY: the callback gets back the pointer to `found`, which lives, and is called before this returns.
    unsafe { libc::dl_iterate_phdr(Some(marks), (&raw mut found).cast()) };
    found.is_go && found.names_device
}

#[derive(Default)]
struct Marks {
    is_go: bool,
    names_device: bool,
}

/// The program, which comes first: what is in it beside text.
unsafe extern "C" fn marks(info: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: the linker's list, whose headers stay as long as the object, and what `is_of_go` passed.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Marks>()) };
    let segments = |kind| {
        (0..usize::from(info.dlpi_phnum)).filter_map(move |i| {
            // SAFETY: as above, within the number of headers.
            let header = unsafe { &*info.dlpi_phdr.add(i) };
            let is_one = header.p_type == kind && header.p_flags & libc::PF_R != 0;
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            is_one.then(|| start..start.wrapping_add(header.p_filesz as usize))
        })
    };
    found.is_go = segments(libc::PT_NOTE).any(|range| has(range, GO_NOTE));
    // Nobody else's segments are looked through, which may be long.
    found.names_device = found.is_go && segments(libc::PT_LOAD).any(|range| has(range, DEVICE));
    1
}

/// What is in there of Go's note: its kind, 4, and its name.
const GO_NOTE: &[u8] = b"\x04\0\0\0Go\0\0";

/// Is that in a part of the program?
fn has(range: Range<usize>, what: &[u8]) -> bool {
    // SAFETY: a readable segment of the program, which is loaded.
    !unsafe { find(&range, what) }.is_null()
}

/// # Safety
/// The range is readable.
unsafe fn find(range: &Range<usize>, what: &[u8]) -> *mut c_void {
    // SAFETY: by contract; the function only reads.
    unsafe {
        libc::memmem(
            range.start as *const c_void,
            range.len(),
            what.as_ptr().cast(),
            what.len(),
        )
    }
}

struct Found {
    program: Option<Range<usize>>,
    calls: Vec<usize>,
    libraries: usize,
}

/// One loaded object; the program comes first.
unsafe extern "C" fn object(info: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: the linker's list, whose headers stay as long as the object, and what `of_program` passed.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Found>()) };
    let is_program = found.program.is_none();
    let mut range: Option<Range<usize>> = None;
    for i in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: as above, within the number of headers.
        let header = unsafe { &*info.dlpi_phdr.add(i) };
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_X == 0 {
            continue;
        }
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        let end = start.wrapping_add(header.p_filesz as usize);
        range = Some(range.map_or(start..end, |r| r.start.min(start)..r.end.max(end)));
        if is_program && header.p_flags & libc::PF_R != 0 {
            find_calls(start..end, &mut found.calls);
        }
    }
    match range {
        _ if is_program => found.program = Some(range.unwrap_or_default()),
        Some(range) => found.libraries = found.libraries.min(range.start),
        None => {}
    }
    0
}

fn find_calls(mut text: Range<usize>, calls: &mut Vec<usize>) {
    while calls.len() < MANY {
        // SAFETY: the rest of a readable segment of an object that is loaded.
        let at = unsafe { find(&text, &CALL) };
        if at.is_null() {
            return;
        }
        text.start = at as usize + CALL.len();
        calls.push(text.start);
    }
}
