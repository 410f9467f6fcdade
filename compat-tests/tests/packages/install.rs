//! `uvale install`, and away again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use compat_tests::or_skip;
use compat_tests::said::Said;

use super::{Scratch, built, needs, plain, tree};

/// Two ports of a private world, one of which the demonstration's sender and receiver have.
pub const EXCHANGE: &str = "uvale gen -i vale0:b -f rx -n 1000 --idle 60 & uvale wait vale0:b --timeout 60 && \
                            uvale gen -i vale0:a -f tx -n 1000 && uvale ports && wait $!";

fn install(prefix: &Path, more: &[&str]) -> Said {
    let mut command = plain(&built().join("uvale"));
    command.args(["install", "--prefix"]).arg(prefix).args(more);
    Said::of(&mut command)
}

#[test]
fn what_was_installed_works_and_goes_away_again() {
    let scratch = Scratch::new("install");
    let prefix = scratch.path("deep/prefix");
    let said = install(&prefix, &[]).assert_code(0);
    for line in said.out.lines().filter(|l| l.starts_with('/')) {
        assert!(fs::symlink_metadata(line).is_ok(), "{line} is not there");
    }
    // the files, and nothing else
    let listed = said.out.lines().filter(|l| l.starts_with('/')).count();
    let files = tree(&prefix);
    let files = files.iter().filter(|p| !prefix.join(p).is_dir());
    assert_eq!(files.count(), listed + 1, "the record is there, too");

    let uvale = prefix.join("bin/uvale");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", prefix.join("bin").display());
    let mut command = plain(&uvale);
    command
        .args(["run", "--private", "--", "sh", "-c", EXCHANGE])
        .env("PATH", &path);
    let said = Said::of(&mut command).assert_code(0);
    assert!(said.out.contains("Received 1000 packets"), "{}", said.out);
    assert!(said.out.contains("vale0:b"), "{}", said.out);

    // a second time: nothing is lost, nothing is new
    let before = tree(&prefix);
    install(&prefix, &[]).assert_code(0);
    assert_eq!(tree(&prefix), before);

    // another's file stays, and its folder
    let others = prefix.join("share/man/man1/other.1");
    fs::write(&others, "").expect("our folder");
    let said = Said::of(
        plain(&uvale)
            .args(["install", "--uninstall", "--prefix"])
            .arg(&prefix),
    );
    let said = said.assert_code(0);
    assert!(
        said.out.contains(&uvale.display().to_string()),
        "{}",
        said.out
    );
    let left = [
        "share",
        "share/man",
        "share/man/man1",
        "share/man/man1/other.1",
    ];
    assert_eq!(tree(&prefix), left.map(std::path::PathBuf::from));

    fs::remove_file(&others).expect("our file");
    install(&prefix, &[]).assert_code(0);
    install(&prefix, &["--uninstall"]).assert_code(0);
    assert_eq!(tree(&prefix).len(), 3, "the folders that were there before");
    install(&prefix, &["--uninstall"]).assert_failed_with(&["nothing below"]);
}

#[test]
fn an_older_version_s_files_go_when_a_newer_one_comes() {
    let scratch = Scratch::new("upgrade");
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let record = prefix.join("lib/uvale/installed");
    let text = fs::read_to_string(&record).expect("a record");
    let old = prefix.join("share/uvale-old");
    fs::create_dir(&old).expect("our folder");
    fs::write(old.join("file"), "").expect("our folder");
    let text = format!("{text}file share/uvale-old/file\nfolder share/uvale-old\n");
    fs::write(&record, &text).expect("our file");
    install(&prefix, &[]).assert_code(0);
    assert!(!old.exists());

    // who wrote this may not have us remove what is elsewhere
    let victim = scratch.path("victim");
    fs::write(&victim, "").expect("our folder");
    fs::write(&record, format!("{text}file ../victim\n")).expect("our file");
    for more in [&["--uninstall"][..], &[]] {
        install(&prefix, more).assert_failed_with(&["is damaged"]);
    }
    assert!(victim.exists() && prefix.join("bin/uvale").exists());
}

#[test]
fn what_cannot_be_installed_is_said() {
    let scratch = Scratch::new("refused");
    install(&scratch.path("with blank"), &[]).assert_failed_with(&["another prefix"]);
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("our folder");
    let from = empty.display().to_string();
    install(&scratch.path("p"), &["--from", &from]).assert_failed_with(&["No such file"]);
    fs::write(empty.join("uvale"), "#!/bin/sh\n").expect("our folder");
    install(&scratch.path("p"), &["--from", &from]).assert_failed_with(&["no program or library"]);
    fs::copy(built().join("uvale"), empty.join("uvale")).expect("our folder");
    install(&scratch.path("p"), &["--from", &from]).assert_failed_with(&["-p nmshim"]);
    assert!(!scratch.path("p").exists());
    // a file in the place of a folder: what was written before is recorded, and can be removed
    let prefix = scratch.path("q");
    fs::create_dir_all(prefix.join("share")).expect("our folder");
    fs::write(prefix.join("share/man"), "").expect("our folder");
    install(&prefix, &[])
        .assert_code(1)
        .assert_says("share/man");
    install(&prefix, &["--uninstall"]).assert_code(0);
    assert_eq!(tree(&prefix).len(), 2, "share and share/man");
}

