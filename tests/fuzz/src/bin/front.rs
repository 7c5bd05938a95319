//! `cargo xtask fuzz front`

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::front(bytes));
