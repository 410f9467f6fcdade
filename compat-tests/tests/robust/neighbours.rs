//! Other libraries and other ways to wait beside the shim: preloads before and after it, io_uring.

use std::path::{Path, PathBuf};

use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, report_skip, target};

/// Libraries that programs are run with: Debian's names for them, and the package.
const PRELOADS: [(&str, &str); 5] = [
    ("libjemalloc.so.2", "libjemalloc2"),
    ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    ("faketime/libfaketime.so.1", "faketime"),
    ("libeatmydata.so", "eatmydata"),
    ("libtsocks.so", "tsocks"),
];

fn find(library: &str) -> Option<PathBuf> {
    let dirs = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
    ];
    dirs.iter()
        .map(|d| Path::new(d).join(library))
        .find(|p| p.exists())
}

/// A program with handlers, threads, allocations and ports works with each of them, before and after the shim.
#[test]
fn other_preloads() {
    let path = or_skip!("preloads", program("surroundings"));
    let shim = target::binaries().shim.display().to_string();
    for (library, package) in PRELOADS {
        let Some(other) = find(library) else {
            report_skip(library, &Skip::optional(format!("no {package} here")));
            continue;
        };
        let other = other.display();
        for preload in [format!("{shim}:{other}"), format!("{other}:{shim}")] {
            for case in [
                "handler-works",
                "jump-out-of-poll",
                "asynchronous-cancellation",
            ] {
                let place = Place::new();
                let mut command = place.command(&path);
                command.arg(case).env("LD_PRELOAD", &preload);
                let said = Program::start(&format!("{preload} {case}"), command).wait_success();
                assert!(said.ends_with(&format!("ok {case}\n")), "{preload}: {said}");
                place.assert_left_clean();
            }
        }
    }
}

/// An event loop that would use a ring uses epoll, whose waits are ours.
#[test]
fn event_loops_do_without_io_uring() {
    let path = or_skip!("io_uring", program("uring"));
    let place = Place::new();
    assert_eq!(place.run(&path, &[]), "no ring: ENOSYS\nok\n");
    let mut command = place.command(&path);
    command.env("NMSHIM_IO_URING", "allow");
    let said = Program::start("uring", command).wait_success();
    // A kernel or a sandbox may refuse it all the same.
    assert!(
        said.starts_with("by a ring") || said.starts_with("no ring"),
        "{said}"
    );
    place.assert_left_clean();
}
