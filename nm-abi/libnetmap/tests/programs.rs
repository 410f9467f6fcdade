//! C and C++ programs with the library, shared and static: what it does without a device. (What it
//! does with one is in `compat-tests/tests/libnetmap.rs`.)

mod common;

use std::process::Command;

use common::Link;

/// How programs are compiled.
const C_MODES: &[&[&str]] = &[
    &["-std=c99", "-Wpedantic"],
    &["-std=c11", "-Wpedantic", "-Wshadow", "-Wconversion"],
    &["-std=gnu17", "-O2", "-D_FORTIFY_SOURCE=3"],
    &["-std=gnu17", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"],
];
const CXX_MODES: &[&[&str]] = &[
    &["-std=c++11", "-Wshadow"],
    &["-std=gnu++17", "-O2", "-D_FORTIFY_SOURCE=3"],
    &["-std=c++20"],
];

/// Programs that include the header in the ways people do.
const INCLUSIONS: &[&str] = &[
    "#include <libnetmap.h>\n",
    "#define LIBNETMAP_NOTHREADSAFE\n#include <libnetmap.h>\n#include <libnetmap.h>\n",
    "#define NETMAP_WITH_LIBS\n#include <net/netmap_user.h>\n#include <libnetmap.h>\n",
    "#include <libnetmap.h>\n#define NETMAP_WITH_LIBS\n#include <net/netmap_user.h>\n",
    "#ifdef __cplusplus\nextern \"C\" {\n#endif\n#include <libnetmap.h>\n#ifdef __cplusplus\n}\n#endif\n",
];

fn header_compiles(compiler: &str, suffix: &str, modes: &[&[&str]]) {
    if !c_checks::have(compiler) {
        return;
    }
    let dir = c_checks::scratch(&format!("header-{suffix}"));
    let body = "int main(void)\n{\n\tstruct nmport_d *d = nmport_prepare(\"x\");\n\
        \tstruct nmreq_option *o;\n\tint n = 0;\n\n\tif (d != NULL)\n\
        \t\tnmreq_foreach_option(&d->hdr, o)\n\t\t\tn++;\n\tnmport_close(d);\n\treturn n;\n}\n";
    for (i, inclusion) in INCLUSIONS.iter().enumerate() {
        let file = dir.join(format!("{i}.{suffix}"));
        std::fs::write(&file, format!("{inclusion}{body}")).unwrap();
        for mode in modes {
            let mut command = Command::new(compiler);
            command.args(*mode).args(["-Wall", "-Wextra", "-Werror"]);
            command.arg("-I").arg(c_checks::our_include());
            command.args(["-c", "-o"]).arg(dir.join("out")).arg(&file);
            c_checks::run(&mut command);
        }
    }
}

#[test]
fn header_compiles_as_c() {
    header_compiles("cc", "c", C_MODES);
}

#[test]
fn header_compiles_as_cxx() {
    header_compiles("c++", "cc", CXX_MODES);
}

/// Builds `library.c` and lets it check the library.
fn check(name: &str, compiler: &str, flags: &[&str], link: Link) {
    if !c_checks::have(compiler) {
        return;
    }
    let dir = c_checks::scratch(&format!("library-{name}"));
    std::fs::write(dir.join("mem"), vec![0; 12288]).unwrap();
    let program = common::build(compiler, "library.c", flags, link, &dir);
    let output = c_checks::run(Command::new(program).current_dir(&dir));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("ok "), "{said}");
    assert_eq!(
        std::fs::read(dir.join("mem")).unwrap(),
        vec![0x5a; 12288],
        "what was written to the mapped file is in it"
    );
}

#[test]
fn library_works_shared() {
    check("shared", "cc", &["-std=gnu11"], Link::Shared);
}

#[test]
fn library_works_static() {
    check("static", "cc", &["-std=gnu11"], Link::Static);
}

#[test]
fn library_works_in_cxx() {
    check("cxx", "c++", &["-x", "c++", "-std=gnu++17"], Link::Shared);
}

/// A program that is not position independent and has no dynamic linker at all.
#[test]
fn library_works_in_a_static_program() {
    let dir = c_checks::scratch("static-probe");
    let probe = dir.join("probe.c");
    std::fs::write(&probe, "int main(void) { return 0; }\n").unwrap();
    let mut cc = Command::new("cc");
    cc.arg("-static")
        .arg("-o")
        .arg(dir.join("probe"))
        .arg(probe);
    if cc.output().is_ok_and(|output| output.status.success()) {
        check(
            "static-program",
            "cc",
            &["-static", "-no-pie", "-w"],
            Link::Static,
        );
    } else {
        println!("skipped: there is no static C library");
    }
}
