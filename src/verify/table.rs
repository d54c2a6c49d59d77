//! A hash table so laid out that one look at the memory finds where an entry is: a slot holds the whole hash beside the
//! entry, and where to look follows from the hash alone. So that can be fetched beforehand, which a table with a directory
//! of its own doesn't allow. (Measured: the waits for that directory were a sixth of a batch.)
//!
//! Open addressing with linear probing (Knuth, volume 3, 6.4, algorithms L and R): removal moves back what follows.

use prefetch_index::prefetch_index;

/// Slots of the first allocation.
const FIRST: usize = 16;

/// The table. Small entries are meant: an address each.
pub(super) struct Table<T> {
    slots: Box<[Slot<T>]>,
    filled: usize,
}

struct Slot<T> {
    hash: u64,
    entry: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Box::default(), filled: 0 }
    }
}

impl<T> Slot<T> {
    const EMPTY: Self = Self { hash: 0, entry: None };
}

impl<T> Table<T> {
    /// Fetches where [`find`](Self::find) begins into the core's cache, without waiting for it.
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch_index(&self.slots, self.home(hash));
    }

    /// The entry with this hash that `is_it`.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.slots[self.place(hash, is_it)?].entry.as_ref()
    }

    /// The entry with this hash that `is_it`.
    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        let place = self.place(hash, is_it)?;
        self.slots[place].entry.as_mut()
    }

    /// Takes in an entry that isn't in.
    pub(super) fn insert(&mut self, hash: u64, entry: T) {
        // At most seven of eight slots are taken, so that every search ends soon.
        if (self.filled + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        self.put(Slot { hash, entry: Some(entry) });
        self.filled += 1;
    }

    /// Takes out the entry with this hash that `is_it`.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut gap = self.place(hash, is_it)?;
        let removed = std::mem::replace(&mut self.slots[gap], Slot::EMPTY).entry;
        self.filled -= 1;
        let mut place = self.after(gap);
        while self.slots[place].entry.is_some() {
            // What is found from the gap on may move there.
            let home = self.home(self.slots[place].hash);
            if self.distance(home, place) >= self.distance(gap, place) {
                self.slots.swap(gap, place);
                gap = place;
            }
            place = self.after(place);
        }
        removed
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Memory of the slots.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.slots) as u64
    }

    fn place(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        let mut place = self.home(hash);
        while let Some(entry) = &self.slots.get(place)?.entry {
            if self.slots[place].hash == hash && is_it(entry) {
                return Some(place);
            }
            place = self.after(place);
        }
        None
    }

    fn put(&mut self, slot: Slot<T>) {
        let mut place = self.home(slot.hash);
        while self.slots[place].entry.is_some() {
            place = self.after(place);
        }
        self.slots[place] = slot;
    }

    fn grow(&mut self) {
        let wanted = FIRST.max(self.slots.len() + self.slots.len() / 2);
        let old = std::mem::replace(&mut self.slots, (0..wanted).map(|_| Slot::EMPTY).collect());
        old.into_iter().filter(|slot| slot.entry.is_some()).for_each(|slot| self.put(slot));
    }

    /// Spreads hashes evenly, whatever the number of slots is.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.slots.len() { 0 } else { place + 1 }
    }

    /// Steps from one place forward to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is done to the table, with entries whose hashes are few, so that they collide and wrap around.
    #[derive(Debug, Clone)]
    enum Deed {
        Insert(u16),
        Remove(u16),
    }

    fn hash_of(entry: u16) -> u64 {
        [0, 1 << 20, u64::MAX / 3, u64::MAX / 3 + 1, u64::MAX - 1, u64::MAX][usize::from(entry) % 6]
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let deed = (any::<bool>(), 0..200_u16).prop_map(|(inserts, entry)| match inserts {
            true => Deed::Insert(entry),
            false => Deed::Remove(entry),
        });
        proptest::collection::vec(deed, 0..600)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_list_would(deeds in deeds()) {
            let (mut table, mut list) = (Table::default(), Vec::new());
            for deed in deeds {
                match deed {
                    Deed::Insert(entry) if list.contains(&entry) => {}
                    Deed::Insert(entry) => {
                        table.insert(hash_of(entry), entry);
                        list.push(entry);
                    }
                    Deed::Remove(entry) => {
                        let removed = table.remove(hash_of(entry), |other| *other == entry);
                        prop_assert_eq!(removed, list.contains(&entry).then_some(entry));
                        list.retain(|other| *other != entry);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
            }
            for entry in 0..200 {
                let found = table.find(hash_of(entry), |other| *other == entry);
                prop_assert_eq!(found.is_some(), list.contains(&entry), "{}", entry);
                let found = table.find_mut(hash_of(entry), |other| *other == entry).copied();
                prop_assert_eq!(found, list.contains(&entry).then_some(entry));
            }
            let mut all: Vec<u16> = table.iter().copied().collect();
            all.sort_unstable();
            list.sort_unstable();
            prop_assert_eq!(all, list);
        }
    }
}
