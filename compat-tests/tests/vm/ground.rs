//! How the tests start `uvale vm`.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::target::binaries;
use compat_tests::world::Program;

/// A path of a test as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("tests have plain names")
}

/// `uvale vm ARGS...` in that world.
pub fn vm(place: &Place, args: &[&str]) -> Program {
    let mut command = place.command(&binaries().uvale);
    command.env_remove("LD_PRELOAD").arg("vm").args(args);
    Program::start(&format!("uvale vm {}", args.join(" ")), command)
}

/// The same where it is to be refused: what it says.
pub fn refused(place: &Place, args: &[&str]) -> String {
    let mut program = vm(place, args);
    assert!(!program.wait().success(), "{}", program.said());
    program.said()
}
