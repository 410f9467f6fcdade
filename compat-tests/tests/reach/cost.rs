//! What a sync costs, shown and not judged: how long it takes is up to the machine.

use compat_tests::or_skip;
use compat_tests::programs::{fact, value};
use compat_tests::world::World;

use super::{run, statically};

#[test]
fn a_sync() {
    let program = or_skip!("static program", statically("reach/cost"));
    let said = run(&World::new(), &[], &program, &["20000"]).wait_success();
    let of = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.and_then(|line| value(line, "ns")).expect("NAME ns=N")
    };
    let (nobody, nothing, batch) = (of("nobody"), of("nothing"), of("batch"));
    let ratio = nothing as f64 / nobody.max(1) as f64;
    let rate = 256e3 / batch.max(1) as f64;
    fact(&format!(
        "a call handed over {nobody} ns, a sync {nothing} ns ({ratio:.2} of it), of 256 packets {batch} ns: \
         {rate:.1} Mpps"
    ));
}
