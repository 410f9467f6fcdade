//! How the library is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // It stays where it is when a program that has opened it closes it: handlers of signals, and what threads do at
    // their end, are in it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
