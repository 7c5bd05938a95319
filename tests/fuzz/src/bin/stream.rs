//! `cargo xtask fuzz stream`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::stream(bytes));
