//! A fresh Debian, made with debootstrap, in which a package is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat_tests::said::Said;
use compat_tests::{Skip, target};

use super::{Scratch, needs};

/// What is in it beyond the smallest system: for who reads manuals, completes, compiles, and checks units and packages.
const PACKAGES: &str = "man-db,bash-completion,gcc,libc6-dev,pkg-config,systemd";
/// And for who checks packages. debootstrap cannot put its dependencies in order, apt can.
const LATER: &str = "lintian";

/// A root with a writable layer of its own on one that all share.
pub struct Root {
    base: PathBuf,
    layer: Scratch,
}

impl Root {
    /// A root of a suite: `bookworm`. The base is made once and kept below the target directory.
    pub fn new(suite: &str) -> Result<Root, Skip> {
        if !rustix::process::geteuid().is_root() {
            return Err(Skip::optional("needs root"));
        }
        needs("unshare")?;
        let layer = Scratch::new(&format!("root-{suite}"));
        let root = Root {
            base: base(suite)?,
            layer,
        };
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(root.layer.path(name)).expect("our folder");
        }
        let said = root.run("true");
        match said.code {
            Some(0) => Ok(root),
            _ => Err(Skip::optional(format!(
                "no root can be entered: {}",
                said.err.trim()
            ))),
        }
    }

    /// Copies a file into it.
    pub fn put(&self, from: &Path, to: &str) {
        let to = self.layer.path("upper").join(to);
        fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("our folder");
        fs::copy(from, to).expect("our folder");
    }

    /// Runs a shell script in it, in mount, process and network namespaces of its own.
    pub fn run(&self, script: &str) -> Said {
        const ENTER: &str = "
            set -eu
            mount -t overlay overlay -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" \"$2/root\"
            mount -t proc proc \"$2/root/proc\"
            mount --rbind /dev \"$2/root/dev\"
            mount -t sysfs -o ro sysfs \"$2/root/sys\"
            ip link set lo up 2>/dev/null || true
            exec chroot \"$2/root\" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \\
                PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c \"$3\"";
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--net",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", ENTER, "enter"])
            .arg(&self.base)
            .arg(&self.layer.0)
            .arg(script)
            .stdin(Stdio::null());
        Said::of(&mut command)
    }

    /// All files, but for logs, caches, and what the kernel shows.
    pub fn files(&self) -> Vec<String> {
        const FIND: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
                            -o -path /var/log -o -path /var/cache \\) -prune -o -print";
        let said = self.run(FIND).assert_code(0);
        let mut files: Vec<String> = said.out.lines().map(str::to_owned).collect();
        files.sort();
        files
    }
}

/// The base of a suite. Two tests at once make two, of which one stays.
fn base(suite: &str) -> Result<PathBuf, Skip> {
    let folder = target::target_dir().join("debian");
    let base = folder.join(format!("{suite}-for-packages"));
    if base.is_dir() {
        return Ok(base);
    }
    needs("debootstrap").map_err(|_| Skip::optional("debootstrap is not installed"))?;
    fs::create_dir_all(&folder).expect("the target directory can be written");
    let new = folder.join(format!("{suite}-packages.{}", std::process::id()));
    let mut command = Command::new("debootstrap");
    command
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite])
        .arg(&new);
    command.args(archive()).stdin(Stdio::null());
    let mut said = Said::of(&mut command);
    if said.code == Some(0) {
        const ADD: &str = "mount -t proc proc \"$1/proc\" && DEBIAN_FRONTEND=noninteractive \
                           exec chroot \"$1\" apt-get install -y -qq --no-install-recommends $2";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            ADD,
            "add",
        ]);
        said = Said::of(command.arg(&new).arg(LATER).stdin(Stdio::null()));
    }
    let clean = new.join("var/cache/apt/archives");
    let _ = fs::remove_dir_all(&clean).and_then(|()| fs::create_dir(&clean));
    if said.code == Some(0) && fs::rename(&new, &base).is_ok() {
        return Ok(base);
    }
    let _ = fs::remove_dir_all(&new);
    match base.is_dir() {
        true => Ok(base),
        false => {
            let last = [said.out.lines().last(), said.err.lines().last()];
            Err(Skip::optional(format!(
                "debootstrap {suite} failed: {last:?}"
            )))
        }
    }
}

/// The archive that this machine's apt uses.
fn archive() -> Option<String> {
    let lists = fs::read_dir("/etc/apt/sources.list.d").ok()?;
    let mut files: Vec<PathBuf> = lists.filter_map(|e| Some(e.ok()?.path())).collect();
    files.push("/etc/apt/sources.list".into());
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let is_archive = |word: &&str| {
        let path = word.trim_end_matches('/');
        path.starts_with("http") && path.ends_with("/debian")
    };
    texts
        .filter_map(|text| {
            let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
            let mut words = lines.flat_map(str::split_whitespace);
            words.find(is_archive).map(str::to_owned)
        })
        .next()
}
