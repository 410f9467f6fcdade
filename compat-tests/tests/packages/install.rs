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

/// The hash of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

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
    let text = format!("{text}file {EMPTY} share/uvale-old/file\nfolder share/uvale-old\n");
    fs::write(&record, &text).expect("our file");
    install(&prefix, &[]).assert_code(0);
    assert!(!old.exists());

    // who wrote this may not have us remove what is elsewhere
    let victim = scratch.path("victim");
    fs::write(&victim, "").expect("our folder");
    fs::write(&record, format!("{text}file {EMPTY} ../victim\n")).expect("our file");
    for more in [&["--uninstall"][..], &[]] {
        install(&prefix, more)
            .assert_failed_with(&["is damaged", "/bin/uvale install --uninstall"]);
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
    // a file in the place of a folder
    let prefix = scratch.path("q");
    fs::create_dir_all(prefix.join("share")).expect("our folder");
    fs::write(prefix.join("share/man"), "").expect("our folder");
    install(&prefix, &[]).assert_failed_with(&["share/man is no folder", "nothing was installed"]);
    assert_eq!(tree(&prefix).len(), 2, "share and share/man");
}

#[test]
fn a_prefix_is_what_it_says() {
    let scratch = Scratch::new("prefixes");
    let run = |words: &[&str]| {
        let mut command = plain(&built().join("uvale"));
        Said::of(command.arg("install").args(words).current_dir(&scratch.0))
    };
    for prefix in ["usr", "./usr", "/usr/../etc", "../usr"] {
        let said = run(&["--prefix", prefix, "--destdir", "d"]);
        said.assert_failed_with(&[prefix, "from the root on"]);
    }
    run(&["--prefix", "missing/../p"]).assert_failed_with(&["missing/..", "No such file"]);
    assert!(tree(&scratch.0).is_empty());
    run(&["--prefix", "/usr", "--destdir", "d"]).assert_code(0);
    assert!(scratch.path("d/usr/bin/uvale").is_file());
    fs::remove_dir_all(scratch.path("d")).expect("ours");
    // up from a folder that is there, also through a link: as the system does
    fs::create_dir_all(scratch.path("deep/folder")).expect("our folder");
    std::os::unix::fs::symlink("deep/folder", scratch.path("link")).expect("our folder");
    run(&["--prefix", "link/../p"]).assert_code(0);
    let config = fs::read_to_string(scratch.path("deep/p/lib/pkgconfig/libnetmap.pc")).expect("it");
    assert!(!config.contains(".."), "{config}");
    run(&["--prefix", "link/../p", "--uninstall"]).assert_code(0);
    assert!(!scratch.path("deep/p").exists());
}

/// Links that are there may lead to other places below the prefix, and to none outside of it.
#[test]
fn nothing_leaves_the_prefix() {
    let scratch = Scratch::new("links");
    let (prefix, outside) = (scratch.path("prefix"), scratch.path("outside"));
    fs::create_dir_all(outside.join("man1")).expect("our folder");
    fs::create_dir_all(prefix.join("share")).expect("our folder");
    let link = prefix.join("share/man");
    std::os::unix::fs::symlink(&outside, &link).expect("our folder");
    install(&prefix, &[]).assert_failed_with(&["share/man leads to", "nothing was installed"]);
    let destdir = scratch.path("destdir");
    fs::create_dir_all(&destdir).expect("our folder");
    std::os::unix::fs::symlink(&outside, destdir.join("usr")).expect("our folder");
    let destdir = destdir.display().to_string();
    install(Path::new("/usr"), &["--destdir", &destdir]).assert_failed_with(&["usr leads to"]);
    assert_eq!(tree(&outside).len(), 1);
    assert_eq!(tree(&prefix).len(), 2);

    fs::remove_file(&link).expect("our link");
    fs::create_dir(prefix.join("man")).expect("our folder");
    std::os::unix::fs::symlink(prefix.join("man"), &link).expect("our folder");
    install(&prefix, &[]).assert_code(0);
    assert!(prefix.join("man/man1/uvale.1").is_file());
    // a link that has come since: what it leads to is not ours
    fs::remove_file(&link).expect("our link");
    std::os::unix::fs::symlink(&outside, &link).expect("our folder");
    fs::write(outside.join("man1/uvale.1"), "theirs").expect("our folder");
    let said = install(&prefix, &["--uninstall"]).assert_code(0);
    said.assert_says("share/man leads to");
    assert_eq!(tree(&outside).len(), 2);
    assert!(!prefix.join("bin").exists());
}

