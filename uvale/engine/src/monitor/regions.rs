//! The memory of monitors, mapped by the syncs that feed them.

use std::sync::Arc;

use super::super::{Host, RegionMap};

/// Uses of other regions after which a monitor's region counts as no longer needed.
const KEEP: u64 = 1000;

/// The regions of monitors that a ring's syncs feed, kept mapped.
#[derive(Default)]
pub struct Regions {
    kept: Vec<Kept>,
    /// counts the uses
    now: u64,
    session: u32,
    /// being changed: if found so on entry, a fork has copied it in that state
    changing: bool,
}

struct Kept {
    region: Arc<RegionMap>,
    used: u64,
}

impl Regions {
    /// Region `number`, mapped if necessary.
    pub(super) fn get(&mut self, host: &dyn Host, number: u32) -> Option<Arc<RegionMap>> {
        if self.changing || self.session != host.session() {
            core::mem::forget(core::mem::take(self));
            self.session = host.session();
        }
        self.now += 1;
        if let Some(kept) = self.kept.iter_mut().find(|k| k.region.number == number) {
            kept.used = self.now;
            return Some(kept.region.clone());
        }
        self.map(host, number)
    }

    /// Maps one more region, and drops those that nothing needs any longer.
    #[cold]
    fn map(&mut self, host: &dyn Host, number: u32) -> Option<Arc<RegionMap>> {
        let region = host.region(number)?;
        let (now, used) = (self.now, self.now);
        self.changing = true;
        self.kept.retain(|k| now - k.used < KEEP);
        self.kept.push(Kept {
            region: region.clone(),
            used,
        });
        self.changing = false;
        Some(region)
    }
}
