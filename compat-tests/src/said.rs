//! A command that is waited for: how it ended, and what it said.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// How a command ended, and what it said.
pub struct Said {
    /// Its exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it does not start.
    pub fn of(command: &mut Command) -> Said {
        let output = command.output().expect("it starts");
        Said {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it ended with `code`.
    pub fn assert_code(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// Asserts that the signal of that number ended it.
    pub fn assert_signal(self, number: i32) -> Said {
        assert_eq!(self.signal, Some(number), "{}{}", self.out, self.err);
        self
    }

    /// Asserts that its standard error has `why` in it.
    pub fn assert_says(self, why: &str) -> Said {
        assert!(self.err.contains(why), "no {why:?} in: {}", self.err);
        self
    }

    /// Asserts that it failed with one line that has all of `parts`.
    pub fn assert_failed_with(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in: {}", self.err);
        }
    }
}