/// What a person has changed stays, and is said.
#[test]
fn what_was_changed_is_kept() {
    let scratch = Scratch::new("changed");
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let unit = prefix.join("lib/systemd/user/uvale.socket");
    let link = prefix.join("lib/libnetmap.so");
    let original = fs::read(&unit).expect("a unit");
    fs::write(&unit, "mine").expect("our file");
    install(&prefix, &[])
        .assert_failed_with(&["user/uvale.socket has been changed", "move it away"]);
    fs::remove_file(&link).expect("our file");
    std::os::unix::fs::symlink("other", &link).expect("our folder");
    let said = install(&prefix, &["--uninstall"]).assert_code(0);
    for kept in [&unit, &link] {
        let why = format!("kept {}: it has been changed", kept.display());
        assert!(said.err.contains(&why), "{}", said.err);
        assert!(
            !said.out.contains(&format!("{}\n", kept.display())),
            "{}",
            said.out
        );
    }
    assert_eq!(fs::read_to_string(&unit).expect("it"), "mine");
    let files = tree(&prefix);
    let files = files.iter().filter(|p| !prefix.join(p).is_dir());
    assert_eq!(files.count(), 2, "{:?}", tree(&prefix));
    // as it was, it goes
    fs::remove_file(&link).expect("our file");
    fs::remove_file(&unit).expect("our file");
    install(&prefix, &[]).assert_code(0);
    fs::write(&unit, original).expect("our file");
    let said = install(&prefix, &["--uninstall"]).assert_code(0);
    assert_eq!(said.err, "");
}

/// In the place of the record there may be anything: it is said what to do.
#[test]
fn a_record_that_cannot_be_used_is_said() {
    let scratch = Scratch::new("record");
    let prefix = scratch.path("prefix");
    let record = prefix.join("lib/uvale/installed");
    fs::create_dir_all(record.parent().expect("a folder")).expect("our folder");
    let both = |parts: &[&str]| {
        for more in [&["--uninstall"][..], &[]] {
            install(&prefix, more).assert_failed_with(parts);
        }
        assert_eq!(tree(&prefix).len(), 3);
    };
    let mut fifo = Command::new("mkfifo");
    Said::of(fifo.arg(&record)).assert_code(0);
    both(&["lib/uvale/installed is no file", "move it away"]);
    fs::remove_file(&record).expect("ours");
    fs::create_dir(&record).expect("our folder");
    both(&["lib/uvale/installed is no file"]);
    fs::remove_dir(&record).expect("ours");
    std::os::unix::fs::symlink("/dev/zero", &record).expect("our folder");
    both(&["lib/uvale/installed is no file"]);
    fs::remove_file(&record).expect("ours");
    for text in ["", "# What uvale install has written, record 99\n"] {
        fs::write(&record, text).expect("our folder");
        both(&[
            "another version",
            "bin/uvale install --uninstall",
            "by hand",
        ]);
    }
}

