//! A list: cells in a deque, so that both ends are cheap.
//!
//! Every operation is either short (it touches a bounded number of elements) and done at once, or long and left to a job, which runs
//! the very same code. Indices are Python's: negative ones count from the end; ranges and insertions are clamped to the list.

mod read;
mod write;

use super::{Effects, Step, read};
use crate::engine::cell::Cell;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Items, ListOp, Operation};
use byproxy_proto::value::{Kind, Raw};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// The list object.
#[derive(Debug, Default)]
pub(crate) struct ListObject {
    items: VecDeque<Cell>,
    /// Grows with every change.
    version: u64,
    /// Whether an item may refer to an object.
    refers: bool,
}

/// A list above this many items grows as a job: moving them all takes longer than a call may.
const GROWS_SHORT_MAX: usize = 64 << 10;

impl ListObject {
    /// A list of these items, or an empty one.
    pub(crate) fn create(items: Option<Items<'_>>, effects: &mut Effects<'_>) -> Result<Self, Box<Fault>> {
        let items = match items {
            Some(items) => VecDeque::from(effects.cells(items.iter())?),
            None => VecDeque::new(),
        };
        Ok(Self {
            items,
            version: 0,
            refers: effects.proxies,
        })
    }

    /// Does a call, unless it is too long to be done at once.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Step, Box<Fault>> {
        match operation {
            Operation::ListGet => self.call_known(Operation::ListGet, arguments, effects),
            Operation::ListSet => self.call_known(Operation::ListSet, arguments, effects),
            Operation::ListAppend => self.call_known(Operation::ListAppend, arguments, effects),
            Operation::ListPop => self.call_known(Operation::ListPop, arguments, effects),
            _ => self.call_other(operation, arguments, effects),
        }
    }

    #[inline(never)]
    fn call_other(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Step, Box<Fault>> {
        self.call_known(operation, arguments, effects)
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn call_known(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Step, Box<Fault>> {
        let op = read(operation, Kind::LIST, ListOp::read(operation, arguments))?;
        if self
            .steps(&op)
            .is_some_and(|steps| steps > effects.settings.small_steps)
        {
            return Ok(Step::Long);
        }
        self.apply(&op, effects)?;
        Ok(Step::Done)
    }

    /// Does a call, however long it takes.
    pub(crate) fn run(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let op = read(operation, Kind::LIST, ListOp::read(operation, arguments))?;
        self.apply(&op, effects)
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn apply(&mut self, op: &ListOp<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        match *op {
            ListOp::Append { item } => self.append(item, effects)?,
            ListOp::Extend { items } => self.extend(items, effects)?,
            ListOp::Insert { index, item } => self.insert(index, item, effects)?,
            ListOp::Pop {} => self.pop(effects)?,
            ListOp::PopAt { index } => self.pop_at(index, effects)?,
            ListOp::Remove { item } => self.remove(item, effects),
            ListOp::Index { item, start, stop } => self.index(item, start, stop, effects),
            ListOp::Count { item } => self.count(item, effects),
            ListOp::Reverse {} => self.reverse(effects),
            ListOp::Sort { descending } => self.sort(descending, effects),
            ListOp::Len {} => self.len(effects),
            ListOp::Contains { item } => self.contains(item, effects),
            ListOp::Get { index } => self.get(index, effects)?,
            ListOp::Set { index, item } => self.set(index, item, effects)?,
            ListOp::Delete { index } => self.delete(index, effects)?,
            ListOp::Slice { start, stop } => self.slice(start, stop, effects)?,
            ListOp::SetSlice { start, stop, items } => self.set_slice(start, stop, items, effects)?,
            ListOp::DeleteSlice { start, stop } => self.delete_slice(start, stop, effects),
            ListOp::Clear {} => self.clear(effects),
            ListOp::Copy {} => self.copy(effects)?,
            ListOp::Chunk { start, items_max } => self.chunk(start, items_max, effects)?,
            ListOp::Repeat { times } => self.repeat(times, effects)?,
            ListOp::CompareAndSet { index, expected, item } => self.compare_and_set(index, expected, item, effects)?,
            ListOp::FetchAdd {
                index,
                delta,
                lowest,
                highest,
            } => self.fetch_add(index, delta, lowest..=highest, effects)?,
            ListOp::Snapshot {} => self.snapshot(effects)?,
            ListOp::Replace { version, items } => self.replace(version, items, effects)?,
            ListOp::Never(never, _) => match never {},
        }
        Ok(())
    }

    /// How many elements a call touches, about; nothing if that is a bounded number, however many there are.
    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn steps(&self, op: &ListOp<'_>) -> Option<usize> {
        let len = self.items.len();
        Some(match *op {
            ListOp::Pop {}
            | ListOp::Len {}
            | ListOp::Get { .. }
            | ListOp::Set { .. }
            | ListOp::Chunk { .. }
            | ListOp::CompareAndSet { .. }
            | ListOp::FetchAdd { .. } => return None,
            ListOp::Append { .. } => self.growth(1),
            ListOp::Extend { items } => items.len() + self.growth(items.len()),
            ListOp::Insert { index, .. } => self.moves(clamp(index, len)) + self.growth(1),
            ListOp::PopAt { index } | ListOp::Delete { index } => self.moves(clamp(index, len)),
            ListOp::Index { start, stop, .. } | ListOp::Slice { start, stop } => range(start, stop, len).len(),
            ListOp::DeleteSlice { start, stop } => {
                let range = range(start, stop, len);
                range.len() + range.start.min(len - range.end)
            }
            ListOp::SetSlice { start, items, .. } => len - clamp(start, len) + items.len() + self.growth(items.len()),
            ListOp::Repeat { times } => len.saturating_mul(usize::try_from(times).unwrap_or(0).max(1)),
            ListOp::Replace { items, .. } => len + items.len(),
            ListOp::Remove { .. }
            | ListOp::Count { .. }
            | ListOp::Reverse {}
            | ListOp::Sort { .. }
            | ListOp::Contains { .. }
            | ListOp::Clear {}
            | ListOp::Copy {}
            | ListOp::Snapshot {} => len,
            ListOp::Never(never, _) => match never {},
        })
    }

    /// How many elements an insertion or removal at an index moves.
    fn moves(&self, index: usize) -> usize {
        index.min(self.items.len() - index)
    }

    /// How many elements move when room for more is made.
    #[inline]
    fn growth(&self, more: usize) -> usize {
        let len = self.items.len();
        if len > GROWS_SHORT_MAX && len + more > self.items.capacity() {
            len
        } else {
            0
        }
    }

    /// The position of an index that must be inside the list.
    #[inline]
    fn position(&self, index: i64) -> Result<usize, Box<Fault>> {
        let len = self.items.len();
        let inside = |index: &usize| *index < len;
        from_end(index, len)
            .and_then(|index| usize::try_from(index).ok())
            .filter(inside)
            .ok_or_else(|| outside(index, len).into())
    }
}

#[cold]
fn outside(index: i64, len: usize) -> Fault {
    let message = match len {
        0 => format!("index {index} is outside the list, which is empty: append an item first"),
        _ => format!(
            "index {index} is outside the list of {len} items: use 0 to {}, or -1 to -{len} from the end",
            len - 1
        ),
    };
    Fault::new(FaultCode::IndexOutOfRange, message)
}

/// What the engine asks of every object.
impl ListObject {
    pub(crate) fn cells(&self, visit: &mut dyn FnMut(&Cell)) {
        self.items.iter().for_each(visit);
    }

    pub(crate) fn take_cells(self) -> impl Iterator<Item = Cell> {
        self.items.into_iter()
    }

    pub(crate) fn weight(&self) -> usize {
        self.items.len()
    }

    /// Whether no item refers to an object, known without a look at each.
    pub(crate) fn is_leaf(&self) -> bool {
        !self.refers
    }

    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("[")?;
        for (index, cell) in self.items.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(out, "{comma}{}", Raw::assume_checked(cell.bytes()))?;
        }
        out.write_str("]")
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.refers && self.items.iter().any(|cell| !cell.objects().is_empty()) {
            return Err("a list that refers to objects says it does not".to_owned());
        }
        Ok(())
    }
}

/// An index counted from the front, which may lie before it.
fn from_end(index: i64, len: usize) -> Option<i64> {
    if index < 0 {
        index.checked_add(i64::try_from(len).ok()?)
    } else {
        Some(index)
    }
}

/// The position between items that an index means, clamped to the list.
fn clamp(index: i64, len: usize) -> usize {
    usize::try_from(from_end(index, len).unwrap_or(0).max(0))
        .unwrap_or(len)
        .min(len)
}

/// The items that a range means, clamped to the list; empty where it ends before it starts.
fn range(start: i64, stop: Option<i64>, len: usize) -> Range<usize> {
    let start = clamp(start, len);
    let stop = stop.map_or(len, |stop| clamp(stop, len));
    start..stop.max(start)
}
