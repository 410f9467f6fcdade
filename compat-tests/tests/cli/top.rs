//! `uvale top` on a terminal of its own, and for scripts.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use compat_tests::{Skip, report_skip, wait};
use rustix::process::{Pid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::*;

/// `uvale top` on a terminal.
struct Screen {
    child: Option<Child>,
    master: File,
    slave: File,
    /// the terminal's modes before
    before: Termios,
    /// what was drawn on it
    drawn: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    fn new(mut command: Command) -> Screen {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
        command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .env("TERM", "xterm-256color");
        let master = File::from(master);
        let drawn = Arc::new(Mutex::new(vt100::Parser::default()));
        let (mut from, to) = (master.try_clone().unwrap(), drawn.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..len]);
            }
        });
        let mut screen = Screen {
            child: None,
            master,
            slave,
            before,
            drawn,
        };
        screen.resize(24, 80);
        screen.child = Some(command.spawn().expect("uvale starts"));
        screen.wait("the terminal is taken", |drawn| drawn.alternate_screen());
        assert!(
            !tcgetattr(&screen.slave)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO)
        );
        screen
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.slave, size).unwrap();
        self.drawn
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(rows, columns);
    }

    fn wait(&self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let found = wait::until(wait::deadline(), || {
            is_so(self.drawn.lock().unwrap().screen()).then_some(())
        });
        assert!(
            found.is_some(),
            "not so: {what}:\n{}",
            self.drawn.lock().unwrap().screen().contents()
        );
    }

    fn wait_text(&self, text: &str) {
        self.wait(text, |drawn| drawn.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// It ends well, and the terminal is as it was.
    fn ends(mut self) {
        let child = self.child.as_mut().expect("it runs");
        let status = wait::until(wait::deadline(), || child.try_wait().unwrap());
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        self.wait("the terminal is given back", |drawn| {
            !drawn.alternate_screen() && !drawn.hide_cursor()
        });
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn ports_are_shown_sorted_filtered_and_resized() {
    let world = World::new();
    let held = hold(&world, "vale0:first");
    let _held = hold(&world, "vale0:second");
    let mut screen = Screen::new(world.uvale(&["top", "--interval", "0.1"]));
    screen.wait_text("vale0:first");
    screen.wait_text("vale0:second");
    screen.wait_text(&format!("uvale {}", held.pid().as_raw_pid()));
    screen.press("s");
    screen.wait_text("tx pkt/s");
    screen.press("/nothing\r");
    screen.wait_text("No port is meant by nothing");
    screen.press("\x1b");
    screen.wait_text("vale0:first");
    screen.resize(40, 120);
    screen.signal(Signal::WINCH);
    screen.wait("keys in the last line", |drawn| {
        let last = drawn.rows(0, 120).nth(39);
        last.is_some_and(|line| line.starts_with("q quit"))
            && drawn.contents().contains("vale0:second")
    });
    screen.press("q");
    screen.ends();
}

/// A key and a new size at once: the size is seen, and the key is not kept until the next one.
#[test]
fn keys_that_come_with_a_new_size_are_seen() {
    let world = World::new();
    let mut screen = Screen::new(world.uvale(&["top", "--interval", "0.1"]));
    screen.wait_text("No port is open.");
    for round in 0..20 {
        let rows = 24 + round;
        screen.resize(rows, 80);
        screen.signal(Signal::STOP);
        screen.signal(Signal::WINCH);
        screen.press("/");
        screen.signal(Signal::CONT);
        screen.wait("typing in the last line", |drawn| {
            let last = drawn.rows(0, 80).last();
            last.is_some_and(|line| line.starts_with("filter: _"))
        });
        screen.press("\r");
        screen.wait_text("q quit");
    }
    screen.press("q");
    screen.ends();
}

#[test]
fn signals_and_control_c_give_the_terminal_back() {
    let world = World::new();
    use uvale_tools::signals::is_ignored;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        // nohup, and shells that start something in the background: what they start ignores them, too.
        if is_ignored(signal.as_raw()) {
            let skip = Skip::optional("these tests were started with it ignored");
            report_skip(&format!("{signal:?}"), &skip);
            continue;
        }
        let screen = Screen::new(world.uvale(&["top"]));
        screen.wait_text("No port is open.");
        screen.signal(signal);
        screen.ends();
    }
    let mut screen = Screen::new(world.uvale(&["top"]));
    screen.press("\x03");
    screen.ends();
}

#[test]
fn a_daemon_that_leaves_is_waited_for() {
    let world = World::new();
    let dir = world.file("another");
    let dir = dir.to_str().expect("a plain name");
    let mut screen = Screen::new(world.uvale(&["top", "--interval", "0.1", "--dir", dir]));
    screen.wait_text("Waiting for it to return.");
    for _ in 0..2 {
        uvale(&world, &["daemon", "--dir", dir, "--detach"]).ok();
        screen.wait_text("No port is open.");
        uvale(&world, &["stop", "--dir", dir]).ok();
        screen.wait_text("Waiting for it to return.");
    }
    screen.press("q");
    screen.ends();
}

#[test]
fn a_daemon_that_does_not_answer_holds_nobody_up() {
    let world = World::new();
    let mut screen = Screen::new(world.uvale(&["top", "--interval", "0.1"]));
    screen.wait_text("No port is open.");
    let pid = json(&world, &["status"])["pid"].as_i64().expect("a number");
    let daemon = Pid::from_raw(pid as i32).expect("a process");
    // first that nothing comes is said, then why
    let is_silent = |drawn: &vt100::Screen| {
        let text = drawn.contents();
        text.contains("no answer for") || text.contains("Waiting for it to return.")
    };
    for last in [false, true] {
        kill_process(daemon, Signal::STOP).unwrap();
        screen.wait("silence is said", is_silent);
        if last {
            break;
        }
        screen.press("/x");
        screen.wait_text("filter: x_");
        screen.press("\r");
        kill_process(daemon, Signal::CONT).unwrap();
        screen.wait_text("No port is open.");
        screen.wait("it answers again", |drawn| !is_silent(drawn));
    }
    screen.press("q");
    screen.ends();
    kill_process(daemon, Signal::CONT).unwrap();
}

#[test]
fn once_is_a_table_and_json_an_object() {
    let world = World::new();
    let none = ["top", "--once", "--interval", "0.1"];
    assert_eq!(uvale(&world, &none).ok(), "no port is open\n");
    let held = hold(&world, "vale0:b");
    // standard output is no terminal
    let text = uvale(&world, &["top", "--interval", "0.1", "vale0:*"]).ok();
    let table = rows(&text);
    assert_eq!(table[0][..4], ["PORT", "TX", "PKT/S", "TX"], "{text}");
    let pid = held.pid().as_raw_pid().to_string();
    assert_eq!(
        table[1],
        ["vale0:b", "0", "0", "0", "0", "0", "uvale", &pid],
        "{text}"
    );
    let object = json(&world, &["top", "--interval", "0.1"]);
    assert_eq!(object["ports"][0]["name"], "vale0:b");
    uvale(&world, &["top", "--once", "vale0:a"]).failed("there is no port vale0:a");
    let elsewhere = world.file("nowhere");
    uvale(
        &world,
        &["top", "--once", "--dir", elsewhere.to_str().unwrap()],
    )
    .failed("no uvale daemon answers");
}
