//! Where connections live, and which tenant of a place a name means.
//!
//! A slab hands the place that was freed last to the next newcomer. Anything that names a
//! connection and outlives its turn (a verdict on its way, unread bytes, an administrator's
//! command) may therefore come back when somebody else lives there. So each place counts its
//! tenants, a [`SlotId`] names place and tenant, and what comes late finds nobody.
//!
//! Where the limit of connections is known and not absurd, the room for all of them is taken at the
//! start: pages that nobody has touched cost nothing, and nothing ever moves. Beyond that the slab
//! grows by an eighth at a time. Doubling would leave up to half of it unused, which at a million
//! connections is more than all the rest of them costs.
//!
//! Never here: what a connection is, sockets, time. Cost: 4 bytes a place beside the entry.

use std::num::NonZeroU32;

use slab::Slab;

/// The fewest places by which the slab grows.
const GROWTH_MIN: usize = 64;

/// One connection, for as long as it lives and never after.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SlotId {
    index: u32,
    generation: NonZeroU32,
}

impl SlotId {
    /// The place alone: what the sets of members hold.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Which tenant of the place.
    pub fn generation(self) -> u32 {
        self.generation.get()
    }

    /// That tenant of that place; `None` for generation 0, which nobody has.
    pub fn new(index: u32, generation: u32) -> Option<Self> {
        let generation = NonZeroU32::new(generation)?;
        Some(Self { index, generation })
    }

    /// Both halves in one number, generation first. It is at least 2^32, so that smaller numbers
    /// are free to name what is no connection.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The inverse of [`SlotId::to_bits`]; `None` for a number that names no connection.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Some(Self {
            index: bits as u32,
            generation: NonZeroU32::new((bits >> 32) as u32)?,
        })
    }
}

/// The owner of everything that has a place.
///
/// Invariant: `generations[i]` is the present tenant's number while place `i` is taken, and the
/// next tenant's while it is free.
#[derive(Debug)]
pub struct Slots<T> {
    entries: Slab<T>,
    generations: Vec<NonZeroU32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            generations: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// With room for `expected`.
    pub fn with_room(expected: usize) -> Self {
        Self {
            entries: Slab::with_capacity(expected),
            generations: Vec::with_capacity(expected),
        }
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many places there are, taken or free.
    pub fn places(&self) -> u32 {
        self.generations.len() as u32
    }

    /// Gives `value` a place.
    pub fn insert(&mut self, value: T) -> SlotId {
        if self.entries.len() == self.entries.capacity() {
            let growth = GROWTH_MIN.max(self.entries.len() / 8);
            self.entries.reserve_exact(growth);
            self.generations
                .reserve_exact(self.entries.capacity() - self.generations.len());
        }
        let index = self.entries.insert(value);
        if index == self.generations.len() {
            self.generations.push(NonZeroU32::MIN);
        }
        SlotId {
            index: u32::try_from(index).expect("descriptors, and so connections, are below 2^31"),
            generation: self.generations[index],
        }
    }

    /// The tenant whom `id` means, if it still lives there.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        self.entries.get_mut(id.index as usize)
    }

    /// As [`Slots::get_mut`], to look only.
    pub fn get(&self, id: SlotId) -> Option<&T> {
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        self.entries.get(id.index as usize)
    }

    /// The present tenant of a place. For sets of members, which are cleared before a place is freed.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)
    }

    /// As [`Slots::at_mut`], to look only, with the tenant's id.
    pub fn at(&self, index: u32) -> Option<(SlotId, &T)> {
        let tenant = self.entries.get(index as usize)?;
        Some((self.id_at(index), tenant))
    }

    /// The id of the present tenant of a taken place.
    pub fn id_at(&self, index: u32) -> SlotId {
        debug_assert!(self.entries.contains(index as usize));
        SlotId {
            index,
            generation: self.generations[index as usize],
        }
    }

    /// Frees the place of `id` and hands its tenant back.
    pub fn remove(&mut self, id: SlotId) -> Option<T> {
        self.get_mut(id)?;
        let generation = &mut self.generations[id.index as usize];
        // After 2^32 - 1 tenants the count starts anew: nothing that late is still on its way.
        *generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.entries.try_remove(id.index as usize)
    }

    /// All tenants, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &T)> {
        self.entries
            .iter()
            .map(|(index, value)| (self.id_at(index as u32), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tenant_is_another_one() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.index(), second.index(), "the place is used again");
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
    }

    #[test]
    fn an_id_survives_as_a_number() {
        let mut slots = Slots::default();
        let id = slots.insert(());
        assert!(id.to_bits() >= 1 << 32);
        assert_eq!(SlotId::from_bits(id.to_bits()), Some(id));
        assert_eq!(
            SlotId::from_bits(7),
            None,
            "small numbers name no connection"
        );
    }

    #[test]
    fn growth_leaves_an_eighth_unused_at_the_most() {
        let mut slots = Slots::default();
        for n in 0..100_000 {
            slots.insert(n);
            let unused = slots.entries.capacity() - slots.entries.len();
            assert!(unused <= GROWTH_MIN.max(slots.len() / 8), "{n}: {unused}");
        }
    }

    #[test]
    fn a_generation_that_ran_out_starts_anew() {
        let mut slots = Slots::default();
        let id = slots.insert(());
        slots.generations[0] = NonZeroU32::MAX;
        assert!(slots.get_mut(id).is_none());
        let last = slots.id_at(0);
        assert!(slots.remove(last).is_some());
        assert_eq!(slots.insert(()).generation, NonZeroU32::MIN);
    }
}
