//! The list operations that change the list.

use super::{ListObject, clamp, range};
use crate::engine::cell::Cell;
use crate::engine::object::{Effects, equal};
use byproxy_proto::fault::Fault;
use byproxy_proto::op::Items;
use byproxy_proto::value::{self, Raw};
use std::collections::VecDeque;

impl ListObject {
    #[expect(clippy::inline_always, reason = "one of the operations that most calls ask for")]
    #[inline(always)]
    pub(super) fn append(&mut self, item: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let cell = effects.cell(item)?;
        self.items.push_back(cell);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn extend(&mut self, items: Items<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        self.items.extend(effects.cells(items.iter())?);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn insert(&mut self, index: i64, item: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let cell = effects.cell(item)?;
        self.items.insert(clamp(index, self.items.len()), cell);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn pop(&mut self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let Some(last) = self.items.back() else {
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(last.reply_bytes() + 1)?;
        if let Some(cell) = self.items.pop_back() {
            self.version += 1;
            effects.move_out_some(cell);
        }
        Ok(())
    }

    pub(super) fn pop_at(&mut self, index: i64, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let index = self.position(index)?;
        effects.room(self.items[index].reply_bytes())?;
        if let Some(cell) = self.items.remove(index) {
            self.version += 1;
            effects.move_out(cell);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, item: Raw<'_>, effects: &mut Effects<'_>) {
        let found = self.items.iter().position(|cell| equal(cell.bytes(), item.bytes()));
        if let Some(cell) = found.and_then(|index| self.items.remove(index)) {
            self.version += 1;
            effects.discard(cell);
        }
        value::write_bool(effects.result(), found.is_some());
    }

    pub(super) fn reverse(&mut self, effects: &mut Effects<'_>) {
        self.items.make_contiguous().reverse();
        self.changed(effects);
    }

    /// Stable in both directions, as Python's: equal items keep their order even when descending.
    pub(super) fn sort(&mut self, descending: bool, effects: &mut Effects<'_>) {
        self.items.make_contiguous().sort_by(|a, b| {
            let (a, b) = if descending { (b, a) } else { (a, b) };
            value::compare(a.bytes(), b.bytes())
        });
        self.changed(effects);
    }

    pub(super) fn set(&mut self, index: i64, item: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let index = self.position(index)?;
        let old = effects.replace(&mut self.items[index], item)?;
        effects.let_go(old);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn delete(&mut self, index: i64, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let index = self.position(index)?;
        if let Some(cell) = self.items.remove(index) {
            effects.discard(cell);
        }
        self.changed(effects);
        Ok(())
    }

    pub(super) fn set_slice(
        &mut self,
        start: i64,
        stop: Option<i64>,
        items: Items<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let cells = effects.cells(items.iter())?;
        let range = range(start, stop, self.items.len());
        let tail = self.items.split_off(range.end);
        effects.discard_all(self.items.drain(range.start..));
        self.items.extend(cells);
        self.items.extend(tail);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn delete_slice(&mut self, start: i64, stop: Option<i64>, effects: &mut Effects<'_>) {
        effects.discard_all(self.items.drain(range(start, stop, self.items.len())));
        self.changed(effects);
    }

    pub(super) fn clear(&mut self, effects: &mut Effects<'_>) {
        effects.discard_all(std::mem::take(&mut self.items));
        self.refers = false;
        self.changed(effects);
    }

    pub(super) fn repeat(&mut self, times: i64, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let Some(more) = u64::try_from(times).ok().and_then(|times| times.checked_sub(1)) else {
            self.clear(effects);
            return Ok(());
        };
        let copies: Vec<Cell> = effects.duplicates(self.items.iter(), more)?;
        self.items.extend(copies);
        self.changed(effects);
        Ok(())
    }

    pub(super) fn compare_and_set(
        &mut self,
        index: i64,
        expected: Raw<'_>,
        item: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let index = self.position(index)?;
        let same = self.items[index].bytes() == expected.bytes();
        if same {
            let old = effects.replace(&mut self.items[index], item)?;
            effects.let_go(old);
            self.version += 1;
            self.refers |= effects.proxies;
        }
        value::write_bool(effects.result(), same);
        Ok(())
    }

    pub(super) fn fetch_add(
        &mut self,
        index: i64,
        delta: i128,
        bounds: std::ops::RangeInclusive<i128>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let index = self.position(index)?;
        let old = effects.add_to(&mut self.items[index], delta, &bounds)?;
        self.version += 1;
        value::write_int(effects.result(), old);
        Ok(())
    }

    pub(super) fn replace(
        &mut self,
        version: u64,
        items: Items<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let same = self.version == version;
        if same {
            let cells = VecDeque::from(effects.cells(items.iter())?);
            effects.discard_all(std::mem::replace(&mut self.items, cells));
            self.version += 1;
            self.refers = effects.proxies;
        }
        value::write_bool(effects.result(), same);
        Ok(())
    }

    /// Ends an operation that changed something and has no result; arguments with proxies may have come in.
    #[inline]
    pub(super) fn changed(&mut self, effects: &mut Effects<'_>) {
        self.version += 1;
        self.refers |= effects.proxies;
        value::write_none(effects.result());
    }
}
