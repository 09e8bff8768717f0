#![no_main]
#[path = "../../wire/laws.rs"]
#[allow(dead_code, reason = "each target tries one law")]
mod laws;

// The first is a whole token, the others are parts of one.
libfuzzer_sys::fuzz_target!(|data: (&[u8], &[u8], &[u8])| laws::jwt(data.2, data.0, data.1));
