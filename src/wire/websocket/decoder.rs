//! Turns a client's bytes into messages, pings and closes.
//!
//! tungstenite parses the header. This file refuses what tungstenite accepts: reserved bits, a missing mask, long or
//! fragmented control frames, lengths that are not minimal, impossible Close frames, and text that is not UTF-8. Bytes
//! are checked when they arrive: a bad byte is found before its frame is whole. The inflater checks the text of a compressed
//! message.
//!
//! Never here: a buffer for an idle connection. Memory is used for bytes that have arrived, never for a length that a
//! header only declares.

use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CONTROL_BYTES_MAX, Framing, Incoming, Message, Violation, close_code};
use crate::wire::growth;

/// What a connection keeps of an unfinished message; nothing but 8 bytes while it is idle.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Partial>>);

// Each of a million connections has one.
const _: () = assert!(size_of::<Decoder>() <= 8);

/// The reserved bits of a frame's first byte.
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;

/// In bytes: two bytes, a 64-bit length and a mask.
const HEADER_BYTES_MAX: usize = 14;

/// The parts of a frame and of a message that have arrived. It exists from the first byte that does not complete
/// anything to the next [`Decoder::release`] at which no frame and no message is under way.
#[derive(Debug)]
struct Partial {
    /// The first `head_bytes` belong to an unfinished header; `head_bytes` is 0 while `frame` is `Some`.
    head: [u8; HEADER_BYTES_MAX],
    head_bytes: u8,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The first `control_bytes` are a control frame's payload. It is kept apart from `message`, because control
    /// frames may come between fragments.
    control: [u8; CONTROL_BYTES_MAX],
    control_bytes: u8,
    message: Option<Assembly>,
}

/// A frame whose header has arrived.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// Rotated so that its first byte masks the next byte of the payload.
    mask: [u8; 4],
    /// In bytes, the part of the payload that has not arrived.
    left: usize,
}

/// A message being reassembled.
#[derive(Debug)]
struct Assembly {
    text: bool,
    is_compressed: bool,
    /// True exactly when the caller has received the message: the next call frees its memory.
    whole: bool,
    payload: Vec<u8>,
    /// The first `valid` bytes of a text are whole characters. The rest, three bytes at most, may be the beginning
    /// of one.
    valid: usize,
}

/// A frame's header that breaks no rule by itself.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: OpCode,
    is_final: bool,
    is_compressed: bool,
    mask: [u8; 4],
    payload_bytes: u64,
}

/// Where a whole payload is.
enum Done {
    Input(Header, Range<usize>),
    Kept(OpCode),
}