/// A disk that is full: nothing has happened. An installation that was killed: it is completed, or removed.
#[test]
fn half_an_installation_is_none() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a full disk: needs root");
        return;
    }
    let scratch = Scratch::new("full");
    let disk = scratch.path("disk");
    fs::create_dir(&disk).expect("our folder");
    let uvale = built().join("uvale");
    // with one more file of each size there, it fails a little later
    const SCRIPT: &str = r#"
        set -u
        mount -t tmpfs -o size=64k tmpfs "$2" || exit 77
        files() { (cd "$2" && find . | sort); }
        need=$(du -cbL "$3" "$4" | tail -n 1 | cut -f1)
        for size in 64k 1m $((need / 2)) $((need + 100000)); do
            mount -o remount,size=$size "$2" || exit 77
            before=$(files "$@")
            said=$("$1" install --prefix "$2/p" 2>&1) && continue
            case $said in *"No space left"*"; nothing was installed") ;; *) echo "$size: $said"; exit 1 ;; esac
            [ "$(files "$@")" = "$before" ] || { echo "$size:"; files "$@"; exit 1; }
        done
        mount -o remount,size=$((need * 3)) "$2" || exit 77
        "$1" install --prefix "$2/p" >/dev/null || exit 1
        before=$(files "$@")
        # the newer one does not fit beside the older one
        mount -o remount,size=$((need * 5 / 4)) "$2" || exit 77
        "$1" install --prefix "$2/p" && { echo "it fitted"; exit 1; }
        [ "$(files "$@")" = "$before" ] || { files "$@"; exit 1; }
        "$2/p/bin/uvale" --version || exit 1
        "$1" install --uninstall --prefix "$2/p" || exit 1
        [ "$(files "$@")" = . ] || { files "$@"; exit 1; }
    "#;
    let mut command = plain(Path::new("unshare"));
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        SCRIPT,
        "full",
    ]);
    command.args([&uvale, &disk, &uvale, &built().join("libnmshim.so")]);
    let said = Said::of(&mut command);
    match said.code {
        Some(0) => {}
        Some(77) => println!("skipped: a full disk: no tmpfs can be mounted here"),
        _ => panic!("{}{}", said.out, said.err),
    }

    // as one that is killed leaves it: some files beside, some in their place, others not at all
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let whole = tree(&prefix);
    let half = || {
        fs::remove_file(prefix.join("include/libnetmap.h")).expect("ours");
        fs::rename(
            prefix.join("bin/uvale"),
            prefix.join("bin/.uvale.uvale-new"),
        )
        .expect("ours");
    };
    half();
    install(&prefix, &[]).assert_code(0);
    assert_eq!(tree(&prefix), whole);
    half();
    install(&prefix, &["--uninstall"]).assert_code(0);
    assert!(!prefix.exists());
}

/// One at a time; and who may not remove all files removes none.
#[test]
fn others_are_minded() {
    let scratch = Scratch::new("others");
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let lock = fs::File::open(&prefix).expect("our folder");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    for more in [&["--uninstall"][..], &[]] {
        install(&prefix, more).assert_failed_with(&["another uvale install is at work"]);
    }
    drop(lock);
    // a unit that is enabled, by this user
    let config = scratch.path("config");
    let wants = config.join("systemd/user/sockets.target.wants");
    fs::create_dir_all(&wants).expect("our folder");
    let link = wants.join("uvale.socket");
    let unit = prefix.join("lib/systemd/user/uvale.socket");
    std::os::unix::fs::symlink(&unit, &link).expect("our folder");
    let uninstall = || {
        let mut command = plain(&built().join("uvale"));
        command
            .args(["install", "--uninstall", "--prefix"])
            .arg(&prefix);
        command.env("XDG_CONFIG_HOME", &config);
        command
    };
    Said::of(&mut uninstall()).assert_failed_with(&[
        "systemctl --user disable --now uvale.socket",
        "nothing was removed",
    ]);
    fs::remove_file(&link).expect("our link");
    let before = tree(&prefix);
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).expect("our folder");
        let copy = scratch.path("uvale");
        fs::copy(built().join("uvale"), &copy).expect("our folder");
        let mut command = plain(Path::new("setpriv"));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .arg(&copy)
            .args(["install", "--uninstall", "--prefix"]);
        let said = Said::of(command.arg(&prefix));
        said.assert_failed_with(&["Permission denied", "root's: run it as root"]);
        assert_eq!(tree(&prefix), before);
    }
    Said::of(&mut uninstall()).assert_code(0);
    assert!(!prefix.exists());
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
    install(&prefix, &[]).assert_failed_with(&[
        "include/net/netmap.h is there",
        "another --prefix",
        "nothing was installed",
    ]);
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

