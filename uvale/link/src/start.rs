//! Finding the daemon of a world, and starting it if there is none.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::environment::{self, ENV_AUTOSTART, ENV_PROGRAM};
use crate::place;
use crate::session::Session;
use uvale_system::refusal::Refusal;

/// How long a daemon that started by itself stays when nobody uses it, in seconds.
pub const IDLE_SECONDS: u64 = 60;

/// Attaches to the daemon of `dir`, starting one if necessary and allowed.
pub fn attach(dir: &Path) -> Result<Session, Refusal> {
    // A daemon that is just exiting may hang up on us; the next one will not.
    let mut last = Refusal::from(Errno::NXIO);
    for _ in 0..3 {
        place::is_safe(dir).map_err(|why| Refusal::new(Errno::ACCESS, why))?;
        match Session::attach(dir) {
            Err(f) if matches!(f.errno, Errno::NOENT | Errno::CONNREFUSED | Errno::NXIO) => {
                last = f
            }
            other => return other,
        }
        if environment::get(ENV_AUTOSTART).is_some_and(|v| v == "0") {
            let why = format!("{}, and {ENV_AUTOSTART}=0 says not to start one", last.why);
            return Err(Refusal::new(Errno::NXIO, why));
        }
        start(dir)?;
    }
    Err(Refusal::new(Errno::NXIO, last.why))
}

/// Starts a daemon for `dir`, or waits for one that is being started.
fn start(dir: &Path) -> Result<(), Refusal> {
    let program = program().ok_or_else(|| {
        let why = format!(
            "no uvale daemon answers in {} and the uvale program to start one was not found; put \
             it into PATH or name it in {ENV_PROGRAM}",
            dir.display()
        );
        Refusal::new(Errno::NXIO, why)
    })?;
    let arguments: [&OsStr; 6] = [
        program.as_os_str(),
        "daemon".as_ref(),
        "--detach".as_ref(),
        "--dir".as_ref(),
        dir.as_os_str(),
        "--idle-default".as_ref(),
    ];
    let shown = program.display();
    let ended = uvale_system::sys::run_quietly(&program, &arguments, &environment::for_execve())
        .map_err(|errno| Refusal::new(errno, cannot_run(&shown.to_string(), errno)))?;
    let said = ended.said.trim().trim_start_matches("uvale: ");
    match ended.status {
        0 => Ok(()),
        _ if !said.is_empty() => Err(Refusal::new(
            Errno::NXIO,
            format!("no daemon could be started: {said}"),
        )),
        status => Err(Refusal::new(
            Errno::NXIO,
            format!(
                "{shown} could not start a daemon in {} (status {status})",
                dir.display()
            ),
        )),
    }
}

/// Why no process could be created.
fn cannot_run(program: &str, errno: Errno) -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    match limit {
        Some(most) if errno == Errno::AGAIN => format!(
            "cannot run {program}: this user may have {most} processes (ulimit -u), and has them"
        ),
        _ => format!("cannot run {program}: {errno}"),
    }
}

/// The `uvale` program: named by the user, this program itself, beside this library, in PATH.
pub fn program() -> Option<PathBuf> {
    if let Some(named) = environment::get(ENV_PROGRAM) {
        return Some(named.into());
    }
    let own = uvale_system::sys::own_object();
    let beside = own
        .as_deref()
        .and_then(Path::parent)
        .into_iter()
        .flat_map(|dir| {
            [
                dir.join("uvale"),
                dir.join("../uvale"),
                dir.join("../bin/uvale"),
                dir.join("../../bin/uvale"),
            ]
        });
    let path = environment::get("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path)
        .map(|dir| dir.join("uvale"))
        .collect::<Vec<_>>();
    beside
        .chain(in_path)
        .find(|candidate| is_program(candidate))
}

/// The shim: named by the user (`NMSHIM`), beside this program or under its prefix.
pub fn shim() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NMSHIM").filter(|v| !v.is_empty()) {
        // Children of the program may be started elsewhere.
        return Some(std::path::absolute(&named).unwrap_or_else(|_| named.into()));
    }
    shim_of(&uvale_system::sys::this_program().ok()?)
}

/// The shim that belongs to a `uvale`: beside it or under its prefix.
pub fn shim_of(program: &Path) -> Option<PathBuf> {
    const NAME: &str = "libnmshim.so";
    let dir = program.parent()?;
    [
        dir.join(NAME),
        dir.join("../lib/uvale").join(NAME),
        dir.join("../lib").join(NAME),
        dir.join("deps").join(NAME),
    ]
    .into_iter()
    .find(|p| p.is_file())
    .and_then(|p| p.canonicalize().ok())
}

/// Is it a file that may be executed?
pub fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && {
        rustix::fs::stat(path)
            .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_file())
    }
}
