//! Programs of every kind in a file of cases: static ones, those of Go, loaded ones.

use std::path::PathBuf;

use compat_tests::apps::compile_c;
use compat_tests::made::{exchange, statically_of};
use compat_tests::programs::program;
use compat_tests::{Skip, or_skip};

use super::*;

/// The bridge of the documents.
fn source() -> PathBuf {
    workspace().join("docs/examples/bridge.c")
}

/// It, as `bridge` and as `static`, in a folder.
fn bridges() -> Result<Folder, Skip> {
    let folder = Folder::new();
    let loaded = compile_c(&source(), "testing-loaded", &["-O1"])?.path;
    let whole = statically_of(&source(), "testing-bridge")?;
    for (path, name) in [(loaded, "bridge"), (whole, "static")] {
        std::os::unix::fs::symlink(path, folder.path(name)).expect("the folder can be written");
    }
    Ok(folder)
}

/// lan - static bridge - pipe - loaded bridge - wan; and Go - pipe - static bridge - pipe - loaded receiver.
const CHAIN: &str = r#"
[ports.lan]
[ports.wan]
[[programs]]
name = "near"
run = ["./static", "${port.lan}", "vale8:p{1"]
[[programs]]
name = "far"
run = ["./bridge", "vale8:p}1", "${port.wan}"]
[[programs]]
name = "receiver"
run = ["./traffic", "rx", "vale9:r}1", "how=poll", "n=2000", "gapless=1"]
status = 0
[[programs]]
name = "middle"
run = ["./static", "vale9:s}1", "vale9:r{1"]
[[programs]]
name = "sender"
run = ["./exchange", "tx", "vale9:s{1", "how=netpoller", "n=2000", "go=go", "then=hold"]
[[cases]]
name = "they exchange packets"
steps = [
  { run = ["${env.UVALE}", "wait", "vale8:p{1", "vale8:p}1", "vale9:r}1", "vale9:r{1", "vale9:s}1", "vale9:s{1"] },
  { run = ["touch", "go"] },
  { send = "lan", gen = "-n 500 -l 100" },
  { expect = "wan", same_as = "lan" },
  { send = "wan", gen = "-n 500 -l 100" },
  { expect = "lan", same_as = "wan" },
  { prints = "receiver", text = "end n=2000 lost=0" },
]
"#;

/// The file of that, with its programs, in a folder.
fn chain() -> Result<Folder, Skip> {
    let folder = bridges()?;
    for (path, name) in [(exchange()?, "exchange"), (program("traffic")?, "traffic")] {
        std::os::unix::fs::symlink(path, folder.path(name)).expect("the folder can be written");
    }
    folder.write("chain.toml", CHAIN);
    Ok(folder)
}

#[test]
fn a_static_one_one_of_go_and_a_loaded_one() {
    let folder = or_skip!("program of the chain", chain());
    let said = folder.test(&["-v", "chain.toml"]).assert_code(0);
    assert!(said.out.contains("1 passed"), "{}", said.out);
    folder.assert_swept();
}

const MATRIX: &str = r#"
matrix = { program = ["static", "bridge"], reach = ["auto", "notify", "preload", "trap"] }
timeout = "60s"
[ports.lan]
[ports.wan]
[[programs]]
run = ["./${program}", "${port.lan}", "${port.wan}"]
reach = "${reach}"
[[cases]]
name = "passes"
steps = [
  { send = "lan", gen = "-n 100" },
  { expect = "wan", same_as = "lan" },
]
"#;

/// Each of them in each way, several at once; what cannot be served is said.
#[test]
fn a_matrix_of_programs_and_ways() {
    let folder = or_skip!("bridge", bridges());
    folder.write("ways.toml", MATRIX);
    let said = folder.test(&["--jobs", "4", "ways.toml"]).assert_code(1);
    assert!(said.out.contains("6 passed, 2 failed"), "{}", said.out);
    for way in ["preload", "trap"] {
        let failed = format!("FAILED  ways/passes [program=static reach={way}]");
        assert!(said.out.contains(&failed), "{}", said.out);
    }
    let why = "./static is statically linked: it is not reached by a preloaded library and finds no /dev/netmap; \
               give it reach = \"notify\", or link it dynamically";
    assert_eq!(said.out.matches(why).count(), 2, "{}", said.out);
    // It is said by the run before the program starts, too.
    let only = ["-v", "ways.toml", "--only", "*static reach=preload*"];
    let said = folder.test(&only).assert_code(1);
    let line = format!("uvale: program static: {why}");
    assert!(said.out.contains(&line), "{}", said.out);
    folder.assert_swept();
}

/// A file in which the tester has ports of every kind.
const KINDS: &str = r#"
matrix = { program = ["static", "bridge"] }
[ports.lan]
[ports.wan]
[ports.eth]
kind = "nic"
[ports.near]
kind = "pipe"
[[programs]]
name = "first"
run = ["./${program}", "${port.lan}", "${port.eth}"]
[[programs]]
name = "second"
run = ["./${program}", "${port.near}", "${port.wan}"]
[[cases]]
name = "passes"
steps = [
  { send = "lan", gen = "-n 300" },
  { expect = "eth", same_as = "lan" },
  { send = "eth", gen = "-n 300" },
  { expect = "lan", same_as = "eth" },
  { send = "near", gen = "-n 300" },
  { expect = "wan", same_as = "near" },
]
"#;

/// The static `uvale`, into which no shim is loaded, has ports of its own all the same.
#[test]
fn by_a_static_uvale() {
    let built = compat_tests::roots::built_for("x86_64-unknown-linux-musl");
    let uvale = or_skip!("static uvale", built).join("uvale");
    let folder = or_skip!("program of the chain", chain());
    folder.write("kinds.toml", KINDS);
    let test = |file: &str| {
        let mut command = Command::new(&uvale);
        command.args(["test", "-v", file]).current_dir(&folder.0);
        command
            .env("TMPDIR", folder.path("tmp"))
            .env("XDG_RUNTIME_DIR", folder.path("tmp"))
            .env("UVALE", &uvale)
            .env("NMSHIM", &binaries().shim)
            .env_remove("UVALE_DIR")
            .stdin(Stdio::null());
        Said::of(&mut command).assert_code(0)
    };
    let said = test("chain.toml");
    assert!(said.out.contains("1 passed"), "{}", said.out);
    // Without namespaces there are no interfaces, which it says.
    let said = test("kinds.toml");
    let is_skipped =
        said.out.contains("network namespace") || said.out.contains("install iproute2");
    assert!(said.out.contains("2 passed") || is_skipped, "{}", said.out);
    folder.assert_swept();
}
