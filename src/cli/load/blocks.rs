//! Cuts a stream of server-sent events into events, of which only the beginnings are kept. Comments are no events.
//!
//! An event ends with two line feeds, as newswire ends its own. The bytes are searched for those and not looked at
//! otherwise: a load test must not measure itself. `newswire subscribe` has a cutter of its own, in `event_stream`: it
//! keeps events whole, and takes each end of a line that a proxy may have made.
//!
//! Never here: what an event means, and sockets.

use memchr::memchr_iter;

use super::fleet::HEAD_BYTES;
use super::frames::Unfinished;

/// Takes bytes behind those of which `partial` is left. `heard` gets the beginning of each event, and how long the whole
/// event is.
pub(super) fn take(
    partial: &mut Option<Box<Unfinished>>,
    mut bytes: &[u8],
    mut heard: impl FnMut(&[u8], usize),
) {
    let mut hear = |head: &[u8], len: usize| {
        if head.first() != Some(&b':') {
            heard(&head[..head.len().min(HEAD_BYTES)], len);
        }
    };
    if let Some(begun) = partial
        && let Some(first) = bytes.first()
    {
        let is_cut_in_its_end = begun.kept.last() == Some(&b'\n') && *first == b'\n';
        let end = if is_cut_in_its_end {
            Some(1)
        } else {
            end(bytes)
        };
        begun.keep(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else {
            return;
        };
        hear(&begun.kept, begun.kept.len() + begun.rest);
        *partial = None;
        bytes = &bytes[end..];
    }
    while let Some(end) = end(bytes) {
        hear(&bytes[..end], end);
        bytes = &bytes[end..];
    }
    if !bytes.is_empty() {
        let mut begun = Box::<Unfinished>::default();
        begun.keep(bytes);
        *partial = Some(begun);
    }
}

/// Returns where the first event of `bytes` ends.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut line_ends = memchr_iter(b'\n', bytes);
    let last = line_ends.find(|&at| bytes.get(at + 1) == Some(&b'\n'));
    last.map(|at| at + 2)
}

impl Unfinished {
    /// Keeps the beginning of an event, and the byte that came last: two line feeds may come in two pieces. What is kept
    /// is at most [`HEAD_BYTES`] + 1 bytes long.
    fn keep(&mut self, piece: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.kept.len());
        let (head, rest) = piece.split_at(room.min(piece.len()));
        self.kept.extend_from_slice(head);
        if let Some(last) = rest.last() {
            self.rest += rest.len() + self.kept.len().saturating_sub(HEAD_BYTES) - 1;
            self.kept.truncate(HEAD_BYTES);
            self.kept.push(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same events are heard, of each the beginning.
    #[test]
    fn a_cut_changes_nothing() {
        let lens = [1, 2, 157, 158, 159, 160, 161, 1_000, 70_000];
        let events: Vec<String> = lens
            .iter()
            .map(|&len| format!("id: 1\n{}\n\n", "x".repeat(len)))
            .collect();
        let stream = format!(":\n\n{}", events.join(":\n\n"));
        let expected: Vec<(&[u8], usize)> = events
            .iter()
            .map(|event| {
                (
                    &event.as_bytes()[..event.len().min(HEAD_BYTES)],
                    event.len(),
                )
            })
            .collect();
        for size in [1, 2, 3, 7, 100, 159, 160, 161, 162, 5_000, stream.len()] {
            let mut partial = None;
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                take(&mut partial, piece, |head, len| {
                    found.push((head.to_vec(), len));
                });
                let kept = partial.as_ref().map_or(0, |begun| begun.kept.len());
                assert!(kept <= HEAD_BYTES + 1);
            }
            assert!(partial.is_none());
            let found: Vec<(&[u8], usize)> =
                found.iter().map(|(head, len)| (&head[..], *len)).collect();
            assert!(found == expected, "pieces of {size}");
        }
    }
}
