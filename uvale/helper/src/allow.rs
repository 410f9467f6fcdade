//! Who may use which interface: a file of lines `USER INTERFACE`.
//!
//! ```text
//! alice    eth1        # interfaces of the helper's own network namespace
//! @netmap  veth*       # a group; * is any text, ? any character
//! 1001     */eth0      # interfaces of any other network namespace in which the caller stands
//! ```

use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Who asks, as the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// process number; 0 if it has none here
    pub pid: i32,
    /// effective user
    pub uid: u32,
    /// effective and supplementary groups
    pub groups: Vec<u32>,
}

/// Whose network namespace an interface is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// the helper's
    Own,
    /// another one
    Other,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    who: Who,
    place: Place,
    pattern: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    User(u32),
    Group(u32),
}

impl Who {
    fn is(self, caller: &Caller) -> bool {
        match self {
            Self::User(uid) => caller.uid == uid,
            Self::Group(gid) => caller.groups.contains(&gid),
        }
    }
}

/// The rules of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// lines about users and groups that do not exist: they allow nothing to anybody
    pub unknown: Vec<String>,
}

/// Bytes of a file at most.
const LONGEST: u64 = 1 << 20;
/// Longest name of an interface.
const NAME: usize = 15;

impl Rules {
    /// Reads the rules. A file that somebody else than root could have written, or with a line that is none, allows
    /// nothing at all.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
            Errno::NOENT => format!(
                "there is no {shown}: it says who may use which interface, in lines such as `alice eth1`"
            ),
            other => format!("{shown}: {other}"),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| format!("{shown}: {e}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(format!("{shown} is not a file"));
        }
        if stat.st_uid != 0 {
            return Err(format!(
                "{shown} belongs to user {}, and has to be root's",
                stat.st_uid
            ));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(format!(
                "{shown} can be written by others; do: chmod go-w {shown}"
            ));
        }
        let mut text = String::new();
        let mut file = std::fs::File::from(fd).take(LONGEST);
        file.read_to_string(&mut text)
            .map_err(|e| format!("{shown}: {e}"))?;
        if text.len() as u64 == LONGEST {
            return Err(format!("{shown} is longer than {LONGEST} bytes"));
        }
        Self::parse(&text, user, group).map_err(|why| format!("{shown}: {why}"))
    }

    /// The rules in a text, with those who know users and groups by name.
    fn parse(
        text: &str,
        user: fn(&str) -> Option<u32>,
        group: fn(&str) -> Option<u32>,
    ) -> Result<Self, String> {
        let (mut rules, mut faults) = (Self::default(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, interface) = match words[..] {
                [] => continue,
                [name, interface] => (name, interface),
                _ => {
                    faults.push(format!(
                        "line {number}: not `USER INTERFACE` or `@GROUP INTERFACE`"
                    ));
                    continue;
                }
            };
            let (place, pattern) = match interface.strip_prefix("*/") {
                Some(pattern) => (Place::Other, pattern),
                None => (Place::Own, interface),
            };
            if let Some(why) = fault(pattern) {
                faults.push(format!("line {number}: {interface}: {why}"));
            }
            let (who, what) = match name.strip_prefix('@') {
                Some(name) => (group(name).map(Who::Group), format!("group {name}")),
                None => (user(name).map(Who::User), format!("user {name}")),
            };
            let pattern = pattern.to_owned();
            match who {
                Some(who) => rules.rules.push(Rule {
                    who,
                    place,
                    pattern,
                }),
                None => {
                    let unknown = format!("line {number}: there is no {what}");
                    rules.unknown.push(unknown);
                }
            }
        }
        match faults.is_empty() {
            true => Ok(rules),
            false => Err(faults.join("; ")),
        }
    }

    /// Is there any rule about the caller?
    pub fn know(&self, caller: &Caller) -> bool {
        self.rules.iter().any(|rule| rule.who.is(caller))
    }

    /// May the caller use that interface?
    pub fn allow(&self, caller: &Caller, place: Place, interface: &str) -> bool {
        let fits = |rule: &Rule| rule.place == place && matches(&rule.pattern, interface);
        self.rules
            .iter()
            .any(|rule| rule.who.is(caller) && fits(rule))
    }

    /// May the caller use all interfaces, whatever they are called, those too that do not exist yet?
    pub fn allow_all(&self, caller: &Caller, place: Place) -> bool {
        let fits = |rule: &Rule| rule.place == place && rule.pattern.chars().all(|c| c == '*');
        self.rules
            .iter()
            .any(|rule| rule.who.is(caller) && fits(rule))
    }
}

/// What is wrong with a pattern.
fn fault(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        Some("no interface is named")
    } else if pattern.contains('/') {
        Some(
            "the only namespaces that a line can name are the helper's own, and with */ all others",
        )
    } else if pattern.contains(['[', ']', '\\', ':', ',', '!']) {
        Some("no interface is called that; * is any text, ? any character")
    } else if pattern.chars().filter(|c| *c != '*').count() > NAME {
        Some("no interface has so long a name")
    } else {
        None
    }
}

