//! What somebody has of each process of a shard, by its place in the shard's table.
//!
//! Owns [`BySlot`]. Places are few and used again, so looking one up is an index; a value is that
//! of one generation of its place. Neighbour: `table.rs`, which gives the places out.

use alloc::vec::Vec;
use craton_abi::Slot;

/// Values by slot.
#[derive(Debug)]
pub struct BySlot<T> {
    places: Vec<Option<(Slot, T)>>,
    count: usize,
}

impl<T> Default for BySlot<T> {
    fn default() -> Self {
        BySlot { places: Vec::new(), count: 0 }
    }
}

impl<T> BySlot<T> {
    /// The value of a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let (own, value) = self.places.get(slot.index())?.as_ref()?;
        (*own == slot).then_some(value)
    }

    /// As [`BySlot::get`].
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (own, value) = self.places.get_mut(slot.index())?.as_mut()?;
        (*own == slot).then_some(value)
    }

    /// Whether there is a value at this place, of whatever generation.
    pub fn is_taken(&self, slot: Slot) -> bool {
        self.places.get(slot.index()).is_some_and(Option::is_some)
    }

    /// Adds a value. Whatever was at its place is replaced.
    pub fn insert(&mut self, slot: Slot, value: T) {
        if self.places.len() <= slot.index() {
            self.places.resize_with(slot.index() + 1, || None);
        }
        if self.places[slot.index()].replace((slot, value)).is_none() {
            self.count += 1;
        }
    }

    /// Takes the value of a slot out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.places.get_mut(slot.index())?;
        let (_, value) = place.take_if(|(own, _)| *own == slot)?;
        self.count -= 1;
        Some(value)
    }

    /// All values, in order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.places.iter().flatten().map(|(slot, value)| (*slot, value))
    }

    /// Gives back the room behind the last value.
    pub fn give_back(&mut self) {
        let last = self.places.iter().rposition(Option::is_some);
        self.places.truncate(last.map_or(0, |last| last + 1));
        self.places.shrink_to_fit();
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::ShardId;

    fn slot(index: u32, generation: u32) -> Slot {
        Slot::new(ShardId::new(0), index, generation).expect("in range")
    }

    #[test]
    fn a_value_is_that_of_one_generation() {
        let mut values = BySlot::default();
        values.insert(slot(3, 1), 'a');
        assert_eq!((values.get(slot(3, 1)), values.len()), (Some(&'a'), 1));
        assert_eq!(values.get(slot(3, 2)), None);
        assert_eq!(values.get_mut(slot(9, 1)), None);
        assert!(values.is_taken(slot(3, 2)) && !values.is_taken(slot(2, 1)));
        assert_eq!(values.remove(slot(3, 2)), None);
        values.insert(slot(3, 2), 'b');
        assert_eq!((values.get(slot(3, 1)), values.len()), (None, 1));
        assert_eq!(values.remove(slot(3, 2)), Some('b'));
        assert!(values.is_empty());
    }

    #[test]
    fn room_behind_the_last_is_given_back() {
        let mut values = BySlot::default();
        (0..100).for_each(|index| values.insert(slot(index, 1), index));
        for index in 10..100 {
            assert_eq!(values.remove(slot(index, 1)), Some(index));
        }
        values.give_back();
        assert_eq!(values.places.capacity(), 10);
        let all: Vec<u32> = values.iter().map(|(_, value)| *value).collect();
        assert_eq!(all, (0..10).collect::<Vec<u32>>());
        for index in 0..10 {
            assert_eq!(values.remove(slot(index, 1)), Some(index));
        }
        values.give_back();
        assert_eq!(values.places.capacity(), 0);
    }
}
