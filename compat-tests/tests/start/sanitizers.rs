//! Programs built with a sanitizer start under `uvale run` as they are.

use std::path::PathBuf;
use std::process::Command;

use compat_tests::said::Said;
use compat_tests::{Skip, apps, or_skip, target};

use super::uvale;

fn build(compiler: &str, name: &str, flags: &[&str]) -> Result<PathBuf, Skip> {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/start/ten.c");
    let folder = apps::cache_dir().join("c");
    std::fs::create_dir_all(&folder).expect("the cache can be written");
    let path = folder.join(format!("ten-{name}-{}", std::process::id()));
    let mut command = Command::new(compiler);
    command
        .args(["-g", "-O1", "-pthread", "-I"])
        .arg(target::include_dir());
    command.args(flags).arg("-o").arg(&path).arg(source);
    super::needs(&format!("{compiler} {}", flags.join(" ")), &mut command)?;
    // What does not run by itself says nothing of ours: without a device its exit status is 9.
    let said = Said::of(&mut Command::new(&path));
    match said.code {
        Some(9) => Ok(path),
        _ => Err(Skip::optional(format!("does not run here: {}", said.err))),
    }
}

/// Leaks are looked for in all of these: what the shim holds is none.
fn starts(compiler: &str, name: &str, flags: &[&str]) {
    let what = format!("{compiler} {}", flags.join(" "));
    let program = or_skip!(&what, build(compiler, name, flags));
    let private = ["run", "--private", "--"];
    Said::of(uvale(private).arg(&program)).assert_code(0);
    Said::of(
        uvale(private)
            .args(["sh", "-c", "\"$1\"; exit $?", "sh"])
            .arg(&program),
    )
    .assert_code(0);
    // A script may set the options anew.
    let mut options = uvale(private);
    options.args([
        "env",
        "ASAN_OPTIONS=exitcode=99",
        "TSAN_OPTIONS=exitcode=99",
    ]);
    Said::of(options.arg(&program)).assert_code(0);
    if flags == ["-fsanitize=address"] && compiler == "gcc" {
        let name = Said::of(Command::new("gcc").arg("-print-file-name=libasan.so")).out;
        let mut preloaded = uvale(private);
        preloaded.arg(&program).env("LD_PRELOAD", name.trim());
        Said::of(&mut preloaded).assert_code(0);
    }
}

macro_rules! sanitizers {
    ($($test:ident: $compiler:literal $flags:expr;)*) => {$(
        #[test]
        fn $test() {
            starts($compiler, stringify!($test), &$flags);
        }
    )*};
}

sanitizers! {
    gcc_address: "gcc" ["-fsanitize=address"];
    gcc_address_static: "gcc" ["-fsanitize=address", "-static-libasan"];
    gcc_thread: "gcc" ["-fsanitize=thread"];
    gcc_undefined: "gcc" ["-fsanitize=undefined"];
    clang_address: "clang" ["-fsanitize=address"];
    clang_thread: "clang" ["-fsanitize=thread"];
    clang_undefined: "clang" ["-fsanitize=undefined"];
}