/// Names of ports, where a port is wanted, in each shell that is here.
#[test]
fn shells_complete_ports() {
    const WORLD: &str = "uvale gen -i vale0:long -f rx -n 1 --idle 600 & \
                         uvale gen -i 'netmap:p{1' -f rx -n 1 --idle 600 & \
                         uvale wait vale0:long 'netmap:p{1' --timeout 120 || exit 1; ";
    const BASH: &str = r#"
        . "$1/share/bash-completion/completions/uvale" || exit 1
        function=$(complete -p uvale | sed 's/.*-F \([^ ]*\) .*/\1/')
        at() {
            COMP_LINE=$1 COMP_POINT=${#1}
            # as readline takes it apart
            read -ra COMP_WORDS <<<"${1//:/ : }"
            [[ $1 != *[[:space:]:] ]] || COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            $function uvale "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "$1|${COMPREPLY[*]}"
        }
        at 'uvale wait v'; at 'uvale wait vale0:'; at 'uvale wait vale0:lo'; at 'uvale gen -i vale0:l'
        at 'uvale gen -f v'; at 'uvale wait --timeout v'; at 'uvale ports v'; at 'uvale wai'; at 'uvale wait p'"#;
    const FISH: &str = r#"
        source $argv[1]/share/fish/vendor_completions.d/uvale.fish
        complete -C 'uvale wait v'; complete -C 'uvale gen -i va'"#;
    const ZSH: &str = r#"
        compdef() { : }
        compadd() { print -l -- $names }
        . "$1/share/zsh/site-functions/_uvale"
        _uvale_port_names"#;
    let scratch = Scratch::new("shells");
    let prefix = scratch.path("prefix");
    install(&prefix, &[]).assert_code(0);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", prefix.join("bin").display());
    let run = |shell: &str, script: &str| {
        let file = scratch.path(shell);
        fs::write(&file, script).expect("our folder");
        let (file, prefix) = (file.display(), prefix.display());
        let script =
            format!("{WORLD} {shell} {file} {prefix}; status=$?; kill %1 %2; exit $status");
        let mut command = plain(&built().join("uvale"));
        command.args(["run", "--private", "--", "bash", "-mc", &script]);
        let said = Said::of(command.env("PATH", &path).env("HOME", &scratch.0)).assert_code(0);
        said.out
    };
    or_skip!("completion", needs("bash"));
    let said = run("bash", BASH);
    let lines: Vec<&str> = said.lines().filter(|l| l.starts_with("uvale ")).collect();
    let wanted = [
        "uvale wait v|vale0 vale0:long",
        "uvale wait vale0:|long",
        "uvale wait vale0:lo|long",
        "uvale gen -i vale0:l|long",
        "uvale gen -f v|",
        "uvale wait --timeout v|",
        "uvale ports v|",
        "uvale wai|wait",
        "uvale wait p|p p{1 p}1",
    ];
    assert_eq!(lines, wanted, "{said}");
    if needs("fish").is_ok() {
        let said = run("fish", FISH);
        let names = said.lines().filter(|l| l.starts_with("vale0")).count();
        assert_eq!(names, 4, "{said}");
    }
    if needs("zsh").is_ok() {
        let said = run("zsh", ZSH);
        assert!(said.contains("vale0\nvale0:long\n"), "{said}");
    }
    // nothing runs, nothing is started, nothing is said
    let mut command = plain(&built().join("uvale"));
    let said = Said::of(
        command
            .args(["ports", "--names", "--dir"])
            .arg(scratch.path("none")),
    );
    let said = said.assert_code(0);
    assert_eq!((&*said.out, &*said.err), ("", ""));
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
