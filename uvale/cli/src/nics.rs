//! NIC ports as `uvale ports` shows them below its table: what is behind each, why it is nothing better, and who has
//! which of its rings.

use uvale_link::report::{Holder, Nic, Polling, Port};

use super::table::printable;

/// A paragraph for each NIC port; empty if there is none.
pub fn text(ports: &[Port]) -> String {
    let mut text = String::new();
    for (port, nic) in ports.iter().filter_map(|p| Some((p, p.nic.as_ref()?))) {
        let name = printable(&name_among(port, ports));
        text += &format!("\n{name}: {}\n", what(nic));
        for (opened, holder) in nic.opened.iter().zip(&port.holders) {
            text += &format!("  {} is open by {}\n", printable(opened), who(holder));
        }
        if let Some(attached) = &nic.attached {
            let attached = printable(attached);
            text += &format!(
                "  it is on a switch as {attached}: {}\n",
                looks(nic.polling)
            );
        }
        if nic.down && !nic.gone {
            text += "  its interface is down: what is sent is lost\n";
        }
        for why in &nic.why {
            text += &format!("  {}\n", printable(why));
        }
    }
    text
}

/// The name of a port: with its network namespace if others of `ports` are called so, too.
pub fn name_among(port: &Port, ports: &[Port]) -> String {
    let is_other = |other: &&Port| other.name == port.name && namespace(other) != namespace(port);
    match ports.iter().find(is_other) {
        Some(_) => format!("{} in {}", port.name, namespace(port)),
        None => port.name.clone(),
    }
}

/// The network namespace of a NIC port, as `lsns -t net` and `readlink /proc/PID/ns/net` show it.
pub fn namespace(port: &Port) -> String {
    match &port.nic {
        Some(Nic {
            namespace: Some(number),
            ..
        }) => format!("net:[{number}]"),
        Some(nic) => format!("a namespace with cookie {}", nic.netns),
        None => String::new(),
    }
}

fn what(nic: &Nic) -> String {
    let way = match (&nic.joined, nic.wire.as_str()) {
        _ if nic.gone => "its interface is gone: close it".to_owned(),
        (Some(peer), _) => format!(
            "joined with {}, nothing passes through the kernel",
            printable(peer)
        ),
        (None, "packet") => "over packet sockets".to_owned(),
        (None, "tap") => "its host is at the other end of a TAP".to_owned(),
        (None, "ptnet") => {
            "over a ptnet device: the host of this machine is at the other end".into()
        }
        (None, "opening") => "somebody is opening it".to_owned(),
        (None, "nothing") => "over nothing: it waits for the other end".to_owned(),
        (None, other) => format!("over {} sockets", printable(other)),
    };
    let host = match (nic.host, nic.stolen) {
        (true, _) => "; its host rings work",
        (false, true) => "; the host does not see what arrives",
        (false, false) => "",
    };
    format!("{way}{host}")
}

fn who(holder: &Holder) -> String {
    let program = match holder.program.as_str() {
        "" => "?",
        program => program,
    };
    format!("{} (pid {})", printable(program), holder.pid)
}

/// How what arrives is noticed.
fn looks(polling: Option<Polling>) -> String {
    match polling {
        None => "its runner sleeps until something arrives".into(),
        Some(Polling::One(cpu)) => format!("polled, by processor {cpu}"),
        Some(Polling::Each { first, count: 1 }) => {
            format!("ring {first} is polled, by processor {first}")
        }
        Some(Polling::Each { first, count }) => {
            let last = u64::from(first) + u64::from(count).saturating_sub(1);
            format!("rings {first} to {last} are polled, each by the processor of its number")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_link::report::Nic;

    fn port(nic: Nic) -> Port {
        Port {
            name: "eth0".into(),
            kind: "nic".into(),
            mem_id: 1,
            users: 1,
            nic: Some(nic),
            ..Port::default()
        }
    }

    #[test]
    fn the_wire_and_its_reasons_are_shown() {
        let joined = port(Nic {
            joined: Some("veth1".into()),
            ..Nic::default()
        });
        let why = vec!["the host also sees what arrives: no CAP_NET_ADMIN".into()];
        let packet = port(Nic {
            wire: "packet".into(),
            why,
            ..Nic::default()
        });
        let want = "\neth0: joined with veth1, nothing passes through the kernel\n\
                    \neth0: over packet sockets\n  the host also sees what arrives: no CAP_NET_ADMIN\n";
        assert_eq!(text(&[joined, packet]), want);
    }

    #[test]
    fn who_has_which_rings_and_who_polls() {
        let holder = |program: &str, pid| Holder {
            program: program.into(),
            pid,
            ..Holder::default()
        };
        let mut two = port(Nic {
            wire: "tap".into(),
            opened: vec!["eth0".into(), "eth0^".into()],
            attached: Some("vale0:eth0".into()),
            polling: Some(Polling::One(3)),
            ..Nic::default()
        });
        two.holders = vec![holder("a", 7), holder("", 8)];
        let want = "\neth0: its host is at the other end of a TAP\n  eth0 is open by a (pid 7)\n  \
                    eth0^ is open by ? (pid 8)\n  it is on a switch as vale0:eth0: polled, by processor 3\n";
        assert_eq!(text(&[two]), want);
    }

    #[test]
    fn equal_names_are_told_apart_by_their_namespaces() {
        let [one, other] = [Some(1), None].map(|namespace| {
            port(Nic {
                namespace,
                netns: 9,
                ..Nic::default()
            })
        });
        let names = |ports: &[Port]| {
            ports
                .iter()
                .map(|p| name_among(p, ports))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(core::slice::from_ref(&one)), ["eth0"]);
        let both = ["eth0 in net:[1]", "eth0 in a namespace with cookie 9"];
        assert_eq!(names(&[one, other]), both);
    }
}
