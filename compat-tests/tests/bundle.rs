//! The archive, unpacked elsewhere: it has to run without cargo, compiler and source tree.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use compat_tests::containers::libraries;
use compat_tests::matrix::layout::Layout;
use compat_tests::roots::{self, Stage};
use compat_tests::{Skip, bundle, or_skip, report_skip};
use uvale_tools::elf::{Elf, Libc};

/// A folder of its own that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("compat-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The archive, made once.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let name = format!("compat-bundle-{}.tar.gz", std::process::id());
        let file = compat_tests::apps::cache_dir().join(name);
        std::fs::create_dir_all(compat_tests::apps::cache_dir()).expect("the cache can be written");
        let manifest = bundle::write(&Layout::find(), &file, None).expect("the bundle can be made");
        assert!(manifest.contains("runner: "), "{manifest}");
        file
    })
}

fn unpack(into: &Path) -> PathBuf {
    unpack_of(archive(), into)
}

fn unpack_of(archive: &Path, into: &Path) -> PathBuf {
    std::fs::create_dir_all(into).expect("a folder of ours");
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(into)
        .status();
    assert!(status.expect("tar starts").success());
    into.join(bundle::FOLDER)
}

fn run(mut command: Command) -> (Output, String) {
    command.stdin(Stdio::null());
    let output = command.output().expect("it starts");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output, text)
}

/// The scenarios that the tests here run: quick ones.
const QUICK: [&str; 2] = ["option_list", "descriptors"];

fn quick_args() -> Vec<&'static str> {
    let mut args = vec!["--target", "uvale", "--target", "kernel"];
    args.extend(QUICK.iter().flat_map(|s| ["--scenario", s]));
    args
}

#[test]
fn it_runs_elsewhere_without_a_toolchain() {
    let scratch = Scratch::new("bundle");
    let dir = unpack(&scratch.0.join("elsewhere"));
    let nothing = scratch.0.join("nothing");
    std::fs::create_dir_all(&nothing).expect("a folder of ours");
    let junit = scratch.0.join("junit.xml");
    let mut command = Command::new("/bin/sh");
    // neither cargo nor cc, and dirname only for the script
    let path = format!("{}:/usr/bin/../bin", nothing.display());
    command
        .arg(dir.join("run.sh"))
        .args(quick_args())
        .arg("--junit")
        .arg(&junit)
        .env_clear()
        .env("PATH", path)
        .env("CC", "no-compiler-here")
        .env("CARGO", "no-cargo-here")
        .current_dir(&nothing);
    let (output, text) = run(command);
    assert!(output.status.success(), "{text}");
    for scenario in QUICK {
        let row = text.lines().find(|l| l.starts_with(scenario));
        assert!(row.is_some_and(|r| r.contains("pass")), "{text}");
    }
    let xml = std::fs::read_to_string(&junit).expect("the JUnit file was written");
    let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
    let cases = document
        .descendants()
        .filter(|n| n.has_tag_name("testcase"));
    assert_eq!(cases.count(), 2 * QUICK.len());
}

/// It must notice when something is not as expected, and say so by its exit status.
#[test]
fn it_fails_where_facts_differ() {
    let scratch = Scratch::new("bundle-differs");
    let dir = unpack(&scratch.0);
    let file = dir.join("expected/kernel/option_list.txt");
    let text = std::fs::read_to_string(&file).expect("expected facts are in it");
    let wrong = text.replacen("types.zero=EINVAL", "types.zero=OK", 1);
    assert_ne!(wrong, text);
    std::fs::write(&file, wrong).expect("a file of ours");
    let mut command = Command::new(dir.join("compat-tests"));
    command.args(["run", "--target", "uvale", "--scenario", "option_list"]);
    let (output, text) = run(command);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("types.zero: expected OK, got EINVAL"),
        "{text}"
    );
}

/// A root file system that holds the bundle, the C library and nothing else.
fn bare_root(root: &Path) -> Result<PathBuf, Skip> {
    let dir = unpack(root);
    for name in ["proc", "tmp", "dev", "sys"] {
        std::fs::create_dir_all(root.join(name)).expect("a folder of ours");
    }
    let null = Command::new("mknod")
        .args(["-m", "666"])
        .arg(root.join("dev/null"))
        .args(["c", "1", "3"])
        .stderr(Stdio::null())
        .status();
    if !null.is_ok_and(|s| s.success()) {
        return Err(Skip::optional("a device cannot be made: not root"));
    }
    for program in ["bin/uvale", "bin/libnmshim.so"] {
        for library in libraries(&dir.join(program))? {
            let to = root.join(library.strip_prefix("/").unwrap_or(&library));
            std::fs::create_dir_all(to.parent().expect("it lies in a folder"))
                .expect("a folder of ours");
            std::fs::copy(&library, &to).expect("a library can be copied");
        }
    }
    Ok(dir)
}

