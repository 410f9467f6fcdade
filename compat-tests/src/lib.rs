//! Real netmap programs, unchanged, over uvale.
//!
//! The tests in `tests/` take programs that know nothing of uvale, compiled against our C headers,
//! start them in a private world and compare what they did with what netmap does: a capture must
//! arrive byte for byte, a program's own tests must pass, facts must equal the kernel's.
//!
//! - [`target`]: where this build lies; `uvale` and `libnmshim.so` built from the same source
//! - [`apps`]: programs from Debian's archive and the crate registry, built by `scripts/*.sh` into the target directory
//! - [`world`]: a private world and programs started in it
//! - [`mod@place`], [`programs`]: a world whose daemon a test may stop and kill, and our test programs in C
//! - [`mod@containers`]: containers of podman
//! - [`mod@namespaces`]: two network namespaces with a veth pair between them
//! - [`roots`]: other roots and machines, and programs in them
//! - [`said`]: a command that is waited for, and what it said
//! - [`guest`]: guests of QEMU that run commands
//! - [`capture`]: packets of capture files: reading, filtering, comparing
//! - [`facts`]: `key=value` records and the differences that are expected
//! - [`matrix`]: scenarios on every target, compared with what is expected (`compat-tests run`)
//! - [`mod@bench_vm`]: what ports cost guests (`compat-tests bench-vm`)
//! - [`mod@bundle`]: all of that in one archive (`compat-tests bundle`)
//! - [`linked`]: static programs of ours; [`made`]: test programs that no preload reaches by itself
//! - [`wait`]: waiting for a condition; nothing here is decided by how long something took
//!
//! A test whose program can't be had says `skipped: why` on standard error and passes, unless
//! `COMPAT_REQUIRE=1` is set, which turns every such skip into a failure (for CI, which has it all).

pub mod apps;
pub mod bench_vm;
pub mod bundle;
pub mod capture;
#[cfg(feature = "daemon")]
pub mod containers;
pub mod facts;
pub mod guest;
pub mod linked;
pub mod made;
pub mod matrix;
#[cfg(feature = "daemon")]
pub mod namespaces;
#[cfg(feature = "daemon")]
pub mod place;
#[cfg(feature = "daemon")]
pub mod programs;
pub mod roots;
pub mod said;
pub mod target;
pub mod wait;
pub mod world;

use std::io::Write;

/// Why something can't run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// One line for a person.
    pub why: String,
    /// Nobody asked for it (a folder of programs not named): fine even under `COMPAT_REQUIRE=1`.
    pub optional: bool,
}

impl Skip {
    /// Something that a complete machine has.
    pub fn required(why: impl Into<String>) -> Skip {
        Skip {
            why: why.into(),
            optional: false,
        }
    }

    /// Something that is only there when somebody names it.
    pub fn optional(why: impl Into<String>) -> Skip {
        Skip {
            why: why.into(),
            optional: true,
        }
    }
}

/// Says `skipped: why` past the test runner's capture of output.
///
/// # Panics
/// If `COMPAT_REQUIRE=1` and the thing is not optional.
pub fn report_skip(what: &str, skip: &Skip) {
    // `eprintln!` would be captured and never seen
    let _ = writeln!(std::io::stderr().lock(), "skipped: {what}: {}", skip.why);
    let strict = std::env::var("COMPAT_REQUIRE").is_ok_and(|v| v == "1");
    assert!(
        skip.optional || !strict,
        "COMPAT_REQUIRE=1, but {what} was skipped: {}",
        skip.why
    );
}

/// The value, or a reported skip and an early return from the test.
#[macro_export]
macro_rules! or_skip {
    ($what:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(skip) => {
                $crate::report_skip($what, &skip);
                return;
            }
        }
    };
}
