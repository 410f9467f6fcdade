//! The shared library carries a name with its ABI's number, by which programs linked with it ask for it.

use std::os::unix::fs::symlink;
use std::path::Path;

/// The number changes with what programs have compiled in: functions taken away, structures changed. netmap's own
/// library has none.
const SONAME: &str = "libnetmap.so.0";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    // As the shim, which is part of it: what threads do at their end is in it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // A program linked with the library where cargo puts it looks there for that name: from
    // target/PROFILE/build/PACKAGE/out, the folder of the profile. Tests are linked with the one in deps.
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    if let Some(folder) = Path::new(&out).ancestors().nth(3) {
        for folder in [folder, &folder.join("deps")] {
            let link = folder.join(SONAME);
            if folder.is_dir() && link.symlink_metadata().is_err() {
                let _ = symlink("libnetmap.so", link);
            }
        }
    }
}
