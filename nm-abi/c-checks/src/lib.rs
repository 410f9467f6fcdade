//! Our C headers and a C compiler: what the tests of nm-abi and of libnetmap share.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The headers of this repository.
pub fn our_include() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include");
    dir.canonicalize().expect("the headers are there")
}

/// The headers in the directory that the environment names in `NETMAP_INCLUDE`, if any.
pub fn given_include() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("NETMAP_INCLUDE")?);
    let header = dir.join("net/netmap.h");
    assert!(header.is_file(), "no {}", header.display());
    Some(dir)
}

/// A directory for a test's files, emptied.
pub fn scratch(test: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let target = exe.ancestors().nth(3).expect("target/PROFILE/deps/test");
    let dir = target.join("tmp").join(test);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target directory can be written");
    dir
}

/// Whether `compiler` can be run; says that the test is skipped if not.
pub fn have(compiler: &str) -> bool {
    let mut command = Command::new(compiler);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: there is no {compiler} to compile with");
    }
    found
}

/// Output of a program that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let status = output.status;
    assert!(
        status.success(),
        "{command:?}: {status}\n{}",
        texts.concat()
    );
    output
}

/// What a program prints that is given `names`, each with a NUL behind it.
pub fn lines_for(command: &mut Command, names: &[String]) -> Vec<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a compiled program starts");
    let mut input = child.stdin.take().expect("it has an input");
    let all = names
        .iter()
        .flat_map(|name| [name.as_bytes(), b"\0"].concat());
    let all: Vec<u8> = all.collect();
    // apart, for it may answer before it has read everything
    let writer = std::thread::spawn(move || input.write_all(&all));
    let output = child.wait_with_output().expect("it ends");
    writer
        .join()
        .expect("no panic")
        .expect("it reads everything");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// Whether libclang can be loaded; says that the test is skipped if not.
pub fn have_libclang() -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let loaded = std::panic::catch_unwind(bindgen::clang_version);
    std::panic::set_hook(hook);
    if let Err(why) = &loaded {
        let why = why.downcast_ref::<String>();
        let why = why.map_or("no reason given", String::as_str);
        println!("skipped: libclang cannot be loaded: {why}");
    }
    loaded.is_ok()
}

/// A reader of `source` with the headers in `include`: types and variables, no functions.
pub fn headers(source: &str, include: &Path) -> bindgen::Builder {
    bindgen::builder()
        .header_contents("all.h", source)
        .clang_arg(format!("-I{}", include.display()))
        // libclang without the clang package lacks its own headers; any compiler's will do
        .clang_args(compiler_includes())
        .allowlist_var("VALUE_.*")
        .blocklist_function(".*")
}

/// `-I` for the directory of `stddef.h` and its like.
fn compiler_includes() -> Option<String> {
    let found = Command::new("cc")
        .arg("-print-file-name=include")
        .output()
        .ok()?;
    let dir = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    Path::new(&dir).is_dir().then(|| format!("-I{dir}"))
}

/// The numbers that bindgen's output asserts, as "Size of x", "Alignment of x" and "Offset of field: x::y".
pub fn assertions(rust: &str) -> Vec<(String, usize)> {
    // assertions may be broken over lines
    let text: String = rust.split_whitespace().collect::<Vec<_>>().join(" ");
    let read = |assertion: &str| {
        let (what, rest) = assertion.split_once("\"]")?;
        let (_, number) = rest.split_once(" - ")?;
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        Some((what.to_owned(), digits.parse().ok()?))
    };
    text.split("[\"").skip(1).filter_map(read).collect()
}
