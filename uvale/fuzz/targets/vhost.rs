//! What a guest and its front-end do to `uvale vm vhost`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qemu_glue::fuzzing::vhost(input));
