//! A publisher as bytes: ZMTP 3.0 as a PUSH socket speaks it, without libzmq.
//!
//! Never here: what the messages mean.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::{PATIENCE, Server};

/// The greeting and READY of a PUSH socket.
pub fn hello() -> Vec<u8> {
    hello_as("PUSH")
}

/// The greeting and READY of a socket of that type.
pub fn hello_as(kind: &str) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0];
    bytes.extend(b"NULL");
    bytes.resize(64, 0);
    let mut ready = b"\x05READY\x0BSocket-Type\x00\x00\x00".to_vec();
    ready.push(kind.len() as u8);
    ready.extend(kind.as_bytes());
    bytes.extend([0x04, ready.len() as u8]);
    bytes.extend(ready);
    bytes
}

/// A connection to the server's PULL socket; both sides have sent their greeting and READY.
pub fn connect(server: &Server) -> TcpStream {
    const HELLO_BYTES: usize = 64 + 28;
    let address = server.pull.trim_start_matches("tcp://");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(&hello()).expect("sent");
    let mut answer = [0; HELLO_BYTES];
    stream
        .read_exact(&mut answer)
        .expect("a greeting and READY");
    stream
}

/// One part of a message; another part follows it when `has_more`.
pub fn part(bytes: &[u8], has_more: bool) -> Vec<u8> {
    let mut frame = vec![0x02 | u8::from(has_more)];
    frame.extend((bytes.len() as u64).to_be_bytes());
    frame.extend(bytes);
    frame
}
