//! Programs that open ports through libnetmap: `programs/libnetmap/ports.c`, in C with the shared
//! library, in C++ with the static one; with `NETMAP_INCLUDE=dir`, also compiled against the
//! `libnetmap.h` of that netmap, and with `NETMAP_LIB=dir` linked with the `libnetmap.a` there.

mod libnetmap_common;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::place::Place;
use compat_tests::{Skip, or_skip, report_skip, target};
use libnetmap_common::libraries;

/// The case that runs without the shim.
const WITHOUT_DEVICE: &str = "no-device";

/// A way to compile and link.
struct Build<'a> {
    name: &'a str,
    compiler: &'a str,
    flags: &'a [&'a str],
    /// folders of headers
    include: Vec<PathBuf>,
    /// the library, as the linker takes it
    library: Vec<String>,
}

impl Build<'_> {
    fn shared() -> Vec<String> {
        let dir = libraries().display().to_string();
        vec![
            format!("-Wl,-rpath,{dir}"),
            format!("-L{dir}"),
            "-lnetmap".into(),
        ]
    }

    /// The program, built.
    fn program(&self) -> Result<PathBuf, Skip> {
        let dir = compat_tests::apps::cache_dir().join("c");
        std::fs::create_dir_all(&dir).expect("the cache can be written");
        let path = dir.join(format!("libnetmap-{}-{}", self.name, std::process::id()));
        let source = target::workspace().join("compat-tests/programs/libnetmap/ports.c");
        let mut command = Command::new(self.compiler);
        command.args(["-g", "-O1", "-Wall", "-Wextra", "-pthread"]);
        command.args(self.flags);
        self.include.iter().for_each(|dir| {
            command.arg("-I").arg(dir);
        });
        command.arg("-o").arg(&path).arg(source);
        // what `-x c++` says is not true of libraries
        command.args(["-x", "none"]).args(&self.library);
        let output = command
            .output()
            .map_err(|e| Skip::required(format!("no compiler {}: {e}", self.compiler)))?;
        assert!(
            output.status.success(),
            "{}: ports.c does not compile:\n{}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(path)
    }

    /// Runs every case but `except`, each in a world of its own that must be empty afterwards.
    fn check(&self, except: &[&str]) {
        let program = or_skip!(self.name, self.program());
        for case in cases_of(&program) {
            if except.contains(&case.as_str()) {
                continue;
            }
            if case == WITHOUT_DEVICE {
                check_without_device(&program);
            } else {
                let place = Place::new();
                let said = place.run(&program, &[&case]);
                assert_eq!(said, format!("ok {case}\n"), "{}", self.name);
                place.assert_left_clean();
            }
        }
    }
}

fn cases_of(program: &Path) -> Vec<String> {
    let output = Command::new(program).arg("--list").output();
    let output = output.expect("the program starts").stdout;
    let cases: Vec<_> = String::from_utf8_lossy(&output)
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(cases.len() >= 15, "only {cases:?}");
    cases
}

fn check_without_device(program: &Path) {
    if Path::new("/dev/netmap").exists() {
        let why = "this machine has a /dev/netmap";
        return report_skip(WITHOUT_DEVICE, &Skip::optional(why));
    }
    let output = Command::new(program).arg(WITHOUT_DEVICE).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("ok {WITHOUT_DEVICE}\n"));
}

#[test]
fn c_program_with_the_shared_library() {
    let build = Build {
        name: "shared",
        compiler: "cc",
        flags: &["-std=gnu11", "-Werror"],
        include: vec![target::include_dir()],
        library: Build::shared(),
    };
    build.check(&[]);
}

#[test]
fn cxx_program_with_the_static_library() {
    let build = Build {
        name: "static",
        compiler: "c++",
        flags: &["-x", "c++", "-std=gnu++17", "-Werror"],
        include: vec![target::include_dir()],
        library: vec![libraries().join("libnetmap.a").display().to_string()],
    };
    build.check(&[]);
}

/// The headers that `NETMAP_INCLUDE` names and those of libnetmap beside it.
fn given_headers() -> Option<Vec<PathBuf>> {
    let include = PathBuf::from(std::env::var_os("NETMAP_INCLUDE")?);
    let all = vec![include.clone(), include.join("../libnetmap")];
    all.iter()
        .any(|dir| dir.join("libnetmap.h").is_file())
        .then_some(all)
}

/// A program that was compiled for netmap's own library runs with ours.
#[test]
fn program_with_given_headers() {
    let Some(include) = given_headers() else {
        let why = "NETMAP_INCLUDE is not set, or there is no libnetmap.h there";
        return report_skip("a program with netmap's headers", &Skip::optional(why));
    };
    let build = Build {
        name: "given-headers",
        compiler: "cc",
        flags: &["-w"],
        include,
        library: Build::shared(),
    };
    build.check(&[]);
}

/// netmap's own library over uvale. Its sentences are its own, and so is what it does in odd
/// cases, so cases that ask about those are left out.
#[test]
fn given_library() {
    let lib = std::env::var_os("NETMAP_LIB").map(|dir| PathBuf::from(dir).join("libnetmap.a"));
    let (Some(include), Some(lib)) = (given_headers(), lib) else {
        let why = "NETMAP_INCLUDE and NETMAP_LIB are not both set";
        return report_skip("netmap's libnetmap", &Skip::optional(why));
    };
    let build = Build {
        name: "given-library",
        compiler: "cc",
        flags: &["-w"],
        include,
        library: vec![lib.display().to_string()],
    };
    build.check(&[
        "inject-nothing",
        "share",
        "errors",
        "offset",
        WITHOUT_DEVICE,
    ]);
}
