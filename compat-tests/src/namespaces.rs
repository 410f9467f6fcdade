//! Two network namespaces with a veth pair between them, and programs in them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Skip;
use crate::place::Place;
use crate::programs::program;
use crate::said::Said;
use crate::wait::{deadline, until};
use crate::world::Program;

/// The interface in either namespace.
pub const VETH: &str = "veth0";
/// The host's address there.
pub const ADDRESSES: [&str; 2] = ["10.66.0.1", "10.66.0.2"];

/// Two network namespaces, each kept by a program. Where this process may not make them they belong to a user
/// namespace, in which it is root.
pub struct Ground {
    keepers: [Program; 2],
    is_own: bool,
    /// before everything that is started here
    by: &'static [&'static str],
}

impl Ground {
    /// Makes both, and the pair, which is up.
    pub fn new() -> Result<Ground, Skip> {
        Ground::made_by(&[])
    }

    /// The same, made by what `by` makes of this process: another user, for example.
    pub fn made_by(by: &'static [&'static str]) -> Result<Ground, Skip> {
        let is_own = !can_unshare(by, &["--net"]);
        if is_own && !can_unshare(by, &["--user", "--map-root-user", "--net"]) {
            return Err(Skip::optional("no network namespaces for us"));
        }
        let near = if is_own {
            keep(by, "unshare", &["--user", "--map-root-user", "--net"])
        } else {
            keep(by, "unshare", &["--net"])
        };
        let far = if is_own {
            let pid = near.pid().as_raw_nonzero().to_string();
            let words = ["--target", &pid, "--user", "--preserve-credentials", "--"];
            keep(by, "nsenter", &[&words[..], &["unshare", "--net"]].concat())
        } else {
            keep(by, "unshare", &["--net"])
        };
        let ground = Ground {
            keepers: [near, far],
            is_own,
            by,
        };
        let far = ground.keepers[1].pid().as_raw_nonzero();
        let pair = format!("ip link add {VETH} type veth peer name {VETH} netns {far}");
        for (side, script) in [(0, &pair[..]), (0, UP), (1, UP)] {
            let script = script
                .replace("IF", VETH)
                .replace("ADDRESS", ADDRESSES[side]);
            let said = ground.shell(side, &script);
            if said.code != Some(0) {
                return Err(Skip::required(format!("no veth pair: {}", said.err.trim())));
            }
        }
        Ok(ground)
    }

    /// A command that stands in a namespace.
    pub fn command(&self, side: usize) -> Command {
        let mut command = command_by(self.by, "nsenter");
        let pid = self.keepers[side].pid().as_raw_nonzero().to_string();
        command.args(["--target", &pid, "--net"]);
        if self.is_own {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").stdin(Stdio::null());
        command
    }

    /// Runs a shell script there to its end.
    pub fn shell(&self, side: usize, script: &str) -> Said {
        Said::of(self.command(side).args(["sh", "-c", script]))
    }

    /// `UNDER... program ARGS...` there, under the shim in the world of `place`, with more `variables`. `under` is not
    /// under the shim: it takes rights away, for example.
    pub fn inside(
        &self,
        side: usize,
        place: &Place,
        [under, variables]: [&[&str]; 2],
        program: &Path,
        args: &[&str],
    ) -> Command {
        let inside = place.command(program);
        let mut command = self.command(side);
        command.args(under).arg("env");
        for (name, value) in inside.get_envs() {
            let name = name.to_string_lossy();
            match value {
                Some(value) => command.arg(format!("{name}={}", value.to_string_lossy())),
                None => command.arg(format!("--unset={name}")),
            };
        }
        command.args(variables).arg(program).args(args);
        command
    }

    /// Starts `program ARGS...` there, under the shim in the world of `place`, with more `variables`.
    pub fn spawn(
        &self,
        side: usize,
        place: &Place,
        program: &Path,
        variables: &[&str],
        args: &[&str],
    ) -> Program {
        let command = self.inside(side, place, [&[], variables], program, args);
        Program::start(&format!("{side}: {}", args.join(" ")), command)
    }

    /// The same, and waits until it has said "ready".
    pub fn spawn_ready(
        &self,
        side: usize,
        place: &Place,
        program: &Path,
        variables: &[&str],
        args: &[&str],
    ) -> Program {
        let program = self.spawn(side, place, program, variables, args);
        program.wait_line("ready", |l| l.starts_with("ready"));
        program
    }

    /// Programs on tcx of the interface; `None`, aloud, where this process cannot know, or the kernel has no tcx.
    pub fn classifiers(&self, side: usize) -> Option<u32> {
        let count = match program("nic/classifiers") {
            Ok(count) => count,
            Err(skip) => {
                println!("programs on tcx: skipped: {skip:?}");
                return None;
            }
        };
        // The rights that count are those outside of all user namespaces.
        let pid = self.keepers[side].pid().as_raw_nonzero().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--net", "--"]);
        let said = Said::of(command.arg(count).arg(VETH));
        let number = said.out.trim().parse().ok();
        if number.is_none() {
            println!("programs on tcx: skipped: {}{}", said.out, said.err);
        }
        number
    }

    /// Waits until nothing is in a namespace that was not there in the beginning.
    ///
    /// # Panics
    /// If something stays.
    pub fn assert_clean(&self, side: usize) {
        let mut found = Vec::new();
        let clean = until(deadline(), || {
            found = self.traces(side);
            found.is_empty().then_some(())
        });
        assert!(clean.is_some(), "left in namespace {side}: {found:#?}");
    }

    fn traces(&self, side: usize) -> Vec<String> {
        let lines = |script: &str, is_known: &dyn Fn(&str) -> bool| {
            let said = self.shell(side, script).assert_code(0);
            let unknown = said.out.lines().filter(|line| !is_known(line));
            unknown.map(str::to_owned).collect::<Vec<_>>()
        };
        let interfaces = lines("ip -o link", &|line| {
            let known = line.contains(": lo:") || line.contains(&format!(": {VETH}@"));
            known && !line.contains("xdp")
        });
        let rules = lines(
            "nft list tables || test ! -x \"$(command -v nft)\"",
            &|_| false,
        );
        let filters = lines("tc qdisc", &|line| line.contains("noqueue"));
        // A line for each packet socket, below the head.
        let sockets = lines("cat /proc/net/packet", &|line| line.starts_with("sk "));
        let programs = match self.classifiers(side) {
            None | Some(0) => Vec::new(),
            Some(n) => vec![format!("{n} programs on tcx")],
        };
        [interfaces, rules, filters, sockets, programs].concat()
    }
}

/// What the kernel itself would send on it is not for the tests.
const UP: &str = "
    echo 1 > /proc/sys/net/ipv6/conf/IF/disable_ipv6
    ip link set lo up && ip link set IF up && ip address add ADDRESS/30 dev IF
";

fn can_unshare(by: &[&str], words: &[&str]) -> bool {
    let tried = command_by(by, "unshare").args(words).arg("true").output();
    tried.is_ok_and(|output| output.status.success())
}

fn command_by(by: &[&str], program: &str) -> Command {
    match by {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

fn keep(by: &[&str], program: &str, words: &[&str]) -> Program {
    let mut command = command_by(by, program);
    command
        .args(words)
        .args(["sh", "-c", "echo ready; exec sleep infinity"])
        .stdin(Stdio::null());
    let keeper = Program::start("keeper", command);
    keeper.wait_line("ready", |l| l == "ready");
    keeper
}