#[test]
fn it_runs_in_a_root_with_nothing_but_the_c_library() {
    let scratch = Scratch::new("bundle-bare");
    let root = scratch.0.join("root");
    or_skip!("a bare root", bare_root(&root));
    // the device, the C library and the bundle: no shell, no tools
    assert!(!root.join("bin").exists() && !root.join("usr").exists());
    let runner = format!("/{}/compat-tests", bundle::FOLDER);
    let mut commands = Vec::new();
    let mut podman = Command::new("podman");
    podman
        .args(["run", "--rm", "--network=none", "--rootfs"])
        .arg(&root)
        .args([&runner, "run"])
        .args(quick_args());
    commands.push(("podman", podman));
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--root"])
        .arg(&root)
        .args([&runner, "run"])
        .args(quick_args())
        .env_clear();
    commands.push(("unshare", unshare));
    for (with, command) in commands {
        if !works(with, &root) {
            continue;
        }
        let (output, text) = run(command);
        assert!(output.status.success(), "with {with}: {text}");
        for scenario in QUICK {
            let told = format!("uvale {scenario}: pass ");
            let passed = text.lines().any(|l| l.starts_with(&told));
            assert!(passed, "with {with}: {text}");
        }
        return;
    }
    compat_tests::report_skip(
        "a bare root",
        &Skip::optional("neither podman nor unshare can start it"),
    );
}

/// Can a program be started there at all?
fn works(with: &str, root: &Path) -> bool {
    let runner = format!("/{}/compat-tests", bundle::FOLDER);
    let mut command = Command::new(with);
    match with {
        "podman" => command.args(["run", "--rm", "--network=none", "--rootfs"]),
        _ => command.args(["--mount", "--pid", "--fork", "--mount-proc", "--root"]),
    };
    command.arg(root).args([&runner, "help"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

/// What `scripts/build-for.sh` has packed for a target, unpacked.
fn packed_for(triple: &str, into: &Path) -> Result<PathBuf, Skip> {
    let archive = roots::built_for(triple)?.join("compat-bundle.tar.gz");
    assert!(archive.is_file(), "no {}", archive.display());
    Ok(unpack_of(&archive, into))
}

/// The manifest says what the files are.
#[test]
fn files_for_other_targets_are_for_them() {
    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;
    for (triple, machine, libc, words) in [
        (
            "x86_64-unknown-linux-gnu",
            X86_64,
            Libc::Glibc,
            "glibc, 2.28 or newer",
        ),
        ("x86_64-unknown-linux-musl", X86_64, Libc::Musl, "musl"),
        (
            "aarch64-unknown-linux-gnu",
            AARCH64,
            Libc::Glibc,
            "glibc, 2.28 or newer",
        ),
    ] {
        let scratch = Scratch::new(&format!("bundle-{triple}"));
        let dir = match packed_for(triple, &scratch.0) {
            Ok(dir) => dir,
            Err(skip) => {
                report_skip(triple, &skip);
                continue;
            }
        };
        let manifest = std::fs::read_to_string(dir.join("MANIFEST")).expect("a manifest");
        let arch = triple.split('-').next().expect("a name");
        assert!(
            manifest.contains(&format!("architecture: {arch}\n")),
            "{manifest}"
        );
        assert!(
            manifest.contains(&format!("linked against {words};")),
            "{manifest}"
        );
        let elf = |name: &str| {
            let file =
                std::fs::File::open(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let elf = Elf::read(file).expect("a program or library");
            assert_eq!(elf.machine.number, machine, "{triple}: {name}");
            elf
        };
        assert!(elf("compat-tests").is_static() && elf("scenarios/static/pipes").is_static());
        assert_eq!(elf("scenarios/dynamic/pipes").libc(), Some(libc));
        assert_eq!(elf("bin/uvale").is_static(), libc == Libc::Musl);
        let shim = match libc {
            Libc::Musl => "bin/libnmshim-musl.so",
            _ => "bin/libnmshim.so",
        };
        assert_eq!(elf(shim).libc(), Some(libc));
    }
}

/// As far as qemu-user goes: it has no answer to `process_vm_readv`, by which bad pointers of requests are told.
#[test]
fn scenarios_for_aarch64_run_emulated() {
    let what = "scenarios on aarch64";
    let stage = Stage::new("bundle-aarch64");
    let dir = or_skip!(what, packed_for("aarch64-unknown-linux-gnu", stage.dir()));
    let root = or_skip!(what, roots::root("bookworm", "arm64"));
    let runner = format!("/opt/{}/compat-tests", bundle::FOLDER);
    let mut command = vec![runner.as_str(), "run", "--target", "uvale"];
    let scenarios = ["pipes", "poll_states", "offsets"];
    command.extend(scenarios.iter().flat_map(|s| ["--scenario", s]));
    assert!(dir.is_dir());
    let (is_well, text) = or_skip!(what, stage.run(&root, &command));
    assert!(is_well, "{text}");
    for scenario in scenarios {
        let told = format!("uvale {scenario}: pass ");
        assert!(text.lines().any(|l| l.starts_with(&told)), "{text}");
    }
}
