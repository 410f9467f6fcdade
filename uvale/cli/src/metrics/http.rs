//! A connection: its request, within limits, and the answer. A connection has one request.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::address::Stream;

/// Longest head of a request, in bytes.
const HEAD: usize = 8 << 10;
/// Most lines of a head.
const LINES: usize = 64;
/// What is read, and dropped, after an answer: an answer could be lost if what came with the request is not read.
const REST: usize = 64 << 10;

/// What OpenMetrics asks for.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const WORDS: &str = "text/plain; charset=utf-8";

/// Reads a request and answers it, in `time`. `text` makes the metrics; `is_answering` is true from the end of the
/// request to that of the answer.
pub fn answer(
    stream: &Stream,
    time: Duration,
    text: &dyn Fn() -> Result<Arc<str>, String>,
    is_answering: &AtomicBool,
) {
    let until = Instant::now() + time;
    let Some(request) = read(stream, until) else {
        return stream.end();
    };
    is_answering.store(true, Relaxed);
    let (status, kind, body, with_body) = match request {
        Request::Wrong(status) => (status, WORDS, format!("{status}\n").into(), true),
        Request::Other => (
            "404 Not Found",
            WORDS,
            "metrics are at /metrics\n".into(),
            true,
        ),
        Request::Metrics { with_body } => match text() {
            Ok(text) => ("200 OK", METRICS, text, with_body),
            Err(why) => (
                "503 Service Unavailable",
                WORDS,
                format!("{why}\n").into(),
                with_body,
            ),
        },
    };
    let allow = match status.starts_with("405") {
        true => "Allow: GET, HEAD\r\n",
        false => "",
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    let body = if with_body { body.as_bytes() } else { b"" };
    if write(stream, until, head.as_bytes()).is_some() && write(stream, until, body).is_some() {
        stream.end_writing();
        is_answering.store(false, Relaxed);
        drain(stream, until);
    }
    stream.end();
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Metrics {
        with_body: bool,
    },
    Other,
    /// nothing that is understood: a status
    Wrong(&'static str),
}

/// `None`: the peer has gone, or took too long.
fn read(stream: &Stream, until: Instant) -> Option<Request> {
    let mut head = [0; HEAD];
    let mut len = 0;
    loop {
        let n = within(until, |time| stream.read_within(time, &mut head[len..]))?;
        if n == 0 {
            return None;
        }
        len += n;
        match (parse(&head[..len]), len) {
            (Some(request), _) => return Some(request),
            (None, HEAD) => return Some(Request::Wrong("431 Request Header Fields Too Large")),
            (None, _) => {}
        }
    }
}

/// `None`: there is more to come.
fn parse(head: &[u8]) -> Option<Request> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Request::Wrong("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Request::Wrong("400 Bad Request")),
    }
    let target = request.path.unwrap_or_default();
    // A target may be a whole address, and names the host then (RFC 9112, 3.2.2).
    let (host, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("localhost", target),
    };
    let mut hosts = request.headers.iter();
    let hosts_are_here = hosts.all(|header| {
        !header.name.eq_ignore_ascii_case("host")
            || std::str::from_utf8(header.value).is_ok_and(is_here)
    });
    if !(is_here(host) && hosts_are_here) {
        return Some(Request::Wrong("421 Misdirected Request"));
    }
    let path = path.split('?').next().unwrap_or_default();
    Some(match (request.method, path) {
        (Some("GET"), "/metrics") => Request::Metrics { with_body: true },
        (Some("HEAD"), "/metrics") => Request::Metrics { with_body: false },
        (Some("GET" | "HEAD"), _) => Request::Other,
        _ => Request::Wrong("405 Method Not Allowed"),
    })
}

/// Does a host, with or without a port, name this machine's loopback? Other names may be a web page's, which has them
/// resolved to here so that a browser shows it what it may not see.
fn is_here(host: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let host = host.trim();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if digits(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let is_loopback = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok_and(|at| at.is_loopback()),
        None => name.parse::<Ipv4Addr>().is_ok_and(|at| at.is_loopback()),
    };
    is_loopback || name.is_empty() || name.eq_ignore_ascii_case("localhost")
}

fn write(stream: &Stream, until: Instant, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let n = within(until, |time| stream.write_within(time, bytes))?;
        bytes = bytes.get(n..).filter(|_| n > 0)?;
    }
    Some(())
}

/// Until the peer has read all, and says so by its own end.
fn drain(stream: &Stream, until: Instant) {
    let mut rest = [0; 4096];
    let mut left = REST;
    while let Some(n @ 1..) = within(until, |time| stream.read_within(time, &mut rest)) {
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}

/// Does something that may take until then.
fn within(
    until: Instant,
    mut what: impl FnMut(Duration) -> std::io::Result<usize>,
) -> Option<usize> {
    loop {
        let left = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())?;
        match what(left) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood() {
        let metrics = |with_body| Some(Request::Metrics { with_body });
        let wrong = |status| Some(Request::Wrong(status));
        let elsewhere = wrong("421 Misdirected Request");
        let many = format!(
            "GET /metrics HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(LINES + 1)
        );
        for (head, expected) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
                metrics(true),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                elsewhere.clone(),
            ),
            (
                "GET /metrics HTTP/1.1\r\nhost:localhost\r\nHOST: x:1\r\n\r\n",
                elsewhere.clone(),
            ),
            (
                "GET http://LOCALHOST:9464/metrics HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n",
                metrics(true),
            ),
            ("GET http://[::1]/metrics?a HTTP/1.1\r\n\r\n", metrics(true)),
            (
                "GET http://127.0.0.1 HTTP/1.1\r\n\r\n",
                Some(Request::Other),
            ),
            (
                "GET http://x/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
                elsewhere,
            ),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", metrics(true)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", metrics(false)),
            ("GET / HTTP/1.1\r\n\r\n", Some(Request::Other)),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                wrong("405 Method Not Allowed"),
            ),
            ("GET /metrics HTTP/1.1\r\nHost", None),
            ("GET /metrics", None),
            ("\x16\x03\x01\x02", wrong("400 Bad Request")),
            ("GET  HTTP/9\r\n\r\n", wrong("400 Bad Request")),
            (many.as_str(), wrong("431 Request Header Fields Too Large")),
        ] {
            assert_eq!(parse(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn only_loopback_is_here() {
        for host in [
            "",
            "localhost",
            "Localhost:80",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:9464",
        ] {
            assert!(is_here(host), "{host}");
        }
        for host in [
            "x",
            "localhost.x",
            "127.0.0.1.x",
            "192.0.2.1:1",
            "::1:x",
            "[::2]",
            "localhost:x",
            "[::1",
            "a:b:1",
        ] {
            assert!(!is_here(host), "{host}");
        }
    }
}