/// `*` is any text, `?` any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last star does not fit: one character further.
    let mut back = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                back = Some((p, n));
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, from)) = back else {
                    return false;
                };
                back = Some((star, from + 1));
                (p, n) = (star, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn user(name: &str) -> Option<u32> {
    let known = || nix::unistd::User::from_name(name).ok().flatten();
    name.parse().ok().or_else(|| Some(known()?.uid.as_raw()))
}

fn group(name: &str) -> Option<u32> {
    let known = || nix::unistd::Group::from_name(name).ok().flatten();
    name.parse().ok().or_else(|| Some(known()?.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(name: &str) -> Option<u32> {
        match name {
            "alice" => Some(1000),
            "netmap" => Some(50),
            number => number.parse().ok(),
        }
    }

    fn parse(text: &str) -> Result<Rules, String> {
        Rules::parse(text, id, id)
    }

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller {
            pid: 1,
            uid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn who_may_use_what() {
        let rules = parse("# ours\nalice eth1 # lab\n\n@netmap veth*\n@netmap */eth?\n").unwrap();
        let (alice, member, other) = (caller(1000, &[]), caller(7, &[3, 50]), caller(50, &[1000]));
        for (who, place, name, may) in [
            (&alice, Place::Own, "eth1", true),
            (&alice, Place::Own, "eth10", false),
            (&alice, Place::Other, "eth1", false),
            (&alice, Place::Own, "veth1", false),
            (&member, Place::Own, "veth1", true),
            (&member, Place::Own, "veth", true),
            (&member, Place::Own, "eth1", false),
            (&member, Place::Other, "eth1", true),
            (&member, Place::Other, "veth1", false),
            // Numbers of users and of groups are not mixed up.
            (&other, Place::Own, "eth1", false),
            (&other, Place::Own, "veth1", false),
        ] {
            assert_eq!(
                rules.allow(who, place, name),
                may,
                "{who:?} {place:?} {name}"
            );
        }
        assert!(rules.know(&alice) && rules.know(&member) && !rules.know(&other));
        // root is nobody special: in a container without rights it is called root, too.
        assert!(!rules.know(&caller(0, &[0])));
    }

    /// Interfaces may appear later that no list of names has.
    #[test]
    fn all_interfaces_are_those_of_a_star_alone() {
        let rules = parse("alice eth*\nalice lo\nalice ?*\n@netmap **\nalice */*\n").unwrap();
        let (alice, member) = (caller(1000, &[]), caller(7, &[50]));
        assert!(!rules.allow_all(&alice, Place::Own));
        assert!(rules.allow_all(&alice, Place::Other));
        assert!(rules.allow_all(&member, Place::Own));
        assert!(!rules.allow_all(&member, Place::Other));
    }

    #[test]
    fn lines_that_are_none_are_named_by_number() {
        let why = parse(
            "alice eth1\nalice\n\nalice eth1 eth2\nalice lab/eth1\nalice */\nalice eth[12]\n\
                         alice aninterfacewithalongname\n",
        )
        .unwrap_err();
        let lines: Vec<&str> = why.split("; line ").map(|l| &l[..1]).collect();
        assert_eq!(lines[1..], ["4", "5", "6", "7", "8"], "{why}");
        assert!(why.starts_with("line 2: "), "{why}");
    }

    #[test]
    fn users_that_do_not_exist_are_nobody() {
        let rules = parse("bob *\n@nosuch *\nalice eth1").unwrap();
        assert_eq!(rules.unknown.len(), 2, "{rules:?}");
        assert!(rules.unknown[1].contains("line 2: there is no group nosuch"));
        assert!(rules.allow(&caller(1000, &[]), Place::Own, "eth1"));
        assert!(!rules.know(&caller(u32::MAX, &[u32::MAX])));
    }

    #[test]
    fn patterns() {
        for (pattern, name, does) in [
            ("*", "", true),
            ("*", "eth0", true),
            ("e*0", "eth0", true),
            ("e*0", "eth01", false),
            ("e*0*", "eth01", true),
            ("*a*b", "xaxbxab", true),
            ("?", "", false),
            ("??", "é1", true),
            ("a**b", "ab", true),
            ("eth0", "ETH0", false),
        ] {
            assert_eq!(matches(pattern, name), does, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_rules_or_refused(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn a_star_is_any_text(a in "[a-c]{0,3}", b in "[a-c]{0,5}", c in "[a-c]{0,3}") {
            let (pattern, name) = (format!("{a}*{c}"), format!("{a}{b}{c}"));
            prop_assert!(matches(&pattern, &name));
            prop_assert_eq!(matches(&a, &b), a == b);
        }
    }
}
