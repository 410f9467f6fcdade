//! What can be wrong with a name in the eyes of the libraries.

use core::fmt;

/// A name that a library refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What is wrong.
    pub kind: NameErrorKind,
    /// The errno left behind. It is `EINVAL` but for these: 0 when `nm_open` does not recognise
    /// the name; `ERANGE` when a number on the way did not fit a C `long` (the libraries keep what
    /// `strtol` said); `EOPNOTSUPP` for an option that is switched off.
    pub errno: i32,
}

pub(super) const EINVAL: i32 = 22;
pub(super) const ERANGE: i32 = 34;
pub(super) const EOPNOTSUPP: i32 = 95;

impl From<NameErrorKind> for NameError {
    fn from(kind: NameErrorKind) -> Self {
        let errno = match kind {
            NameErrorKind::NotNetmap => 0,
            NameErrorKind::OptionDisabled => EOPNOTSUPP,
            _ => EINVAL,
        };
        Self { kind, errno }
    }
}

/// What is wrong with a name. Bytes and numbers are the offending ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameErrorKind {
    /// nm_open: starts neither with `netmap:` nor with `vale`. Not an error to `nm_open`, whose
    /// callers try other kinds of interfaces next: it returns NULL with errno 0.
    NotNetmap,
    /// libnetmap: starts neither with `netmap` nor with `vale`.
    UnknownPrefix,
    /// No `:` after the prefix.
    MissingColon,
    /// libnetmap: something between `netmap` and `:`.
    UnexpectedIdentifier,
    /// The part between `vale` and `:` is not an identifier.
    BadSwitchName,
    /// nm_open: the part of a VALE name after `:` is not an identifier.
    BadSwitchPortName,
    /// libnetmap: `{` or `}` at the end of the name.
    EmptyPipeName,
    /// libnetmap: the pipe's name is not an identifier.
    BadPipeName,
    /// The name does not fit `nr_name` (nm_open: 15 bytes, libnetmap: 63).
    TooLong,
    /// libnetmap: nothing after `:`.
    EmptyPortName,
    /// A suffix that starts with this byte is unknown.
    UnknownModifier(u8),
    /// This byte may not follow a ring suffix or memory id.
    UnexpectedCharacter(u8),
    /// libnetmap: this byte stands where a number should.
    ExpectedNumber(u8),
    /// The ring (or nm_open's pipe) number is not in 0..=4094.
    RingOutOfRange(i64),
    /// Unknown flag after `/`.
    UnknownFlag(u8),
    /// nm_open: a second memory id.
    MemIdTwice,
    /// The memory id is not positive (or, for nm_open, not a number).
    BadMemId(i64),
    /// libnetmap: `@` at the end.
    EmptyMemId,
    /// libnetmap: this memory id contradicts one given before.
    MemIdConflict(i64),
    /// The name ends where something must follow.
    UnexpectedEnd,
    /// An option list that does not start with `@`.
    ExpectedOption,
    /// `@` with no option behind it.
    EmptyOption,
    /// No such option.
    UnknownOption,
    /// The option exists but is switched off (`offset` is, unless enabled).
    OptionDisabled,
    /// The option needs a body.
    MissingBody,
    /// The option has no default key that `=` could set.
    NoDefaultKey,
    /// `option=` with nothing behind it.
    MissingValue,
    /// The option has no such key.
    UnknownKey,
    /// A key twice.
    DuplicateKey,
    /// A key without `=value`.
    KeyWithoutValue,
    /// A key that the option must have is missing or empty.
    MandatoryKey,
    /// A second `extmem`.
    ExtmemTwice,
}

impl fmt::Display for NameErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::NotNetmap => "neither a netmap: nor a vale name",
            Self::UnknownPrefix => "the name must start with netmap: or vale",
            Self::MissingColon => "there is no ':' in the name",
            Self::UnexpectedIdentifier => "nothing may stand between netmap and ':'",
            Self::BadSwitchName => "a switch name has letters, digits and '_' only",
            Self::BadSwitchPortName => "a switch port name has letters, digits and '_' only",
            Self::EmptyPipeName => "the pipe has no name",
            Self::BadPipeName => "a pipe name has letters, digits and '_' only",
            Self::TooLong => "the port name is too long",
            Self::EmptyPortName => "the port name is empty",
            Self::UnknownModifier(b) => return with_byte(out, "no suffix starts with", *b),
            Self::UnexpectedCharacter(b) => return with_byte(out, "did not expect", *b),
            Self::ExpectedNumber(b) => return with_byte(out, "expected a number, not", *b),
            Self::RingOutOfRange(n) => return write!(out, "ring number {n} is not in 0..=4094"),
            Self::UnknownFlag(b) => return with_byte(out, "there is no flag", *b),
            Self::MemIdTwice => "the memory id is given twice",
            Self::BadMemId(n) => return write!(out, "memory id {n} is not positive"),
            Self::EmptyMemId => "the memory id after '@' is missing",
            Self::MemIdConflict(n) => return write!(out, "another memory id precedes {n}"),
            Self::UnexpectedEnd => "the name ends too early",
            Self::ExpectedOption => "an option list starts with '@'",
            Self::EmptyOption => "the option after '@' is missing",
            Self::UnknownOption => "there is no such option",
            Self::OptionDisabled => "the option is switched off",
            Self::MissingBody => "the option needs ':key=value' or '=value'",
            Self::NoDefaultKey => "the option takes ':key=value', not '=value'",
            Self::MissingValue => "the option's value is missing",
            Self::UnknownKey => "the option has no such key",
            Self::DuplicateKey => "the option has the same key twice",
            Self::KeyWithoutValue => "the key needs '=value'",
            Self::MandatoryKey => "the option lacks a key that it must have",
            Self::ExtmemTwice => "extmem is given twice",
        };
        out.write_str(sentence)
    }
}

fn with_byte(out: &mut fmt::Formatter<'_>, text: &str, byte: u8) -> fmt::Result {
    write!(out, "{text} '{}'", byte.escape_ascii())
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(out)
    }
}

impl core::error::Error for NameError {}
