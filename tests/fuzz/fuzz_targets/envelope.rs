#![no_main]
#[path = "../../wire/laws.rs"]
#[allow(dead_code, reason = "each target tries one law")]
mod laws;

// One part, and the same as the data of a topic's.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    laws::envelope(data, None);
    laws::envelope(b"topic", Some(data));
});