impl Decoder {
    /// Takes bytes from `input`, unmasks them in place, and returns how many it took and what they completed. A whole,
    /// unfragmented frame is borrowed from `input`; nothing is allocated or copied for it.
    ///
    /// When it returns `None`, it has taken all of `input`. The caller calls it until then, or calls [`Self::release`]
    /// instead: a message that was put together from pieces is freed by the next call.
    ///
    /// # Errors
    /// Returns the first rule that the client broke. The result does not depend on where the stream was cut.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        message_bytes_max: usize,
        framing: Framing,
    ) -> Result<(usize, Option<Incoming<'a>>), Violation> {
        self.release();
        let mut taken = 0;
        let done = loop {
            if self
                .0
                .as_ref()
                .is_none_or(|partial| partial.frame.is_none())
            {
                let Some((header, header_bytes)) = self.take_header(&input[taken..], framing)?
                else {
                    return Ok((input.len(), None));
                };
                taken += header_bytes;
                let payload_bytes = self.check_place(&header, message_bytes_max)?;
                let alone = match header.opcode {
                    OpCode::Control(_) => true,
                    OpCode::Data(data) => header.is_final && data != Data::Continue,
                };
                if alone && payload_bytes <= input.len() - taken {
                    let range = taken..taken + payload_bytes;
                    taken = range.end;
                    let payload = &mut input[range.clone()];
                    unmask(payload, header.mask);
                    let is_text = header.opcode == OpCode::Data(Data::Text);
                    if is_text && !header.is_compressed && str::from_utf8(payload).is_err() {
                        return Err(Violation::Utf8);
                    }
                    break Done::Input(header, range);
                }
                self.partial().begin(&header, payload_bytes);
            }
            let partial = self.partial();
            let (bytes, opcode) = partial.take_payload(&mut input[taken..], message_bytes_max)?;
            taken += bytes;
            if let Some(opcode) = opcode {
                break Done::Kept(opcode);
            }
            if partial.frame.is_some() {
                return Ok((taken, None));
            }
        };
        let (opcode, is_compressed, payload) = match done {
            Done::Input(header, range) => (header.opcode, header.is_compressed, &input[range]),
            Done::Kept(opcode) => (opcode, self.is_kept_compressed(), self.kept(opcode)),
        };
        Ok((taken, Some(incoming(opcode, is_compressed, payload)?)))
    }

    /// Frees the message that the last [`Self::decode`] returned. Each `decode` begins with this, so only a caller that
    /// stops before `decode` returns `None` has to call it.
    pub fn release(&mut self) {
        let Some(partial) = &mut self.0 else {
            return;
        };
        partial.message.take_if(|message| message.whole);
        if partial.frame.is_none() {
            partial.control_bytes = 0;
            if partial.head_bytes == 0 && partial.message.is_none() {
                self.0 = None;
            }
        }
    }

    /// Returns true when nothing is kept: no part of a frame, no fragment of a message, and no message that was
    /// returned and not released.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    fn partial(&mut self) -> &mut Partial {
        self.0.get_or_insert_with(|| {
            Box::new(Partial {
                head: [0; HEADER_BYTES_MAX],
                head_bytes: 0,
                frame: None,
                control: [0; CONTROL_BYTES_MAX],
                control_bytes: 0,
                message: None,
            })
        })
    }

    /// Returns the header that `input` begins with or completes, and how many bytes of `input` belong to it. Returns
    /// `None` when all bytes were taken and more are needed.
    fn take_header(
        &mut self,
        input: &[u8],
        framing: Framing,
    ) -> Result<Option<(Header, usize)>, Violation> {
        let kept = self.0.as_ref().map_or(0, |p| usize::from(p.head_bytes));
        if kept == 0 {
            let header = parse_header(input, framing)?;
            if header.is_some() || input.is_empty() {
                return Ok(header);
            }
        }
        let partial = self.partial();
        let more = input.len().min(HEADER_BYTES_MAX - kept);
        partial.head[kept..kept + more].copy_from_slice(&input[..more]);
        let header = parse_header(&partial.head[..kept + more], framing)?;
        partial.head_bytes = match header {
            Some(_) => 0,
            None => (kept + more) as u8,
        };
        Ok(header.map(|(header, bytes)| (header, bytes - kept)))
    }

    /// Checks that the frame may come now and may be as long as it says. Returns its payload's length in bytes.
    fn check_place(&self, header: &Header, message_bytes_max: usize) -> Result<usize, Violation> {
        let message = self.0.as_ref().and_then(|partial| partial.message.as_ref());
        // RFC 6455 s. 5.4: fragments of one message are not mixed with those of another.
        match (header.opcode, message) {
            (OpCode::Data(Data::Continue), None) => {
                return Err(Violation::Protocol("continuation of nothing"));
            }
            // RFC 7692 s. 6.1: the bit belongs to the first fragment.
            (OpCode::Data(Data::Continue), Some(_)) if header.is_compressed => {
                return Err(Violation::Protocol("reserved bit set"));
            }
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => {
                return Err(Violation::Protocol("new message inside a fragmented one"));
            }
            _ => {}
        }
        let max = match header.opcode {
            OpCode::Control(_) => CONTROL_BYTES_MAX,
            OpCode::Data(_) => {
                message_bytes_max.saturating_sub(message.map_or(0, |m| m.payload.len()))
            }
        };
        match usize::try_from(header.payload_bytes) {
            Ok(bytes) if bytes <= max => Ok(bytes),
            _ => Err(Violation::TooLarge),
        }
    }

    /// Returns true when the message that is kept is compressed.
    fn is_kept_compressed(&self) -> bool {
        let message = self.0.as_ref().and_then(|partial| partial.message.as_ref());
        message.is_some_and(|message| message.is_compressed)
    }

    /// Returns the payload that was completed last, of a frame that arrived in pieces.
    fn kept(&self, opcode: OpCode) -> &[u8] {
        let Some(partial) = &self.0 else {
            return &[];
        };
        match opcode {
            OpCode::Control(_) => &partial.control[..usize::from(partial.control_bytes)],
            OpCode::Data(_) => partial.message.as_ref().map_or(&[], |m| &m.payload),
        }
    }
}

