//! Interfaces that uvale makes: `uvale nic add` and `del`. A host of each of two namespaces has one in the same world.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::programs::{GONE, assert_goes_on, end, kill, program, value};
use compat_tests::said::Said;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};
use rustix::process::Signal;
use uvale_link::report::Interface;

use super::host::{ECHOES, FEW};
use super::rights::{NO_RIGHT, NO_TUN, NOBODY_WITH_TUN, TUN, world_of_nobody};
use super::talk::Talk;
use compat_tests::namespaces::{Ground, VETH};

/// The interface in either namespace, and its host's address.
const NAMES: [&str; 2] = ["made0", "made1"];
const ADDRESSES: [&str; 2] = ["10.67.0.1", "10.67.0.2"];

struct Made {
    ground: Ground,
    place: Place,
    talk: Talk,
}

impl Made {
    fn new() -> Result<Made, Skip> {
        Made::on(Ground::new()?, Place::new())
    }

    fn on(ground: Ground, place: Place) -> Result<Made, Skip> {
        let made = Made {
            ground,
            place,
            talk: Talk::new()?,
        };
        let probe = made.uvale(0, &["nic", "add", "probe0"]);
        if probe.code != Some(0) {
            return Err(Skip::required(probe.err.trim().to_owned()));
        }
        made.uvale(0, &["nic", "del", "probe0"]).assert_code(0);
        made.assert_gone(0);
        Ok(made)
    }

    fn uvale(&self, side: usize, args: &[&str]) -> Said {
        self.uvale_under(&[], side, args)
    }

    fn uvale_under(&self, under: &[&str], side: usize, args: &[&str]) -> Said {
        let uvale = &target::binaries().uvale;
        let words = [under, &[]];
        Said::of(&mut self.ground.inside(side, &self.place, words, uvale, args))
    }

    /// Makes the interface of a side.
    fn add(&self, side: usize, more: &[&str]) {
        let address = format!("{}/24", ADDRESSES[side]);
        // What the kernel would say by itself is not for the tests.
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
        self.ground.shell(side, quiet).assert_code(0);
        let add = ["nic", "add", NAMES[side], "--address", &address];
        self.uvale(side, &[&add, more].concat()).assert_code(0);
    }

    fn del(&self, side: usize) -> Said {
        self.uvale(side, &["nic", "del", NAMES[side]])
    }

    fn start(&self, side: usize, program: &Path, args: &[&str]) -> Program {
        self.ground
            .spawn_ready(side, &self.place, program, &[], args)
    }

    /// What the system says of the interface of a side; nothing if there is none.
    fn shown(&self, side: usize) -> String {
        let name = NAMES[side];
        self.ground
            .shell(side, &format!("ip -o link show dev {name}"))
            .out
    }

    fn has_carrier(&self, side: usize) -> bool {
        let shown = self.shown(side);
        assert!(shown.contains("UP"), "{shown}");
        !shown.contains("NO-CARRIER")
    }

    /// Packets that the host has got by its interface.
    fn host_got(&self, side: usize) -> u64 {
        let script = format!(
            "awk '$1 == \"{}:\" {{ print $3 }}' /proc/net/dev",
            NAMES[side]
        );
        let said = self.ground.shell(side, &script).assert_code(0);
        said.out.trim().parse().expect("a number")
    }

    /// Nothing is left in a namespace that was not there in the beginning.
    fn assert_gone(&self, side: usize) {
        self.ground.assert_clean(side);
    }

    /// Both hosts talk, over a switch.
    fn talk_over_a_switch(&self, more: &[&str]) {
        for (side, name) in NAMES.iter().enumerate() {
            self.add(side, more);
            assert!(!self.has_carrier(side), "nobody is there");
            let port = format!("vale0:{name}");
            self.uvale(side, &["ctl", "-a", &port]).assert_code(0);
            wait_for("a carrier", || self.has_carrier(side));
        }
        self.talk.pings(&self.ground, ADDRESSES, ECHOES);
        for server in 0..2 {
            self.talk.transfer(&self.ground, ADDRESSES, server);
        }
        let ports = self.uvale(0, &["ports", "--json"]).assert_code(0).out;
        assert!(ports.contains("\"wire\":\"tap\""), "{ports}");
        for (side, name) in NAMES.iter().enumerate() {
            let port = format!("vale0:{name}");
            self.uvale(side, &["ctl", "-d", &port]).assert_code(0);
            wait_for("no carrier", || !self.has_carrier(side));
            self.del(side).assert_code(0);
            assert_eq!(self.shown(side), "");
            self.assert_gone(side);
        }
    }
}

#[test]
fn hosts_talk_over_a_switch() {
    let made = or_skip!("hosts on a switch", Made::new());
    made.talk_over_a_switch(&[]);
    // A full frame takes two slots, and queues several rings.
    made.talk_over_a_switch(&["--mtu", "2048", "--queues", "2"]);
    made.place.assert_left_clean();
}

