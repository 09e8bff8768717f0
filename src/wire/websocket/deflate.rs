//! The compression of messages: permessage-deflate without context takeover (RFC 7692).
//!
//! Each message is compressed by itself, so one compressed frame serves every client that receives the event, and a
//! connection keeps no dictionary. One [`Deflater`] and one [`Inflater`] serve all connections. They take their memory
//! when they are first used.
//!
//! Never here: whether a client can inflate (`wire/http/deflate.rs`), how much of a turn compression may take (the engine).

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status, compress_bound};

use super::{Message, Violation};
use crate::limits;

/// The logarithm of the window in bytes: the largest, which every client can read.
const WINDOW_BITS: u8 = 15;

/// What ends each message and does not travel (RFC 7692 s. 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Returns zlib's level for a message of so many bytes. A byte of text takes some 13 ns at level 6, 8 at level 2, and 3
/// to 6 at level 1; a large message would hold up everything else. `docs/performance.md` has what they save.
const fn level(bytes: usize) -> i32 {
    match bytes {
        0..=4_096 => 6,
        4_097..=65_536 => 2,
        _ => 1,
    }
}

/// In bytes, more than a flush adds. One of them stays free: a buffer that is full may lack the message's end.
const FLUSH_BYTES: usize = 16;

/// A compressed message has to be shorter by this part of the message, or it is not worth the client's time.
const SAVED_PART_MIN: usize = 10;

/// In bytes, what a buffer keeps of its memory after a larger message.
const KEPT_BYTES: usize = 64 * 1024;

/// In bytes, by how much the buffer for an inflated message grows.
const GROWTH_BYTES: usize = 4 * 1024;

/// In bytes of a payload that are inflated before it is looked at what they have become.
const PIECE_BYTES: usize = 512;

/// Compresses messages.
#[derive(Default)]
pub struct Deflater {
    deflate: Option<Deflate>,
    level: i32,
    message: Vec<u8>,
    out: Vec<u8>,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// Compresses the message that `write` appends, of about `bytes` bytes. Returns the payload of its frame; `None` when
    /// that would not be clearly shorter.
    pub fn deflate(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Option<&[u8]> {
        if self.message.capacity() > KEPT_BYTES && bytes <= KEPT_BYTES {
            self.message = Vec::new();
        }
        self.message.clear();
        self.message.reserve_exact(bytes);
        write(&mut self.message);
        let message = &self.message[..];
        let level = level(message.len());
        let deflate = self.deflate.get_or_insert_with(|| {
            self.level = level;
            Deflate::new(level, false, WINDOW_BITS)
        });
        deflate.reset();
        if self.level != level {
            deflate.set_level(level).ok()?;
            self.level = level;
        }
        // There is room for whatever it becomes: a compressor that was stopped in the middle of a message is not good for
        // the next one, whatever its `reset` says (zlib-rs 0.6.8, level 1).
        let room = compress_bound(message.len()) + FLUSH_BYTES;
        fit(&mut self.out, room);
        let out = &mut self.out[..room];
        let outcome = deflate.compress(message, out, DeflateFlush::SyncFlush);
        let written = deflate.total_out() as usize;
        if outcome != Ok(Status::Ok) || written == room {
            self.deflate = None;
            return None;
        }
        let payload = out[..written].strip_suffix(&TAIL);
        debug_assert!(payload.is_some(), "RFC 7692 s. 7.2.1");
        let worth = message.len() - message.len().div_ceil(SAVED_PART_MIN);
        payload.filter(|payload| payload.len() <= worth)
    }
}

/// Makes room for so many bytes, and gives back what a much larger message has taken.
fn fit(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.len() < bytes {
        grow(buffer, bytes);
    } else if buffer.len() > KEPT_BYTES && bytes <= KEPT_BYTES {
        buffer.truncate(KEPT_BYTES);
        buffer.shrink_to_fit();
    }
}

/// Makes a buffer so many bytes long, and takes no more memory for it.
fn grow(buffer: &mut Vec<u8>, bytes: usize) {
    buffer.reserve_exact(bytes - buffer.len());
    buffer.resize(bytes, 0);
}

/// Inflates clients' messages.
#[derive(Default)]
pub struct Inflater {
    inflate: Option<Inflate>,
    out: Vec<u8>,
    /// In nanoseconds, what inflating may have cost since this was last asked.
    cost: usize,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// Returns what a message says; a compressed one may become `message_bytes_max` bytes long.
    ///
    /// # Errors
    /// The payload is not what DEFLATE writes, the message is too long, or it is not the text that it should be.
    pub fn open<'a>(
        &'a mut self,
        message: &Message<'a>,
        message_bytes_max: usize,
    ) -> Result<&'a [u8], Violation> {
        if !message.is_compressed {
            return Ok(message.payload);
        }
        let inflated = self.inflate(message.payload, message_bytes_max)?;
        match message.is_text && str::from_utf8(inflated).is_err() {
            true => Err(Violation::Utf8),
            false => Ok(inflated),
        }
    }

    fn inflate(&mut self, payload: &[u8], message_bytes_max: usize) -> Result<&[u8], Violation> {
        let inflate = self
            .inflate
            .get_or_insert_with(|| Inflate::new(false, WINDOW_BITS));
        inflate.reset(false);
        // The byte beyond the bound shows that there is more.
        let room_max = message_bytes_max + 1;
        fit(&mut self.out, GROWTH_BYTES.min(room_max));
        let mut written = 0;
        let mut streams = 1;
        let mut read = 0;
        for mut input in payload.chunks(PIECE_BYTES).chain([&TAIL[..]]) {
            let becomes = limits::INFLATE_RATIO_MAX * written;
            if read > limits::INFLATE_IDLE_BYTES_MAX + becomes {
                return Err(Violation::Deflate);
            }
            read += input.len();
            self.cost += input.len() * limits::INFLATE_BYTE_COST;
            loop {
                if written > message_bytes_max {
                    return Err(Violation::TooLarge);
                }
                if written == self.out.len() {
                    grow(&mut self.out, (2 * written).min(room_max));
                }
                let room = self.out.len().min(room_max);
                let (read_before, written_before) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(input, &mut self.out[written..room], InflateFlush::SyncFlush)
                    .map_err(|_| Violation::Deflate)?;
                let taken = (inflate.total_in() - read_before) as usize;
                let made = (inflate.total_out() - written_before) as usize;
                input = &input[taken..];
                written += made;
                self.cost += made * limits::READ_BYTE_COST;
                if status == Status::StreamEnd {
                    // RFC 7692 s. 7.2.3.5: a block may say that it is the last. Another stream follows.
                    streams += 1;
                    if streams > limits::INFLATE_STREAMS_MAX {
                        return Err(Violation::Deflate);
                    }
                    inflate.reset(false);
                    if input.is_empty() {
                        break;
                    }
                } else if taken == 0 && made == 0 {
                    if input.is_empty() {
                        break;
                    }
                    return Err(Violation::Deflate);
                }
            }
        }
        if written > message_bytes_max {
            return Err(Violation::TooLarge);
        }
        Ok(&self.out[..written])
    }

    /// In nanoseconds, what inflating may have cost since this was last asked: by a price for each byte, before and after.
    pub fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.cost)
    }
}

