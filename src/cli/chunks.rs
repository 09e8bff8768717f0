//! Takes the chunks of an HTTP body apart (RFC 9112 s. 7.1).
//!
//! Never here: what the body is, and sockets.

use std::io;

use memchr::memchr;

/// Takes a chunked body apart.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    stage: ChunkStage,
}

#[derive(Debug, Default)]
enum ChunkStage {
    /// The line with the size of a chunk, as far as it has come.
    Size(Vec<u8>),
    /// In bytes, what is left of a chunk.
    Data(usize),
    /// The line end behind a chunk.
    #[default]
    Between,
    Over,
}

/// In bytes of a line with the size of a chunk.
const SIZE_LINE_BYTES_MAX: usize = 1_024;

impl Chunks {
    /// Takes bytes, and appends what was in chunks. Returns true when the last chunk has come.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let bad = || io::Error::other("the answer's chunks are no chunks");
        while !bytes.is_empty() {
            match &mut self.stage {
                // The first chunk has no line end in front of it: any hexadecimal digit begins the size.
                ChunkStage::Between => {
                    if matches!(bytes[0], b'\r' | b'\n') {
                        bytes = &bytes[1..];
                    } else {
                        self.stage = ChunkStage::Size(Vec::new());
                    }
                }
                ChunkStage::Size(line) => {
                    let end = memchr(b'\n', bytes);
                    let here = end.map_or(bytes.len(), |end| end + 1);
                    line.extend_from_slice(&bytes[..here]);
                    bytes = &bytes[here..];
                    if line.len() > SIZE_LINE_BYTES_MAX {
                        return Err(bad());
                    }
                    if end.is_some() {
                        let digits = line
                            .split(|byte| matches!(byte, b';' | b'\r' | b'\n'))
                            .next();
                        let digits = str::from_utf8(digits.unwrap_or_default()).unwrap_or_default();
                        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| bad())?;
                        self.stage = match size {
                            0 => ChunkStage::Over,
                            size => ChunkStage::Data(size),
                        };
                    }
                }
                ChunkStage::Data(left) => {
                    let here = bytes.len().min(*left);
                    out.extend_from_slice(&bytes[..here]);
                    bytes = &bytes[here..];
                    *left -= here;
                    if *left == 0 {
                        self.stage = ChunkStage::Between;
                    }
                }
                ChunkStage::Over => break,
            }
        }
        Ok(matches!(self.stage, ChunkStage::Over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_taken_apart_however_they_are_cut() {
        let body = &b"data: {\"n\":1}\n\nretry: 3\r\n\r\n0\r\n\r\n"[..];
        for chunk in [1, 7, 100] {
            let mut chunked = Vec::new();
            for chunk in body.chunks(chunk) {
                chunked.extend(format!("{:X};x=y\r\n", chunk.len()).bytes());
                chunked.extend(chunk);
                chunked.extend(b"\r\n");
            }
            let end = chunked.len() + 3;
            chunked.extend(b"0\r\n\r\n");
            for size in 1..=chunked.len() {
                let (mut chunks, mut out) = (Chunks::default(), Vec::new());
                let mut taken = 0;
                for piece in chunked.chunks(size) {
                    taken += piece.len();
                    let is_over = chunks.take(piece, &mut out).expect("chunks");
                    assert_eq!(is_over, taken >= end, "{size} {taken} of {end}");
                }
                assert!(out == body, "chunks of {chunk}, pieces of {size}");
            }
        }
        for bad in ["x\r\n", "-1\r\n", ";\r\n", "ffffffffffffffffff\r\n"] {
            let mut out = Vec::new();
            assert!(Chunks::default().take(bad.as_bytes(), &mut out).is_err());
        }
        let endless = [b'0'; SIZE_LINE_BYTES_MAX + 1];
        assert!(Chunks::default().take(&endless, &mut Vec::new()).is_err());
    }
}
