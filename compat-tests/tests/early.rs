//! Libraries that work in their constructors, before a preloaded one has been set up.

use std::path::{Path, PathBuf};

use compat_tests::apps;
use compat_tests::or_skip;
use compat_tests::world::World;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs/early")
        .join(name)
}

#[test]
fn a_constructor_that_reads_files_works() {
    let library = or_skip!(
        "C compiler",
        apps::compile_c(&source("library.c"), "libearly.so", &["-shared", "-fPIC"])
    );
    let path = library.path.to_string_lossy();
    // after the source, and needed though only a variable of it is used
    let link = format!("-Wl,--no-as-needed,{path}");
    let program = or_skip!(
        "C compiler",
        apps::compile_c(&source("program.c"), "early", &[&link])
    );
    let world = World::new();
    world.spawn(&program, &[]).wait_success();
}
