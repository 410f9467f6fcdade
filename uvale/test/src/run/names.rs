//! What ports are called: by programs, by the tester, and in the daemon's reports.

use std::collections::BTreeMap;
use std::process::Command;

use uvale_tools::nearest::label;

use super::fill::fill;
use super::why::{Done, error, skipped};
use crate::plan::{Kind, Port, Run, Target};

/// Bytes of an interface's name.
const LONGEST: usize = 15;

/// A port's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// what programs open
    pub program: String,
    /// what the tester opens; none: it has no hand in the port
    pub tester: Option<String>,
    /// of a NIC: the interface, at both ends if they are in different namespaces
    pub interface: Option<String>,
    /// of a monitor: netmap's letters for which side, and whether it copies
    letters: Option<String>,
}

impl Name {
    /// The switch that it is on, if it is on one.
    pub fn switch(&self) -> Option<&str> {
        let (switch, _) = self.program.split_once(':')?;
        (switch != "netmap").then_some(switch)
    }

    /// Is it this port of the daemon's reports? A monitor is there as `vale0:a/rt#0`.
    pub fn is(&self, reported: &str) -> bool {
        let label = label(&self.program);
        match &self.letters {
            None => label == reported,
            Some(letters) => {
                let rest = reported.strip_prefix(&label);
                let rest = rest.and_then(|rest| rest.strip_prefix('/')?.strip_prefix(letters));
                rest.is_some_and(|rest| rest.starts_with('#'))
            }
        }
    }
}

/// The letters of a monitor's suffix as the daemon reports them.
fn letters(suffix: &str) -> String {
    let has = |letter| suffix.contains(letter);
    let is_both = has('r') == has('t');
    let letter = |letter, is_there: bool| if is_there { letter } else { "" };
    [
        letter("z", has('z')),
        letter("r", has('r') || is_both),
        letter("t", has('t') || is_both),
    ]
    .concat()
}

/// The ports of a run.
#[derive(Debug)]
pub struct Names(BTreeMap<String, Name>);

impl Names {
    /// Names the ports of a run.
    pub fn new(run: &Run) -> Done<Self> {
        let mut names = BTreeMap::new();
        for (i, port) in run.ports.iter().enumerate() {
            if !matches!(port.kind, Kind::Monitor { .. }) {
                names.insert(port.name.clone(), name(run, port, i)?);
            }
        }
        for port in &run.ports {
            if let Kind::Monitor { of, suffix } = &port.kind {
                let watched: &Name = names.get(of).ok_or_else(|| {
                    error(format!("{} monitors {of}, which is no port", port.name))
                })?;
                let monitor = Name {
                    program: format!("{}{suffix}", watched.program),
                    tester: None,
                    interface: None,
                    letters: Some(letters(suffix)),
                };
                names.insert(port.name.clone(), monitor);
            }
        }
        Ok(Self(names))
    }

