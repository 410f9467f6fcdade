//! What a guest and its QEMU do to `uvale vm ptnet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qemu_glue::fuzzing::ptnet(input));
