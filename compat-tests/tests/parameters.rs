//! The module's parameters through their files: `programs/libnetmap/parameters.c`, shells, Python, and
//! configuration files.

mod libnetmap_common;
use std::path::Path;
use std::process::Command;

use compat_tests::place::Place;
use compat_tests::world::Program;
use compat_tests::{Skip, apps, or_skip, report_skip, target};
use libnetmap_common::libraries;

const DIR: &str = "/sys/module/netmap/parameters";

fn program() -> Result<apps::App, Skip> {
    let source = target::workspace().join("compat-tests/programs/libnetmap/parameters.c");
    let dir = libraries().display().to_string();
    let flags = [
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wl,--no-as-needed",
        &format!("-L{dir}"),
        "-lnetmap",
        &format!("-Wl,-rpath,{dir}"),
    ];
    apps::compile_c(&source, "parameters", &flags)
}

/// Each case in a world of its own.
#[test]
fn programs_read_and_write_them() {
    let app = or_skip!("parameters", program());
    let listed = Command::new(&app.path).arg("--list").output();
    let listed = String::from_utf8(listed.expect("the program starts").stdout).unwrap();
    assert_eq!(listed.lines().count(), 6, "{listed}");
    for case in listed.lines() {
        let place = Place::new();
        assert_eq!(place.run(&app.path, &[case]), format!("ok {case}\n"));
        place.assert_nothing_left();
    }
}

/// A port that is refused because of a size says which parameter to change, and to what.
#[test]
fn a_refusal_names_the_way_out() {
    let app = or_skip!("parameters", program());
    let place = Place::new();
    let mut command = place.command(&app.path);
    command.arg("sizes").env("NMSHIM_VERBOSE", "1");
    let mut program = Program::start("parameters sizes", command);
    assert!(program.wait().success(), "{}", program.said());
    let said = program.said();
    for way_out in [
        "buf_num is stored, but no port can be opened with it",
        "set buf_num to 4 to 1000000",
        "set buf_num to 1026 or more",
        "set ring_size=16640",
    ] {
        assert!(said.contains(way_out), "no {way_out:?} in {said}");
    }
}

/// What a script prints under the shim.
fn script(place: &Place, shell: &str, script: &str) -> Result<String, Skip> {
    if Command::new(shell).args(["-c", ":"]).output().is_err() {
        return Err(Skip::optional(format!("there is no {shell}")));
    }
    Ok(place.run(Path::new(shell), &["-c", script]))
}

/// Built-in echo goes past libc's write in some shells; a program that is started has the file from
/// its parent.
#[test]
fn shells_write_them() {
    let text = format!(
        "cd {DIR}/ 2>/dev/null; v={DIR}/verbose\n\
         echo 1 > $v; cat $v; printf '0x2\\n' > $v; cat $v; /bin/echo 3 > $v; cat $v\n\
         (echo 4; echo nonsense; /bin/echo 5; echo 6) > $v; cat $v; echo 7 | tee $v > /dev/null; cat $v\n\
         echo 1 2> /dev/null > {DIR}/max_bridges || echo refused; cat {DIR}/max_bridges"
    );
    for shell in ["/bin/sh", "/bin/bash", "/bin/dash"] {
        let place = Place::new();
        let said = or_skip!(shell, script(&place, shell, &text));
        assert_eq!(said, "1\n2\n3\n6\n7\nrefused\n8\n", "{shell}");
    }
}

#[test]
fn python_writes_them() {
    let text = format!(
        "python3 - <<'END'\n\
         p = '{DIR}/'\n\
         with open(p + 'ring_num', 'w') as f: f.write('300\\n')\n\
         print(open(p + 'ring_num').read(), end='')\n\
         try:\n    with open(p + 'ring_num', 'w') as f: f.write('x\\n')\n\
         except OSError as e: print(e.errno)\n\
         with open(p + 'ring_num', 'r+') as f: print(f.read(), end=''); f.seek(0); f.write('400')\n\
         print(open(p + 'ring_num').read(), end='')\n\
         END"
    );
    if Command::new("python3").arg("--version").output().is_err() {
        return report_skip("python", &Skip::optional("there is no python3"));
    }
    let place = Place::new();
    let said = or_skip!("sh", script(&place, "/bin/sh", &text));
    assert_eq!(said, "300\n22\n300\n400\n");
}

/// The configuration file has the same names; what no world can have is refused at the start.
#[test]
fn a_file_configures_a_daemon() {
    let mut place = Place::empty();
    let file = place.file("uvale.toml");
    std::fs::write(
        &file,
        "buf_size = 4096\npriv_ring_num = 12\nmax_switches = 3\n",
    )
    .unwrap();
    place.start_daemon(&["--config", &file.display().to_string()]);
    let text =
        format!("cd {DIR} 2>/dev/null; cat {DIR}/buf_size {DIR}/priv_ring_num {DIR}/max_bridges");
    let said = script(&place, "/bin/sh", &text).expect("there is a shell");
    assert_eq!(said, "4096\n12\n3\n");

    let bad = Place::empty();
    for (text, why) in [
        ("buf_size = 100000", "set buf_size to 64 to 65536"),
        ("max_switches = 257", "set it to 1 to 256"),
        ("buffer_size = 1", "no parameter buffer_size"),
        ("verbose = \"1\"", "verbose takes a number"),
    ] {
        let file = bad.file("uvale.toml");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(&target::binaries().uvale)
            .args(["daemon", "--dir"])
            .arg(bad.dir())
            .arg("--config")
            .arg(&file)
            .output()
            .expect("uvale starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{text}: {said}"
        );
    }
}
