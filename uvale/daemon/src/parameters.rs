//! Module parameters: read and written by calls, and by programs that write to their files.
//!
//! A parameter's file opened for writing is a connection of its own, so that a write that is
//! not interposed (by the C library itself, or by a program that got the file by exec) arrives here
//! as well. Writes that were made before a call was sent are handled before that call is served.

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::Daemon;
use super::connection::Role;
use super::log::{Level, log_of};
use uvale_control::{Effect, Parameter, World};
use uvale_link::proto::Reply;
use uvale_link::report as shape;
use uvale_system::refusal::Refusal;
use uvale_system::who::Who;

/// More packets than fit into a socket's queue: no more can have been written before we looked.
const QUEUED: u32 = 1024;

impl Daemon {
    pub(super) fn parameter(&self, name: &str) -> Reply {
        Reply::Parameter(World::parameter(name).map(|p| self.shown(p)))
    }

    pub(super) fn parameter_names(&self) -> Reply {
        let all = World::parameters().iter();
        Reply::ParameterNames(all.map(|p| p.name.to_owned()).collect())
    }

    pub(super) fn parameters(&self) -> Vec<shape::Parameter> {
        World::parameters().iter().map(|p| self.shown(p)).collect()
    }

    fn shown(&self, p: &Parameter) -> shape::Parameter {
        let effect = match p.effect {
            Effect::Yes => "yes",
            Effect::Stored => "stored",
            Effect::Shown => "shown",
        };
        shape::Parameter {
            name: p.name.to_owned(),
            value: self.world.parameter_value(p),
            default: p.default_value(),
            writable: p.is_writable(),
            effect: effect.to_owned(),
            what: p.what.to_owned(),
        }
    }

    /// Writes a parameter. Gives a warning if no port can be opened with this value.
    pub(super) fn set_parameter(
        &mut self,
        id: u64,
        name: &str,
        text: &str,
    ) -> Result<Option<String>, Refusal> {
        let who = self.connections.get(&id).and_then(|c| c.who.clone());
        let set = self.world.set_parameter(name, text);
        match &set {
            Ok(warning) => {
                let log = |level, line: &str| log_of(level, who.as_ref(), line);
                let text = text.trim_end();
                log(Level::Notice, &format!("parameter {name} is set to {text}"));
                if let Some(warning) = warning {
                    let line = format!("no port can be opened with it: {warning}");
                    log(Level::Warning, &line);
                }
            }
            Err(refusal) => self.log_refusal(who.as_ref(), &refusal.why),
        }
        set
    }

    /// A connection becomes a parameter's file, opened for writing.
    pub(super) fn open_parameter(
        &mut self,
        id: u64,
        protocol: u32,
        name: &str,
    ) -> Result<Reply, Refusal> {
        self.admit(id, protocol)?;
        let refused = |errno, why: &str| Err(Refusal::new(errno, format!("{name}: {why}")));
        let parameter = match World::parameter(name) {
            None => return refused(Errno::NOENT, "there is no such parameter"),
            Some(p) if !p.is_writable() => {
                return refused(Errno::ACCESS, "the parameter cannot be written");
            }
            Some(p) => p,
        };
        self.introduce(id, &Who::default());
        self.become_role(id, Role::Parameter(parameter.name));
        let Some(connection) = self.connections.get(&id) else {
            return refused(Errno::NXIO, "the connection is gone");
        };
        // Whoever reads from it gets end of file at once.
        let _ = rustix::net::shutdown(&connection.fd, Shutdown::Write);
        self.writers.push(id);
        Ok(Reply::Ok)
    }

    /// Bytes that were written to a parameter's file.
    pub(super) fn written(&mut self, id: u64, name: &'static str, bytes: &[u8]) {
        // As in the kernel: a C string, and nothing of nothing.
        let text = String::from_utf8_lossy(nm_abi::name::until_nul(bytes));
        if !bytes.is_empty() {
            let _ = self.set_parameter(id, name, &text);
        }
    }

    /// Handles what has been written to parameters' files so far. A packet of such a file that
    /// was received before must be handled first.
    pub(super) fn take_written(&mut self) {
        for i in 0..self.writers.len() {
            for _ in 0..QUEUED {
                let Some(id) = self.writers.get(i).copied() else {
                    break;
                };
                let Some(connection) = self.connections.get(&id) else {
                    break;
                };
                // A hang-up is for `serve` to find.
                let Ok(Some(packet)) = connection.receive() else {
                    break;
                };
                self.handle(id, packet);
            }
        }
    }
}
