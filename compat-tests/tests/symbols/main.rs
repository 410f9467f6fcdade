//! The files of a release load where they are to load: on a glibc as old as we say, beside nothing but the C library,
//! without an executable stack, relocated code or folders of the machine that built them.

mod asks;

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::roots::{Stage, root};
use compat_tests::{Skip, or_skip, target};
use object::elf;

use asks::{Asks, Libc};

/// The oldest glibc that is served.
const OLDEST: (u32, u32) = (2, 28);

/// The folders that `scripts/build-for.sh` has filled for a target.
fn built_for(triple: &str) -> Vec<PathBuf> {
    let places = ["release-for", "debug-for"].map(|p| target::target_dir().join(p).join(triple));
    places.into_iter().filter(|p| p.is_dir()).collect()
}

fn assert_right(file: &Path, libc: Libc, machine: u16, oldest: Option<(u32, u32)>) -> Asks {
    let asks = Asks::of(file);
    let wrong = asks.wrong(libc, oldest);
    assert!(wrong.is_empty(), "{}: {wrong:#?}", file.display());
    assert_eq!(asks.machine, machine, "{}", file.display());
    asks
}

/// A library that programs are linked with is found at run time by the name within, so there is a file of that name.
fn assert_library(asks: &Asks, folder: &Path) {
    assert_eq!(asks.interpreter, None);
    let soname = asks.soname.as_ref().expect("programs find it by its name");
    assert!(soname.starts_with("libnetmap.so"), "{soname}");
    assert!(folder.join(soname).exists(), "no {soname}");
}

fn on_glibc(triple: &str, machine: u16, loader: &str) {
    let folders = built_for(triple);
    if folders.is_empty() {
        println!("skipped: scripts/build-for.sh {triple} has not been run");
    }
    for folder in folders {
        let right = |name: &str| {
            let file = folder.join(name);
            assert_right(&file, Libc::Glibc, machine, Some(OLDEST))
        };
        let uvale = right("uvale");
        assert_eq!(uvale.interpreter.as_deref(), Some(loader));
        // the shim is found by its path
        assert_eq!(right("libnmshim.so").soname, None);
        assert_library(&right("libnetmap.so"), &folder);
        let musl = folder.join("libnmshim-musl.so");
        if musl.exists() {
            assert_right(&musl, Libc::Musl, machine, None);
            assert_of_musl(&musl, machine);
        }
        let linked = or_skip!(triple, with_archive(triple, &folder));
        assert_right(&linked.program, Libc::Glibc, machine, Some(OLDEST));
    }
}

/// A program, and the folder that is gone with it.
struct Made {
    program: PathBuf,
    _stage: Stage,
}

/// A program with all of `libnetmap.a` in it.
fn with_archive(triple: &str, folder: &Path) -> Result<Made, Skip> {
    let archive = folder.join("libnetmap.a").display().to_string();
    let flags = [
        "-Wl,--whole-archive",
        &archive,
        "-Wl,--no-whole-archive",
        // as in libnetmap.pc
        "-lpthread",
        "-lm",
        &unwinder(triple),
    ];
    let name = folder
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    let stage = Stage::new(&format!("symbols-{}-{triple}", name.display()));
    stage.compile_with(triple, "symbols/nothing.c", "program", &flags)?;
    Ok(Made {
        program: stage.dir().join("program"),
        _stage: stage,
    })
}

/// What the compiler of C++ would add by itself: zig's, or, as GCC's on this machine needs functions of glibc, the one
/// that Rust has for musl.
fn unwinder(triple: &str) -> String {
    let is_of_musl_gcc = triple == format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    if !is_of_musl_gcc {
        return "-lunwind".into();
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", triple])
        .output()
        .expect("the compiler says where its libraries are");
    let folder = String::from_utf8_lossy(&output.stdout).into_owned();
    format!("{}/self-contained/libunwind.a", folder.trim())
}

/// Whatever a file for musl asks for by name, musl has: there are no versions that would say so.
fn assert_of_musl(file: &Path, machine: u16) {
    let (arch, loader) = match machine == elf::EM_X86_64.0 {
        true => ("amd64", "lib/ld-musl-x86_64.so.1"),
        false => ("arm64", "lib/ld-musl-aarch64.so.1"),
    };
    let root = or_skip!("names of musl", root("musl", arch));
    // it is the library, too, and maybe a link to it by a path of the root
    let library = root.join(loader);
    let library = match library.read_link() {
        Ok(to) if to.is_absolute() => root.join(to.strip_prefix("/").expect("it begins so")),
        _ => library,
    };
    let musl = Asks::of(&library);
    let asks = Asks::of(file);
    assert!(!asks.names.is_empty(), "{}", file.display());
    let others: Vec<_> = asks.names.difference(&musl.has).collect();
    assert!(others.is_empty(), "{}: {others:#?}", file.display());
}

#[test]
fn files_for_glibc_on_x86_64() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    on_glibc("x86_64-unknown-linux-gnu", elf::EM_X86_64.0, loader);
}

#[test]
fn files_for_glibc_on_aarch64() {
    let loader = "/lib/ld-linux-aarch64.so.1";
    on_glibc("aarch64-unknown-linux-gnu", elf::EM_AARCH64.0, loader);
}

#[test]
fn files_for_musl_on_x86_64() {
    on_musl("x86_64-unknown-linux-musl", elf::EM_X86_64.0);
}

#[test]
fn files_for_musl_on_aarch64() {
    on_musl("aarch64-unknown-linux-musl", elf::EM_AARCH64.0);
}

/// One program that asks nothing of the machine, and the shims for both C libraries.
fn on_musl(triple: &str, machine: u16) {
    let folders = built_for(triple);
    if folders.is_empty() {
        println!("skipped: scripts/build-for.sh {triple} has not been run");
    }
    for folder in folders {
        let uvale = assert_right(&folder.join("uvale"), Libc::Musl, machine, None);
        assert_eq!(uvale.interpreter, None, "it is static");
        assert!(uvale.needed.is_empty(), "{uvale:?}");
        let shim = folder.join("libnmshim.so");
        assert_right(&shim, Libc::Glibc, machine, Some(OLDEST));
        let shim = folder.join("libnmshim-musl.so");
        assert_right(&shim, Libc::Musl, machine, None);
        assert_of_musl(&shim, machine);
        let library = folder.join("libnetmap.so");
        let libnetmap = assert_right(&library, Libc::Musl, machine, None);
        assert_library(&libnetmap, &folder);
        assert_of_musl(&library, machine);
        let linked = or_skip!(triple, with_archive(triple, &folder));
        assert_right(&linked.program, Libc::Musl, machine, None);
        assert_of_musl(&linked.program, machine);
    }
}

/// What this machine's own compiler makes asks for as new a glibc as it has, and is right in all else.
#[test]
fn files_for_this_machine() {
    let binaries = target::binaries();
    for file in [&binaries.uvale, &binaries.shim] {
        let libc = if cfg!(target_env = "musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        };
        let machine = Asks::of(&std::env::current_exe().expect("a path")).machine;
        assert_right(file, libc, machine, None);
    }
}
