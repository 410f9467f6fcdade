//! Interposition against a device of the tests' own (`interpose_fake`), in real programs: C with and
//! without fortification, preloaded and linked, Python, and a program that has its own `close` and `poll`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

#[path = "interpose_fake/built.rs"]
mod built;
use built::{library, profile_dir};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static N: AtomicU32 = AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nmshim-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Compiles one of the C programs.
fn compile(to: &Path, name: &str, flags: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/interpose_c/{name}.c"));
    let out = Command::new("cc")
        .args([
            "-O2",
            "-g",
            "-Wall",
            "-Wno-unused-result",
            "-pthread",
            "-rdynamic",
            "-o",
        ])
        .arg(to)
        .arg(source)
        .args(flags)
        .arg("-ldl")
        .output()
        .expect("cc runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// The programs, compiled once for all tests: plain, fortified, and linked with the library.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let dir = profile_dir().join("interpose-programs");
        std::fs::create_dir_all(&dir).expect("a directory for programs");
        let library = library();
        let folder = library.parent().expect("a folder").display().to_string();
        let link = [
            &format!("-L{folder}"),
            "-lfakedev",
            &format!("-Wl,-rpath,{folder}"),
        ];
        for name in ["files", "waiting", "interfaces"] {
            compile(&dir.join(name), name, &[]);
            let fortified = [
                "-U_FORTIFY_SOURCE",
                "-D_FORTIFY_SOURCE=3",
                "-D_FILE_OFFSET_BITS=64",
                "-Wno-stringop-overflow",
            ];
            compile(&dir.join(format!("{name}-fortified")), name, &fortified);
            compile(&dir.join(format!("{name}-linked")), name, &link);
        }
        compile(&dir.join("own"), "own", &[]);
        dir
    })
}

fn preloaded(program: impl AsRef<std::ffi::OsStr>, dir: &Dir) -> Command {
    let mut command = Command::new("timeout");
    command
        .arg("300")
        .arg("env")
        .arg(assignment("LD_PRELOAD", library()))
        .arg(program);
    command.env("FAKE_DIR", &dir.0);
    command
}

fn assignment(name: &str, value: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(format!("{name}="));
    text.push(value);
    text
}

fn succeed(command: &mut Command) -> Output {
    let out = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
    out
}

/// A section of a C program in its three forms.
fn section(program: &str, name: &str) {
    for form in ["", "-fortified"] {
        let dir = Dir::new();
        succeed(preloaded(programs().join(format!("{program}{form}")), &dir).arg(name));
    }
    let dir = Dir::new();
    let linked = programs().join(format!("{program}-linked"));
    succeed(
        Command::new("timeout")
            .arg("300")
            .arg(linked)
            .env("FAKE_DIR", &dir.0)
            .arg(name),
    );
}

macro_rules! sections {
    ($($program:ident: $($name:ident)+;)+) => {
        $($(
            #[test]
            fn $name() {
                section(stringify!($program), stringify!($name));
            }
        )+)+
    };
}

sections! {
    interfaces: lists requests sysfs threads;
    files: facts opening descriptors raw_calls processes;
    waiting: polling signals selecting levels edges nesting kicks cancelling churn reading;
}

#[test]
#[cfg(target_arch = "x86_64")]
fn never_lands_in_the_program() {
    let dir = Dir::new();
    succeed(&mut preloaded(programs().join("own"), &dir));
}

#[test]
fn python_select() {
    let dir = Dir::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interpose_c/waits.py");
    succeed(preloaded("python3", &dir).arg(script));
}

/// What a poll that finds data costs: no system call at all.
#[test]
fn finding_data_makes_no_system_call() {
    let dir = Dir::new();
    let Ok(version) = Command::new("strace").arg("-V").output() else {
        eprintln!("skipped: no strace");
        return;
    };
    assert!(version.status.success());
    let log = dir.0.join("log");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-o"])
        .arg(&log)
        .arg("-E")
        .arg(format!("LD_PRELOAD={}", library().display()));
    succeed(
        strace
            .arg(programs().join("files"))
            .arg("quiet")
            .env("FAKE_DIR", &dir.0),
    );
    let log = std::fs::read_to_string(log).expect("strace's log");
    let between: Vec<_> = log
        .lines()
        .skip_while(|l| !l.contains("\"begin"))
        .skip(1)
        .take_while(|l| !l.contains("\"end"))
        .collect();
    assert!(log.contains("\"end"), "the program did not get to its end");
    assert!(between.is_empty(), "{between:#?}");
}

/// Nothing but the interposed calls, and the answer to AddressSanitizer's question, is exported by the library as it
/// ships.
#[test]
fn exports_only_what_is_interposed() {
    let library = profile_dir().join("deps/libnmshim.so");
    let out = succeed(
        Command::new("nm")
            .args(["-D", "--defined-only", "--format=posix"])
            .arg(&library),
    );
    let list = [
        include_str!("../src/ground/symbols.rs"),
        include_str!("../src/interpose/sanitizer.rs"),
        include_str!("../src/interpose/exec/lists.rs"),
        include_str!("../src/interpose/trap/contexts.rs"),
    ]
    .concat();
    let names: Vec<_> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|l| l.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    let strays: Vec<_> = names
        .iter()
        .filter(|n| {
            ![" fn {}(", " fn {} by "]
                .iter()
                .any(|f| list.contains(&f.replace("{}", n)))
        })
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
    for needed in [
        "open",
        "__open64_2",
        "ioctl",
        "mmap64",
        "__poll_chk",
        "epoll_pwait2",
        "close_range",
        "syscall",
    ] {
        assert!(names.iter().any(|n| n == needed), "{needed} is missing");
    }
}

/// Programs that have nothing to do with the device behave as ever.
#[test]
fn ordinary_programs() {
    let dir = Dir::new();
    let scripts = [
        (
            "bash",
            "-c",
            "x=$(for i in 1 2 3; do (echo $i | cat); done | wc -l); exec 7>&1; echo $x >&7; [ $x = 3 ]",
        ),
        ("python3", "-c", PYTHON),
        ("git", "--version", ""),
        (
            "sh",
            "-c",
            "echo 'int main(void){return 7;}' > $FAKE_DIR/a.c \
             && cc -o $FAKE_DIR/a $FAKE_DIR/a.c && $FAKE_DIR/a; [ $? = 7 ]",
        ),
    ];
    for (program, option, text) in scripts {
        let mut command = preloaded(program, &dir);
        command.arg(option).args((!text.is_empty()).then_some(text));
        let out = succeed(&mut command);
        assert!(
            out.stderr.is_empty(),
            "{program}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

const PYTHON: &str = "
import subprocess, threading, asyncio, multiprocessing, tempfile, os
assert subprocess.run(['echo', 'x'], capture_output=True, close_fds=True).stdout == b'x\\n'
async def main():
    p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    assert (await p.communicate(b'hello'))[0] == b'hello'
    server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await r.read() == b''
asyncio.run(main())
t = [threading.Thread(target=lambda: os.close(os.dup(0))) for _ in range(8)]
[x.start() for x in t]; [x.join() for x in t]
with multiprocessing.Pool(2) as p: assert p.map(abs, [-1, -2]) == [1, 2]
";