/// A file that somebody else has put there stays as it is, whatever comes after.
#[test]
fn what_others_have_installed_is_not_replaced() {
    let scratch = Scratch::new("foreign");
    let prefix = scratch.path("prefix");
    let theirs = prefix.join("include/net/netmap.h");
    fs::create_dir_all(theirs.parent().expect("a folder")).expect("our folder");
    fs::write(&theirs, "theirs").expect("our folder");
    let before = tree(&prefix);
    install(&prefix, &[])
        .assert_failed_with(&["include/net/netmap.h is there", "another --prefix"]);
    assert_eq!(tree(&prefix), before);
    install(&prefix, &["--uninstall"]).assert_failed_with(&["installed nothing"]);
    assert_eq!(fs::read_to_string(&theirs).expect("it is there"), "theirs");
    // as is a link that leads nowhere
    fs::remove_file(&theirs).expect("our file");
    std::os::unix::fs::symlink("/nonexistent", &theirs).expect("our folder");
    install(&prefix, &[]).assert_failed_with(&["include/net/netmap.h is there"]);
    fs::remove_file(&theirs).expect("our file");
    install(&prefix, &[]).assert_code(0);
}

/// What was not built is left out, aloud; modes do not depend on the umask.
#[test]
fn parts_of_a_build_can_be_installed() {
    let scratch = Scratch::new("parts");
    let from = scratch.path("from");
    fs::create_dir(&from).expect("our folder");
    for file in ["uvale", "libnmshim.so"] {
        std::os::unix::fs::symlink(built().join(file), from.join(file)).expect("our folder");
    }
    let prefix = scratch.path("prefix");
    let script = format!(
        "umask 077; exec {} install --prefix {} --from {}",
        built().join("uvale").display(),
        prefix.display(),
        from.display()
    );
    let said = Said::of(Command::new("sh").args(["-c", &script])).assert_code(0);
    said.assert_says("left out: libnetmap.so");
    assert!(!prefix.join("lib/libnetmap.a").exists());
    for path in tree(&prefix) {
        let path = prefix.join(path);
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let wanted = match () {
            () if meta.is_symlink() => continue,
            () if meta.is_dir() || path.ends_with("bin/uvale") => 0o755,
            () => 0o644,
        };
        assert_eq!(
            meta.permissions().mode() & 0o7777,
            wanted,
            "{}",
            path.display()
        );
    }
}

#[test]
fn programs_are_linked_with_what_pkg_config_says() {
    or_skip!("pkg-config", needs("pkg-config"));
    or_skip!("C", needs("cc"));
    let scratch = Scratch::new("pkgconfig");
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let source = scratch.path("open.c");
    fs::write(
        &source,
        "#include <libnetmap.h>\n#include <fcntl.h>\n#include <stdio.h>\nint main(void) {\n\
         struct nmport_d *port = nmport_open(\"vale0:a\");\n\
         printf(\"%s\\n\", port ? \"opened\" : \"refused\");\n\
         if (port) nmport_close(port);\nreturn port == NULL;\n}\n",
    )
    .expect("our folder");
    let config = |words: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.args(words);
        let path = prefix.join("lib/pkgconfig");
        let said = Said::of(command.env("PKG_CONFIG_LIBDIR", path)).assert_code(0);
        said.out
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let program = scratch.path("open");
    let link = |flags: &[String]| {
        let mut command = Command::new("cc");
        command.arg("-o").arg(&program).arg(&source).args(flags);
        Said::of(&mut command).assert_code(0);
    };
    let uvale = prefix.join("bin/uvale");
    let under = |more: &[&str]| {
        let mut command = plain(&uvale);
        command
            .args(["run", "--private", "--"])
            .args(more)
            .arg(&program);
        let said = Said::of(&mut command).assert_code(0);
        assert_eq!(said.out, "opened\n");
    };
    // found by its soname in the folder of the installation
    let mut flags = config(&["--cflags", "--libs", "libnetmap"]);
    flags.push(format!("-Wl,-rpath,{}", prefix.join("lib").display()));
    link(&flags);
    under(&[]);
    // without `uvale run`: the shim is linked in, and finds uvale from where it lies
    let flags = config(&["--cflags", "--libs", "libnetmap", "uvale-netmap"]);
    let flags = [
        &["-Wl,--no-as-needed".to_owned()][..],
        &flags,
        &[format!("-Wl,-rpath,{}", prefix.join("lib").display())],
    ]
    .concat();
    link(&flags);
    let world = scratch.path("world");
    fs::create_dir(&world).expect("our folder");
    fs::set_permissions(&world, fs::Permissions::from_mode(0o700)).expect("our folder");
    let mut command = plain(&program);
    command
        .env("UVALE_DIR", &world)
        .env("PATH", "/usr/bin:/bin");
    let said = Said::of(&mut command).assert_code(0);
    assert_eq!(said.out, "opened\n", "{}", said.err);
    let mut stop = plain(&uvale);
    Said::of(stop.arg("stop").env("UVALE_DIR", &world)).assert_code(0);
}
