//! What every version understands, from protocol 8 on, however the messages in [`crate::proto`]
//! change. It is fixed; a test has its bytes.
//!
//! A *word* is one packet on a connection to the daemon's socket, with a socket for the answer
//! (SCM_RIGHTS) as any request has. The answer is one packet: `\xff`, then `name=value` pairs of
//! printable ASCII separated by blanks; a reader skips pairs that it does not know. No message
//! of any version begins with the byte `\xff` and continues as a word does, so a daemon from before
//! protocol 8 refuses it as unreadable.
//!
//! | word | the daemon |
//! |---|---|
//! | `\xffuvale who` | answers |
//! | `\xffuvale stop` | answers and exits |
//!
//! | pair | meaning |
//! |---|---|
//! | `protocol=9` | [`PROTOCOL`] of the daemon; always there |
//! | `version=0.3.0` | its version |
//! | `pid=12` | its process id in its own PID namespace |
//! | `passed=1` | its socket was passed to it, as systemd does |
//! | `refused=1` | the word came from another user and was not obeyed |

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::channel;
use crate::proto::PROTOCOL;

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// who is there?
    Who,
    /// exit
    Stop,
}

impl Word {
    /// As it is sent.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Who => b"\xffuvale who",
            Self::Stop => b"\xffuvale stop",
        }
    }

    /// The word that a packet is.
    pub fn read(packet: &[u8]) -> Option<Self> {
        [Self::Who, Self::Stop]
            .into_iter()
            .find(|word| word.bytes() == packet)
    }
}

/// A daemon, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// what it speaks
    pub protocol: u32,
    /// its version; empty if it did not say
    pub version: String,
    /// its process id in its own PID namespace; 0 if it did not say
    pub pid: i32,
    /// its socket was passed to it
    pub passed: bool,
    /// it does not obey: the word came from another user
    pub refused: bool,
}

impl Answer {
    /// What this process would answer.
    pub fn own() -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            passed: false,
            refused: false,
        }
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "protocol={} version={} pid={}",
            self.protocol, self.version, self.pid
        );
        if self.passed {
            text.push_str(" passed=1");
        }
        if self.refused {
            text.push_str(" refused=1");
        }
        let mut bytes = vec![0xff];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Reads an answer; `None` if it is not one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(packet.strip_prefix(&[0xff])?).ok()?;
        let mut protocol = None;
        let mut answer = Self::default();
        for (name, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
            match name {
                "protocol" => protocol = Some(value.parse().ok()?),
                "version" => {
                    answer.version = value
                        .chars()
                        .filter(char::is_ascii_graphic)
                        .take(32)
                        .collect()
                }
                "pid" => answer.pid = value.parse().unwrap_or(0),
                "passed" => answer.passed = value == "1",
                "refused" => answer.refused = value == "1",
                _ => {}
            }
        }
        answer.protocol = protocol?;
        Some(answer)
    }
}

/// What a word was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// a daemon that knows words
    Daemon(Answer),
    /// a daemon from before protocol 8: it cannot read words
    Old,
    /// something else
    Stranger,
}

/// Part of what a daemon from before protocol 8 says about a message that it cannot read.
const OLD: &[u8] = b"libnmshim of another version";

/// Says a word on `connection`.
pub fn say(connection: BorrowedFd<'_>, word: Word) -> Result<Heard, Errno> {
    let packet = channel::exchange(connection, word.bytes(), &[])?;
    Ok(match Answer::read(&packet.bytes) {
        Some(answer) => Heard::Daemon(answer),
        None if packet.bytes.windows(OLD.len()).any(|part| part == OLD) => Heard::Old,
        None => Heard::Stranger,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Call, Reply, decode};
    use proptest::prelude::*;

    /// These bytes are what daemons and commands of other versions say. They stay.
    #[test]
    fn words_and_answers_are_as_ever() {
        let who = [0xff, 0x75, 0x76, 0x61, 0x6c, 0x65, 0x20, 0x77, 0x68, 0x6f];
        let stop = [
            0xff, 0x75, 0x76, 0x61, 0x6c, 0x65, 0x20, 0x73, 0x74, 0x6f, 0x70,
        ];
        assert_eq!(Word::Who.bytes(), who);
        assert_eq!(Word::Stop.bytes(), stop);
        assert_eq!(Word::read(&who), Some(Word::Who));
        assert_eq!(Word::read(&stop), Some(Word::Stop));
        assert_eq!(Word::read(b"\xffuvale dance"), None);

        let answer = Answer {
            protocol: 8,
            version: "0.3.0".into(),
            pid: 12,
            passed: true,
            refused: false,
        };
        let recorded = b"\xffprotocol=8 version=0.3.0 pid=12 passed=1";
        assert_eq!(answer.bytes(), recorded);
        assert_eq!(Answer::read(recorded), Some(answer));
        let later =
            Answer::read(b"\xffcolour=blue protocol=99 version=7.0 pid=1 and=more").unwrap();
        assert_eq!((later.protocol, later.version.as_str()), (99, "7.0"));
        assert_eq!(Answer::read(b"\xffversion=7.0"), None);
    }

    #[test]
    fn a_word_is_no_message_and_an_answer_no_reply() {
        for word in [Word::Who, Word::Stop] {
            assert_eq!(decode::<Call>(word.bytes()), None);
        }
        assert_eq!(decode::<Reply>(&Answer::own().bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Answer::read(&bytes);
            let mut marked = vec![0xff];
            marked.extend(&bytes);
            let _ = Answer::read(&marked);
        }
    }
}
