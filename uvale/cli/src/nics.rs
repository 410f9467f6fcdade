//! NIC ports as `uvale ports` shows them below its table: what is behind each, and why it is nothing better.

use uvale_link::report::Port;

use super::table::printable;

/// A paragraph for each NIC port; empty if there is none.
pub fn text(ports: &[Port]) -> String {
    let mut text = String::new();
    for (port, nic) in ports.iter().filter_map(|p| Some((p, p.nic.as_ref()?))) {
        let what = match (&nic.joined, nic.wire.as_str()) {
            _ if nic.gone => "its interface is gone: close it".to_owned(),
            (Some(peer), _) => format!(
                "joined with {}, nothing passes through the kernel",
                printable(peer)
            ),
            (None, "packet") => "over packet sockets".to_owned(),
            (None, "nothing") => "over nothing: it waits for the other end".to_owned(),
            (None, other) => format!("over {} sockets", printable(other)),
        };
        let host = match (nic.host, nic.stolen) {
            (true, _) => "; its host rings work",
            (false, true) => "; the host does not see what arrives",
            (false, false) => "",
        };
        let name = printable(&port.name);
        text += &format!("\n{name}: {what}{host}\n");
        if nic.down && !nic.gone {
            text += "  its interface is down: what is sent is lost\n";
        }
        for why in &nic.why {
            text += &format!("  {}\n", printable(why));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_link::report::Nic;

    fn port(nic: Nic) -> Port {
        let json = r#"{"name":"eth0","kind":"nic","switch":null,"number":null,"mem_id":1,"users":1,
            "virt_hdr_len":0,"tx_slots":1024,"rx_slots":1024,"tx":[],"rx":[]}"#;
        let port: Port = serde_json::from_str(json).unwrap();
        Port {
            nic: Some(nic),
            ..port
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
}
