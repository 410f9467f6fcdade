//! Programs that no preloaded library reaches, served from beside them: `uvale run --reach=notify`, which `uvale run`
//! chooses by itself for those that no loader loads.

mod alike;
mod contained;
mod cost;
mod exchange;
mod facts;
mod limits;
mod lives;
mod mapping;
mod scripts;
mod terminal;

use std::path::{Path, PathBuf};

use compat_tests::Skip;
use compat_tests::made::{exchange, on_musl, statically};
use compat_tests::programs::program;
use compat_tests::world::{Program, World};

/// How a program is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// on glibc, loaded
    Dynamic,
    /// on glibc, without a loader
    Static,
    /// on musl, without a loader
    Musl,
    /// of Go, without C
    Go,
}

impl Made {
    /// The program that sends and checks numbered packets.
    fn traffic(self) -> Result<PathBuf, Skip> {
        match self {
            Made::Dynamic => program("traffic"),
            Made::Static => statically("robust/traffic"),
            Made::Musl => on_musl("robust/traffic"),
            Made::Go => exchange(),
        }
    }
}

/// Ends a program that sends. A handler without SA_RESTART may interrupt a sync that is handed over, before it is
/// looked at: then the program says so.
fn end(mut sender: Program) {
    sender.signal(rustix::process::Signal::TERM);
    let is_well = sender.wait().success();
    let interrupted = rustix::io::Errno::INTR.raw_os_error();
    let said = sender.said();
    assert!(
        is_well || said.contains(&format!("sync errno={interrupted}")),
        "{said}"
    );
}

/// `uvale run OPTIONS -- PROGRAM ARGS` in `world`.
fn run(world: &World, options: &[&str], program: &Path, args: &[&str]) -> Program {
    let mut command = world.uvale(&[&["run"][..], options, &["--"]].concat());
    command.env_remove("LD_PRELOAD").arg(program).args(args);
    Program::start(&program.to_string_lossy(), command)
}
