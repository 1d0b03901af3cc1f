//! The process table: slots that are used again, under a new generation each time.
//!
//! Owns [`Table`]. A [`Slot`] names a tenant, not a place: once the tenant is gone its slot finds
//! nothing, and when all generations of a place are used up the place is retired, so that a stale
//! pid never reaches a stranger.

use alloc::vec::Vec;
use craton_abi::{ShardId, Slot};

/// Generation of a place's first tenant. Zero is left out: an all-zero pid names nobody.
const GENERATION_FIRST: u32 = 1;

/// The tenants of one shard, found by slot.
#[derive(Debug)]
pub struct Table<T> {
    shard: ShardId,
    places: Vec<Place<T>>,
    /// Indices of vacant places that are not retired; the last vacated is used first, since its
    /// memory is the warmest.
    vacant: Vec<u32>,
    tenants: usize,
    tenants_max: usize,
}

#[derive(Debug)]
struct Place<T> {
    /// Of the tenant, or of the next one.
    generation: u32,
    tenant: Option<T>,
}

/// The table holds as many tenants as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TableFull;

impl<T> Table<T> {
    /// An empty table that holds at most `tenants_max`.
    pub fn new(shard: ShardId, tenants_max: usize) -> Self {
        Table { shard, places: Vec::new(), vacant: Vec::new(), tenants: 0, tenants_max }
    }

    /// The slot of the tenant that comes next; `None` if there is no room for one.
    pub fn slot_next(&self) -> Option<Slot> {
        if self.tenants >= self.tenants_max {
            return None;
        }
        let index = match self.vacant.last() {
            Some(&index) => index,
            None => u32::try_from(self.places.len()).ok()?,
        };
        let generation =
            self.places.get(index as usize).map_or(GENERATION_FIRST, |place| place.generation);
        Slot::new(self.shard, index, generation)
    }

    /// Gives a tenant a slot; `make` is told which.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if there are as many tenants as may be, or every place is retired.
    pub fn insert_with(&mut self, make: impl FnOnce(Slot) -> T) -> Result<Slot, TableFull> {
        let slot = self.slot_next().ok_or(TableFull)?;
        let tenant = Some(make(slot));
        if self.vacant.pop().is_some() {
            self.places[slot.index()].tenant = tenant;
        } else {
            self.places.push(Place { generation: slot.generation(), tenant });
        }
        self.tenants += 1;
        Ok(slot)
    }

    /// Takes a tenant out and ends its generation. `None` if the slot is stale or another shard's.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.place_mut(slot)?;
        let tenant = place.tenant.take()?;
        self.tenants -= 1;
        if let Some(next) = slot.generation().checked_add(1) {
            let index = slot.index() as u32;
            self.places[slot.index()].generation = next;
            self.vacant.push(index);
        }
        // Otherwise the place is retired: vacant, in no list, its last generation never found.
        Some(tenant)
    }

    /// The tenant of a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        if slot.shard() != self.shard {
            return None;
        }
        let place = self.places.get(slot.index())?;
        if place.generation != slot.generation() {
            return None;
        }
        place.tenant.as_ref()
    }

    /// The tenant of a slot, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.place_mut(slot)?.tenant.as_mut()
    }

    /// Number of tenants.
    pub fn len(&self) -> usize {
        self.tenants
    }

    /// Whether there are no tenants.
    pub fn is_empty(&self) -> bool {
        self.tenants == 0
    }

    /// Every tenant with its slot, in order of place.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let slot = Slot::new(self.shard, index as u32, place.generation)?;
            Some((slot, place.tenant.as_ref()?))
        })
    }

    /// Every tenant with its slot, to change it, in order of place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        let shard = self.shard;
        self.places.iter_mut().enumerate().filter_map(move |(index, place)| {
            let slot = Slot::new(shard, index as u32, place.generation)?;
            Some((slot, place.tenant.as_mut()?))
        })
    }

    #[inline]
    fn place_mut(&mut self, slot: Slot) -> Option<&mut Place<T>> {
        if slot.shard() != self.shard {
            return None;
        }
        self.places.get_mut(slot.index()).filter(|place| place.generation == slot.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(tenants_max: usize) -> Table<&'static str> {
        Table::new(ShardId::new(3), tenants_max)
    }

    #[test]
    fn a_stale_slot_finds_nothing() {
        let mut table = table(2);
        let first = table.insert_with(|_| "first").expect("room");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert_with(|_| "second").expect("room");
        assert_eq!(second.index(), first.index());
        assert_ne!(second.generation(), first.generation());
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn another_shards_slot_finds_nothing() {
        let mut table = table(2);
        let slot = table.insert_with(|_| "mine").expect("room");
        let index = slot.index() as u32;
        let foreign = Slot::new(ShardId::new(4), index, slot.generation()).expect("in range");
        assert_eq!(table.get(foreign), None);
        assert_eq!(table.remove(foreign), None);
        assert_eq!(table.get(Slot::default()), None);
    }

    #[test]
    fn a_full_table_refuses_and_has_room_again() {
        let mut table = table(2);
        let first = table.insert_with(|_| "a").expect("room");
        table.insert_with(|_| "b").expect("room");
        assert_eq!(table.insert_with(|_| "c"), Err(TableFull));
        table.remove(first);
        assert!(table.insert_with(|_| "c").is_ok());
    }

    #[test]
    fn a_place_without_generations_is_retired() {
        let mut table = table(1);
        let slot = table.insert_with(|_| "early").expect("room");
        table.places[0].generation = u32::MAX;
        let last = Slot::new(ShardId::new(3), 0, u32::MAX).expect("in range");
        assert_eq!(table.get(slot), None);
        assert_eq!(table.remove(last), Some("early"));
        let next = table.insert_with(|_| "late").expect("room");
        assert_eq!(next.index(), 1);
        assert_eq!(table.get(last), None);
        assert_eq!(table.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [next]);
    }
}
