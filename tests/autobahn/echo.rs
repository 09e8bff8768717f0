//! An echo server for the Autobahn test suite, built from newswire's own upgrade and frame code.
//!
//! It says each message back, as RFC 6455's conformance tests want; newswire itself has nothing to
//! echo. A thread a connection and blocking sockets: what is tested is the wire, so everything else
//! is as plain as can be. It prints its address and runs until it is killed.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use newswire::limits;
use newswire::wire::http::{Head, NO_LINES};
use newswire::wire::websocket::{Decoder, Deflater, Framing, Incoming, Inflater, close_code};
use newswire::wire::{http, websocket};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// In bytes: the suite's largest message is 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// The server's side of one connection.
struct Side {
    framing: Framing,
    decoder: Decoder,
    inflater: Inflater,
    deflater: Deflater,
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // A peer that goes away in the middle is what half of the suite does.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; limits::READ_BUFFER_BYTES];
    let mut head = Vec::new();
    let (head_bytes, framing) = loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..n]);
        let mut answer = Vec::new();
        let mut lines = NO_LINES;
        let refusal = match Head::parse(&head, limits::HEAD_BYTES_MAX, &mut lines) {
            Ok(None) => continue,
            Ok(Some(head)) => match http::judge(&head) {
                Ok(upgrade) => {
                    let acceptance = upgrade.acceptance(true);
                    http::encode_acceptance(&acceptance, &mut answer);
                    stream.write_all(&answer)?;
                    let framing = match acceptance.deflate {
                        Some(_) => Framing::Deflate,
                        None => Framing::Plain,
                    };
                    break (head.len, framing);
                }
                Err(refusal) => refusal,
            },
            Err(fault) => fault.into(),
        };
        http::encode_refusal(refusal, false, &mut answer);
        return stream.write_all(&answer);
    };
    let mut side = Side {
        framing,
        decoder: Decoder::default(),
        inflater: Inflater::default(),
        deflater: Deflater::default(),
    };
    let mut early = head.split_off(head_bytes);
    let mut ended = echo(&mut side, &mut early, &mut stream)?;
    while !ended {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        ended = echo(&mut side, &mut buffer[..n], &mut stream)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // What still comes must not be answered with a reset, which would overtake the Close frame.
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Answers what `bytes` completes. True when that was the end.
fn echo(side: &mut Side, bytes: &mut [u8], stream: &mut TcpStream) -> io::Result<bool> {
    let mut at = 0;
    while at < bytes.len() {
        let mut out = Vec::new();
        let mut ended = false;
        let framing = side.framing;
        match (side.decoder).decode(&mut bytes[at..], MESSAGE_BYTES_MAX, framing) {
            Ok((taken, incoming)) => {
                at += taken;
                match incoming {
                    None | Some(Incoming::Pong(_)) => {}
                    Some(Incoming::Message(message)) => {
                        match side.inflater.open(&message, MESSAGE_BYTES_MAX) {
                            Ok(payload) => {
                                let deflated = match framing {
                                    Framing::Deflate => (side.deflater)
                                        .deflate(payload.len(), |out| {
                                            out.extend_from_slice(payload)
                                        }),
                                    Framing::Plain => None,
                                };
                                say(message.is_text, payload, deflated, &mut out);
                            }
                            Err(violation) => {
                                let (code, reason) = violation.close();
                                websocket::encode_close(Some(code), reason, &mut out);
                                ended = true;
                            }
                        }
                    }
                    Some(Incoming::Ping(payload)) => websocket::encode_pong(payload, &mut out),
                    Some(Incoming::Close(code)) => {
                        let code = code.or(Some(close_code::NORMAL));
                        websocket::encode_close(code, "", &mut out);
                        ended = true;
                    }
                }
            }
            Err(violation) => {
                let (code, reason) = violation.close();
                websocket::encode_close(Some(code), reason, &mut out);
                ended = true;
            }
        }
        side.decoder.release();
        stream.write_all(&out)?;
        if ended {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends a message, compressed where that is shorter.
fn say(is_text: bool, payload: &[u8], deflated: Option<&[u8]>, out: &mut Vec<u8>) {
    let header = FrameHeader {
        opcode: OpCode::Data(if is_text { Data::Text } else { Data::Binary }),
        rsv1: deflated.is_some(),
        ..FrameHeader::default()
    };
    let payload = deflated.unwrap_or(payload);
    header
        .format(payload.len() as u64, out)
        .expect("a Vec takes every write");
    out.extend_from_slice(payload);
}