impl Partial {
    /// Begins to take the payload that `header` announces.
    fn begin(&mut self, header: &Header, payload_bytes: usize) {
        if let OpCode::Data(data @ (Data::Text | Data::Binary)) = header.opcode {
            self.message = Some(Assembly {
                text: data == Data::Text,
                is_compressed: header.is_compressed,
                whole: false,
                payload: Vec::new(),
                valid: 0,
            });
        }
        self.frame = Some(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask,
            left: payload_bytes,
        });
    }

    /// Takes the bytes of `input` that belong to the frame under way. Returns how many these are, and the opcode of the
    /// message or control frame that they completed.
    fn take_payload(
        &mut self,
        input: &mut [u8],
        message_bytes_max: usize,
    ) -> Result<(usize, Option<OpCode>), Violation> {
        let Some(frame) = &mut self.frame else {
            return Ok((0, None));
        };
        let bytes = input.len().min(frame.left);
        let input = &mut input[..bytes];
        unmask(input, frame.mask);
        frame.mask.rotate_left(bytes % 4);
        let left_before = frame.left;
        frame.left -= bytes;
        let (opcode, is_final, ended) = (frame.opcode, frame.is_final, frame.left == 0);
        if ended {
            self.frame = None;
        }
        match (opcode, &mut self.message) {
            (OpCode::Control(_), _) => {
                let from = usize::from(self.control_bytes);
                self.control[from..from + bytes].copy_from_slice(input);
                self.control_bytes += bytes as u8;
                Ok((bytes, ended.then_some(opcode)))
            }
            (OpCode::Data(_), Some(message)) => {
                // Only with the last frame is the length of the message known.
                let most = match is_final {
                    true => message.payload.len() + left_before,
                    false => message_bytes_max,
                };
                message.append(input, most)?;
                if !(ended && is_final) {
                    return Ok((bytes, None));
                }
                message.end()?;
                let data = if message.text {
                    Data::Text
                } else {
                    Data::Binary
                };
                Ok((bytes, Some(OpCode::Data(data))))
            }
            // `check_place` has refused a continuation of nothing.
            (OpCode::Data(_), None) => Err(Violation::Protocol("continuation of nothing")),
        }
    }
}

impl Assembly {
    /// Appends unmasked bytes to a message that can become `most` bytes long.
    fn append(&mut self, bytes: &[u8], most: usize) -> Result<(), Violation> {
        growth::append(&mut self.payload, bytes, most);
        if self.text && !self.is_compressed {
            // RFC 6455 s. 8.1. The check comes at once, as Autobahn's strict cases (6.4) demand: a client that
            // slowly sends something else than text is not kept.
            match str::from_utf8(&self.payload[self.valid..]) {
                Ok(_) => self.valid = self.payload.len(),
                Err(error) if error.error_len().is_some() => return Err(Violation::Utf8),
                Err(error) => self.valid += error.valid_up_to(),
            }
        }
        Ok(())
    }

    /// The message's last byte has arrived.
    fn end(&mut self) -> Result<(), Violation> {
        if self.text && !self.is_compressed && self.valid < self.payload.len() {
            return Err(Violation::Utf8);
        }
        self.whole = true;
        Ok(())
    }
}

/// Parses a header and checks the rules that concern it alone. Returns `None` when more bytes are needed. The first two
/// bytes are checked as soon as they have arrived.
fn parse_header(bytes: &[u8], framing: Framing) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    // RFC 6455 s. 5.2: the bits are 0 unless an extension uses them. RFC 7692 s. 6 uses the first one, in messages.
    let opcode = OpCode::from(first & 0x0F);
    let is_compressed = first & RSV1 != 0;
    let may_be_compressed = framing == Framing::Deflate && matches!(opcode, OpCode::Data(_));
    if first & (RSV2 | RSV3) != 0 || (is_compressed && !may_be_compressed) {
        return Err(Violation::Protocol("reserved bit set"));
    }
    match opcode {
        // RFC 6455 s. 5.2
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            return Err(Violation::Protocol("reserved opcode"));
        }
        // RFC 6455 s. 5.5
        OpCode::Control(_) if first & 0x80 == 0 => {
            return Err(Violation::Protocol("fragmented control frame"));
        }
        _ => {}
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    // RFC 6455 s. 5.1
    if second & 0x80 == 0 {
        return Err(Violation::Protocol("frame without a mask"));
    }
    let short_length = second & 0x7F;
    // RFC 6455 s. 5.5
    if matches!(opcode, OpCode::Control(_)) && usize::from(short_length) > CONTROL_BYTES_MAX {
        return Err(Violation::Protocol("control frame over 125 bytes"));
    }
    let mut cursor = Cursor::new(bytes);
    // The parser's only error is a reserved opcode, which was refused above.
    let parsed =
        FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol("bad frame header"))?;
    let Some((header, payload_bytes)) = parsed else {
        return Ok(None);
    };
    let Some(mask) = header.mask else {
        return Err(Violation::Protocol("frame without a mask"));
    };
    // RFC 6455 s. 5.2: the most significant bit is 0, and the shortest form is used.
    if payload_bytes >> 63 != 0 {
        return Err(Violation::Protocol("frame length over 63 bits"));
    }
    let shortest = match short_length {
        126 => 126,
        127 => 1 << 16,
        _ => 0,
    };
    if payload_bytes < shortest {
        return Err(Violation::Protocol("frame length not in its shortest form"));
    }
    let header = Header {
        opcode,
        is_final: header.is_final,
        is_compressed,
        mask,
        payload_bytes,
    };
    Ok(Some((header, cursor.position() as usize)))
}

