//! The dict operations that change the dict.

use super::{DictObject, canonical};
use crate::engine::cell::Cell;
use crate::engine::object::effects::sum;
use crate::engine::object::{Effects, HEADER_BYTES_MAX};
use crate::engine::ordered::Place;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Pairs;
use byproxy_proto::value::{self, Raw};
use std::ops::RangeInclusive;

impl DictObject {
    #[expect(clippy::inline_always, reason = "one of the operations that most calls ask for")]
    #[inline(always)]
    pub(super) fn insert(&mut self, key: Raw<'_>, value: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let place = self.pairs.place(key);
        let Some(held) = self.pairs.get_mut(place) else {
            self.add(place, key, value.bytes(), effects)?;
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(held.reply_bytes() + 1)?;
        let old = effects.replace(held, value)?;
        self.refers |= effects.proxies;
        effects.pass_out_some(old);
        Ok(())
    }

    pub(super) fn pop(&mut self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let place = self.pairs.place(key);
        let Some(cell) = self.pairs.get(place) else {
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(cell.reply_bytes() + 1)?;
        if let Some((key, value)) = self.take(place) {
            effects.discard(key);
            effects.move_out_some(value);
        }
        Ok(())
    }

    pub(super) fn popitem(&mut self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let Some((key, value)) = self.pairs.newest() else {
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(key.reply_bytes() + value.reply_bytes() + HEADER_BYTES_MAX)?;
        if let Some((key, value)) = self.pairs.pop_newest() {
            self.version += 1;
            value::write_list_header(effects.result(), 2);
            effects.move_out(key);
            effects.move_out(value);
        }
        Ok(())
    }

    pub(super) fn setdefault(
        &mut self,
        key: Raw<'_>,
        value: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let place = self.pairs.place(key);
        if let Some(held) = self.pairs.get(place) {
            effects.room(held.reply_bytes())?;
            effects.copy_out(held);
            return Ok(());
        }
        effects.room(effects.reply_bytes(value))?;
        self.add(place, key, value.bytes(), effects)?;
        if let Some(held) = self.pairs.get(self.pairs.place(key)) {
            effects.copy_out(held);
        }
        Ok(())
    }

    pub(super) fn update(&mut self, pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        self.insert_all(pairs, effects)?;
        value::write_none(effects.result());
        Ok(())
    }

    pub(super) fn delete(&mut self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let removed = self.take(self.pairs.place(key));
        value::write_bool(effects.result(), removed.is_some());
        if let Some((key, value)) = removed {
            effects.discard(key);
            effects.discard(value);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, effects: &mut Effects<'_>) {
        for (key, value) in self.pairs.take_all() {
            effects.discard(key);
            effects.discard(value);
        }
        self.version += 1;
        self.refers = false;
        value::write_none(effects.result());
    }

    pub(super) fn compare_and_set(
        &mut self,
        key: Raw<'_>,
        expected: Option<Raw<'_>>,
        value: Option<Raw<'_>>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let place = self.pairs.place(key);
        let same =
            self.pairs.get(place).map(Cell::bytes) == expected.map(Raw::bytes) || seeded!("compare_finds_all_the_same");
        match value {
            Some(value) if same => self.set(place, key, value, effects)?,
            None if same => {
                if let Some((key, value)) = self.take(place) {
                    effects.discard(key);
                    effects.discard(value);
                }
            }
            _ => {}
        }
        value::write_bool(effects.result(), same);
        Ok(())
    }

    pub(super) fn fetch_add(
        &mut self,
        key: Raw<'_>,
        delta: i128,
        bounds: &RangeInclusive<i128>,
        initial: Option<i128>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        let place = self.pairs.place(key);
        let old = match (self.pairs.get_mut(place), initial) {
            (Some(cell), _) => effects.add_to(cell, delta, bounds)?,
            (None, Some(initial)) => {
                let mut first = Vec::with_capacity(24);
                value::write_int(&mut first, sum(initial, delta, bounds)?);
                self.add(place, key, &first, effects)?;
                initial
            }
            (None, None) => {
                let message = format!(
                    "the dict has no key {} to add to: insert it first, or use fetch_add_from",
                    value::summary(key)
                );
                return Err(Fault::new(FaultCode::KeyMissing, message).into());
            }
        };
        value::write_int(effects.result(), old);
        Ok(())
    }

    /// Sets the value at a key's place, taken or not.
    pub(super) fn set(
        &mut self,
        place: Place,
        key: &[u8],
        value: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let Some(held) = self.pairs.get_mut(place) else {
            return self.add(place, key, value.bytes(), effects);
        };
        let old = effects.replace(held, value)?;
        self.refers |= effects.proxies;
        effects.let_go(old);
        Ok(())
    }

    /// Adds a pair at a key's place, which is not taken.
    pub(super) fn add(
        &mut self,
        place: Place,
        key: &[u8],
        value: &[u8],
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let value = effects.cell_of(value)?;
        let key = match effects.cell_of(key) {
            Ok(key) => key,
            Err(fault) => {
                effects.discard(value);
                return Err(fault);
            }
        };
        self.pairs.push(place, key, value);
        self.version += 1;
        self.refers |= effects.proxies;
        Ok(())
    }

    /// Takes the pair at a place out, if it is taken.
    pub(super) fn take(&mut self, place: Place) -> Option<(Cell, Cell)> {
        let pair = self.pairs.remove(place)?;
        self.version += 1;
        Some(pair)
    }

    /// Inserts pairs, all or none.
    pub(super) fn insert_all(&mut self, pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let values = effects.cells(pairs.iter().map(|(_, value)| value))?;
        let keys = match Self::keys(pairs, effects) {
            Ok(keys) => keys,
            Err(fault) => {
                effects.discard_all(values);
                return Err(fault);
            }
        };
        self.pairs.reserve(keys.len());
        self.refers |= effects.proxies;
        for (key, value) in keys.into_iter().zip(values) {
            let place = self.pairs.place(key.bytes());
            match self.pairs.replace(place, value) {
                Ok(old) => {
                    effects.discard(old);
                    effects.discard(key);
                }
                Err(value) => {
                    self.pairs.push(place, key, value);
                    self.version += 1;
                }
            }
        }
        Ok(())
    }

    /// Makes cells of the keys of pairs, all or none.
    pub(super) fn keys(pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<Vec<Cell>, Box<Fault>> {
        let mut keys = Vec::with_capacity(pairs.len());
        for (key, _) in pairs.iter() {
            let mut other = Vec::new();
            match canonical(key, &mut other).and_then(|key| effects.cell_of(key)) {
                Ok(key) => keys.push(key),
                Err(fault) => {
                    effects.discard_all(keys);
                    return Err(fault);
                }
            }
        }
        Ok(keys)
    }
}
