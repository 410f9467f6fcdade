//! Guests' ports as `uvale ports` shows them below its table: by which sockets, and who is connected.

use uvale_link::report::{Guest, Port};

use super::table::printable;

/// A line for each guest; empty if there is none.
pub fn text(ports: &[Port]) -> String {
    let mut text = String::new();
    for port in ports {
        // A process may have its port open several times.
        let guest = port.holders.iter().find_map(|h| h.guest.as_ref());
        if let Some(guest) = guest {
            text += &format!("\n{}: {}\n", printable(&port.name), what(guest));
        }
    }
    text
}

fn what(guest: &Guest) -> String {
    let sockets: Vec<_> = guest.sockets.iter().map(|path| printable(path)).collect();
    let who = match guest.pid {
        Some(pid) => format!("pid {pid} is connected"),
        None => "no process is known to be connected".to_owned(),
    };
    format!("a guest's port, by {}; {who}", sockets.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_link::report::Holder;

    #[test]
    fn sockets_and_who_is_there() {
        let port = |name: &str, guest| {
            let holder = Holder {
                guest,
                ..Holder::default()
            };
            Port {
                name: name.into(),
                holders: vec![holder.clone(), holder],
                ..Port::default()
            }
        };
        let guest = |pid| Guest {
            sockets: vec!["/a".into(), "/b\u{1b}".into()],
            pid,
        };
        let ports = [
            port("vale0:a", Some(guest(Some(7)))),
            port("vale0:b", None),
            port("vale0:c", Some(guest(None))),
        ];
        let text = text(&ports);
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].starts_with("vale0:a: ") && lines[0].ends_with("pid 7 is connected"),
            "{text}"
        );
        assert!(
            lines[1].contains("/a and ") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