/// Returns what a whole payload is. Text that is not compressed is known to be UTF-8.
fn incoming(
    opcode: OpCode,
    is_compressed: bool,
    payload: &[u8],
) -> Result<Incoming<'_>, Violation> {
    match opcode {
        OpCode::Data(data) => Ok(Incoming::Message(Message {
            is_text: data == Data::Text,
            is_compressed,
            payload,
        })),
        OpCode::Control(Control::Ping) => Ok(Incoming::Ping(payload)),
        OpCode::Control(Control::Pong) => Ok(Incoming::Pong(payload)),
        OpCode::Control(Control::Close) => parse_close(payload).map(Incoming::Close),
        // `parse_header` has refused it.
        OpCode::Control(Control::Reserved(_)) => Err(Violation::Protocol("reserved opcode")),
    }
}

/// Parses a Close frame's payload: nothing, or a code and a reason in UTF-8 (RFC 6455 s. 5.5.1).
fn parse_close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::Protocol("close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !close_code::is_allowed(code) {
                return Err(Violation::Protocol("close code not allowed"));
            }
            match str::from_utf8(reason) {
                Ok(_) => Ok(Some(code)),
                Err(_) => Err(Violation::Utf8),
            }
        }
    }
}

/// Unmasks a payload (RFC 6455 s. 5.3), eight bytes at a time; the compiler makes vector instructions of it.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use kit::raw::frame_of as frame;

    use super::*;

    const MAX: usize = 1 << 20;
    const FIN: u8 = 0x80;
    const CONTINUE: u8 = 0;
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;

    /// Random cuts and bytes, the same in every run (xorshift64).
    struct Dice(u64);

    impl Dice {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, n: usize) -> usize {
            (self.next() % n as u64) as usize
        }
    }

    /// [`Incoming`], owned.
    #[derive(Clone, Debug, Eq, PartialEq)]
    enum Seen {
        Text(Vec<u8>),
        Binary(Vec<u8>),
        Compressed(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>),
        Broken(Violation),
    }

    fn text(payload: &str) -> Seen {
        Seen::Text(payload.as_bytes().to_vec())
    }

    impl Seen {
        fn of(incoming: Incoming<'_>) -> Self {
            match incoming {
                Incoming::Message(message) => {
                    let payload = message.payload.to_vec();
                    match (message.is_compressed, message.is_text) {
                        (true, _) => Self::Compressed(payload),
                        (false, true) => {
                            assert!(str::from_utf8(&payload).is_ok());
                            Self::Text(payload)
                        }
                        (false, false) => Self::Binary(payload),
                    }
                }
                Incoming::Ping(payload) => Self::Ping(payload.to_vec()),
                Incoming::Pong(payload) => Self::Pong(payload.to_vec()),
                Incoming::Close(code) => Self::Close(code),
            }
        }
    }

    /// Decodes one piece; returns false after a violation.
    fn feed(
        decoder: &mut Decoder,
        piece: &[u8],
        max: usize,
        framing: Framing,
        seen: &mut Vec<Seen>,
    ) -> bool {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.decode(&mut piece[at..], max, framing) {
                Ok((taken, incoming)) => {
                    at += taken;
                    match incoming {
                        Some(incoming) => seen.push(Seen::of(incoming)),
                        None => {
                            assert_eq!(at, piece.len(), "None means that all was taken");
                            return true;
                        }
                    }
                }
                Err(violation) => {
                    seen.push(Seen::Broken(violation));
                    return false;
                }
            }
        }
    }

    fn decode_pieces<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
        max: usize,
        framing: Framing,
    ) -> (Vec<Seen>, bool) {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in pieces {
            if !feed(&mut decoder, piece, max, framing, &mut seen) {
                return (seen, false);
            }
        }
        (seen, decoder.is_idle())
    }

    /// Returns what the decoder saw, and whether it is idle afterwards (never after a violation).
    ///
    /// Decodes `stream` as a whole, byte by byte, cut in two at every place, and cut at random places. All results must
    /// be the same.
    fn decode(stream: &[u8], max: usize) -> (Vec<Seen>, bool) {
        decode_in(Framing::Plain, stream, max)
    }

    fn decode_in(framing: Framing, stream: &[u8], max: usize) -> (Vec<Seen>, bool) {
        let whole = decode_pieces([stream], max, framing);
        let bytes = decode_pieces(stream.chunks(1), max, framing);
        assert_eq!(bytes, whole, "byte by byte");
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            let halves = decode_pieces([a, b], max, framing);
            assert_eq!(halves, whole, "cut at {cut}");
        }
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        for round in 0..50 {
            let mut pieces = Vec::new();
            let mut rest = stream;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + dice.below(rest.len().min(40)));
                pieces.push(piece);
                rest = after;
            }
            assert_eq!(decode_pieces(pieces, max, framing), whole, "round {round}");
        }
        whole
    }

    fn seen(stream: &[u8]) -> Vec<Seen> {
        decode(stream, MAX).0
    }

    /// Returns the last thing seen, which must be a violation.
    fn violation(stream: &[u8]) -> Violation {
        match seen(stream).last() {
            Some(Seen::Broken(violation)) => *violation,
            other => panic!("no violation but {other:?}"),
        }
    }

    #[test]
    fn the_examples_of_rfc_6455() {
        // RFC 6455 s. 5.7: a masked text frame.
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(decode(&hello, MAX), (vec![text("Hello")], true));
        let pong = [
            0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(seen(&pong), [Seen::Pong(b"Hello".to_vec())]);
    }

    #[test]
    fn payloads_of_every_length_form() {
        for len in [0, 1, 3, 4, 7, 8, 9, 125, 126, 127, 128, 300] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (seen, idle) = decode(&frame(FIN | BINARY, &payload), MAX);
            assert_eq!(seen, [Seen::Binary(payload)]);
            assert!(idle);
        }
        for len in [65_535, 65_536, 65_537] {
            let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let stream = frame(FIN | BINARY, &payload);
            for piece in [stream.len(), 1_000, 4_096] {
                let (seen, idle) = decode_pieces(stream.chunks(piece), MAX, Framing::Plain);
                assert_eq!(seen, [Seen::Binary(payload.clone())]);
                assert!(idle);
            }
        }
    }

    #[test]
    fn a_whole_frame_is_borrowed_and_leaves_nothing() {
        let mut stream = [frame(FIN | TEXT, b"[5,\"a\"]"), frame(FIN | PONG, b"x")].concat();
        let range = stream.as_ptr_range();
        let mut decoder = Decoder::default();
        let (taken, incoming) = decoder.decode(&mut stream, MAX, Framing::Plain).unwrap();
        let Some(Incoming::Message(message)) = incoming else {
            panic!("{incoming:?}");
        };
        assert!(message.is_text && range.contains(&message.payload.as_ptr()));
        assert!(decoder.is_idle());
        let (_, incoming) = decoder
            .decode(&mut stream[taken..], MAX, Framing::Plain)
            .unwrap();
        assert_eq!(incoming, Some(Incoming::Pong(b"x")));
        assert!(decoder.is_idle());
    }

    #[test]
    fn what_was_handed_over_is_released() {
        let stream = frame(FIN | TEXT, b"hello");
        let (mut head, mut tail) = (stream[..7].to_vec(), stream[7..].to_vec());
        let mut decoder = Decoder::default();
        let plain = Framing::Plain;
        assert_eq!(decoder.decode(&mut head, MAX, plain), Ok((7, None)));
        assert!(!decoder.is_idle());
        assert!(decoder.decode(&mut tail, MAX, plain).unwrap().1.is_some());
        decoder.release();
        assert!(decoder.is_idle());
        // A control frame that arrives in pieces between fragments leaves the message under way as it is.
        let mut seen = Vec::new();
        feed(
            &mut decoder,
            &frame(TEXT, b"a"),
            MAX,
            Framing::Plain,
            &mut seen,
        );
        for byte in frame(FIN | PING, b"p").chunks(1) {
            feed(&mut decoder, byte, MAX, Framing::Plain, &mut seen);
        }
        decoder.release();
        assert!(!decoder.is_idle());
        feed(
            &mut decoder,
            &frame(FIN | CONTINUE, b"b"),
            MAX,
            Framing::Plain,
            &mut seen,
        );
        assert!(decoder.is_idle());
        assert_eq!(seen, [Seen::Ping(b"p".to_vec()), text("ab")]);
    }

    #[test]
    fn fragments_and_control_frames_between_them() {
        let stream = [
            frame(TEXT, b"one "),
            frame(FIN | PING, b"hi"),
            frame(CONTINUE, b""),
            frame(CONTINUE, b"two "),
            frame(FIN | PONG, b""),
            frame(FIN | CONTINUE, b"three"),
            frame(BINARY, b""),
            frame(FIN | CONTINUE, b""),
            frame(FIN | TEXT, b""),
            frame(FIN | CLOSE, &[0x03, 0xE8]),
        ]
        .concat();
        let (seen, idle) = decode(&stream, MAX);
        assert_eq!(
            seen,
            [
                Seen::Ping(b"hi".to_vec()),
                Seen::Pong(vec![]),
                text("one two three"),
                Seen::Binary(vec![]),
                text(""),
                Seen::Close(Some(1000)),
            ]
        );
        assert!(idle);
    }

    #[test]
    fn a_close_inside_a_fragmented_message_is_heard() {
        let stream = [frame(TEXT, b"a"), frame(FIN | CLOSE, b"")].concat();
        assert_eq!(decode(&stream, MAX), (vec![Seen::Close(None)], false));
    }

    /// RFC 7692 s. 6
    #[test]
    fn a_compressed_message_says_so_in_its_first_frame() {
        const RSV1: u8 = 0x40;
        let deflate = |stream: &[u8]| decode_in(Framing::Deflate, stream, MAX).0;
        // Not UTF-8, as compressed text is not.
        let payload = [0xFF, 0xC0, 0x80, 1];
        let whole = frame(FIN | RSV1 | TEXT, &payload);
        assert_eq!(deflate(&whole), [Seen::Compressed(payload.to_vec())]);
        let fragments = [
            frame(RSV1 | BINARY, &payload[..1]),
            frame(FIN | PING, b"p"),
            frame(0, &payload[1..3]),
            frame(FIN, &payload[3..]),
            frame(FIN | TEXT, b"plain"),
        ];
        assert_eq!(
            deflate(&fragments.concat()),
            [
                Seen::Ping(b"p".to_vec()),
                Seen::Compressed(payload.to_vec()),
                text("plain"),
            ]
        );
        let reserved = Seen::Broken(Violation::Protocol("reserved bit set"));
        for bad in [
            [frame(TEXT, b"a"), frame(FIN | RSV1, b"b")].concat(),
            frame(FIN | RSV1 | PING, b""),
            frame(FIN | RSV1 | CLOSE, b""),
            frame(FIN | 0x20 | TEXT, b""),
            frame(FIN | RSV1 | 0x10 | TEXT, b""),
        ] {
            assert_eq!(deflate(&bad).last(), Some(&reserved));
        }
        assert_eq!(
            deflate(&frame(FIN | TEXT, b"\xFF")),
            [Seen::Broken(Violation::Utf8)],
            "what is not compressed is checked"
        );
    }

    #[test]
    fn frames_that_break_the_protocol() {
        let masked = |first, second, rest: &[u8]| [&[first, second], rest].concat();
        let cases: &[(&str, Vec<u8>)] = &[
            ("reserved bit set", frame(FIN | 0x40 | TEXT, b"")),
            ("reserved bit set", frame(FIN | 0x20 | TEXT, b"")),
            ("reserved bit set", frame(FIN | 0x10 | PING, b"")),
            ("reserved opcode", frame(FIN | 3, b"")),
            ("reserved opcode", frame(FIN | 7, b"")),
            ("reserved opcode", frame(FIN | 11, b"")),
            ("reserved opcode", frame(15, b"")),
            ("frame without a mask", vec![0x81, 0x01, b'a']),
            ("frame without a mask", vec![0x81, 0x7E, 0x00, 0x80]),
            ("fragmented control frame", frame(PING, b"")),
            ("fragmented control frame", frame(CLOSE, b"")),
            ("control frame over 125 bytes", frame(FIN | PING, &[0; 126])),
            (
                "control frame over 125 bytes",
                frame(FIN | CLOSE, &[3; 200]),
            ),
            (
                "frame length not in its shortest form",
                masked(0x81, 0xFE, &[0, 125, 1, 2, 3, 4]),
            ),
            (
                "frame length not in its shortest form",
                masked(0x81, 0xFF, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4]),
            ),
            (
                "frame length over 63 bits",
                masked(0x81, 0xFF, &[0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            ),
            ("continuation of nothing", frame(CONTINUE, b"a")),
            ("continuation of nothing", frame(FIN | CONTINUE, b"a")),
            (
                "continuation of nothing",
                [
                    frame(TEXT, b"a"),
                    frame(FIN | CONTINUE, b"b"),
                    frame(FIN | CONTINUE, b"c"),
                ]
                .concat(),
            ),
            (
                "new message inside a fragmented one",
                [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
            ),
            (
                "new message inside a fragmented one",
                [frame(BINARY, b""), frame(BINARY, b"b")].concat(),
            ),
            ("close frame of one byte", frame(FIN | CLOSE, &[3])),
        ];
        for (rule, stream) in cases {
            assert_eq!(violation(stream), Violation::Protocol(rule), "{stream:x?}");
        }
    }

    #[test]
    fn the_first_two_bytes_are_judged_at_once() {
        for start in [&[0x83][..], &[0xC1], &[0x09], &[0x81, 0x7F], &[0x89, 0xFE]] {
            let (seen, _) = decode_pieces([start], MAX, Framing::Plain);
            assert!(
                matches!(seen[..], [Seen::Broken(Violation::Protocol(_))]),
                "{start:x?}"
            );
        }
    }

    #[test]
    fn close_codes() {
        // Autobahn 7.7.x, 7.9.x and 7.13.x.
        let good = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ];
        let bad = [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ];
        for code in good {
            let payload = [&u16::to_be_bytes(code)[..], "because ☃".as_bytes()].concat();
            assert_eq!(
                seen(&frame(FIN | CLOSE, &payload)),
                [Seen::Close(Some(code))]
            );
        }
        for code in bad {
            let stream = frame(FIN | CLOSE, &u16::to_be_bytes(code));
            assert_eq!(
                violation(&stream),
                Violation::Protocol("close code not allowed"),
                "{code}"
            );
        }
        assert_eq!(seen(&frame(FIN | CLOSE, b"")), [Seen::Close(None)]);
        let longest = [&[0x03, 0xE8][..], &[b'x'; 123]].concat();
        assert_eq!(
            seen(&frame(FIN | CLOSE, &longest)),
            [Seen::Close(Some(1000))]
        );
        assert_eq!(
            violation(&frame(FIN | CLOSE, b"\x03\xE8\xCE\xBA\xE1")),
            Violation::Utf8
        );
    }

    #[test]
    fn text_that_is_not_utf8() {
        let cases: &[&[u8]] = &[
            b"\xFF",
            b"a\x80",
            b"\xC0\xAF",
            b"\xE0\x80\x80",
            b"\xED\xA0\x80",
            b"\xF4\x90\x80\x80",
            b"\xF8\x88\x80\x80\x80",
            b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited",
            b"cut \xE2\x98",
            b"cut \xF0\x9F\x98",
        ];
        for payload in cases {
            assert_eq!(
                violation(&frame(FIN | TEXT, payload)),
                Violation::Utf8,
                "{payload:x?}"
            );
            let stream = [frame(TEXT, payload), frame(FIN | CONTINUE, b"")].concat();
            assert_eq!(violation(&stream), Violation::Utf8, "{payload:x?}");
            // A binary message may be anything.
            assert_eq!(
                seen(&frame(FIN | BINARY, payload)),
                [Seen::Binary(payload.to_vec())]
            );
        }
    }

    #[test]
    fn characters_may_be_cut_between_fragments() {
        let snow = "☃ 𝄞 é";
        let bytes = snow.as_bytes();
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                let stream = [
                    frame(TEXT, &bytes[..a]),
                    frame(CONTINUE, &bytes[a..b]),
                    frame(FIN | CONTINUE, &bytes[b..]),
                ]
                .concat();
                assert_eq!(
                    decode_pieces([&stream[..]], MAX, Framing::Plain),
                    (vec![text(snow)], true)
                );
                assert_eq!(
                    decode_pieces(stream.chunks(1), MAX, Framing::Plain),
                    (vec![text(snow)], true)
                );
            }
        }
    }

    #[test]
    fn a_bad_byte_fails_before_its_frame_is_whole() {
        // Autobahn 6.4.3 and 6.4.4: the third byte of U+110000, and the frame is not whole.
        for (bytes, bad) in [
            (&b"\xCE\xBA\xF4\x90"[..], true),
            (b"\xCE\xBA\xF4", false),
            (b"\xED\xA0", true),
            (b"\xED\x9F", false),
            (b"\xF0\x80", true),
            (b"\xE0\x9F", true),
        ] {
            let mut payload = bytes.to_vec();
            payload.resize(20, b'x');
            let stream = frame(FIN | TEXT, &payload);
            let (seen, _) = decode_pieces([&stream[..6 + bytes.len()]], MAX, Framing::Plain);
            let expected: &[Seen] = match bad {
                true => &[Seen::Broken(Violation::Utf8)],
                false => &[],
            };
            assert_eq!(seen, expected, "{bytes:x?}");
            // The same in a whole fragment of an unfinished message.
            let (seen, _) = decode_pieces([&frame(TEXT, bytes)[..]], MAX, Framing::Plain);
            assert_eq!(seen, expected, "{bytes:x?}");
        }
    }

    #[test]
    fn the_limit_is_checked_from_the_header() {
        assert_eq!(decode(&frame(FIN | TEXT, b"12345"), 5).0, [text("12345")]);
        let broken = [Seen::Broken(Violation::TooLarge)];
        assert_eq!(decode(&frame(FIN | TEXT, b"123456"), 5).0, broken);
        assert_eq!(
            decode_pieces([&frame(FIN | TEXT, b"123456")[..6]], 5, Framing::Plain).0,
            broken
        );
        let fragments = [
            frame(TEXT, b"123"),
            frame(CONTINUE, b"45"),
            frame(FIN | CONTINUE, b"6"),
        ];
        assert_eq!(decode(&fragments.concat(), 5).0, broken);
        assert_eq!(decode(&fragments.concat(), 6).0, [text("123456")]);
        // The limit is for messages; control frames have their own.
        assert_eq!(
            decode(&frame(FIN | PING, b"123456"), 5).0,
            [Seen::Ping(b"123456".to_vec())]
        );
        // The largest length there is.
        let mut huge = vec![0x82, 0xFF, 0x7F];
        huge.extend([0xFF; 7]);
        huge.extend([1, 2, 3, 4]);
        assert_eq!(decode(&huge, 1 << 40).0, broken);
    }

    #[test]
    fn memory_is_taken_for_what_came_and_never_past_the_limit() {
        let max = 1000;
        let stream = frame(FIN | BINARY, &[7; 900]);
        let mut decoder = Decoder::default();
        let mut pieces = stream.chunks(10);
        for piece in pieces.by_ref().take(30) {
            feed(&mut decoder, piece, max, Framing::Plain, &mut Vec::new());
            let payload = &decoder
                .0
                .as_ref()
                .unwrap()
                .message
                .as_ref()
                .map(|m| &m.payload);
            if let Some(payload) = payload {
                assert!(
                    payload.capacity() <= 900.min(2 * payload.len().max(10)),
                    "{payload:?}"
                );
            }
        }
        let mut decoder = Decoder::default();
        feed(
            &mut decoder,
            &frame(BINARY, b""),
            max,
            Framing::Plain,
            &mut Vec::new(),
        );
        for _ in 0..1000 {
            feed(
                &mut decoder,
                &frame(CONTINUE, b""),
                max,
                Framing::Plain,
                &mut Vec::new(),
            );
        }
        assert_eq!(
            decoder
                .0
                .as_ref()
                .unwrap()
                .message
                .as_ref()
                .unwrap()
                .payload
                .capacity(),
            0
        );
        for _ in 0..1000 {
            feed(
                &mut decoder,
                &frame(CONTINUE, b"x"),
                max,
                Framing::Plain,
                &mut Vec::new(),
            );
            assert!(
                decoder
                    .0
                    .as_ref()
                    .unwrap()
                    .message
                    .as_ref()
                    .unwrap()
                    .payload
                    .capacity()
                    <= max
            );
        }
    }

    #[test]
    fn random_streams_cut_at_random() {
        let mut dice = Dice(42);
        for _ in 0..60 {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..1 + dice.below(4) {
                let payload: String = (0..dice.below(60))
                    .map(|_| ['a', 'é', '☃', '𝄞'][dice.below(4)])
                    .collect();
                expected.push(text(&payload));
                let bytes = payload.as_bytes();
                let mut at = 0;
                let mut opcode = TEXT;
                let mut pings = Vec::new();
                while dice.below(3) > 0 {
                    let end = at + dice.below(bytes.len() - at + 1);
                    stream.extend(frame(opcode, &bytes[at..end]));
                    (at, opcode) = (end, CONTINUE);
                    if dice.below(2) == 0 {
                        let ping = vec![b'p'; dice.below(126)];
                        stream.extend(frame(FIN | PING, &ping));
                        pings.push(Seen::Ping(ping));
                    }
                }
                stream.extend(frame(FIN | opcode, &bytes[at..]));
                let last = expected.len() - 1;
                expected.splice(last..last, pings);
            }
            assert_eq!(decode(&stream, MAX), (expected, true));
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut dice = Dice(7);
        for _ in 0..2_000 {
            let mut stream: Vec<u8> = (0..dice.below(40)).map(|_| dice.next() as u8).collect();
            // A header that is often good: with random ones, hardly a stream would pass the first checks.
            if let [first, second, ..] = &mut stream[..] {
                *first &= 0x8F;
                *second |= 0x80;
            }
            decode_pieces(stream.chunks(1 + dice.below(9)), 100, Framing::Deflate);
            decode_pieces([&stream[..]], 100, Framing::Deflate);
        }
    }

    #[test]
    fn unmasking_is_the_same_at_every_length_and_turn() {
        let mask = [1, 2, 4, 8];
        for len in 0..70_usize {
            for cut in 0..=len {
                let mut bytes: Vec<u8> = (0..len as u8).collect();
                let expected: Vec<u8> = (0..len).map(|i| i as u8 ^ mask[i % 4]).collect();
                let mut turned = mask;
                turned.rotate_left(cut % 4);
                unmask(&mut bytes[..cut], mask);
                unmask(&mut bytes[cut..], turned);
                assert_eq!(bytes, expected);
            }
        }
    }
}
