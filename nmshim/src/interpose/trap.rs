//! System calls that the program makes itself, past the C library, as Go's runtime does
//! ([decision 34](../../../docs/design/0034-sigsys.md)). On where `NMSHIM_REACH` is `trap`; where it is not set, for
//! programs of Go that name the device.
//!
//! - `text`: where the program's own instructions lie, and those of others. `arm`, `filter`: how the kernel is told to
//!   trap.
//! - `handler`: SIGSYS; what is the kernel's alone goes on at once. `entry`: the way from the handler to `serve` and
//!   back, on a stack of the thread's (`stack`). `alternate`: those of the program's that would be too small.
//! - `contexts`: setcontext and swapcontext, which set the mask past all others.
//!
//! | a thread | its calls |
//! |---|---|
//! | the first, those that pthread_create makes, the child of a fork, also by a trapped call | trapped |
//! | the child of a vfork, what is executed | not trapped: dispatch ends there by itself |
//! | the same with a filter | trapped; see `arm` |

mod alternate;
mod arm;
mod contexts;
mod entry;
mod filter;
mod handler;
mod stack;
mod text;

use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::types::Start;
use crate::ground::{next, trapped};
pub use alternate::{is_ordinary as is_ordinary_stack, sigaltstack};
use arm::Way;
pub use contexts::resolve;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use libc::{c_int, c_void, pthread_attr_t, pthread_key_t, pthread_t};

/// Whose destructor gives a thread's stack back.
static KEY: AtomicU32 = AtomicU32::new(0);

/// When the library is loaded: sets the traps, if the person wants them and the program has calls to trap.
pub fn start() {
    let asked = std::env::var("NMSHIM_REACH").ok();
    let is_asked = asked.is_some();
    let ways = match asked {
        Some(asked) => ways(asked),
        // A filter would be inherited by all that it starts: whoever wants that says so.
        None => text::is_of_go().then(|| vec![Way::Dispatch]),
    };
    let Some(ways) = ways else {
        return;
    };
    let Some(text) = text::of_program() else {
        return;
    };
    let mut key: pthread_key_t = 0;
    // SAFETY: `key` lives; the destructor is a function of ours.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(alternate::of_ended_thread)) } != 0 {
        return;
    }
    KEY.store(key, Relaxed);
    handler::install();
    if let Err(why) = arm::set(&text, &ways) {
        let line = format_args!(
            "the program's own system calls cannot be trapped ({why}): /dev/netmap is there for its C library alone"
        );
        guarded((), || match is_asked {
            true => driver().trouble(line),
            false => driver().remark(line),
        });
    }
}

/// What `NMSHIM_REACH` says: the ways to try, the best first.
fn ways(value: String) -> Option<Vec<Way>> {
    match value.as_str() {
        "trap" => Some(vec![Way::Dispatch, Way::Filter]),
        "trap,dispatch" => Some(vec![Way::Dispatch]),
        "trap,filter" => Some(vec![Way::Filter]),
        _ => None,
    }
}

/// In the child of a fork, whose one thread is not trapped yet.
pub fn after_fork_in_child() {
    if trapped::is_on() {
        arm::thread();
    }
}

/// What a thread of the program's is to begin with.
struct Beginning {
    start: Start,
    argument: *mut c_void,
}

/// # Safety
/// As the C function.
pub unsafe fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if !trapped::is_on() {
        // SAFETY: the program's own arguments.
        return unsafe { next::pthread_create(thread, attributes, start, argument) };
    }
    let beginning = Box::into_raw(Box::new(Beginning { start, argument }));
    // SAFETY: the program's own arguments, and a function that takes this one.
    unsafe {
        let answer = next::pthread_create(thread, attributes, begin, beginning.cast());
        if answer != 0 {
            drop(Box::from_raw(beginning));
        }
        answer
    }
}

/// A thread of the program's. It may end anywhere in `start`: nothing here is to be undone then.
unsafe extern "C-unwind" fn begin(beginning: *mut c_void) -> *mut c_void {
    // SAFETY: what `pthread_create` has made for this thread.
    let Beginning { start, argument } = *unsafe { Box::from_raw(beginning.cast::<Beginning>()) };
    arm::thread();
    // SAFETY: a value that is not null, so that the destructor is called; the key was made at the start. Then the
    // program's own function.
    unsafe {
        libc::pthread_setspecific(KEY.load(Relaxed), null_mut::<c_void>().wrapping_add(1));
        start(argument)
    }
}
