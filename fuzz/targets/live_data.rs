//! The fuzzer of `tests/it/fuzz/live_data.rs`, which has the laws and describes its input.
#![no_main]

#[path = "../../tests/it/fuzz/live_data.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::hold_for(input));
