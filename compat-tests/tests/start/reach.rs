//! Programs that a preloaded library does not reach are told apart by their files, and others are not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::or_skip;
use compat_tests::said::Said;
use compat_tests::{Skip, apps};

use super::uvale;

/// A program that ends at once, compiled with `flags`.
fn idle(name: &str, flags: &[&str]) -> Result<PathBuf, Skip> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/start/idle.c");
    apps::compile_c(&source, &format!("idle-{name}"), flags).map(|app| app.path)
}

fn run(program: &Path) -> Said {
    Said::of(uvale(["run", "--private", "--reach=preload", "--"]).arg(program))
}

/// Whatever way is chosen for it by itself.
fn run_by_itself(program: &Path) -> Said {
    Said::of(uvale(["run", "--private", "--"]).arg(program))
}

fn is_told(program: &Path, code: i32, why: &str) {
    let name = program.to_string_lossy().into_owned();
    run(program)
        .assert_code(code)
        .assert_says(&format!("{name} is {why}"));
    let mut quiet = uvale(["run", "-q", "--private", "--reach=preload", "--", &name]);
    let said = Said::of(&mut quiet).assert_code(code);
    assert!(!said.err.contains(why), "-q is quiet: {}", said.err);
}

#[test]
fn static_programs() {
    for flags in [&["-static"][..], &["-static-pie"]] {
        let program = or_skip!("static program", idle(&flags[0][1..], flags));
        is_told(&program, 3, "statically linked");
        assert_eq!(run_by_itself(&program).assert_code(3).err, "");
    }
}

#[test]
fn go_programs() {
    for (name, flags, why) in [
        ("go", &["-static"][..], "a Go program: "),
        ("cgo", &[], "a Go program with C code"),
    ] {
        let program = or_skip!("C compiler", idle(name, flags));
        let section = ".note.go.buildid=/proc/self/cmdline";
        let mut objcopy = Command::new("objcopy");
        objcopy.args(["--add-section", section]).arg(&program);
        or_skip!("Go program", super::needs("objcopy", &mut objcopy));
        is_told(&program, 3, why);
        assert_eq!(run_by_itself(&program).assert_code(3).err, "");
    }
}

/// The kernel refuses these, and `uvale run` has said why.
#[test]
fn another_machine() {
    let program = or_skip!("C compiler", idle("other", &[]));
    let mut bytes = std::fs::read(&program).expect("it was compiled");
    // e_machine: an architecture of the 1990s
    bytes[18..20].copy_from_slice(&15u16.to_ne_bytes());
    std::fs::write(&program, bytes).expect("the cache can be written");
    let said = run(&program).assert_says("is built for another kind of processor");
    assert_ne!(said.code, Some(3), "it cannot run");
}

/// Its loader would end at the shim, which needs glibc: it is started without.
#[test]
fn another_c_library() {
    let linker = "-Wl,--dynamic-linker=/nonexistent/ld-uClibc.so.0";
    let program = or_skip!("C compiler", idle("uclibc", &[linker]));
    is_told(
        &program,
        127,
        "built for another C library (/nonexistent/ld-uClibc.so.0)",
    );
    let env = Said::of(&mut uvale(["run", "--", "sh", "-c", "echo $LD_PRELOAD"]));
    assert!(env.out.contains("libnmshim.so"), "{}", env.out);
}

#[test]
fn set_uid_programs() {
    let program = or_skip!("C compiler", idle("setuid", &[]));
    let owner = rustix::fs::Uid::from_raw(65534);
    let given = rustix::fs::chown(&program, Some(owner), None)
        .map_err(|e| Skip::optional(format!("cannot give a file to another user: {e}")));
    or_skip!("set-uid", given);
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(&program, mode).expect("we are root");
    is_told(&program, 3, "set-uid");
}

#[test]
fn nothing_is_said_of_others() {
    let folder = apps::cache_dir().join("c");
    let program = or_skip!("C compiler", idle("plain", &[]));
    let script = folder.join(format!("script-{}", std::process::id()));
    let mut programs = vec![program, "sh".into(), "env".into(), script.clone()];
    for first in ["#!/bin/sh", "#! /usr/bin/env sh", "#!/usr/bin/env -S sh -e"] {
        std::fs::write(&script, format!("{first}\nexit 0\n")).expect("the cache can be written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("a file of ours");
        for program in &programs {
            let said = run_by_itself(program);
            assert_eq!(said.err, "", "{} behind {first}", program.display());
        }
        programs.truncate(4);
    }
    std::fs::remove_file(&script).expect("a file of ours");
}

/// A script is its interpreter's business, and so is what `env` in its first line starts.
#[test]
fn scripts_of_static_interpreters() {
    let program = or_skip!("static program", idle("interpreter", &["-static"]));
    let script = apps::cache_dir().join(format!("c/static-script-{}", std::process::id()));
    for first in [
        program.display().to_string(),
        format!("/usr/bin/env {}", program.display()),
    ] {
        std::fs::write(&script, format!("#!{first}\n")).expect("the cache can be written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("a file of ours");
        run(&script).assert_code(3).assert_says("statically linked");
    }
    std::fs::remove_file(&script).expect("a file of ours");
}
