//! A map that keeps the order of insertion and removes in constant time.
//!
//! Pairs lie in a deque in the order they came; a hash table holds their positions. A removal leaves a gap; gaps at either end go at
//! once, and when gaps outnumber pairs the deque is closed up ([`OrderedMap::is_gappy`] and [`OrderedMap::close_gaps`]: the caller
//! says when, because it takes long). Every pair has a sequence number that it keeps, by which an iteration finds its place again.
//!
//! Keys are hashed with a random seed of the map's own, because clients choose them. Not with a cryptographic hash: every client is a process
//! of the server's own user, who can do worse to it than find keys that collide.

use super::cell::Cell;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher as _};

/// Cells by cells, in the order of insertion.
#[derive(Debug, Default)]
pub(crate) struct OrderedMap {
    hasher: DefaultHashBuilder,
    /// Positions, counted from `base`'s zero.
    table: HashTable<u64>,
    /// The first and the last are never gaps.
    entries: VecDeque<Entry>,
    /// The position of the first entry.
    base: u64,
    pairs: usize,
    next_sequence: u64,
}

#[derive(Debug)]
struct Entry {
    /// Grows from entry to entry.
    sequence: u64,
    hash: u64,
    /// Nothing is a gap.
    pair: Option<(Cell, Cell)>,
}

const _: () = assert!(size_of::<Entry>() == 48, "a pair is to take two cells and two words");

/// Gaps below this number are never worth closing.
const GAPS_MIN: usize = 32;

/// A key's hash and where its pair is, if it is there: valid until the map changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    hash: u64,
    position: Option<u64>,
}

impl Place {
    /// Whether the key is there.
    #[inline]
    pub(crate) fn is_taken(self) -> bool {
        self.position.is_some()
    }
}

