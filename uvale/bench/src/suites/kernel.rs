//! What goes through the kernel, and what programs pay that have nothing to do with netmap.

use crate::contest::{Bench, Part};
use crate::figure::Case;
use crate::nic::Nic;
use crate::preload as ordinary;
use crate::reach::parts::Reach;
use crate::reach::{by_notification, syncs};
use crate::run::Run;
use crate::shapes::{on_pipe, on_switch};

/// NIC ports over veth pairs.
pub fn nic(run: &mut Run, bench: &Bench) {
    let nic = match Nic::new(bench) {
        Ok(nic) => nic,
        Err(why) => return run.skip(format!("nic: {why}")),
    };
    run.title("NIC port, veth: Mpps delivered");
    let shapes = run.args.kernel_shapes();
    for (len, batch) in &shapes {
        run.hold(bench, nic.wire(*len, *batch));
    }
    for (len, batch) in &shapes {
        run.hold(bench, nic.xdp(*len, *batch));
    }
    run.hold(bench, nic.ping_pong());
    run.title("NIC ports, both ends of a veth pair: Mpps delivered");
    for (len, batch) in &shapes {
        run.hold(bench, nic.joined(*len, *batch));
    }
    for whole in [false, true] {
        run.hold(bench, nic.joining(whole));
    }
}

/// Programs that no preload reaches.
pub fn reach(run: &mut Run, bench: &Bench) {
    run.title("programs that no preload reaches, a call: microseconds");
    for way in [Reach::Notify, Reach::Trap] {
        match syncs(bench, way) {
            Ok(contest) => drop(run.hold(bench, contest)),
            Err(why) => run.skip(format!("reach, {}: {why}", way.option())),
        }
    }
    run.title("programs that no preload reaches: Mpps delivered");
    type Path<'a> = &'a dyn Fn(usize, (u16, u32)) -> Vec<Part>;
    let vale = |n, shape| on_switch(bench, &format!("vale{n}"), shape, false);
    let pipe = |n, shape| on_pipe(bench, &format!("reach{n}"), shape, false);
    let paths: [(&str, Path<'_>); 2] = [("VALE", &vale), ("pipe", &pipe)];
    for (path, parts) in paths {
        for shape in run.args.kernel_shapes() {
            let case = Case::of(shape.0.into(), shape.1);
            let contest = by_notification(path, parts(1, shape), parts(2, shape), case);
            run.hold(bench, contest);
        }
    }
}

/// Ordinary calls without and with the shim.
pub fn preload(run: &mut Run, bench: &Bench) {
    run.title("ordinary calls without and with the shim: nanoseconds");
    match ordinary::measure(bench.cpus[0]) {
        Ok(costs) => costs.iter().for_each(|cost| run.add(&cost.figures())),
        Err(why) => run.skip(format!("ordinary calls: {why}")),
    }
}
