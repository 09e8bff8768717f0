#![no_main]
#[path = "../../wire/laws.rs"]
#[allow(dead_code, reason = "each target tries one law")]
mod laws;

// The stream, and where it is cut.
libfuzzer_sys::fuzz_target!(|data: (Vec<u8>, Vec<u8>)| laws::frames(&data.0, &data.1));
