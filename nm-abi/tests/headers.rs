//! The C headers compile without a warning in every mode that programs use, and what they say in
//! code works: rings, buffers, inject, dispatch.

mod common;

use std::path::PathBuf;
use std::process::Command;

/// Programs to compile: what they include, around what.
fn programs() -> Vec<(&'static str, String)> {
    let user = "int main(void) { return NETMAP_API != 14; }\n";
    let library = "int main(void) { D(\"none\"); D(\"one %d\", 1); RD(2, \"none\"); \
                   RD(1, \"%d\", 1); ND(\"%d\", 1); ND(\"none\"); return nm_open(\"x\", NULL, 0, NULL) != NULL; }\n";
    let externed = |body: &str| {
        format!(
            "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n{body}\n#ifdef __cplusplus\n}}\n#endif\n"
        )
    };
    let with_libs = "#define NETMAP_WITH_LIBS\n#include <net/netmap_user.h>\n";
    vec![
        (
            "abi",
            format!("#include <net/netmap.h>\n#include <net/netmap_virt.h>\n{user}"),
        ),
        ("user", format!("#include <net/netmap_user.h>\n{user}")),
        ("library", format!("{with_libs}{library}")),
        (
            "library-later",
            format!("#include <net/netmap_user.h>\n{with_libs}{library}"),
        ),
        ("extern-abi", externed("#include <net/netmap.h>") + user),
        ("extern-library", externed(with_libs) + library),
        (
            "linux-if",
            format!("#include <linux/if.h>\n#include <net/netmap.h>\n{user}"),
        ),
        (
            "own-debug",
            format!("#define ND(...)\n#define D(...)\n#define RD(...)\n{with_libs}{library}"),
        ),
    ]
}

const C_MODES: &[&[&str]] = &[
    &["-std=c99", "-Wpedantic"],
    &["-std=c11", "-Wpedantic", "-Wshadow", "-Wconversion"],
    &[
        "-std=c11",
        "-D_FILE_OFFSET_BITS=64",
        "-O2",
        "-D_FORTIFY_SOURCE=3",
    ],
    &["-std=gnu17"],
    &["-std=gnu17", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"],
    &["-std=gnu17", "-O2", "-D_FORTIFY_SOURCE=3"],
];

const CXX_MODES: &[&[&str]] = &[
    &["-std=c++98"],
    &["-std=c++11", "-Wshadow"],
    &[
        "-std=gnu++17",
        "-O2",
        "-D_FORTIFY_SOURCE=3",
        "-D_FILE_OFFSET_BITS=64",
    ],
    &["-std=c++20"],
];

fn compile_all(compiler: &str, language: &str, modes: &[&[&str]]) {
    if !c_checks::have(compiler) {
        return;
    }
    let dir = c_checks::scratch(&format!("headers-{compiler}"));
    for (name, source) in programs() {
        let file: PathBuf = dir.join(format!("{name}.{language}"));
        std::fs::write(&file, source).unwrap();
        for mode in modes {
            let mut command = Command::new(compiler);
            command
                .args(*mode)
                .args(["-Wall", "-Wextra", "-Werror", "-I"]);
            command
                .arg(c_checks::our_include())
                .arg("-o")
                .arg(dir.join("out"))
                .arg(&file);
            c_checks::run(&mut command);
        }
    }
}

#[test]
fn headers_compile_as_c() {
    compile_all("cc", "c", C_MODES);
}

#[test]
fn headers_compile_as_cxx() {
    compile_all("c++", "cc", CXX_MODES);
}

/// `tests/c/rings.c` builds a region and works on it through the headers; it says what is wrong.
#[test]
fn functions_of_the_headers_work() {
    if c_checks::have("cc") {
        let dir = c_checks::scratch("headers-rings");
        c_checks::run(&mut Command::new(common::compile(
            "rings.c",
            &c_checks::our_include(),
            &dir,
        )));
    }
}

/// The same program with the headers in `NETMAP_INCLUDE`: it tests behaviour that both have.
#[test]
fn functions_of_given_headers_work() {
    let Some(include) = c_checks::given_include() else {
        println!("skipped: NETMAP_INCLUDE is not set");
        return;
    };
    if c_checks::have("cc") {
        let dir = c_checks::scratch("headers-rings-given");
        c_checks::run(&mut Command::new(common::compile(
            "rings.c", &include, &dir,
        )));
    }
}
