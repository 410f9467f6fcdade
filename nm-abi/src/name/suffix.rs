//! The part of a port name behind the name proper: rings, flags, memory id. One state machine for
//! both libraries' dialects, which differ in details only.

use super::error::{EINVAL, ERANGE};
use super::{NameError, NameErrorKind as Kind, strtol};
use crate::{
    NETMAP_RING_MASK, NR_EXCLUSIVE, NR_MONITOR_RX, NR_MONITOR_TX, NR_REG_ALL_NIC, NR_REG_NIC_SW,
    NR_REG_ONE_NIC, NR_REG_ONE_SW, NR_REG_PIPE_MASTER, NR_REG_PIPE_SLAVE, NR_REG_SW,
    NR_RX_RINGS_ONLY, NR_TX_RINGS_ONLY, NR_ZCOPY_MON,
};
use core::fmt;

/// Whose rules apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `nm_open()`: pipes are modes here; numbers are whatever `strtol` takes.
    NmOpen,
    /// libnetmap: `^k`; numbers start with a digit; `@` may start an option.
    Libnetmap,
}

/// What a suffix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suffix {
    /// `NR_REG_*`.
    pub mode: u32,
    /// Ring number; pipe number for nm_open.
    pub ringid: u16,
    /// `NR_*` flags.
    pub flags: u64,
    /// Memory id, 0 when not given.
    pub mem_id: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    AfterRings,
    Number,
    /// Behind `/`.
    Flags,
    /// Behind `/` and at least one flag.
    FlagsOk,
    MemId,
    /// Behind libnetmap's `^`.
    HostRing,
}

struct Parser<'a> {
    dialect: Dialect,
    rest: &'a [u8],
    suffix: Suffix,
    overflow: bool,
}

/// Letters of the flags, in the order in which they are written back.
const FLAGS: [(u8, u64); 6] = [
    (b'x', NR_EXCLUSIVE),
    (b'z', NR_ZCOPY_MON),
    (b't', NR_MONITOR_TX),
    (b'r', NR_MONITOR_RX),
    (b'R', NR_RX_RINGS_ONLY),
    (b'T', NR_TX_RINGS_ONLY),
];

