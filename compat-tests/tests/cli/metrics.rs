//! `uvale daemon --metrics`: what is told, to whom, and what peers cost that mean no good.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use compat_tests::{target, wait};

use super::*;

/// A directory with a daemon that serves metrics.
struct Served {
    world: World,
    dir: PathBuf,
    daemon: Program,
    address: String,
}

const KIND: &str = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Served {
    fn new(metrics: &str) -> Served {
        let world = World::new();
        let dir = world.file("served");
        let mut command = world.uvale(&["daemon", "--metrics", metrics, "--dir"]);
        command.arg(&dir);
        let daemon = Program::start("uvale daemon --metrics", command);
        daemon.wait_text("listening at");
        let said = daemon.wait_line("where metrics are", |line| line.contains("metrics at "));
        let address = said.split("metrics at ").nth(1).unwrap_or_default();
        let address = address
            .trim_start_matches("http://")
            .trim_end_matches("/metrics");
        let address = address.to_owned();
        Served {
            world,
            dir,
            daemon,
            address,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("metrics are served");
        stream.set_read_timeout(Some(wait::deadline())).unwrap();
        stream
    }

    fn uvale(&self, args: &[&str]) -> Command {
        let mut command = self.world.uvale(args);
        command.env("UVALE_DIR", &self.dir);
        command
    }

    /// The text of the metrics.
    fn metrics(&self) -> String {
        let answer = ask(
            self.connect(),
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        );
        body(&answer).to_owned()
    }
}

/// Sends a request and reads until the end.
fn ask(mut stream: impl Read + Write, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn body(answer: &str) -> &str {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(KIND),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{head}"
    );
    body
}

/// Labels of a sample: names, and values as they are escaped.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label is name=\"value\"");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        let mut is_escaped = false;
        let end = after.find(|c| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let end = end.expect("a value ends");
        assert!(
            labels
                .insert(name.to_owned(), after[..end].to_owned())
                .is_none(),
            "{text}"
        );
        rest = after[end + 1..].trim_start_matches(',');
    }
    labels
}

