//! The host beside a NIC port: what it sends and gets while a program has the port, and that everything is its own
//! again when the program is gone, however it went.

use std::path::PathBuf;

use compat_tests::place::Place;
use compat_tests::programs::{end, kill, program, value};
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};
use uvale_link::report::Nic;

use super::talk::Talk;
use compat_tests::namespaces::{ADDRESSES, Ground, VETH};

/// How many echoes each way.
pub const ECHOES: u32 = 100;
/// How many that are not to be answered.
pub const FEW: u32 = 3;

pub struct Host {
    pub ground: Ground,
    pub place: Place,
    forward: PathBuf,
    talk: Talk,
}

impl Host {
    /// Where host rings work.
    pub fn new() -> Result<Host, Skip> {
        let host = Host::on(Ground::new()?, Place::new())?;
        let probe = host.start(&["one", &format!("{VETH}*")]);
        let nic = host.nic();
        if !nic.host || !nic.stolen {
            return Err(Skip::required(nic.why.join("; ")));
        }
        end(probe);
        host.place.assert_left_clean();
        Ok(host)
    }

    /// Two hosts that know each other.
    pub fn on(ground: Ground, place: Place) -> Result<Host, Skip> {
        let host = Host {
            forward: program("nic/forward")?,
            talk: Talk::new()?,
            ground,
            place,
        };
        // Neither has to ask for the other's address.
        for side in 0..2 {
            let show = format!("ip -br link show dev {VETH} | awk '{{print $3}}'");
            let address = host.ground.shell(1 - side, &show).assert_code(0).out;
            let (address, peer) = (address.trim(), ADDRESSES[1 - side]);
            let know = format!("ip neigh replace {peer} lladdr {address} dev {VETH}");
            host.ground.shell(side, &know).assert_code(0);
        }
        host.pings(FEW);
        Ok(host)
    }

    /// A program in the first namespace that has the port.
    fn start(&self, args: &[&str]) -> Program {
        self.start_under(&[], args)
    }

    /// One that `under` has taken rights away from.
    pub fn start_under(&self, under: &[&str], args: &[&str]) -> Program {
        let program = self.try_under(under, args);
        program.wait_line("ready", |l| l.starts_with("ready"));
        program
    }

    /// The same, whatever becomes of it.
    pub fn try_under(&self, under: &[&str], args: &[&str]) -> Program {
        let words = [under, &["NMSHIM_VERBOSE=1"]];
        let (place, forward) = (&self.place, &self.forward);
        let command = self.ground.inside(0, place, words, forward, args);
        Program::start(&args.join(" "), command)
    }

    /// Each host asks the other, and every question is answered.
    pub fn pings(&self, count: u32) {
        self.talk.pings(&self.ground, ADDRESSES, count);
    }

    /// A few questions that nobody is to answer.
    pub fn ask(&self, side: usize) {
        let to = ADDRESSES[1 - side];
        self.talk
            .ping(&self.ground, side, to, &[&FEW.to_string(), "send"]);
    }

    /// Echo requests that a host has got.
    fn echoes_seen(&self, side: usize) -> u64 {
        let script = "awk '/^Icmp:/ { if (at) print $at; \\
                      for (i = 2; i <= NF; i++) if ($i == \"InEchos\") at = i }' /proc/net/snmp";
        let said = self.ground.shell(side, script).assert_code(0);
        said.out.trim().parse().expect("a number")
    }

    /// What the interface does for its host.
    fn offloads(&self) -> String {
        let mut asked = self.ground.command(0);
        asked.arg(&self.talk.transfer).args(["offloads", VETH]);
        Program::start("offloads", asked).wait_success()
    }

    /// With a program between interface and host everything works as without it, whatever the interface's offloads.
    fn carries_all(&self, args: &[&str]) {
        let before = self.offloads();
        assert!(before.starts_with("checksums=1 tso=1 gso=1"), "{before}");
        let forwarder = self.start(args);
        let nic = self.nic();
        assert!(nic.host && nic.stolen, "{nic:?}");
        self.pings(ECHOES);
        for server in 0..2 {
            self.talk.transfer(&self.ground, ADDRESSES, server);
        }
        assert_eq!(self.offloads(), before);
        kill(forwarder);
        self.place.assert_left_clean();
        self.assert_own_again();
    }

    /// What the daemon says of the port.
    fn nic(&self) -> Nic {
        let port = self.place.port(VETH).expect("it is open");
        port.nic.expect("it is a NIC")
    }

    /// Nothing is left of the port, and the hosts reach each other.
    pub fn assert_own_again(&self) {
        for side in 0..2 {
            self.ground.assert_clean(side);
        }
        self.pings(FEW);
    }

    /// What arrives comes to the program, and to its host only if it is not stolen.
    pub fn assert_arrives(&self, program: &Program, is_stolen: bool) {
        let (before, had) = (self.echoes_seen(0), echoes_of(program));
        self.ask(1);
        wait_for("echoes at the port", || {
            echoes_of(program) == had + u64::from(FEW)
        });
        assert_eq!(self.echoes_seen(0) == before, is_stolen);
    }
}

fn echoes_of(program: &Program) -> u64 {
    value(&program.stdout(), "echoes").unwrap_or(0)
}

#[test]
fn two_descriptors_carry_what_the_host_sends_and_gets() {
    let host = or_skip!("host, two descriptors", Host::new());
    host.carries_all(&["two", VETH, &format!("{VETH}^")]);
}

#[test]
fn one_host_ring_does_so() {
    let host = or_skip!("host, one host ring", Host::new());
    host.carries_all(&["two", &format!("{VETH}^0"), VETH]);
}

#[test]
fn one_descriptor_with_all_rings_does_so() {
    let host = or_skip!("host, one descriptor", Host::new());
    host.carries_all(&["one", &format!("{VETH}*")]);
}

#[test]
fn a_program_that_only_marks_slots_does_so() {
    let host = or_skip!("host, NS_FORWARD", Host::new());
    host.carries_all(&["mark", &format!("{VETH}*")]);
}

#[test]
fn what_arrives_is_stolen_until_the_program_is_killed() {
    let host = or_skip!("host, stolen", Host::new());
    let program = host.start(&["hold", VETH]);
    host.assert_arrives(&program, true);
    kill(program);
    host.place.assert_left_clean();
    host.assert_own_again();
}

/// Who has the host rings alone takes nothing from the host.
#[test]
fn host_rings_alone_leave_the_host_what_is_its_own() {
    let host = or_skip!("host rings alone", Host::new());
    let host_rings = host.start(&["hold", &format!("{VETH}^")]);
    host.pings(FEW);
    assert!(!host.nic().stolen);
    for _ in 0..2 {
        let nic = host.start(&["hold", VETH]);
        assert!(host.nic().stolen);
        host.assert_arrives(&nic, true);
        // What the host sends now comes to its rings.
        let (before, there) = (echoes_of(&host_rings), host.echoes_seen(1));
        host.ask(0);
        let all = before + u64::from(FEW);
        wait_for("the host's echoes", || echoes_of(&host_rings) == all);
        assert_eq!(host.echoes_seen(1), there, "diverted");
        end(nic);
        wait_for("the end of stealing", || !host.nic().stolen);
        host.pings(FEW);
        assert_eq!(echoes_of(&host_rings), all, "the host's own");
    }
    end(host_rings);
    host.place.assert_left_clean();
    host.assert_own_again();
}
