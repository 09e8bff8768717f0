//! How a buffer grows that has a bound.
//!
//! A `Vec` doubles, so one of 33 KiB may keep 64 KiB, past any bound. And each time it grows it leaves the
//! memory behind that it had: of a thousand buffers which grow together, the allocator keeps the halves,
//! quarters and so on, as much again as the buffers themselves. So a buffer doubles while it is small, and
//! takes all that it may become as soon as it would have an eighth of that. Pages that nothing was written
//! to cost nothing.
//!
//! Never here: what is in a buffer, and which bound it has.

/// In bytes up to which a buffer doubles, whatever its bound: a page.
const SMALL: usize = 4 * 1024;

/// Appends `bytes` to `buffer`, which will never hold more than `most` bytes (or than it holds then, where
/// that is more).
pub fn append(buffer: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let doubled = needed.max(2 * buffer.capacity());
        let is_small = doubled <= SMALL.max(most / 8);
        let capacity = if is_small { doubled.min(most) } else { most };
        let capacity = capacity.max(needed);
        buffer.reserve_exact(capacity - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a buffer had on its way, were it never given to anybody else.
    #[test]
    fn a_buffer_never_passes_its_bound_and_leaves_little_behind() {
        for most in [1_000, 65_536, 65_537, 2_200_000] {
            for piece in [1, 100, 1_000, 40_000] {
                let piece = vec![7; piece];
                let mut buffer = Vec::new();
                let mut had = vec![0];
                while buffer.len() + piece.len() <= most {
                    append(&mut buffer, &piece, most);
                    if had.last() != Some(&buffer.capacity()) {
                        had.push(buffer.capacity());
                    }
                }
                assert!(buffer.capacity() <= most, "{had:?}");
                let all: usize = had.iter().sum();
                assert!(all <= most + (most / 4).max(2 * SMALL), "{had:?} of {most}");
            }
        }
        let mut buffer = Vec::new();
        append(&mut buffer, b"more than that", 3);
        assert_eq!(buffer.capacity(), 14);
    }
}
