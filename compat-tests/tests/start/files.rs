//! Two files are enough: `uvale` and the shim need the C library and nothing else.

use std::path::Path;
use std::process::Command;

use compat_tests::said::Said;
use compat_tests::{apps, or_skip, target};
use uvale_tools::elf::Elf;

use super::{needs, ten, uvale};

fn needed(file: &Path) -> Vec<String> {
    let open = std::fs::File::open(file).expect("it was built");
    Elf::read(open).expect("an ELF file").needed
}

#[test]
fn the_c_library_is_all_that_is_needed() {
    let library = target::profile_dir().join("libnetmap.so");
    let library = library.is_file().then_some(library);
    let files = target::binaries();
    for file in [&files.uvale, &files.shim].into_iter().chain(&library) {
        let needed = needed(file);
        let is_the_c_library =
            |name: &String| name.starts_with("libc.so") || name.starts_with("ld-");
        assert!(
            !needed.is_empty() && needed.iter().all(is_the_c_library),
            "{} needs {needed:?}",
            file.display()
        );
    }
}

/// The system's unwinder goes through frames of the shim, which have an unwinder of their own.
#[test]
fn threads_are_cancelled() {
    let cancel = or_skip!(
        "cancellation",
        compat_tests::programs::program("start/cancel")
    );
    Said::of(uvale(["run", "--private", "--"]).arg(cancel)).assert_code(0);
}

/// An image with the C library, the program, and the two files, started as process 1.
#[test]
fn an_image_from_scratch() {
    let ten = or_skip!("scratch image", ten());
    let null = Command::new("unshare").args(["-mpf", "true"]).status();
    if !null.is_ok_and(|s| s.success()) {
        or_skip!(
            "scratch image",
            needs("unshare", Command::new("unshare").args(["-mpf", "true"]))
        );
    }
    let root = apps::cache_dir().join(format!("scratch-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    for dir in ["bin", "tmp", "dev", "proc"] {
        std::fs::create_dir_all(root.join(dir)).expect("the cache can be written");
    }
    let files = target::binaries();
    for file in [&files.uvale, &files.shim, &ten] {
        let to = root.join("bin").join(file.file_name().expect("a file"));
        apps::copy_program(file, &to);
    }
    let interpreter = Elf::read(std::fs::File::open(&ten).expect("it was compiled"))
        .and_then(|elf| elf.interpreter)
        .expect("a dynamic program");
    let list = Said::of(Command::new("ldd").arg(&files.uvale)).out;
    let libraries = list
        .lines()
        .filter_map(|l| l.split(" => ").nth(1)?.split(' ').next());
    for library in libraries.chain([interpreter.as_str()]) {
        let to = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("the cache can be written");
        std::fs::copy(library, to).expect("a copy");
    }
    // With and without /proc; both with what a container's runtime puts into /dev.
    for proc in ["mount -t proc proc $1/proc", "true"] {
        let script = format!(
            "touch $1/dev/null && mount --bind /dev/null $1/dev/null && {proc} && \
             exec chroot $1 /bin/uvale run --private -- /bin/$2"
        );
        let name = ten.file_name().expect("a file");
        let mut command = Command::new("unshare");
        command.args(["-mpf", "sh", "-ec", &script, "sh"]);
        command.arg(&root).arg(name).env_remove("XDG_RUNTIME_DIR");
        command.env_remove("TMPDIR").env_remove("UVALE_DIR");
        Said::of(&mut command).assert_code(0);
    }
    std::fs::remove_dir_all(&root).expect("it is ours");
}

/// Where there is no `/proc` a program finds its daemon all the same.
#[test]
fn without_proc() {
    let ten = or_skip!("no /proc", ten());
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let mut probe = Command::new("unshare");
    probe.args(["-m", "sh", "-c", hide, "sh", "true"]);
    or_skip!("no /proc", needs("a namespace of our own", &mut probe));
    let place = compat_tests::place::Place::empty();
    let dir = place.dir().to_str().expect("plain");
    for world in [vec!["--private"], vec!["--dir", dir]] {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", hide, "sh"]);
        command
            .arg(uvale([""; 0]).get_program())
            .arg("run")
            .args(&world);
        command.arg("--").arg(&ten).env_remove("UVALE_DIR");
        Said::of(&mut command).assert_code(0);
    }
}
