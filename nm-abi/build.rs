//! Links the unwinder into what is built, where Rust's standard library asks for `libgcc_s.so.1`: the program, the
//! shim and libnetmap then need the C library alone, and two files are enough in an image that has nothing else.
//!
//! The standard library says `-lgcc_s`. A folder with a linker script of that name comes first in the search path, and
//! the script names the static halves of the same library. Cargo hands the folder on to every crate that depends on
//! this one, which are all of ours; with the feature `static-unwinder` only, which crates of others do not ask for.

use std::path::PathBuf;

/// `libgcc_eh` is the unwinder, `libgcc` what it needs of the compiler's helpers.
const OF_GCC: &str = "GROUP(-lgcc_eh -lgcc)\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}"));
    if std::env::var_os("CARGO_FEATURE_STATIC_UNWINDER").is_none() {
        return;
    }
    if target("OS").as_deref() != Ok("linux") {
        return;
    }
    let script = match target("ENV").as_deref() {
        Ok("gnu") => OF_GCC.to_owned(),
        // The compiler's own for musl: GCC's on this machine needs functions of glibc.
        Ok("musl") => format!("INPUT({})\n", of_musl().display()),
        _ => return,
    };
    let folder =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("unwinder");
    std::fs::create_dir_all(&folder).expect("the output folder can be written");
    std::fs::write(folder.join("libgcc_s.so"), script).expect("the output folder can be written");
    println!("cargo::rustc-link-search=native={}", folder.display());
}

/// The unwinder that comes with the compiler's standard library for musl.
fn of_musl() -> PathBuf {
    let rustc = std::env::var_os("RUSTC").expect("cargo sets it");
    let triple = std::env::var("TARGET").expect("cargo sets it");
    let output = std::process::Command::new(rustc)
        .args(["--print", "target-libdir", "--target", &triple])
        .output()
        .expect("the compiler runs");
    let folder = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(folder.trim()).join("self-contained/libunwind.a")
}
