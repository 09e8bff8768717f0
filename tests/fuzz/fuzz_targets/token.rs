#![no_main]
#[path = "../../wire/laws.rs"]
#[allow(dead_code, reason = "each target tries one law")]
mod laws;

libfuzzer_sys::fuzz_target!(|data: (&str, &[u8])| laws::token(data.0, data.1));
