#![no_main]
#[path = "../../wire/laws.rs"]
#[allow(dead_code, reason = "each target tries one law")]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::event_stream(data));
