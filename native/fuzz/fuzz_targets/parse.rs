//! Any case holds, or the process dies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headsaw_native_fuzz::check(data));