impl OrderedMap {
    /// How many pairs there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pairs
    }

    /// Finds a key's place.
    #[expect(clippy::inline_always, reason = "most of what most calls do")]
    #[inline(always)]
    pub(crate) fn place(&self, key: &[u8]) -> Place {
        let hash = self.hash(key);
        let is_key = |&position: &u64| self.pair_at(position).is_some_and(|(found, _)| found.is(key));
        Place {
            hash,
            position: self.table.find(hash, is_key).copied(),
        }
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn get(&self, place: Place) -> Option<&Cell> {
        self.pair_at(place.position?).map(|(_, value)| value)
    }

    /// The value at a place, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut Cell> {
        self.pair_at_mut(place.position?).map(|(_, value)| value)
    }

    /// Replaces the value at a place that is taken; gives the new one back where it is not.
    #[inline]
    pub(crate) fn replace(&mut self, place: Place, value: Cell) -> Result<Cell, Cell> {
        match place.position.and_then(|position| self.pair_at_mut(position)) {
            Some((_, held)) => Ok(std::mem::replace(held, value)),
            None => Err(value),
        }
    }

    /// Adds a pair at the end, at the key's place, which is not taken.
    #[inline]
    pub(crate) fn push(&mut self, place: Place, key: Cell, value: Cell) {
        debug_assert!(!place.is_taken(), "a key is pushed once");
        let position = self.base.wrapping_add(self.entries.len() as u64);
        self.entries.push_back(Entry {
            sequence: self.next_sequence,
            hash: place.hash,
            pair: Some((key, value)),
        });
        self.next_sequence += 1;
        self.pairs += 1;
        let (entries, base) = (&self.entries, self.base);
        self.table
            .insert_unique(place.hash, position, |&position| hash_at(entries, base, position));
    }

    /// Removes the pair at a place.
    pub(crate) fn remove(&mut self, place: Place) -> Option<(Cell, Cell)> {
        let position = place.position?;
        self.table
            .find_entry(place.hash, |&found| found == position)
            .ok()?
            .remove();
        let index = self.index(position);
        let pair = self.entries.get_mut(index)?.pair.take()?;
        self.pairs -= 1;
        self.trim();
        Some(pair)
    }

    /// Removes the newest pair.
    pub(crate) fn pop_newest(&mut self) -> Option<(Cell, Cell)> {
        let hash = self.entries.back()?.hash;
        let position = self.base.wrapping_add(self.entries.len() as u64 - 1);
        self.remove(Place {
            hash,
            position: Some(position),
        })
    }

    /// The newest pair.
    pub(crate) fn newest(&self) -> Option<(&Cell, &Cell)> {
        self.entries
            .back()
            .and_then(|entry| entry.pair.as_ref())
            .map(|(key, value)| (key, value))
    }

    /// The pairs in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cell, &Cell)> + Clone {
        self.entries
            .iter()
            .filter_map(|entry| entry.pair.as_ref())
            .map(|(key, value)| (key, value))
    }

    /// The pairs from a sequence number on, with theirs.
    pub(crate) fn starting_at(&self, sequence: u64) -> impl Iterator<Item = (u64, &Cell, &Cell)> {
        let start = self.entries.partition_point(|entry| entry.sequence < sequence);
        self.entries.range(start..).filter_map(Entry::numbered)
    }

    /// The pairs before a sequence number, backwards, with theirs; all of them from [`u64::MAX`].
    pub(crate) fn before(&self, sequence: u64) -> impl Iterator<Item = (u64, &Cell, &Cell)> {
        let end = self.entries.partition_point(|entry| entry.sequence < sequence);
        self.entries.range(..end).rev().filter_map(Entry::numbered)
    }

    /// Removes all pairs, in order. Sequence numbers go on.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (Cell, Cell)> + use<> {
        self.table = HashTable::new();
        self.base = 0;
        self.pairs = 0;
        std::mem::take(&mut self.entries)
            .into_iter()
            .filter_map(|entry| entry.pair)
    }

    /// Whether the next insertion of so many pairs moves all that are there.
    #[inline]
    pub(crate) fn must_grow(&self, more: usize) -> bool {
        self.entries.len() + more > self.entries.capacity() || self.table.len() + more > self.table.capacity()
    }

    /// Makes room for so many more pairs.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
        let (entries, base) = (&self.entries, self.base);
        self.table.reserve(more, |&position| hash_at(entries, base, position));
    }

    /// How many entries there are, gaps included: what closing gaps and walking cost.
    #[inline]
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Whether gaps outnumber pairs.
    #[inline]
    pub(crate) fn is_gappy(&self) -> bool {
        self.entries.len() - self.pairs > self.pairs.max(GAPS_MIN)
    }

    /// Closes all gaps; sequence numbers stay. Memory that is no longer needed is given back.
    pub(crate) fn close_gaps(&mut self) {
        self.entries.retain(|entry| entry.pair.is_some());
        self.entries.shrink_to(self.pairs * 2);
        self.base = 0;
        self.table.clear();
        let entries = &self.entries;
        self.table
            .shrink_to(entries.len() * 2, |&position| hash_at(entries, 0, position));
        for (position, entry) in (0..).zip(entries) {
            self.table
                .insert_unique(entry.hash, position, |&position| hash_at(entries, 0, position));
        }
    }

    /// Checks what holds between the parts.
    pub(crate) fn check(&self) -> Result<(), String> {
        let pairs = self.iter().count();
        if pairs != self.pairs || self.table.len() != pairs {
            return Err(format!(
                "{pairs} pairs, counted as {}, with {} positions",
                self.pairs,
                self.table.len()
            ));
        }
        let ends_in_gap = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.pair.is_none());
        if ends_in_gap(self.entries.front()) || ends_in_gap(self.entries.back()) {
            return Err("a gap at an end".to_owned());
        }
        if self.iter().any(|(key, _)| !self.place(key.bytes()).is_taken()) {
            return Err("a pair that its key does not find".to_owned());
        }
        Ok(())
    }

    /// A key's hash: of its bytes alone, for nothing else is hashed with them that their number would have to keep apart.
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    fn trim(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.pair.is_none()) {
            self.entries.pop_front();
            self.base = self.base.wrapping_add(1);
        }
        while self.entries.back().is_some_and(|entry| entry.pair.is_none()) {
            self.entries.pop_back();
        }
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        index_of(self.base, position)
    }

    #[inline]
    fn pair_at(&self, position: u64) -> Option<&(Cell, Cell)> {
        self.entries.get(self.index(position))?.pair.as_ref()
    }

    #[inline]
    fn pair_at_mut(&mut self, position: u64) -> Option<&mut (Cell, Cell)> {
        let index = self.index(position);
        self.entries.get_mut(index)?.pair.as_mut()
    }
}

