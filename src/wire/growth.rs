//! How a buffer with a bound grows.
//!
//! A `Vec` doubles its memory, so a buffer of 33 KiB may have 64 KiB, more than its bound. Each time it grows, it also
//! leaves its former memory to the allocator: when a thousand buffers grow together, the allocator keeps their halves,
//! quarters and so on, as much again as the buffers themselves. So a buffer doubles only while it is small. As soon as
//! it would have more than an eighth of its bound, it takes the whole bound at once. Pages that nothing was written to
//! take no memory.
//!
//! Never here: what is in a buffer, and which bound it has.

/// In bytes, up to which a buffer doubles whatever its bound is: one page.
const SMALL: usize = 4 * 1024;

/// Appends `bytes` to `buffer`. The caller knows that the buffer will not hold more than `most` bytes; when it does,
/// the buffer grows as far as it has to.
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

    /// Adds up all memory that a buffer had while it grew, as if the allocator used none of it again.
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
