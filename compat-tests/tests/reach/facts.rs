//! What programs find out about the device is the same, whether a preloaded library serves them or they are served from
//! beside them: the probe that recorded the kernel's facts, and the scenarios, compiled with and without a loader.

use std::path::{Path, PathBuf};

use compat_tests::apps::{self, App};
use compat_tests::facts::{Facts, parse};
use compat_tests::world::World;
use compat_tests::{or_skip, target};

/// Facts that are others, by the beginnings of their names. `docs/reach.md` has the reasons.
const OTHERS: &[&str] = &[
    // a socket's own answers: read, write, ioctls that are not netmap's
    "err_fd.unbound.read",
    "err_fd.unbound.write",
    "err_fd.unbound.ioctl_",
    "err_fd.bound.read",
    "err_fd.bound.write",
    "legacy.others.",
    "others.siocgifaddr",
    "others.fionread",
    // epoll knows no error
    "err_fd.unbound.epIN",
    "bound_later.unbound",
    "unbound.never_bound.epoll",
    "unbound.refused.epoll",
    // a mapping keeps no port
    "dups.after_last_close",
    "dup_over.",
    "copies.all_closed",
    "then_send.written",
    "vale.",
    "forked.child_mapping_keeps",
    "pipe_end.exclusive_slave_while_mapped",
    "one_page.keeps",
    "epolled.event_of_closed_but_mapped",
    // the program's own memory
    "err_opt.csb_",
    "err_opt.extmem.",
    "err_cmd.csb_enable.",
    // a call may be interrupted before it is looked at
    "in_handlers.all_arrived",
];

/// Those that are about the program's own memory.
const NOT_SERVED: [&str; 3] = ["csb_mode", "extmem", "sync_kloop"];

fn is_other(key: &str) -> bool {
    OTHERS.iter().any(|other| key.starts_with(other))
}

/// Runs one program in two ways, and compares what it says.
fn compare(name: &str, source: &Path, args: &[&str]) -> Vec<String> {
    let flags = ["-O1", "-Wno-override-init", "-pthread"];
    let compile = |how: &str, flags: &[&str]| {
        apps::compile_c(source, &format!("facts-{how}-{name}"), flags).expect("it compiles")
    };
    let found = |app: &App| -> Facts {
        let world = World::new();
        let mut program = world.spawn(app, args);
        let status = program.wait();
        assert!(status.success(), "{name}: {}", program.said());
        parse(&program.stdout())
    };
    let apps = [
        compile("dynamic", &flags),
        compile("static", &[&flags[..], &["-static"]].concat()),
    ];
    // Side by side: much of their time they wait.
    let [wanted, got] = std::thread::scope(|scope| {
        let started = [&apps[0], &apps[1]].map(|app| scope.spawn(|| found(app)));
        started.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|why| std::panic::resume_unwind(why))
        })
    });
    assert!(wanted.len() > 3, "{name}: {wanted:?}");
    let mut keys: Vec<_> = wanted.keys().chain(got.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| wanted.get(*key) != got.get(*key) && !is_other(key))
        .map(|key| {
            format!(
                "{name}: {key}: {:?}, not {:?}",
                got.get(key),
                wanted.get(key)
            )
        })
        .collect()
}

#[test]
fn scenarios() {
    let dir = target::workspace().join("compat-tests/scenarios");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    let mut all = Vec::new();
    for source in sources {
        let name = source.file_stem().unwrap_or_default().to_string_lossy();
        if !NOT_SERVED.contains(&&*name) {
            all.extend(compare(&name, &source, &[]));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn probe_of_the_kernels_record() {
    let source = target::workspace().join("compat-tests/data/kernel-record/probe.c");
    let flags = ["-O1", "-Wno-override-init"];
    let probe = or_skip!("probe", apps::compile_c(&source, "facts-list", &flags));
    let sections = World::new().spawn(&probe, &["-l"]).wait_success();
    let all: Vec<_> = sections
        .lines()
        .flat_map(|section| compare("probe", &source, &[section]))
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}