    /// The names of a port.
    pub fn get(&self, port: &str) -> Done<&Name> {
        let known = || self.0.keys().map(String::as_str);
        self.0.get(port).ok_or_else(|| {
            let hint = uvale_tools::nearest::hint(port, known());
            error(format!("there is no port {port}{hint}"))
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Name)> {
        self.0.iter().map(|(port, name)| (port.as_str(), name))
    }

    /// The text with `${port.NAME}` and `${interface.NAME}` filled in.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        fill(text, &|what| self.value(what))
    }

    /// What `port.NAME` or `interface.NAME` stands for; none for other names.
    pub fn value(&self, what: &str) -> Result<Option<String>, String> {
        let get = |port| match self.get(port) {
            Ok(name) => Ok(name),
            Err(_) => Err(format!("${{{what}}}: there is no port {port}")),
        };
        if let Some(port) = what.strip_prefix("port.") {
            return Ok(Some(get(port)?.program.clone()));
        }
        let Some(port) = what.strip_prefix("interface.") else {
            return Ok(None);
        };
        let interface = get(port)?.interface.clone();
        let interface = interface.ok_or_else(|| format!("${{{what}}}: {port} is no interface"))?;
        Ok(Some(interface))
    }
}

fn name(run: &Run, port: &Port, i: usize) -> Done<Name> {
    let own = match run.target {
        // Others use the same kernel.
        Target::Kernel => Some(base36(std::process::id())),
        _ => None,
    };
    if let Target::Nic(interfaces) = &run.target
        && let Some(ends) = interfaces.get(&port.name)
    {
        return of_machine(port, ends);
    }
    Ok(match &port.kind {
        Kind::Switch { switch } => {
            let switch = match &own {
                Some(own) => format!("vale{own}{}", base36(number(run, switch))),
                None => switch.clone(),
            };
            let name = usable(&port.name).unwrap_or_else(|| format!("port{i}"));
            let mut tester = format!("{name}_tester");
            while run.ports.iter().any(|other| other.name == tester) {
                tester.push('_');
            }
            Name {
                program: format!("{switch}:{name}"),
                tester: Some(format!("{switch}:{tester}")),
                interface: None,
                letters: None,
            }
        }
        Kind::Pipe => {
            let base = match &own {
                Some(own) => format!("p{own}{}", base36(i as u32)),
                None => {
                    usable(&format!("pipe_{}", port.name)).unwrap_or_else(|| format!("pipe{i}"))
                }
            };
            Name {
                program: format!("netmap:{base}{{1"),
                tester: Some(format!("netmap:{base}}}1")),
                interface: None,
                letters: None,
            }
        }
        Kind::Nic { .. } if matches!(run.target, Target::Nic(_)) => {
            let port = &port.name;
            return Err(error(format!(
                "port {port} is an interface: name one of this machine for it, too: \
                 --target nic:{port}=IFACE,..."
            )));
        }
        Kind::Nic { peer } => {
            let interface = usable(&port.name).unwrap_or_else(|| format!("nic{i}"));
            let name = format!("netmap:{interface}");
            Name {
                program: name.clone(),
                tester: peer.is_none().then_some(name),
                interface: Some(interface),
                letters: None,
            }
        }
        Kind::Monitor { .. } => return Err(error("a monitor is named by what it monitors")),
    })
}

/// An interface of this machine, `IFACE`, or `IFACE+OTHER` with the one at the other end of its cable.
fn of_machine(port: &Port, ends: &str) -> Done<Name> {
    if matches!(port.kind, Kind::Nic { peer: Some(_) }) {
        return Err(skipped(format!(
            "port {} has its other end in a namespace, which no interface of this machine has",
            port.name
        )));
    }
    let (interface, other) = match ends.split_once('+') {
        Some((interface, other)) => (interface, other.to_owned()),
        None => (
            ends,
            other_end(ends).ok_or_else(|| no_other_end(port, ends))?,
        ),
    };
    Ok(Name {
        program: format!("netmap:{interface}"),
        tester: Some(format!("netmap:{other}")),
        interface: Some(interface.to_owned()),
        letters: None,
    })
}

fn no_other_end(port: &Port, interface: &str) -> crate::plan::Verdict {
    let port = &port.name;
    error(format!(
        "which interface is at the other end of {interface}, for the tester? Name it: \
         --target nic:{port}={interface}+OTHER"
    ))
}

/// The other end of a veth pair, if both are here.
fn other_end(interface: &str) -> Option<String> {
    // `ip` prints a list, of one element here.
    let args = ["-details", "-json", "link", "show", "dev", interface];
    let output = Command::new("ip")
        .args(args)
        .env_remove("LD_PRELOAD")
        .output()
        .ok()?;
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let one = list.get(0)?;
    let is_veth = one["linkinfo"]["info_kind"] == "veth";
    let is_here = is_veth && one.get("link_netnsid").is_none();
    one["link"].as_str().filter(|_| is_here).map(str::to_owned)
}

/// The name, if it can be part of a port's name and is no interface's: on a switch, and before a pipe's number, that
/// would mean the interface.
fn usable(name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_interface = || nix::net::if_::if_nametoindex(name).is_ok();
    (is_plain && !name.is_empty() && name.len() <= LONGEST && !is_interface())
        .then(|| name.to_owned())
}

/// Number of a switch among those of the run.
fn number(run: &Run, wanted: &str) -> u32 {
    let switches = run.ports.iter().filter_map(|port| match &port.kind {
        Kind::Switch { switch } => Some(switch),
        _ => None,
    });
    let mut names: Vec<&String> = switches.collect();
    names.sort();
    names.dedup();
    names.iter().position(|name| *name == wanted).unwrap_or(0) as u32
}

fn base36(mut n: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(n % 36, 36));
        n /= 36;
        if n == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Verdict;

    fn port(name: &str, kind: Kind) -> Port {
        Port {
            name: name.into(),
            kind,
            rings: None,
            slots: None,
            link: None,
        }
    }