#[cfg(test)]
mod tests {
    use kit::dice::Dice;

    use super::*;

    const MAX: usize = 100_000;

    fn deflate<'a>(deflater: &'a mut Deflater, message: &[u8]) -> Option<&'a [u8]> {
        deflater.deflate(message.len(), |out| out.extend_from_slice(message))
    }

    fn compressed(payload: &[u8]) -> Message<'_> {
        Message {
            is_text: true,
            is_compressed: true,
            payload,
        }
    }

    /// What a client says that compresses `text`, in as many pieces as it flushes.
    fn client(text: &[u8], last: DeflateFlush) -> Vec<u8> {
        let mut deflate = Deflate::new(6, false, WINDOW_BITS);
        let mut out = vec![0; text.len() + 100];
        deflate.compress(text, &mut out, last).expect("room");
        out.truncate(deflate.total_out() as usize);
        out
    }

    fn words(bytes: usize, dice: &mut Dice) -> String {
        let mut text = String::new();
        while text.len() < bytes {
            text.push_str(["event ", "topic ", "{\"n\":1}", "ü"][dice.below(4)]);
        }
        text
    }

    #[test]
    fn what_is_compressed_is_inflated() {
        let mut dice = Dice(1);
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        // Large and small ones in turn: neither leaves anything to the next.
        for bytes in [100, 5_000, 90_000, 300, 4_096, 4_097, 65_536, 65_537] {
            let text = words(bytes, &mut dice);
            let payload = deflate(&mut deflater, text.as_bytes()).expect("shorter");
            assert!(payload.len() < text.len() * 9 / 10);
            let inflated = inflater.open(&compressed(payload), MAX);
            assert_eq!(inflated, Ok(text.as_bytes()));
            assert!(inflater.take_cost() >= text.len());
        }
        assert!(inflater.out.len() <= KEPT_BYTES * 2);
    }

    #[test]
    fn what_would_not_be_clearly_shorter_is_not_compressed() {
        let mut dice = Dice(2);
        let mut deflater = Deflater::default();
        let noise: Vec<u8> = (0..3_000).map(|_| dice.below(256) as u8).collect();
        assert_eq!(deflate(&mut deflater, &noise), None);
        assert_eq!(deflate(&mut deflater, b""), None);
        assert_eq!(deflate(&mut deflater, b"abc"), None);
        assert!(
            deflate(&mut deflater, &[b'a'; 3_000]).is_some(),
            "the next one"
        );
    }

    /// One compressor serves all: what it did before must not show.
    #[test]
    fn whatever_was_compressed_before_the_next_message_comes_out_right() {
        let seed = kit::dice::seed();
        let mut dice = Dice(seed);
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for _ in 0..120 {
            let bytes_max = [200, 5_000, 70_000, 200_000][dice.below(4)];
            let bytes = dice.below(bytes_max);
            let kind = dice.below(4);
            let message: Vec<u8> = (0..bytes)
                .map(|n| match kind {
                    0 => dice.below(256) as u8,
                    1 => b'a' + dice.below(3) as u8,
                    2 if n % 100 < 50 => b'x',
                    _ => b'a' + dice.below(26) as u8,
                })
                .collect();
            if let Some(payload) = deflate(&mut deflater, &message) {
                let inflated = inflater.open(&compressed(payload), 200_000);
                let is_same = inflated == Ok(&message[..]);
                assert!(
                    is_same,
                    "NEWSWIRE_SEED={seed}: {bytes} bytes of kind {kind}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_found_while_it_is_inflated() {
        let mut inflater = Inflater::default();
        let bomb = client(&vec![b'a'; 10_000_000], DeflateFlush::SyncFlush);
        assert!(bomb.len() < 20_000);
        let outcome = inflater.open(&compressed(&bomb), 65_536);
        assert_eq!(outcome, Err(Violation::TooLarge));
        assert!(inflater.out.len() <= 65_537, "{}", inflater.out.len());
        let most = 65_537 * limits::READ_BYTE_COST + bomb.len() * limits::INFLATE_BYTE_COST;
        assert!(inflater.take_cost() <= most);
        // Exactly as long as it may be, and one byte longer.
        for (bytes, is_good) in [(1_000, true), (1_001, false)] {
            let payload = client(&vec![b'a'; bytes], DeflateFlush::SyncFlush);
            let outcome = inflater.open(&compressed(&payload), 1_000);
            assert_eq!(outcome.is_ok(), is_good, "{bytes}");
        }
    }

    /// Blocks that become nothing cost time and no memory.
    #[test]
    fn a_long_payload_that_becomes_nothing_is_refused_early() {
        let mut inflater = Inflater::default();
        // Empty blocks with fixed codes: ten bits each, so four of them in five bytes.
        let empty = [0x02, 0x08, 0x20, 0x80, 0x00];
        let payload = empty.repeat(13_000);
        let outcome = inflater.open(&compressed(&payload), MAX);
        assert_eq!(outcome, Err(Violation::Deflate));
        let read = limits::INFLATE_IDLE_BYTES_MAX + 2 * PIECE_BYTES;
        assert!(inflater.take_cost() <= read * limits::INFLATE_BYTE_COST);
        // One that is flushed after every byte is no such thing.
        let mut deflate = Deflate::new(6, false, WINDOW_BITS);
        let (mut payload, mut out) = (Vec::new(), [0; 64]);
        for byte in b"[5,\"topic\"]".repeat(400) {
            let before = deflate.total_out();
            deflate
                .compress(&[byte], &mut out, DeflateFlush::SyncFlush)
                .expect("room");
            payload.extend(&out[..(deflate.total_out() - before) as usize]);
        }
        let inflated = inflater.open(&compressed(&payload), MAX);
        assert_eq!(inflated.map(<[u8]>::len), Ok(4_400));
    }

    #[test]
    fn what_is_no_deflate_is_refused() {
        let mut inflater = Inflater::default();
        for bad in [&[0xFF][..], &[0x07], b"[5,\"t\"]", &[0x06; 40]] {
            let outcome = inflater.open(&compressed(bad), MAX);
            assert_eq!(outcome, Err(Violation::Deflate), "{bad:?}");
        }
        let text = client(b"\xFF\xFE", DeflateFlush::SyncFlush);
        let mut message = compressed(&text);
        assert_eq!(inflater.open(&message, MAX), Err(Violation::Utf8));
        message.is_text = false;
        assert_eq!(inflater.open(&message, MAX), Ok(&b"\xFF\xFE"[..]));
    }

    /// RFC 7692 s. 7.2.3: examples of a client's payload for "Hello".
    #[test]
    fn the_examples_of_the_rfc() {
        let mut inflater = Inflater::default();
        for (what, payload, text) in [
            (
                "one block",
                &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
                "Hello",
            ),
            (
                "no compression",
                &[
                    0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00,
                ],
                "Hello",
            ),
            (
                "a last block",
                &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
                "Hello",
            ),
            (
                "two blocks",
                &[
                    0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00,
                ],
                "Hello",
            ),
            ("an empty message", &[0x00], ""),
        ] {
            let inflated = inflater.open(&compressed(payload), MAX);
            assert_eq!(inflated, Ok(text.as_bytes()), "{what}");
        }
        let finished = client(b"Hello", DeflateFlush::Finish);
        assert_eq!(
            inflater.open(&compressed(&finished), MAX),
            Ok(&b"Hello"[..])
        );
        let many = [0x03, 0x00].repeat(limits::INFLATE_STREAMS_MAX + 1);
        let outcome = inflater.open(&compressed(&many), MAX);
        assert_eq!(outcome, Err(Violation::Deflate), "empty last blocks");
    }
}
