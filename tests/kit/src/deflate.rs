//! Compressed messages of WebSockets (RFC 7692), by another library than the server's.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;

/// The payload of a client's message. Its last block says that it is the last, which RFC 7692 s. 7.2.3.5 allows.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut payload = compress_to_vec(message, 6);
    payload.push(0);
    payload
}

/// The message in a payload; `None` where there is none.
pub fn inflate(payload: &[u8]) -> Option<Vec<u8>> {
    // What the sender has cut off, and an end.
    let stream = [payload, &[0, 0, 0xFF, 0xFF], &[1, 0, 0, 0xFF, 0xFF]].concat();
    decompress_to_vec(&stream).ok()
}
