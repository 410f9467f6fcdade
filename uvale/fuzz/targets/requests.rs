//! Requests and options with structure, each the whole way from a program's memory and back: see
//! `uvale/control/src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uvale_control::fuzzing::run(bytes));
