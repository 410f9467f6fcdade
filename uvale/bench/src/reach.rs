//! Programs that no preloaded library reaches: what a sync costs them, beside what the kernel's part of it costs alone.
//!
//! | way | *bare* | *sync* |
//! |---|---|---|
//! | notification | a call that a filter hands over to another process, which answers it | `uvale run --reach=notify` |
//! | signal | a call that the kernel traps, answered by a handler that does nothing else | `uvale run --reach=trap` |
//!
//! The same loop of single calls in all of them, in turns. The two processes of a call that is handed over stay on one
//! processor, here and there: the kernel can change between them at once then.

mod bare;
mod figures;
pub mod parts;
#[allow(unsafe_code)]
pub mod raw;
mod syncs;

use std::os::fd::OwnedFd;

use super::cases::{Bench, Case, Path};
use super::measure::{Outcome, measure};
use super::worker::{Role, Spec};
use super::world::Group;
pub use figures::{Figures, Packets, Syncs};
use parts::Part;
pub use parts::Reach;

impl Bench<'_> {
    /// A sync by that way, without and with a packet, and the bare call.
    pub fn syncs(&self, reach: Reach) -> Result<Syncs, String> {
        self.board.reset();
        let mut bare = match reach {
            Reach::Notify => self.handed_over()?,
            Reach::Trap => Group::start(self.board, 0, None, vec![self.alone(0, Part::Traps)])?,
        };
        let part = |group: usize| Part::Syncs {
            switch: format!("vale{group}"),
            with_packet: group == 2,
        };
        let reached = |group| {
            let (spec, stdout) = self.alone(group, part(group));
            let reach = Some(reach);
            let spec = Spec { reach, ..spec };
            Group::start(self.board, group, Some(self.world), vec![(spec, stdout)])
        };
        let (mut nothing, mut packet) = (reached(1)?, reached(2)?);
        let mut groups = [&mut bare, &mut nothing, &mut packet];
        let outcomes = measure(self.board, &mut groups, self.windows)?;
        Syncs::new(reach, &outcomes)
    }

    fn alone(&self, group: usize, part: Part) -> (Spec, Option<OwnedFd>) {
        let cpu = self.cpus[0];
        (self.spec(group, 0, cpu, Role::Reach(part)), None)
    }

    /// Two processes, one of which answers the other one's calls.
    fn handed_over(&self) -> Result<Group<'_>, String> {
        let sockets = super::cases::socketpair()?;
        let spec = |place, part| self.spec(0, place, self.cpus[0], Role::Reach(part));
        // who answers is there when the first call is made
        let workers = vec![
            (spec(0, Part::Answers), Some(sockets.0)),
            (spec(1, Part::Calls), Some(sockets.1)),
        ];
        Group::start(self.board, 0, None, workers)
    }

    /// Packets from one program to another one, both preloaded, and both served by notification.
    pub fn by_notification(&self, path: Path, batch: u32, len: u16) -> Result<Packets, String> {
        self.board.reset();
        let case = Case {
            path,
            senders: 1,
            receivers: 1,
            len,
            batch,
        };
        let mut preloaded = self.netmap(1, case, None)?;
        let mut notified = self.netmap(2, case, Some(Reach::Notify))?;
        let mut groups = [&mut preloaded, &mut notified];
        let outcomes = measure(self.board, &mut groups, self.windows)?;
        let [preloaded, notified] = <[Outcome; 2]>::try_from(outcomes)
            .map_err(|_| "two groups have two outcomes".to_owned())?;
        Packets::new(case, &preloaded, &notified)
    }

    fn netmap(&self, group: usize, case: Case, reach: Option<Reach>) -> Result<Group<'_>, String> {
        let roles = self.netmap_roles(case, group, false).into_iter();
        let specs = roles.enumerate().map(|(place, (cpu, role))| {
            let spec = self.spec(group, place, cpu, role);
            (Spec { reach, ..spec }, None)
        });
        Group::start(self.board, group, Some(self.world), specs.collect())
    }
}