impl Entry {
    fn numbered(&self) -> Option<(u64, &Cell, &Cell)> {
        self.pair.as_ref().map(|(key, value)| (self.sequence, key, value))
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "Linux on 64 bits: an index fits")]
fn index_of(base: u64, position: u64) -> usize {
    position.wrapping_sub(base) as usize
}

fn hash_at(entries: &VecDeque<Entry>, base: u64, position: u64) -> u64 {
    entries.get(index_of(base, position)).map_or(0, |entry| entry.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(number: u16) -> Cell {
        Cell::new(&number.to_le_bytes(), &[])
    }

    fn number(cell: &Cell) -> u16 {
        u16::from_le_bytes(cell.bytes().try_into().unwrap())
    }

    fn insert(map: &mut OrderedMap, key: u16, value: u16) -> Option<u16> {
        let place = map.place(cell(key).bytes());
        match map.replace(place, cell(value)) {
            Ok(old) => Some(number(&old)),
            Err(value) => {
                map.push(place, cell(key), value);
                None
            }
        }
    }

    fn remove(map: &mut OrderedMap, key: u16) -> Option<u16> {
        let removed = map
            .remove(map.place(cell(key).bytes()))
            .map(|(_, value)| number(&value));
        if map.is_gappy() {
            map.close_gaps();
        }
        removed
    }

    fn pairs(map: &OrderedMap) -> Vec<(u16, u16)> {
        map.iter().map(|(key, value)| (number(key), number(value))).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u16),
        Remove(u16),
        PopNewest,
        RemoveOldest,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..80_u16, any::<u16>()).prop_map(|(key, value)| Step::Insert(key, value)),
            6 => (0..80_u16).prop_map(Step::Remove),
            1 => Just(Step::PopNewest),
            2 => Just(Step::RemoveOldest),
        ];
        let step = prop_oneof![60 => step, 1 => Just(Step::Clear)];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_of_pairs(steps in steps()) {
            let mut map = OrderedMap::default();
            let mut model: Vec<(u16, u16)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        let expected = model.iter_mut().find(|pair| pair.0 == key).map(|pair| std::mem::replace(&mut pair.1, value));
                        if expected.is_none() {
                            model.push((key, value));
                        }
                        prop_assert_eq!(insert(&mut map, key, value), expected);
                    }
                    Step::Remove(key) => {
                        let index = model.iter().position(|pair| pair.0 == key);
                        prop_assert_eq!(remove(&mut map, key), index.map(|index| model.remove(index).1));
                    }
                    Step::PopNewest => {
                        prop_assert_eq!(map.pop_newest().map(|(key, _)| number(&key)), model.pop().map(|pair| pair.0));
                    }
                    Step::RemoveOldest => if let Some(&(key, value)) = model.first() {
                        model.remove(0);
                        prop_assert_eq!(remove(&mut map, key), Some(value));
                    },
                    Step::Clear => {
                        let taken: Vec<_> = map.take_all().map(|(key, value)| (number(&key), number(&value))).collect();
                        prop_assert_eq!(taken, std::mem::take(&mut model));
                    }
                }
                prop_assert_eq!(map.check(), Ok(()));
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(&pairs(&map), &model);
            }
        }
    }

    #[test]
    fn an_iteration_by_sequence_survives_removals_and_closing_gaps() {
        let mut map = OrderedMap::default();
        for key in 0..100 {
            insert(&mut map, key, key);
        }
        let (tenth, ..) = map.starting_at(0).nth(10).unwrap();
        for key in (0..80).filter(|key| key % 2 == 0) {
            remove(&mut map, key);
        }
        map.close_gaps();
        let rest: Vec<u16> = map.starting_at(tenth).map(|(_, key, _)| number(key)).take(3).collect();
        assert_eq!(rest, [11, 13, 15]);
        let back: Vec<u16> = map.before(tenth).map(|(_, key, _)| number(key)).collect();
        assert_eq!(back, [9, 7, 5, 3, 1]);
    }
}