/// Root of a user namespace, who is nobody outside.
#[test]
fn they_do_without_rights() {
    let place = or_skip!("nobody", world_of_nobody());
    let ground = or_skip!("nobody", Ground::made_by(NOBODY_WITH_TUN));
    let made = or_skip!("nobody", Made::on(ground, place));
    made.talk_over_a_switch(&[]);
    made.uvale(0, &["stop"]).assert_code(0);
}

/// What the host sends comes to a program, by whichever ring, and what the program sends comes to the host.
#[test]
fn a_program_is_at_the_other_end() {
    let made = or_skip!("a program at the other end", Made::new());
    let (forward, traffic) = (program("nic/forward"), program("traffic"));
    let (forward, traffic) = (or_skip!("forward", forward), or_skip!("traffic", traffic));
    let name = NAMES[0];
    for queues in ["1", "4"] {
        made.add(
            0,
            &[
                "--queues",
                queues,
                "--mtu",
                "1400",
                "--mac",
                "02:00:00:00:00:07",
            ],
        );
        let shown = made.shown(0);
        assert!(
            shown.contains("mtu 1400") && shown.contains("02:00:00:00:00:07"),
            "{shown}"
        );
        let know = format!(
            "ip neigh replace {} lladdr 02:00:00:00:00:08 dev {name}",
            ADDRESSES[1]
        );
        made.ground.shell(0, &know).assert_code(0);
        for _ in 0..2 {
            // Nobody gets what is sent now.
            made.talk
                .ping(&made.ground, 0, ADDRESSES[1], &["5", "send"]);
            let hold = made.start(0, &forward, &["hold", name]);
            assert_eq!(
                made.place
                    .port(name)
                    .expect("it is open")
                    .tx
                    .len()
                    .to_string(),
                queues
            );
            wait_for("a carrier", || made.has_carrier(0));
            // Its queue begins a moment later.
            wait_for("echoes of the host", || {
                made.talk
                    .ping(&made.ground, 0, ADDRESSES[1], &["1", "send"]);
                value(&hold.stdout(), "echoes").is_some_and(|n| n >= FEW.into())
            });
            end(hold);
            wait_for("no carrier", || !made.has_carrier(0));
        }
        let before = made.host_got(0);
        let sender = made.start(0, &traffic, &["tx", name, "n=1000", "then=hold"]);
        wait_for("packets at the host", || made.host_got(0) == before + 1000);
        let port = made.place.port(name).expect("it is open");
        assert_eq!(port.tx.iter().map(|ring| ring.packets).sum::<u64>(), 1000);
        end(sender);
        made.del(0).assert_code(0);
        made.assert_gone(0);
    }
    made.place.assert_left_clean();
}

/// Who has an interface open that is deleted is told so, and it is gone at once.
#[test]
fn deleted_while_it_is_open() {
    let made = or_skip!("deleted", Made::new());
    let traffic = or_skip!("deleted", program("traffic"));
    let ways: [(&dyn Fn(), bool); 2] = [
        (&|| drop(made.del(0).assert_code(0)), true),
        (
            &|| {
                drop(
                    made.ground
                        .shell(0, &format!("ip link del {}", NAMES[0]))
                        .assert_code(0),
                )
            },
            false,
        ),
    ];
    let port = format!("vale0:{}", NAMES[0]);
    for (way, is_ours) in ways {
        made.add(0, &[]);
        made.uvale(0, &["ctl", "-a", &port]).assert_code(0);
        way();
        assert_eq!(made.shown(0), "");
        match is_ours {
            true => assert!(made.place.port(&port).is_none(), "it is left on its switch"),
            false => drop(made.uvale(0, &["ctl", "-d", &port]).assert_code(0)),
        }
        made.assert_gone(0);

        made.add(0, &[]);
        let mut sender = made.start(0, &traffic, &["tx", NAMES[0], "how=poll"]);
        assert_goes_on(&mut sender, "before it is deleted");
        way();
        assert_eq!(made.shown(0), "");
        let status = sender.wait();
        assert_eq!(status.code(), Some(GONE), "{status:?}: {}", sender.said());
        made.assert_gone(0);
    }
    made.place.assert_left_clean();
}

/// Without a daemon there is no interface, whoever has it open or on a switch.
#[test]
fn killed_daemons() {
    let mut made = or_skip!("killed daemons", Made::new());
    let traffic = or_skip!("killed daemons", program("traffic"));
    for is_open in [false, true] {
        for side in 0..2 {
            made.add(side, &[]);
        }
        let port = format!("vale0:{}", NAMES[1]);
        made.uvale(1, &["ctl", "-a", &port]).assert_code(0);
        let sender = is_open.then(|| {
            let mut sender = made.start(0, &traffic, &["tx", NAMES[0], "how=poll"]);
            assert_goes_on(&mut sender, "before the daemon is killed");
            sender
        });
        made.place.signal_daemon(Signal::KILL);
        if let Some(mut sender) = sender {
            let status = sender.wait();
            assert_eq!(status.code(), Some(GONE), "{status:?}: {}", sender.said());
        }
        made.assert_gone(0);
        made.assert_gone(1);
        made.place.start_daemon(&[]);
    }
    // A killed program takes nothing with it.
    made.add(0, &[]);
    let mut sender = made.start(0, &traffic, &["tx", NAMES[0]]);
    assert_goes_on(&mut sender, "before it is killed");
    kill(sender);
    wait_for("no carrier", || !made.has_carrier(0));
    made.del(0).assert_code(0);
    made.assert_gone(0);
    made.place.assert_left_clean();
}

