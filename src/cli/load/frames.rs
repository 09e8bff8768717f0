//! Cuts a server's bytes into WebSocket frames, of which only the beginnings are kept.
//!
//! Never here: what a frame means, and sockets.

use super::fleet::HEAD_BYTES;

/// The part of something that has arrived: of a frame, of an event of a stream, or of the answer to a request.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// The header and the payload's beginning; the answer's head; for an event see `blocks`.
    pub(super) kept: Vec<u8>,
    /// In bytes. Of a frame: what is still to come and not kept. Of an event: what has come and is not kept.
    pub(super) rest: usize,
}

const HEADER_BYTES_MAX: usize = 10;

/// The header of a server's frame.
pub(super) struct FrameHead {
    pub(super) opcode: u8,
    header_bytes: usize,
    pub(super) payload_bytes: usize,
}

impl FrameHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header_bytes, payload_bytes) = match *bytes {
            [_, 127, a, b, c, d, e, f, g, h, ..] => {
                (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
            }
            [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
            [_, len @ 0..=125, ..] => (2, usize::from(len)),
            _ => return None,
        };
        Some(Self {
            opcode: bytes[0] & 0x0F,
            header_bytes,
            payload_bytes,
        })
    }

    fn kept_bytes(&self) -> usize {
        self.header_bytes + self.payload_bytes.min(HEAD_BYTES)
    }

    fn whole_bytes(&self) -> usize {
        self.header_bytes.saturating_add(self.payload_bytes)
    }
}

/// Takes bytes behind those of which `partial` is left. `heard` gets each frame with the beginning of its payload, and
/// an error of it ends everything.
pub(super) fn take<E>(
    partial: &mut Option<Box<Unfinished>>,
    mut bytes: &[u8],
    mut heard: impl FnMut(&FrameHead, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut hear = |frame: &FrameHead, bytes: &[u8]| {
        heard(frame, &bytes[frame.header_bytes..frame.kept_bytes()])
    };
    while !bytes.is_empty() {
        if let Some(begun) = partial {
            let skipped = begun.rest.min(bytes.len());
            begun.rest -= skipped;
            bytes = &bytes[skipped..];
            if begun.rest > 0 {
                return Ok(());
            }
            if begun.kept.is_empty() {
                *partial = None;
                continue;
            }
            // A header, or the beginning of a payload that is kept, was cut.
            let before = begun.kept.len();
            let room = (HEADER_BYTES_MAX + HEAD_BYTES - before).min(bytes.len());
            begun.kept.extend_from_slice(&bytes[..room]);
            let kept = std::mem::take(&mut begun.kept);
            match FrameHead::parse(&kept) {
                Some(frame) if kept.len() >= frame.kept_bytes() => {
                    *partial = None;
                    hear(&frame, &kept)?;
                    bytes = &bytes[frame.kept_bytes() - before..];
                    skip(partial, &frame, &mut bytes);
                }
                _ => {
                    begun.kept = kept;
                    return Ok(());
                }
            }
            continue;
        }
        match FrameHead::parse(bytes) {
            Some(frame) if bytes.len() >= frame.kept_bytes() => {
                hear(&frame, bytes)?;
                bytes = &bytes[frame.kept_bytes()..];
                skip(partial, &frame, &mut bytes);
            }
            _ => {
                *partial = Some(Box::new(Unfinished {
                    kept: bytes.to_vec(),
                    rest: 0,
                }));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Skips the rest of a payload, as much of it as is there.
fn skip(partial: &mut Option<Box<Unfinished>>, frame: &FrameHead, bytes: &mut &[u8]) {
    let rest = frame.whole_bytes() - frame.kept_bytes();
    let here = rest.min(bytes.len());
    *bytes = &bytes[here..];
    if rest > here {
        *partial = Some(Box::new(Unfinished {
            kept: Vec::new(),
            rest: rest - here,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kit::raw::server_frame;

    use super::*;

    /// However the bytes are cut, the same texts are heard, of each the beginning.
    #[test]
    fn a_cut_changes_nothing() {
        let texts: Vec<Vec<u8>> = [0, 1, 125, 126, HEAD_BYTES, HEAD_BYTES + 1, 1_000, 70_000]
            .iter()
            .enumerate()
            .map(|(n, &len)| vec![b'a' + n as u8; len])
            .collect();
        let stream: Vec<u8> = texts.iter().flat_map(|t| server_frame(0x81, t)).collect();
        let expected: Vec<(Vec<u8>, usize)> = texts
            .iter()
            .map(|t| (t[..t.len().min(HEAD_BYTES)].to_vec(), t.len()))
            .collect();
        for size in [1, 2, 3, 7, 100, 169, 170, 171, 5_000, stream.len()] {
            let mut partial = None;
            let mut texts = Vec::new();
            for piece in stream.chunks(size) {
                let result = take(&mut partial, piece, |frame, head| {
                    assert_eq!(frame.opcode, 1);
                    texts.push((head.to_vec(), frame.payload_bytes));
                    Ok::<_, Infallible>(())
                });
                assert_eq!(result, Ok(()));
            }
            assert!(texts == expected, "pieces of {size}");
            assert!(partial.is_none());
        }
    }
}
