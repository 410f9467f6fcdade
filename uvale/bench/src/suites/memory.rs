//! What worlds and ports take.

use crate::contest::Bench;
use crate::memory as taken;
use crate::run::Run;

/// Memory that is touched, and how long a start takes.
pub fn memory(run: &mut Run, _: &Bench) {
    run.title("memory that is touched: kilobytes");
    match taken::sizes() {
        Ok(lines) => lines.iter().for_each(|figures| run.add(figures)),
        Err(why) => return run.skip(format!("memory: {why}")),
    }
    run.title("start: microseconds");
    match taken::times() {
        Ok(figures) => run.add(&figures),
        Err(why) => run.skip(format!("start: {why}")),
    }
}
