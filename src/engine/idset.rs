//! A set of small numbers, cheap to keep when it has one and cheap to walk when it has a million.
//!
//! It is used both ways round: an audience's members (places in the slab) and a connection's audiences.
//! Most connections have one to three topics and most topics few members, so the first three are
//! kept in the value itself and the next dozen in one small array; only then comes a compressed
//! bitmap, whose smallest form takes more than either.
//!
//! Measured against what else it could be (`cargo bench --bench million`, AMD EPYC; for each
//! membership, bytes asked of the allocator and nanoseconds):
//!
//! | members | what | bytes | subscribe | walk | leave |
//! |---|---|---|---|---|---|
//! | 1 topic of 1,000,000 | this | 0.13 | 7.9 | 1.7 | 9 |
//! | | roaring | 0.13 | 5.6 | 1.5 | 7 |
//! | | sorted array | 4.19 | 19 | 0.1 | 47,000 |
//! | | hash set | 10.5 | 34 | 1.4 | 19 |
//! | 100,000 topics of 10 | this | 8.0 | 15 | 0.3 | 10 |
//! | | roaring | 74 | 50 | 11 | 30 |
//! | | sorted array | 8.8 | 15 | 0.3 | 16 |
//! | | hash set | 14.4 | 21 | 0.9 | 11 |
//! | 1,000,000 topics of 1 | this | 16 | 22 | 1.3 | 13 |
//! | | roaring | 192 | 310 | 8.4 | 20 |
//! | | sorted array | 40 | 38 | 5.5 | 12 |
//! | | hash set | 84 | 52 | 2.5 | 21 |
//! | 100 topics of 500,000 of 1,000,000 | this | 0.26 | 10 | 2.5 | 10 |
//! | | roaring | 0.26 | 7.6 | 2.0 | 28 |
//! | | sorted array | 4.19 | 27 | 0.1 | 20,000 |
//! | | hash set | 10.5 | 39 | 1.6 | 170 |
//!
//! Only the sorted array walks faster, and what it saves is a thousandth of the `send()` that
//! follows; only roaring alone is as small for many members, and it is ten times larger for few.
//!
//! Never here: what the numbers mean.

use roaring::RoaringBitmap;

const INLINE_MAX: usize = 3;
const ARRAY_MAX: usize = 16;

/// A sorted set of `u32`, in 16 bytes while it has up to three.
#[derive(Clone, Debug, Default)]
pub struct IdSet(Shape);

#[derive(Clone, Debug)]
enum Shape {
    /// The first `len` of `ids`, ascending.
    Inline { len: u8, ids: [u32; INLINE_MAX] },
    /// The first `len` of `ids`, ascending; more than fit inline when it was made.
    Array { len: u8, ids: Box<[u32; ARRAY_MAX]> },
    /// Any number.
    Bitmap(Box<RoaringBitmap>),
}

const _: () = assert!(size_of::<IdSet>() == 16);

impl Default for Shape {
    fn default() -> Self {
        Self::Inline {
            len: 0,
            ids: [0; INLINE_MAX],
        }
    }
}

impl IdSet {
    /// The numbers, when they stand in an array.
    fn sorted(&self) -> Option<&[u32]> {
        match &self.0 {
            Shape::Inline { len, ids } => Some(&ids[..usize::from(*len)]),
            Shape::Array { len, ids } => Some(&ids[..usize::from(*len)]),
            Shape::Bitmap(_) => None,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Bitmap(bitmap) => bitmap.len() as usize,
            Shape::Inline { len, .. } | Shape::Array { len, .. } => usize::from(*len),
        }
    }

