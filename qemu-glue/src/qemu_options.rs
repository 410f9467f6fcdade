//! QEMU's options for what a process here serves: printed for people, and given to a QEMU that is started.

use std::path::Path;

/// RAM that another process can share, `$size` of it.
macro_rules! shared_ram {
    ($size:literal) => {
        concat!(
            "-object memory-backend-memfd,id=ram,size=",
            $size,
            ",share=on -machine memory-backend=ram"
        )
    };
}

/// Options of QEMU, each with its value.
pub type Options = Vec<(&'static str, String)>;

/// The `i`th network of a guest over vhost-user: the socket at `path`, `how` it is connected, the queue pairs, and the
/// interface's address, if it is to have a certain one.
pub fn vhost_user(i: usize, path: &Path, how: &str, queues: u16, mac: Option<&str>) -> Options {
    let path = value(path);
    let (of_backend, of_device) = match queues {
        1 => (String::new(), String::new()),
        // A vector for each ring, one for the control queue, one for changes of the configuration.
        n => (
            format!(",queues={n}"),
            format!(",mq=on,vectors={}", 2 * u32::from(n) + 2),
        ),
    };
    vec![
        ("-chardev", format!("socket,id=c{i},path={path},{how}")),
        (
            "-netdev",
            format!("vhost-user,id=n{i},chardev=c{i}{of_backend}"),
        ),
        ("-device", virtio(i, mac) + &of_device),
    ]
}

/// The `i`th network of a guest as datagrams.
pub fn dgram(i: usize, path: &Path, mac: Option<&str>) -> Options {
    let path = value(path);
    let netdev = format!(
        "dgram,id=n{i},local.type=unix,local.path={path}.qemu,remote.type=unix,remote.path={path}"
    );
    vec![("-netdev", netdev), ("-device", virtio(i, mac))]
}

/// The `i`th network of a guest as a stream, to which QEMU connects.
pub fn stream(i: usize, path: &Path, mac: Option<&str>) -> Options {
    let path = value(path);
    let netdev = format!("stream,id=n{i},server=off,addr.type=unix,addr.path={path}");
    vec![("-netdev", netdev), ("-device", virtio(i, mac))]
}

/// A PCI device that is served at `path` over vfio-user.
pub fn vfio_user(path: &Path) -> Options {
    let path = path.display().to_string();
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    let device =
        format!(r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{path}"}}}}"#);
    vec![("-device", device)]
}

fn virtio(i: usize, mac: Option<&str>) -> String {
    let mac = mac.map_or_else(String::new, |mac| format!(",mac={mac}"));
    format!("virtio-net-pci,netdev=n{i}{mac}")
}

/// A path inside an option, in which a comma ends a value.
pub fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A word as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,.:/@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `options` as a shell takes them, one a line.
pub fn lines(options: &Options) -> String {
    let line = |(option, value): &(&str, String)| format!("{option} {}\n", quoted(value));
    options.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_were_to_a_shell() {
        for word in [
            "vale0:vm1",
            "netmap:x{1",
            "it's",
            "",
            "a b",
            "$x",
            "-netdev",
        ] {
            let script = format!("printf %s {}", quoted(word));
            let out = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(out.expect("there is a shell").stdout, word.as_bytes());
        }
    }

    #[test]
    fn each_ring_of_several_queue_pairs_has_a_vector() {
        let one = vhost_user(0, Path::new("/tmp/a,b"), "server=on", 1, None);
        let wanted = "-chardev socket,id=c0,path=/tmp/a,,b,server=on\n-netdev vhost-user,id=n0,chardev=c0\n\
                      -device virtio-net-pci,netdev=n0\n";
        assert_eq!(lines(&one), wanted);
        let four = lines(&vhost_user(
            2,
            Path::new("s"),
            "server=on",
            4,
            Some("52:54:00:00:00:01"),
        ));
        assert!(four.contains("chardev=c2,queues=4\n"), "{four}");
        assert!(
            four.ends_with("netdev=n2,mac=52:54:00:00:00:01,mq=on,vectors=10\n"),
            "{four}"
        );
    }
}