/// Samples by name and labels, of a text that is checked against the grammar of OpenMetrics.
fn samples(text: &str) -> HashMap<(String, BTreeMap<String, String>), f64> {
    let text = text
        .strip_suffix("# EOF\n")
        .expect("the text ends with # EOF");
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let (mut family, mut kind, mut help) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("HELP has words");
            assert!(
                words.ends_with('.') && families.insert(name.to_owned()),
                "{line}"
            );
            help = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').expect("TYPE has a type");
            assert!(
                ["counter", "gauge", "info"].contains(&of) && name == help,
                "{line}"
            );
            (family, kind) = (name.to_owned(), of.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("UNIT has a unit");
            assert!(
                name == family && name.ends_with(&format!("_{unit}")),
                "{line}"
            );
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a sample has a value");
            let (name, of) = key.split_once('{').unwrap_or((key, "}"));
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(name, format!("{family}{suffix}"), "{line}");
            let of = labels(of.strip_suffix('}').expect("labels end"));
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert!(
                samples.insert((name.to_owned(), of), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

/// The same by Prometheus's own parser, if it is here.
fn prometheus_reads(text: &str) {
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        print(len(list(read(sys.stdin.read()))))";
    let mut command = Command::new("python3");
    command
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return println!("skipped: python3 is not here");
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap_or_default();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("ModuleNotFoundError") {
        return println!("skipped: python3 has no prometheus_client");
    }
    assert!(output.status.success(), "{error}\n{text}");
}

#[test]
fn ports_are_counted_as_stats_counts_them() {
    let served = Served::new("127.0.0.1:0");
    let start =
        |args: &[&str]| Program::start("uvale gen", served.uvale(&[&["gen", "-i"], args].concat()));
    let held = start(&["vale0:b", "-f", "rx", "-w", "3600"]);
    held.wait_text("waiting 3600 s");
    start(&["vale0:a", "-f", "tx", "-n", "1500"]).wait_success();
    let text = served.metrics();
    prometheus_reads(&text);
    let samples = samples(&text);
    let of = |name: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<_, _> = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        *samples
            .get(&(name.to_owned(), labels.clone()))
            .unwrap_or_else(|| panic!("no {name} {labels:?} in\n{text}"))
    };
    let ring = [
        ("port", "vale0:b"),
        ("switch", "vale0"),
        ("direction", "rx"),
        ("ring", "0"),
    ];
    assert_eq!(of("uvale_ring_packets_total", &ring), RING as f64);
    assert_eq!(of("uvale_ring_bytes_total", &ring), RING as f64 * 60.0);
    assert_eq!(of("uvale_ring_pending_packets", &ring), RING as f64);
    let full = [&ring[..], &[("reason", "full")]].concat();
    assert_eq!(
        of("uvale_ring_dropped_packets_total", &full),
        1500.0 - RING as f64
    );
    assert_eq!(of("uvale_port_users", &ring[..2]), 1.0);
    assert_eq!(of("uvale_ports", &[("kind", "vale")]), 1.0);
    assert_eq!(of("uvale_processes", &[]), 1.0);
    assert_eq!(of("uvale_switches", &[]), 1.0);
    assert!(of("uvale_resident_memory_bytes", &[]) > 0.0);
    assert!(of("uvale_memory_bytes", &[("mem_id", "1")]) > 0.0);
}

/// Connections at a time.
const MOST: usize = 8;

/// Threads of the daemon that have a connection.
fn peers(daemon: i32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{daemon}/task")).expect("the daemon runs");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "metrics-peer").count()
}

/// Would a read wait?
fn is_waiting(stream: &mut TcpStream) -> bool {
    let waits = |e: std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
    stream.read(&mut [0]).is_err_and(waits)
}

#[test]
fn peers_that_mean_no_good_cost_only_themselves() {
    let mut served = Served::new("127.0.0.1:0");
    // more of them than are served at a time, all of which say nothing or not all
    let silent: Vec<_> = (0..20).map(|_| served.connect()).collect();
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = served.connect();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
            stream
        })
        .collect();
    samples(&served.metrics());
    Said::of(served.uvale(&["status"])).ok();
    let daemon = served.daemon.pid().as_raw_pid();
    wait_for("no more threads than connections may be", || {
        peers(daemon) <= MOST
    });
    // the first ones were let go for the last, and these have had their time
    for mut stream in silent.into_iter().chain(slow) {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(
            end.is_ok_and(|len| len == 0) || !is_waiting(&mut stream),
            "it is still open"
        );
    }
    wait_for("nobody is left", || peers(daemon) == 0);
    let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'a'; 100_000]].concat();
    let requests: [(&[u8], &str); 5] = [
        (b"\x16\x03\x01\x00\xff\r\n\r\n", "400 Bad Request"),
        (
            b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "405 Method Not Allowed",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"GET \xff\xff HTTP/1.1\r\n\r\n", "40"),
        (&long, "431 Request Header Fields Too Large"),
    ];
    for (request, status) in requests {
        let mut stream = served.connect();
        // it may be answered, and closed, before all is written
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let is_reset = answer.is_empty() && request.len() > 50_000;
        assert!(
            is_reset || answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    // who does not read what was asked for
    for _ in 0..20 {
        let _ = served.connect().write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
    }
    let answer = ask(served.connect(), b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        answer.contains(KIND) && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    samples(&served.metrics());
    assert!(!served.daemon.has_ended());
}

#[test]
fn a_unix_socket_lives_as_long_as_its_daemon() {
    let world = World::new();
    let path = world.file("metrics.sock");
    let address = format!("unix:{}", path.display());
    let served = || Served::new(&address);
    let mut first = served();
    let answer = ask(
        UnixStream::connect(&path).unwrap(),
        b"GET /metrics HTTP/1.1\r\n\r\n",
    );
    samples(body(&answer));
    // one that is killed leaves it behind, and the next one takes its place
    first.daemon.signal(Signal::KILL);
    first.daemon.wait();
    assert!(path.metadata().is_ok_and(|of| of.file_type().is_socket()));
    let mut second = served();
    let another = world.file("another");
    let another = another.to_str().unwrap();
    uvale(&world, &["daemon", "--metrics", &address, "--dir", another])
        .failed("another process may listen there");
    samples(body(&ask(
        UnixStream::connect(&path).unwrap(),
        b"GET /metrics HTTP/1.1\r\n\r\n",
    )));
    second.daemon.signal(Signal::TERM);
    second.daemon.wait();
    assert!(!path.exists());
}

#[test]
fn addresses_that_cannot_be_are_explained_and_no_daemon_starts() {
    let served = Served::new("127.0.0.1:0");
    let world = &served.world;
    let file = world.file("file");
    std::fs::write(&file, "x").unwrap();
    let file = format!("unix:{}", file.display());
    let dir = world.file("none");
    let dir = dir.to_str().unwrap();
    for (address, why) in [
        (served.address.as_str(), "another process has this port"),
        (file.as_str(), "this exists and is no socket"),
        (
            "unix:/nowhere/at/all",
            "cannot make the socket: No such file or directory",
        ),
        ("192.0.2.1:9464", "only addresses of loopback"),
        ("0.0.0.0:9464", "only addresses of loopback"),
        ("eth0", "it takes unix:PATH, ADDRESS:PORT or PORT"),
    ] {
        for more in [&[][..], &["--detach"]] {
            let said = uvale(
                world,
                &[&["daemon", "--dir", dir, "--metrics", address], more].concat(),
            );
            said.failed(why);
            uvale(world, &["status", "--dir", dir]).failed("no uvale daemon answers");
        }
    }
}

#[test]
fn the_file_is_for_daemons_that_somebody_starts() {
    let world = World::new();
    let path = world.file("metrics.sock");
    let config = world.file("uvale.toml");
    std::fs::write(&config, format!("metrics = \"unix:{}\"\n", path.display())).unwrap();
    let dir = world.file("by-hand");
    let dir = dir.to_str().unwrap();
    let config = config.to_str().unwrap();
    uvale(
        &world,
        &["daemon", "--dir", dir, "--config", config, "--detach"],
    )
    .ok();
    samples(body(&ask(
        UnixStream::connect(&path).unwrap(),
        b"GET /metrics HTTP/1.1\r\n\r\n",
    )));
    // a program's own has another world at the same time, and the address is taken
    let mut command = Command::new(&target::binaries().uvale);
    command
        .args(["run", "--private", "--", "true"])
        .env("UVALE_CONFIG", config)
        .env_remove("UVALE_DIR");
    Said::of(command).ok();
    uvale(&world, &["stop", "--dir", dir]).ok();
    wait_for("the socket goes", || !path.exists());
}