    /// Returns true when there is none.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Shape::Bitmap(bitmap) => bitmap.is_empty(),
            Shape::Inline { len, .. } | Shape::Array { len, .. } => *len == 0,
        }
    }

    /// Returns true when `id` is one of them.
    pub fn contains(&self, id: u32) -> bool {
        match &self.0 {
            Shape::Bitmap(bitmap) => bitmap.contains(id),
            Shape::Inline { .. } | Shape::Array { .. } => {
                self.sorted().is_some_and(|ids| ids.contains(&id))
            }
        }
    }

    /// Adds `id`; false when it was there.
    pub fn insert(&mut self, id: u32) -> bool {
        match &mut self.0 {
            Shape::Inline { len, ids } if usize::from(*len) < INLINE_MAX => {
                insert_sorted(ids, len, id)
            }
            Shape::Array { len, ids } if usize::from(*len) < ARRAY_MAX => {
                insert_sorted(&mut ids[..], len, id)
            }
            Shape::Bitmap(bitmap) => bitmap.insert(id),
            Shape::Inline { .. } | Shape::Array { .. } => {
                if self.contains(id) {
                    return false;
                }
                self.grow();
                self.insert(id)
            }
        }
    }

    /// Takes the next form, with the same numbers.
    fn grow(&mut self) {
        self.0 = match &mut self.0 {
            Shape::Inline { len, ids } => {
                let mut wider = Box::new([0; ARRAY_MAX]);
                wider[..INLINE_MAX].copy_from_slice(ids);
                Shape::Array {
                    len: *len,
                    ids: wider,
                }
            }
            Shape::Array { len, ids } => {
                Shape::Bitmap(Box::new(ids[..usize::from(*len)].iter().copied().collect()))
            }
            Shape::Bitmap(_) => return,
        };
    }

    /// Takes `id` out; false when it was not there. An emptied set gives its memory back. It does
    /// not shrink otherwise: a set that goes up and down around a border would work at every step.
    pub fn remove(&mut self, id: u32) -> bool {
        let removed = match &mut self.0 {
            Shape::Inline { len, ids } => remove_sorted(ids, len, id),
            Shape::Array { len, ids } => remove_sorted(&mut ids[..], len, id),
            Shape::Bitmap(bitmap) => bitmap.remove(id),
        };
        if removed && self.is_empty() {
            *self = Self::default();
        }
        removed
    }

    /// Takes the largest out, which moves no other.
    pub fn pop(&mut self) -> Option<u32> {
        let last = match &self.0 {
            Shape::Bitmap(bitmap) => bitmap.max(),
            Shape::Inline { .. } | Shape::Array { .. } => self.sorted()?.last().copied(),
        }?;
        self.remove(last);
        Some(last)
    }

    /// Those from `start` on, ascending.
    pub fn iter_from(&self, start: u32) -> IdIter<'_> {
        match &self.0 {
            Shape::Bitmap(bitmap) => IdIter::Bitmap(bitmap.range(start..)),
            Shape::Inline { .. } | Shape::Array { .. } => {
                let ids = self.sorted().unwrap_or(&[]);
                IdIter::Array(ids[ids.partition_point(|&id| id < start)..].iter())
            }
        }
    }

    /// All, ascending.
    pub fn iter(&self) -> IdIter<'_> {
        self.iter_from(0)
    }
}

fn insert_sorted(ids: &mut [u32], len: &mut u8, id: u32) -> bool {
    let used = usize::from(*len);
    match ids[..used].binary_search(&id) {
        Ok(_) => false,
        Err(at) => {
            ids.copy_within(at..used, at + 1);
            ids[at] = id;
            *len += 1;
            true
        }
    }
}

fn remove_sorted(ids: &mut [u32], len: &mut u8, id: u32) -> bool {
    let used = usize::from(*len);
    match ids[..used].binary_search(&id) {
        Ok(at) => {
            ids.copy_within(at + 1..used, at);
            *len -= 1;
            true
        }
        Err(_) => false,
    }
}

/// A walk over an [`IdSet`].
pub enum IdIter<'a> {
    /// Over either of the arrays.
    Array(std::slice::Iter<'a, u32>),
    /// Over the bitmap.
    Bitmap(roaring::bitmap::Iter<'a>),
}

impl Iterator for IdIter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Array(ids) => ids.next().copied(),
            Self::Bitmap(ids) => ids.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The fast set and a stupid one, through the same steps.
    #[test]
    fn it_is_a_set() {
        let mut state = 1_u64;
        let mut random = |below: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u32 % below
        };
        for range in [2, 4, 8, 20, 40, 200_000] {
            let mut set = IdSet::default();
            let mut model = BTreeSet::new();
            for step in 0..3_000 {
                let id = random(range);
                match random(6) {
                    0..4 => assert_eq!(set.insert(id), model.insert(id)),
                    4 => assert_eq!(set.remove(id), model.remove(&id)),
                    _ => assert_eq!(set.pop(), model.pop_last()),
                }
                assert_eq!(set.len(), model.len(), "range {range}, step {step}");
                assert_eq!(set.is_empty(), model.is_empty());
                assert_eq!(set.contains(id), model.contains(&id));
                if step % 50 == 0 {
                    let start = random(range);
                    assert!(set.iter_from(start).eq(model.range(start..).copied()));
                    assert!(set.iter().eq(model.iter().copied()));
                }
            }
        }
    }

    #[test]
    fn an_emptied_set_keeps_no_memory() {
        let mut set = IdSet::default();
        (0..100).for_each(|id| {
            set.insert(id);
        });
        (0..100).for_each(|id| {
            set.remove(id);
        });
        assert!(matches!(set.0, Shape::Inline { .. }));
    }
}
