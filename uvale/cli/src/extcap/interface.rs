//! Interfaces as Wireshark knows them: a value that names port and world, and a text for people.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::super::table::printable;

const PREFIX: &str = "uvale";

/// An interface: `uvale:vale0:a`, `uvale:vale0:a@%2Ftmp%2Fworld`, or `uvale`.
#[derive(Debug, PartialEq, Eq)]
pub struct Interface {
    /// the port or switch; none: an option says it
    pub port: Option<String>,
    /// the directory of its world; none: the usual one
    pub dir: Option<PathBuf>,
}

impl Interface {
    /// A port or switch.
    pub fn of(port: String, dir: Option<PathBuf>) -> Self {
        Self {
            port: Some(port),
            dir,
        }
    }

    /// The one whose options name port and world.
    pub fn any() -> Self {
        Self {
            port: None,
            dir: None,
        }
    }

    /// Its value, without the characters that mean something in Wireshark's grammar, and in the names of files.
    pub fn value(&self) -> String {
        let Some(port) = &self.port else {
            return PREFIX.to_owned();
        };
        let port = encode(port.as_bytes());
        match &self.dir {
            None => format!("{PREFIX}:{port}"),
            Some(dir) => format!("{PREFIX}:{port}@{}", encode(dir.as_os_str().as_bytes())),
        }
    }

    /// The interface of that value.
    pub fn parse(value: &str) -> Option<Self> {
        if value == PREFIX {
            return Some(Self::any());
        }
        let rest = value.strip_prefix(PREFIX)?.strip_prefix(':')?;
        let (port, dir) = match rest.split_once('@') {
            Some((port, dir)) => (port, Some(decode(dir)?)),
            None => (rest, None),
        };
        let port = String::from_utf8(decode(port)?).ok()?;
        let dir = dir.map(|dir| PathBuf::from(OsString::from_vec(dir)));
        Some(Self::of(port, dir))
    }

    /// Its line in the list of interfaces.
    pub fn listed(&self, about: &str) -> String {
        let name = self.port.as_deref().unwrap_or(PREFIX);
        let place = match &self.dir {
            Some(dir) => format!(" in {}", dir.display()),
            None => String::new(),
        };
        let display = printable(&format!("{name}{place}, {about}"));
        // a brace ends the text
        let display = display.replace(['{', '}'], " ");
        format!(
            "interface {{value={}}}{{display={display}}}\n",
            self.value()
        )
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)
}

/// Percent-encoding.
fn encode(bytes: &[u8]) -> String {
    let encode = |byte: &u8| match is_plain(*byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut all = Vec::new();
    while let Some(byte) = bytes.next() {
        all.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                (high << 4 | low) as u8
            }
            other => other,
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_port_and_world() {
        for (port, dir, value) in [
            ("vale0:a", None, "uvale:vale0:a"),
            ("x{1", None, "uvale:x%7B1"),
            ("x}1", Some("/tmp/w@ä"), "uvale:x%7D1@%2Ftmp%2Fw%40%C3%A4"),
            ("100%", None, "uvale:100%25"),
        ] {
            let interface = Interface::of(port.to_owned(), dir.map(PathBuf::from));
            assert_eq!(interface.value(), value);
            assert_eq!(Interface::parse(value), Some(interface));
        }
        assert_eq!(Interface::parse("uvale"), Some(Interface::any()));
        for nonsense in [
            "eth0",
            "uvalex",
            "uvale:%",
            "uvale:%zz",
            "uvale:%+1",
            "uvale:%FF",
            "",
        ] {
            let parsed = Interface::parse(nonsense);
            assert!(parsed.is_none(), "{nonsense}: {parsed:?}");
        }
    }

    #[test]
    fn a_line_has_no_braces_but_the_grammar_s() {
        let line = Interface::of("x}1".to_owned(), None).listed("pipe of a}{b");
        assert_eq!(
            line,
            "interface {value=uvale:x%7D1}{display=x 1, pipe of a  b}\n"
        );
    }
}
