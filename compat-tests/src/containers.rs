//! Real containers: podman, and images of nothing but uvale's two files, a test's programs and the C library.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::place::set_mode;
use crate::{Skip, target};

const IMAGE: &str = "localhost/uvale-test";

/// Who runs containers, and as whom they run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Root, and root in the container.
    Root,
    /// Root, and user 1000 in the container.
    User1000,
    /// Another user than root.
    Rootless,
}

/// Podman with storage of its own, and programs on the host under the same user. Containers and images are gone with
/// it.
pub struct Engine {
    who: Who,
    dir: PathBuf,
    /// a user made for this test
    user: Option<String>,
}

impl Engine {
    /// An engine whose image has `uvale`, the shim and `programs`, by the names given, in `/bin`.
    ///
    /// # Errors
    /// What is missing here.
    ///
    /// # Panics
    /// If files in `/tmp` cannot be written.
    pub fn new(who: Who, programs: &[(&str, &Path)]) -> Result<Engine, Skip> {
        let first = Command::new("podman").arg("--version").output();
        first.map_err(|e| Skip::optional(format!("no podman: {e}")))?;
        let is_root = rustix::process::geteuid().is_root();
        if who != Who::Rootless && !is_root {
            return Err(Skip::optional("needs root"));
        }
        // Short: podman and its helpers have sockets in it.
        let dir = PathBuf::from(format!("/tmp/uv-{}-{}", std::process::id(), who as u8));
        std::fs::create_dir_all(&dir).expect("/tmp can be written");
        set_mode(&dir, 0o755);
        let user = (who == Who::Rootless && is_root).then(|| format!("uvt{}", std::process::id()));
        if let Some(user) = &user {
            let made = Command::new("useradd").args(["-M", user]).output();
            if !made.as_ref().is_ok_and(|o| o.status.success()) {
                return Err(Skip::optional(format!("cannot make a user: {made:?}")));
            }
        }
        let engine = Engine { who, dir, user };
        for name in ["home", "run"] {
            engine.make_dir(name, 0o700);
        }
        engine.load_image(programs)?;
        Ok(engine)
    }

    /// Who runs its containers.
    pub fn who(&self) -> Who {
        self.who
    }

    /// The user that was made for it, if one was.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// A path for a file of it; the image's files lie in `image`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a directory of the user that programs on the host run as.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_dir(&self, name: &str, mode: u32) {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("the directory is ours");
        set_mode(&path, mode);
        if let Some(owner) = self.host_user() {
            let status = Command::new("chown").arg(owner).arg(&path).status();
            assert!(status.is_ok_and(|s| s.success()), "chown");
        }
    }

    /// Whom a daemon on the host belongs to; `None`: to whoever runs the test.
    pub fn host_user(&self) -> Option<String> {
        match self.who {
            Who::Root => None,
            Who::User1000 => Some("1000".into()),
            Who::Rootless => self.user.clone(),
        }
    }

    /// `words` on the host as `user`.
    pub fn on_host(&self, user: Option<&str>, words: &[&str]) -> Command {
        let mut command = match user {
            None => Command::new("env"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                let group = if user == "1000" { "1000" } else { user };
                command.args(["--reuid", user, "--regid", group, "--clear-groups", "env"]);
                command
            }
        };
        command
            .arg(format!("HOME={}", self.path("home").display()))
            .arg(format!("XDG_RUNTIME_DIR={}", self.path("run").display()))
            .args(words)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    fn podman(&self, words: &[&str]) -> Command {
        self.on_host(
            self.user.as_deref(),
            &[
                &["podman", "--runtime", "runc"][..],
                &self.storage()[..]
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
                words,
            ]
            .concat(),
        )
    }

    fn storage(&self) -> Vec<String> {
        let dir = self.path("home");
        vec![
            format!("--root={}", dir.join("storage").display()),
            format!("--runroot={}", self.path("run").join("c").display()),
        ]
    }

    fn must(&self, mut command: Command) -> Result<Output, Skip> {
        let output = command
            .output()
            .map_err(|e| Skip::optional(format!("no podman: {e}")))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or("no reason given");
        Err(Skip::optional(format!("podman does not work here: {last}")))
    }

    /// The image: uvale's two files, the programs and what the loader needs for them.
    fn load_image(&self, programs: &[(&str, &Path)]) -> Result<(), Skip> {
        let binaries = target::binaries();
        let root = self.path("image");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(dir)).expect("the directory is ours");
        }
        let own = [
            ("uvale", &*binaries.uvale),
            ("libnmshim.so", &*binaries.shim),
        ];
        for (name, from) in own.iter().chain(programs) {
            std::fs::copy(from, root.join("bin").join(name)).expect("files can be copied");
            for library in libraries(from)? {
                let to = root.join(library.strip_prefix("/").unwrap_or(&library));
                std::fs::create_dir_all(to.parent().unwrap_or(&root)).expect("ours");
                std::fs::copy(&library, &to).expect("libraries can be copied");
            }
        }
        let tar = self.path("image.tar");
        let mut command = Command::new("tar");
        command.arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".");
        self.must(command)?;
        set_mode(&tar, 0o644);
        self.must(self.podman(&["import", "-q", &tar.to_string_lossy(), IMAGE]))?;
        // Can it run containers at all?
        self.must(self.run(&[], &["/bin/uvale", "--version"]))
            .map(drop)
    }

    /// `podman run OPTIONS IMAGE WORDS`, not started yet.
    pub fn run(&self, options: &[&str], words: &[&str]) -> Command {
        let user: &[&str] = match self.who {
            Who::User1000 => &["--user", "1000:1000"],
            _ => &[],
        };
        let fixed = [
            "run",
            "--rm",
            "--network=none",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1000:1000",
        ];
        self.podman(&[&fixed, user, options, &[IMAGE], words].concat())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let quiet = |mut command: Command| {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        quiet(self.podman(&["rm", "--force", "--all", "--time=0"]));
        quiet(self.podman(&["volume", "rm", "--force", "--all"]));
        quiet(self.podman(&["rmi", "--force", "--all"]));
        if self.who == Who::Rootless {
            // Its files belong to users that only exist in its namespace.
            let storage = self.path("home/storage");
            quiet(self.on_host(
                self.user.as_deref(),
                &["podman", "unshare", "rm", "-rf", &storage.to_string_lossy()],
            ));
            // ends the process that keeps the namespace
            quiet(self.podman(&["system", "migrate"]));
        }
        if let Some(user) = &self.user {
            let mut command = Command::new("userdel");
            command.arg(user);
            quiet(command);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What the dynamic linker loads for a program.
///
/// # Errors
/// If there is no `ldd`.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>, Skip> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|e| Skip::optional(format!("no ldd: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|w| w.starts_with('/'));
    Ok(words.map(PathBuf::from).collect())
}