    fn run(target: Target, ports: Vec<Port>) -> Run {
        Run {
            id: "x".into(),
            dir: "/".into(),
            timeout: std::time::Duration::from_secs(1),
            quiet: std::time::Duration::from_millis(1),
            seed: 1,
            target,
            ports,
            namespaces: Vec::new(),
            programs: Vec::new(),
            steps: Vec::new(),
            ignore: Vec::new(),
            keep: "/nowhere".into(),
        }
    }

    fn switch(name: &str) -> Kind {
        Kind::Switch {
            switch: name.into(),
        }
    }

    fn monitor(of: &str) -> Kind {
        Kind::Monitor {
            of: of.into(),
            suffix: "/rt".into(),
        }
    }

    #[test]
    fn ports_of_a_world() {
        let ports = vec![
            port("watch", monitor("lan")),
            port("lan", switch("vale3")),
            port("lo", switch("vale3")),
            port("wan-2", Kind::Pipe),
            port("up", Kind::Pipe),
            port("nic", Kind::Nic { peer: None }),
            port("a_tester", switch("vale3")),
            port("a", switch("vale3")),
        ];
        let names = Names::new(&run(Target::Uvale, ports)).unwrap();
        let both = |port| {
            let name = names.get(port).unwrap();
            (name.program.as_str(), name.tester.as_deref())
        };
        assert_eq!(both("lan"), ("vale3:lan", Some("vale3:lan_tester")));
        assert_eq!(both("lo"), ("vale3:port2", Some("vale3:port2_tester")));
        assert_eq!(both("a"), ("vale3:a", Some("vale3:a_tester_")));
        assert_eq!(both("up"), ("netmap:pipe_up{1", Some("netmap:pipe_up}1")));
        assert_eq!(both("wan-2"), ("netmap:pipe3{1", Some("netmap:pipe3}1")));
        assert_eq!(both("watch"), ("vale3:lan/rt", None));
        assert_eq!(
            names.fill("-i ${port.lan} ${x}"),
            Ok("-i vale3:lan ${x}".into())
        );
        assert_eq!(names.fill("${interface.nic}"), Ok("nic".into()));
        for text in ["${port.x}", "${interface.x}", "${interface.lan}"] {
            assert!(names.fill(text).is_err(), "{text}");
        }
        let is = |port, reported| names.get(port).unwrap().is(reported);
        assert!(is("lan", "vale3:lan") && !is("lan", "vale3:lan/rt#0"));
        assert!(is("watch", "vale3:lan/rt#0") && !is("watch", "vale3:lan"));
        assert!(!is("watch", "vale3:lan/t#1") && !is("watch", "vale3:lan/zrt#1"));
        assert!(is("up", "pipe_up{1") && !is("up", "pipe_up}1"));
        for (suffix, expected) in [("/z", "zrt"), ("/t", "t"), ("/zr", "zr"), ("/x", "rt")] {
            assert_eq!(letters(suffix), expected);
        }
    }

    #[test]
    fn names_on_a_kernel_are_its_own() {
        let ports = vec![port("lan", switch("vale0")), port("wan", switch("vale1"))];
        let names = Names::new(&run(Target::Kernel, ports)).unwrap();
        let [lan, wan] = ["lan", "wan"].map(|port| names.get(port).unwrap().program.clone());
        assert!(lan.starts_with("vale") && lan.ends_with("0:lan"), "{lan}");
        assert!(
            wan.ends_with("1:wan") && !lan.starts_with("vale0:"),
            "{wan}"
        );
    }

    #[test]
    fn interfaces_of_the_machine() {
        let nics = |ends: &str| Target::Nic([("a".to_owned(), ends.to_owned())].into());
        let ports = vec![port("a", switch("vale0"))];
        let names = Names::new(&run(nics("eth1+eth2"), ports.clone())).unwrap();
        let expected = Name {
            program: "netmap:eth1".into(),
            tester: Some("netmap:eth2".into()),
            interface: Some("eth1".into()),
            letters: None,
        };
        assert_eq!(names.get("a").unwrap(), &expected);
        let why = |run: Run| match Names::new(&run) {
            Err(Verdict::Error(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(run(nics("nothere"), ports)).contains("a=nothere+OTHER"));
        let ports = vec![port("b", Kind::Nic { peer: None })];
        assert!(why(run(nics("eth1+eth2"), ports)).contains("nic:b=IFACE"));
    }
}
