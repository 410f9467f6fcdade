//! The shared library carries its name, so that programs linked by path find it by name.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnetmap.so");
}
