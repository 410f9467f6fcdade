//! The scripts that set a machine up: they wait for a busy package manager, and say what goes on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};
use rustix::fs::{FlockOperation, fcntl_lock};

/// A package manager of our own: apt's programs on folders where nobody else is.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(name: &str) -> Result<Apt, Skip> {
        if !Path::new("/usr/bin/apt-get").exists() {
            return Err(Skip::optional("there is no apt-get here"));
        }
        let dir = std::env::temp_dir().join(format!("uvale-apt-{name}-{}", std::process::id()));
        for folder in ["lists/partial", "cache/archives/partial", "dpkg", "etc"] {
            std::fs::create_dir_all(dir.join(folder)).expect("the temporary folder can be written");
        }
        for file in [
            "dpkg/status",
            "dpkg/lock",
            "dpkg/lock-frontend",
            "lists/lock",
        ] {
            File::create(dir.join(file)).expect("the temporary folder can be written");
        }
        let here = dir.display();
        let config = format!(
            "Dir::State \"{here}\";\nDir::State::lists \"{here}/lists\";\n\
             Dir::State::status \"{here}/dpkg/status\";\nDir::Cache \"{here}/cache\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{here}/etc\";\n"
        );
        std::fs::write(dir.join("config"), config).expect("the temporary folder can be written");
        Ok(Apt { dir })
    }

    /// Holds a lock, as the package manager itself does, until it is dropped.
    fn hold(&self, lock: &str) -> File {
        let file = File::options()
            .write(true)
            .open(self.dir.join(lock))
            .expect("the lock's file is there");
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
        file
    }

    fn get(&self, arguments: &[&str], patience: &str) -> Program {
        let mut command = Command::new(target::workspace().join("scripts/apt-get.sh"));
        command
            .args(arguments)
            .env("APT_CONFIG", self.dir.join("config"))
            .env("APT_PATIENCE", patience);
        Program::start("apt-get.sh", command)
    }
}

impl Drop for Apt {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_busy_package_manager_is_waited_for() {
    let apt = or_skip!("apt-get.sh", Apt::new("waits"));
    // the lists, which apt-get's own option does not cover, and dpkg's
    for (lock, arguments) in [
        ("lists/lock", &["-qq", "update"][..]),
        ("dpkg/lock-frontend", &["-qq", "-y", "install"]),
        ("dpkg/lock", &["-qq", "-y", "install"]),
    ] {
        let held = apt.hold(lock);
        let waiting = apt.get(arguments, "600");
        let said = waiting.wait_line("that it waits", |l| l.contains("is busy, waiting"));
        assert!(said.contains(lock), "it names the lock: {said}");
        drop(held);
        waiting.wait_success();
    }
}

#[test]
fn the_wait_ends_some_time() {
    let apt = or_skip!("apt-get.sh", Apt::new("bound"));
    let _held = apt.hold("lists/lock");
    let mut waiting = apt.get(&["-qq", "update"], "1");
    assert!(!waiting.wait().success());
    assert!(waiting.said().contains("gave up"), "{}", waiting.said());
}

#[test]
fn another_failure_is_not_waited_for() {
    let apt = or_skip!("apt-get.sh", Apt::new("fails"));
    let mut failing = apt.get(&["-qq", "-y", "install", "no-such-package"], "600");
    assert!(!failing.wait().success());
    let said = failing.said();
    assert!(
        said.contains("no-such-package") && !said.contains("waiting"),
        "{said}"
    );
}

/// Fails to build, but not before the demonstration has said that it is still at it.
#[test]
fn the_demonstration_says_what_it_is_at() {
    let dir = std::env::temp_dir().join(format!("uvale-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    let (cargo, output) = (dir.join("cargo"), dir.join("output"));
    let script = format!(
        "#!/bin/sh\necho Compiling something\nuntil grep -q 'still at it.*Compiling' {}; do sleep 1; done\nexit 3\n",
        output.display()
    );
    std::fs::write(&cargo, script).expect("the temporary folder can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&cargo, mode).expect("a file of ours");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" >\"$1\" 2>&1 </dev/null; echo status $?"])
        .arg(target::workspace().join("scripts/demo.sh"))
        .arg(&output)
        .env("PATH", format!("{}:{path}", dir.display()))
        .env("CARGO_TARGET_DIR", dir.join("target"));
    let status = Program::start("demo.sh", command).wait_success();
    let said = std::fs::read_to_string(&output).expect("it wrote something");
    let _ = std::fs::remove_dir_all(&dir);
    if said.contains("missing packages") {
        return compat_tests::report_skip("demo.sh", &Skip::required(said));
    }
    assert!(status.contains("status 1"), "{status}{said}");
    for part in [
        "uvale and its shim",
        "still at it, 20 s: Compiling",
        "failed",
        "what to do",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains('\x1b'), "a pipe is no terminal: {said}");
}
