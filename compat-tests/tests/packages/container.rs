//! The image of `dist/container/Containerfile`: nothing but an archive, on a base that has a C library or on none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat_tests::containers::libraries;
use compat_tests::said::Said;
use compat_tests::{Skip, or_skip, report_skip, target};

use super::packed::{Packages, built_for, package};
use super::{Scratch, needs};

/// Podman with storage of its own.
struct Podman {
    // short: sockets lie in it
    dir: PathBuf,
}

impl Podman {
    fn new() -> Result<Podman, Skip> {
        needs("podman")?;
        needs("runc")?;
        if !rustix::process::geteuid().is_root() {
            return Err(Skip::optional("needs root"));
        }
        let dir = PathBuf::from(format!("/tmp/uvp-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("/tmp can be written");
        Ok(Podman { dir })
    }

    fn command(&self, words: &[&str]) -> Said {
        let mut command = Command::new("podman");
        let store =
            |option: &str, name: &str| format!("{option}={}", self.dir.join(name).display());
        command
            .args(["--runtime", "runc"])
            .arg(store("--root", "storage"))
            .arg(store("--runroot", "run"))
            .args(words)
            .stdin(Stdio::null());
        Said::of(&mut command)
    }

    /// Builds the image of an archive; the name of the image.
    fn build(&self, archive: &Path, base: &str) -> String {
        let context = self.dir.join(format!("context-{}", base.replace('/', "-")));
        fs::create_dir_all(&context).expect("our folder");
        let mut command = Command::new("tar");
        command
            .args(["--strip-components=1", "-xzf"])
            .arg(archive)
            .arg("-C")
            .arg(&context);
        Said::of(&mut command).assert_code(0);
        let file = target::workspace().join("dist/container/Containerfile");
        let image = format!(
            "localhost/uvale-on-{}",
            base.rsplit('/').next().unwrap_or(base)
        );
        let (file, context) = (file.display().to_string(), context.display().to_string());
        let base = format!("BASE={base}");
        let words = [
            "build",
            "-q",
            "--network=none",
            "-f",
            &file,
            "--build-arg",
            &base,
            "-t",
            &image,
            &context,
        ];
        self.command(&words).assert_code(0);
        image
    }

    /// An image of what the loader needs for these files.
    fn base(&self, files: &[PathBuf]) -> Result<String, Skip> {
        let root = self.dir.join("base");
        fs::create_dir_all(root.join("tmp")).expect("our folder");
        for file in files {
            for library in libraries(file)? {
                let to = root.join(library.strip_prefix("/").unwrap_or(&library));
                fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("our folder");
                fs::copy(&library, &to).expect("our folder");
            }
        }
        let tar = self.dir.join("base.tar");
        let mut command = Command::new("tar");
        command.arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".");
        Said::of(&mut command).assert_code(0);
        let base = "localhost/glibc";
        let said = self.command(&["import", "-q", &tar.display().to_string(), base]);
        match said.code {
            Some(0) => Ok(base.into()),
            _ => Err(Skip::optional(format!(
                "podman does not work here: {}",
                said.err.trim()
            ))),
        }
    }

    /// Runs it with a root that is only read, as `options` say.
    fn run(&self, options: &[&str], image: &str, words: &[&str]) -> Said {
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
        let fixed = [
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=all",
        ];
        self.command(&[&fixed[..], &limits, options, &[image], words].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.command(&["rm", "--force", "--all", "--time=0"]);
        self.command(&["rmi", "--force", "--all"]);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn an_image_of_the_archive_runs() {
    let packages = or_skip!("image", Packages::new());
    let archive = or_skip!("image", packages.file(".tar.gz"));
    let podman = or_skip!("image", Podman::new());
    let files = ["uvale", "libnmshim.so"].map(|name| target::binaries().uvale.with_file_name(name));
    let base = or_skip!("image", podman.base(&files));
    let image = podman.build(&archive, &base);
    let version = podman.run(&[], &image, &["--version"]);
    if version.code == Some(126) {
        let why = format!("podman runs no containers here: {}", version.err.trim());
        or_skip!("image", Err::<(), _>(Skip::optional(why)));
    }
    let version = version.assert_code(0).out;
    assert_eq!(version.trim(), concat!("uvale ", env!("CARGO_PKG_VERSION")));
    sends_as_anybody(&podman, &image);

    // and nothing but uvale, where it has been built static
    let Some(folder) = built_for(&format!("{}-unknown-linux-musl", std::env::consts::ARCH)) else {
        let why = "scripts/build-for.sh has not built a static uvale here";
        return report_skip("image from scratch", &Skip::optional(why));
    };
    let scratch = Scratch::new("static");
    package(&folder, &scratch.0, &[]);
    let archive = scratch.path(&format!(
        "uvale-{}-{}-linux-musl.tar.gz",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    ));
    let image = podman.build(&archive, "scratch");
    podman.run(&[], &image, &["--version"]).assert_code(0);
    sends_as_anybody(&podman, &image);
}

/// With `uvale run`, which finds itself in PATH and its shim beside itself, and without; by root and by nobody; where
/// podman lets a read-only container write to /run and /tmp, and where, as with others, it does not.
fn sends_as_anybody(podman: &Podman, image: &str) {
    const SENDER: &str = "run --private -- uvale gen -i vale0:a -f tx -n 10";
    let under: Vec<&str> = SENDER.split(' ').collect();
    for options in [
        &[][..],
        &["--user=1000:1000"],
        &["--user=1000:1000", "--read-only-tmpfs=false"],
    ] {
        for words in [&under[..], &under[4..]] {
            let said = podman.run(options, image, words);
            let all = format!("{options:?} {words:?}: {}{}", said.out, said.err);
            assert_eq!(said.code, Some(0), "{all}");
            assert!(said.out.contains("Sent 10 packets"), "{all}");
        }
    }
}
