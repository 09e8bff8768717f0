//! A connection in memory: a stream that an engine reads and writes, and the [`Pipe`] behind it, where a
//! test sees all bytes and decides how many a read or a write moves and when the peer breaks.
//!
//! Three crates include this file by its path (newswire's unit tests, `tests/wire`, `tests/allocations.rs`).
//! It is no part of the crate `kit`, because only the crate of the trait or of the type may implement
//! [`Stream`]; that trait has to be in scope where the file is included.
//!
//! Never here: what the bytes mean.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use super::Stream;

/// Both ends of a connection in memory.
#[derive(Debug)]
pub struct Pipe {
    pub to_server: VecDeque<u8>,
    pub from_server: Vec<u8>,
    /// In bytes that the server has read.
    pub read_bytes: usize,
    /// In bytes that the server can write before it would block.
    pub room: usize,
    /// In bytes that one write takes at most.
    pub piece: usize,
    /// In calls of `write`.
    pub writes: usize,
    /// True exactly when a write was short and the test has not taken notice of it.
    pub wants_room: bool,
    pub peer_ended: bool,
    pub server_ended: bool,
    /// True once the peer has reset the connection.
    pub is_broken: bool,
    /// True once the server has let go of the stream.
    pub is_dropped: bool,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            to_server: VecDeque::new(),
            from_server: Vec::new(),
            read_bytes: 0,
            room: usize::MAX,
            piece: usize::MAX,
            writes: 0,
            wants_room: false,
            peer_ended: false,
            server_ended: false,
            is_broken: false,
            is_dropped: false,
        }
    }
}

/// The server's end.
#[derive(Debug)]
pub struct FakeStream(pub Rc<RefCell<Pipe>>);

impl FakeStream {
    /// A connection that takes everything, and what the test keeps of it.
    pub fn new() -> (Self, Rc<RefCell<Pipe>>) {
        let pipe = Rc::default();
        (Self(Rc::clone(&pipe)), pipe)
    }
}

impl Read for FakeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.is_broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if pipe.to_server.is_empty() && !pipe.peer_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = pipe.to_server.len().min(buffer.len());
        for (slot, byte) in buffer.iter_mut().zip(pipe.to_server.drain(..n)) {
            *slot = byte;
        }
        pipe.read_bytes += n;
        Ok(n)
    }
}

impl Write for FakeStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        pipe.writes += 1;
        if pipe.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        assert!(!pipe.server_ended, "written after the half-close");
        assert!(!bytes.is_empty(), "an empty write");
        let n = bytes.len().min(pipe.room).min(pipe.piece);
        pipe.wants_room |= n < bytes.len();
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.room -= n;
        pipe.from_server.extend(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for FakeStream {
    fn finish(&mut self) -> io::Result<()> {
        self.0.borrow_mut().server_ended = true;
        Ok(())
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}
