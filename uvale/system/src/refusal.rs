//! Why something is refused: an error number for the program, and a sentence for a person.

use core::fmt;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// what the program gets
    #[serde(with = "number")]
    pub errno: Errno,
    /// one sentence for a person: what is wrong and what to do about it
    pub why: String,
}

impl Refusal {
    /// A refusal that `why` explains.
    pub fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self {
            errno,
            why: why.into(),
        }
    }

    /// The error number in words.
    pub fn named(&self) -> String {
        let text = self.errno.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_owned()
    }
}

/// What a system call on the way to the daemon failed with, where nothing better can be said.
impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        let why = match errno {
            Errno::NXIO => "the uvale daemon is gone".to_owned(),
            Errno::TIMEDOUT => "the uvale daemon does not answer".to_owned(),
            other => crate::limits::reached(other)
                .unwrap_or_else(|| format!("talking to the uvale daemon: {other}")),
        };
        Self { errno, why }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refusal {}

/// How an error number travels between processes: as a number. One that is none becomes `EPROTO`.
pub mod number {
    use rustix::io::Errno;
    use serde::{Deserialize, Deserializer, Serializer};

    /// For serde.
    pub fn serialize<S: Serializer>(errno: &Errno, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32(errno.raw_os_error())
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Errno, D::Error> {
        i32::deserialize(from).map(checked)
    }

    pub(super) fn checked(number: i32) -> Errno {
        match number {
            1..4096 => Errno::from_raw_os_error(number),
            _ => Errno::PROTO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number::checked;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_never_becomes_anything_but_an_errno(number: i32) {
            let got = checked(number).raw_os_error();
            prop_assert_eq!(got, if (1..4096).contains(&number) { number } else { 71 });
        }
    }

    #[test]
    fn edges_of_errno() {
        for (number, is) in [
            (0, 71),
            (1, 1),
            (4095, 4095),
            (4096, 71),
            (-1, 71),
            (i32::MIN, 71),
        ] {
            assert_eq!(checked(number).raw_os_error(), is);
        }
    }
}