/// What there is, and who has it.
#[test]
fn listed() {
    let made = or_skip!("listed", Made::new());
    let traffic = or_skip!("listed", program("traffic"));
    let list = || -> Vec<Interface> {
        let said = made.uvale(0, &["nic", "list", "--json"]).assert_code(0);
        serde_json::from_str(&said.out).expect("interfaces")
    };
    assert_eq!(list(), []);
    made.add(0, &["--queues", "2"]);
    made.add(1, &[]);
    made.uvale(0, &["ctl", "-a", "vale0:made0"]).assert_code(0);
    let sender = made.start(1, &traffic, &["tx", NAMES[1], "n=1", "then=hold"]);
    let veth = made.start(1, &traffic, &["rx", VETH, "loose=1"]);
    let all = list();
    let facts: Vec<_> = all
        .iter()
        .map(|one| {
            let opened = one.opened.join(" ");
            (
                &one.name[..],
                one.made,
                one.queues,
                one.attached.clone(),
                opened,
            )
        })
        .collect();
    let wanted = [
        (
            "made0",
            true,
            Some(2),
            Some("vale0:made0".into()),
            String::new(),
        ),
        ("made1", true, Some(1), None, "made1".into()),
        (VETH, false, None, None, VETH.into()),
    ];
    assert_eq!(facts, wanted);
    assert_eq!(all[1].holders[0].pid, sender.pid().as_raw_nonzero().get());
    assert_ne!(all[0].netns, all[1].netns);
    let text = made.uvale(0, &["nic", "list"]).assert_code(0).out;
    assert!(
        text.contains("vale0:made0") && text.contains("uvale"),
        "{text}"
    );
    end(sender);
    end(veth);
    made.del(0).assert_code(0);
    made.del(1).assert_code(0);
    assert_eq!(list(), []);
    made.place.assert_left_clean();
}

/// `vale0:made0` is that of another namespace, whether there is a `made0` here or not.
#[test]
fn only_its_own_namespace_takes_it_off_a_switch() {
    let made = or_skip!("namespaces", Made::new());
    made.add(0, &[]);
    made.uvale(0, &["ctl", "-a", "vale0:made0"]).assert_code(0);
    let refused = || {
        for words in [["-d", "vale0:made0"], ["-P", "vale0:made0"]] {
            let said = made.uvale(1, &[&["ctl"][..], &words].concat());
            said.assert_code(1).assert_says("another network namespace");
        }
        assert!(made.place.port("vale0:made0").is_some());
    };
    refused();
    made.uvale(1, &["nic", "add", "made0"]).assert_code(0);
    refused();
    made.uvale(1, &["nic", "del", "made0"]).assert_code(0);
    assert!(made.place.port("vale0:made0").is_some());
    // What has gone with its namespace is nobody's there.
    made.ground.shell(0, "ip link del made0").assert_code(0);
    wait_for("its end", || {
        made.uvale(1, &["ctl", "-d", "vale0:made0"]).code == Some(0)
    });
    made.assert_gone(0);
    made.place.assert_left_clean();
}

/// What is not possible is refused with what to do about it, and leaves nothing.
#[test]
fn refused() {
    let made = or_skip!("refused", Made::new());
    let refused = |under: &[&str], args: &[&str], parts: &[&str]| {
        made.uvale_under(under, 0, args).assert_failed_with(parts);
        made.assert_gone(0);
    };
    refused(
        NO_RIGHT,
        &["nic", "add", "made0"],
        &["CAP_NET_ADMIN", "unshare -Urn", "setpriv"],
    );
    refused(NO_TUN, &["nic", "add", "made0"], &[TUN]);
    refused(
        &[],
        &["nic", "add", "lo"],
        &["an interface of that name already"],
    );
    refused(&[], &["nic", "add", "vale0"], &["a port of a VALE switch"]);
    refused(
        &[],
        &["nic", "add", "made0-1"],
        &["no name for an interface"],
    );
    refused(&[], &["nic", "add", "sixteencharacter"], &["too long"]);
    refused(
        &[],
        &["nic", "add", "made0", "--queues", "65"],
        &["1 to 64"],
    );
    refused(
        &[],
        &["nic", "add", "made0", "--mac", "01:00:00:00:00:01"],
        &["cannot be set up so"],
    );
    refused(&[], &["nic", "del", "made0"], &["no such interface"]);
    refused(
        &[],
        &["nic", "del", "lo"],
        &["not made by uvale", "ip link del"],
    );

    made.add(0, &[]);
    let again = made.uvale(0, &["nic", "add", "made0"]);
    again.assert_failed_with(&["an interface of that name already", "uvale nic del made0"]);
    // Nobody has it open: closing it is enough.
    made.uvale_under(NO_RIGHT, 0, &["nic", "del", "made0"])
        .assert_code(0);
    made.assert_gone(0);
    made.place.assert_left_clean();
}
