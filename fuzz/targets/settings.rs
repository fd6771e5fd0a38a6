//! The fuzzer of `tests/it/fuzz/settings.rs`, which has the laws and describes its input.
#![no_main]

#[path = "../../tests/it/fuzz/settings.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::hold_for(input));
