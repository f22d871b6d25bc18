//! The list operations that change nothing.

use super::{ListObject, range};
use crate::engine::cell::Cell;
use crate::engine::object::{Contents, Effects, HEADER_BYTES_MAX, equal};
use byproxy_proto::fault::Fault;
use byproxy_proto::value::{self, Raw};
use std::ops::Range;

impl ListObject {
    pub(super) fn index(&self, item: Raw<'_>, start: i64, stop: Option<i64>, effects: &mut Effects<'_>) {
        let range = range(start, stop, self.items.len());
        let found = self
            .items
            .range(range.clone())
            .position(|cell| equal(cell.bytes(), item.bytes()));
        match found {
            Some(offset) => value::write_uint(effects.result(), (range.start + offset) as u64),
            None => value::write_none(effects.result()),
        }
    }

    pub(super) fn count(&self, item: Raw<'_>, effects: &mut Effects<'_>) {
        let count = self
            .items
            .iter()
            .filter(|cell| equal(cell.bytes(), item.bytes()))
            .count();
        value::write_uint(effects.result(), count as u64);
    }

    pub(super) fn len(&self, effects: &mut Effects<'_>) {
        value::write_uint(effects.result(), self.items.len() as u64);
    }

    pub(super) fn contains(&self, item: Raw<'_>, effects: &mut Effects<'_>) {
        let found = self.items.iter().any(|cell| equal(cell.bytes(), item.bytes()));
        value::write_bool(effects.result(), found);
    }

    #[expect(clippy::inline_always, reason = "one of the operations that most calls ask for")]
    #[inline(always)]
    pub(super) fn get(&self, index: i64, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let cell = &self.items[self.position(index)?];
        effects.room(cell.reply_bytes())?;
        effects.copy_out(cell);
        Ok(())
    }

    pub(super) fn slice(&self, start: i64, stop: Option<i64>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        self.write_range(range(start, stop, self.items.len()), effects)
    }

    pub(super) fn copy(&self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let items = effects.duplicates(self.items.iter(), 1)?;
        effects.create(Contents::List(Self {
            items,
            version: 0,
            refers: self.refers,
        }))
    }

    pub(super) fn chunk(&self, start: u64, items_max: u64, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let len = self.items.len();
        let start = usize::try_from(start).unwrap_or(len).min(len);
        let items_max = usize::try_from(items_max)
            .unwrap_or(len)
            .min(effects.settings.small_steps);
        let mut bytes = 0;
        let fits = |cell: &&Cell| {
            let first = bytes == 0;
            bytes += cell.reply_bytes();
            first || bytes <= effects.settings.chunk_bytes
        };
        let count = self.items.range(start..).take(items_max).take_while(fits).count();
        self.write_range(start..start + count, effects)
    }

    pub(super) fn snapshot(&self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        value::write_list_header(effects.result(), 2);
        value::write_uint(effects.result(), self.version);
        self.write_range(0..self.items.len(), effects)
    }

    pub(super) fn write_range(&self, range: Range<usize>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let bytes: usize = self.items.range(range.clone()).map(Cell::reply_bytes).sum();
        effects.room(bytes + HEADER_BYTES_MAX)?;
        value::write_list_header(effects.result(), range.len());
        for cell in self.items.range(range) {
            effects.copy_out(cell);
        }
        Ok(())
    }
}