/// Parses `text` and returns what is left of it: nothing, or libnetmap's options from their first
/// `@` on. `mem_id`, when not 0, is a memory id known beforehand.
pub(super) fn parse(
    dialect: Dialect,
    text: &[u8],
    mem_id: u16,
) -> Result<(Suffix, &[u8]), NameError> {
    let suffix = Suffix {
        mode: NR_REG_ALL_NIC,
        ringid: 0,
        flags: 0,
        mem_id,
    };
    let mut parser = Parser {
        dialect,
        rest: text,
        suffix,
        overflow: false,
    };
    match parser.run() {
        Ok(()) => Ok((parser.suffix, parser.rest)),
        Err(kind) => Err(NameError {
            kind,
            errno: if parser.overflow { ERANGE } else { EINVAL },
        }),
    }
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), Kind> {
        let mut state = State::Start;
        while let Some(&byte) = self.rest.first() {
            state = match state {
                State::Start => self.start(byte)?,
                State::AfterRings => self.after_rings(byte)?,
                State::Number => self.number(byte)?,
                State::Flags | State::FlagsOk => self.flag(byte)?,
                State::MemId if self.dialect == Dialect::NmOpen => self.mem_id_nm_open()?,
                State::MemId if byte.is_ascii_digit() => self.mem_id_libnetmap()?,
                State::MemId => return Ok(()),
                State::HostRing if byte.is_ascii_digit() => {
                    self.suffix.mode = NR_REG_ONE_SW;
                    State::Number
                }
                State::HostRing => State::AfterRings,
            };
        }
        match state {
            State::Start | State::AfterRings | State::FlagsOk | State::HostRing => Ok(()),
            State::MemId if self.dialect == Dialect::Libnetmap => Err(Kind::EmptyMemId),
            State::Number | State::Flags | State::MemId => Err(Kind::UnexpectedEnd),
        }
    }

    fn start(&mut self, byte: u8) -> Result<State, Kind> {
        let nm_open = self.dialect == Dialect::NmOpen;
        let (mode, next) = match byte {
            b'^' if nm_open => (NR_REG_SW, State::AfterRings),
            b'^' => (NR_REG_SW, State::HostRing),
            b'*' => (NR_REG_NIC_SW, State::AfterRings),
            b'-' => (NR_REG_ONE_NIC, State::Number),
            b'{' if nm_open => (NR_REG_PIPE_MASTER, State::Number),
            b'}' if nm_open => (NR_REG_PIPE_SLAVE, State::Number),
            b'/' => (NR_REG_ALL_NIC, State::Flags),
            b'@' => (NR_REG_ALL_NIC, State::MemId),
            _ => return Err(Kind::UnknownModifier(byte)),
        };
        self.suffix.mode = mode;
        self.enter(next);
        Ok(next)
    }

    fn after_rings(&mut self, byte: u8) -> Result<State, Kind> {
        let next = match byte {
            b'/' => State::Flags,
            b'@' => State::MemId,
            _ => return Err(Kind::UnexpectedCharacter(byte)),
        };
        self.enter(next);
        Ok(next)
    }

    fn flag(&mut self, byte: u8) -> Result<State, Kind> {
        if byte == b'@' {
            self.enter(State::MemId);
            return Ok(State::MemId);
        }
        let flag = FLAGS.iter().find(|(letter, _)| *letter == byte);
        self.suffix.flags |= flag.ok_or(Kind::UnknownFlag(byte))?.1;
        self.skip(1);
        Ok(State::FlagsOk)
    }

    /// Steps over the byte that led to `next`. An `@` that turns out to start an option belongs
    /// to the options, so it stays.
    fn enter(&mut self, next: State) {
        let option = next == State::MemId
            && self.dialect == Dialect::Libnetmap
            && self.rest.get(1).is_some_and(|b| !b.is_ascii_digit());
        self.skip(usize::from(!option));
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    fn take_number(&mut self) -> i64 {
        let number = strtol(self.rest);
        self.overflow |= number.overflow;
        self.skip(number.len);
        number.value
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked before"
    )]
    fn number(&mut self, byte: u8) -> Result<State, Kind> {
        if self.dialect == Dialect::Libnetmap && !byte.is_ascii_digit() {
            return Err(Kind::ExpectedNumber(byte));
        }
        let number = self.take_number();
        if !(0..i64::from(NETMAP_RING_MASK)).contains(&number) {
            return Err(Kind::RingOutOfRange(number));
        }
        self.suffix.ringid = number as u16;
        Ok(State::AfterRings)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "so does nm_open"
    )]
    fn mem_id_nm_open(&mut self) -> Result<State, Kind> {
        if self.suffix.mem_id != 0 {
            return Err(Kind::MemIdTwice);
        }
        let number = self.take_number();
        if number <= 0 {
            return Err(Kind::BadMemId(number));
        }
        self.suffix.mem_id = number as u16;
        Ok(State::AfterRings)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "so does libnetmap"
    )]
    fn mem_id_libnetmap(&mut self) -> Result<State, Kind> {
        let number = self.take_number();
        if number <= 0 {
            return Err(Kind::BadMemId(number));
        }
        if self.suffix.mem_id != 0 && i64::from(self.suffix.mem_id) != number {
            return Err(Kind::MemIdConflict(number));
        }
        self.suffix.mem_id = number as u16;
        Ok(State::AfterRings)
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            NR_REG_SW => out.write_str("^")?,
            NR_REG_NIC_SW => out.write_str("*")?,
            NR_REG_ONE_SW => write!(out, "^{}", self.ringid)?,
            NR_REG_ONE_NIC => write!(out, "-{}", self.ringid)?,
            NR_REG_PIPE_MASTER => write!(out, "{{{}", self.ringid)?,
            NR_REG_PIPE_SLAVE => write!(out, "}}{}", self.ringid)?,
            _ => (),
        }
        let mut slash = "/";
        for (letter, flag) in FLAGS {
            if self.flags & flag != 0 {
                write!(out, "{slash}{}", char::from(letter))?;
                slash = "";
            }
        }
        if self.mem_id != 0 {
            write!(out, "@{}", self.mem_id)?;
        }
        Ok(())
    }
}
