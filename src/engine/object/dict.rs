//! A dict: cells by cells in the order of insertion.
//!
//! Keys are kept in their canonical form, in which equal keys have equal bytes. Every operation is either short and done at once, or
//! long and left to a job, which runs the very same code; moving all pairs to make room or to close gaps is long too.

mod read;
mod write;

use super::{Effects, Step, read};
use crate::engine::cell::Cell;
use crate::engine::ordered::OrderedMap;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{DictOp, Operation, Pairs};
use byproxy_proto::value::{self, DecodeError, Kind, Raw};
use read::Part;
use std::fmt;

/// The dict object.
#[derive(Debug, Default)]
pub(crate) struct DictObject {
    pairs: OrderedMap,
    /// Grows when keys come or go.
    version: u64,
    /// Whether a key or value may refer to an object.
    refers: bool,
}

/// A dict above this many entries grows as a job: moving them all takes longer than a call may.
const GROWS_SHORT_MAX: usize = 16 << 10;

impl DictObject {
    /// A dict of these pairs, or an empty one.
    pub(crate) fn create(pairs: Option<Pairs<'_>>, effects: &mut Effects<'_>) -> Result<Self, Box<Fault>> {
        let mut dict = Self::default();
        if let Some(pairs) = pairs {
            dict.insert_all(pairs, effects)?;
        }
        Ok(dict)
    }

    /// Does a call, unless it is too long to be done at once.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Step, Box<Fault>> {
        match operation {
            Operation::DictGet => self.call_known(Operation::DictGet, arguments, effects),
            Operation::DictInsert => self.call_known(Operation::DictInsert, arguments, effects),
            Operation::DictContains => self.call_known(Operation::DictContains, arguments, effects),
            Operation::DictFetchAdd => self.call_known(Operation::DictFetchAdd, arguments, effects),
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
        let op = read(operation, Kind::DICT, DictOp::read(operation, arguments))?;
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
        let op = read(operation, Kind::DICT, DictOp::read(operation, arguments))?;
        self.apply(&op, effects)
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn apply(&mut self, op: &DictOp<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        self.keep_up(op);
        match *op {
            DictOp::Insert { key, value } => self.insert(key, value, effects)?,
            DictOp::Get { key } => self.get(key, effects)?,
            DictOp::Pop { key } => self.pop(key, effects)?,
            DictOp::Popitem {} => self.popitem(effects)?,
            DictOp::Setdefault { key, value } => self.setdefault(key, value, effects)?,
            DictOp::Update { pairs } => self.update(pairs, effects)?,
            DictOp::Keys {} => self.write_all(Part::Keys, effects)?,
            DictOp::Values {} => self.write_all(Part::Values, effects)?,
            DictOp::Items {} => self.write_all(Part::Pairs, effects)?,
            DictOp::Len {} => self.len(effects),
            DictOp::Contains { key } => self.contains(key, effects)?,
            DictOp::Delete { key } => self.delete(key, effects)?,
            DictOp::Clear {} => self.clear(effects),
            DictOp::Copy {} => self.copy(effects)?,
            DictOp::Chunk {
                cursor,
                items_max,
                backwards,
            } => self.chunk(cursor, items_max, backwards, effects)?,
            DictOp::CompareAndSet { key, expected, value } => self.compare_and_set(key, expected, value, effects)?,
            DictOp::FetchAdd {
                key,
                delta,
                lowest,
                highest,
                initial,
            } => self.fetch_add(key, delta, &(lowest..=highest), initial, effects)?,
            DictOp::Never(never, _) => match never {},
        }
        Ok(())
    }

    /// How many pairs a call touches, about; nothing if that is one, however many there are.
    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn steps(&self, op: &DictOp<'_>) -> Option<usize> {
        let touched = match *op {
            DictOp::Update { pairs } => Some(pairs.len()),
            DictOp::Keys {} | DictOp::Values {} | DictOp::Items {} | DictOp::Clear {} | DictOp::Copy {} => {
                Some(self.pairs.entries())
            }
            _ => None,
        };
        match added(op) {
            Some(more) if self.must_move(more) => Some(touched.unwrap_or(1) + self.pairs.entries()),
            _ => touched,
        }
    }

    /// Whether all entries move before so many pairs more may come, or before one may go.
    #[inline]
    fn must_move(&self, more: usize) -> bool {
        self.pairs.is_gappy() || (more > 0 && self.pairs.entries() > GROWS_SHORT_MAX && self.pairs.must_grow(more))
    }

    /// Closes gaps and makes room, before positions are looked up.
    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn keep_up(&mut self, op: &DictOp<'_>) {
        let Some(more) = added(op) else { return };
        if self.pairs.is_gappy() {
            self.pairs.close_gaps();
        }
        // Room for many is made where their bytes have been charged.
        if more == 1 && self.pairs.must_grow(1) {
            self.pairs.reserve(1);
        }
    }
}

/// What the engine asks of every object.
impl DictObject {
    pub(crate) fn cells(&self, visit: &mut dyn FnMut(&Cell)) {
        for (key, value) in self.pairs.iter() {
            visit(key);
            visit(value);
        }
    }

    pub(crate) fn take_cells(mut self) -> impl Iterator<Item = Cell> {
        self.pairs.take_all().flat_map(|(key, value)| [key, value])
    }

    pub(crate) fn weight(&self) -> usize {
        self.pairs.entries() * 2
    }

    /// Whether no cell refers to an object, known without a look at each.
    pub(crate) fn is_leaf(&self) -> bool {
        !self.refers
    }

    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("{")?;
        for (index, (key, value)) in self.pairs.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (key, value) = (Raw::assume_checked(key.bytes()), Raw::assume_checked(value.bytes()));
            write!(out, "{comma}{key}: {value}")?;
        }
        out.write_str("}")
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.pairs.check()?;
        let refers = self
            .pairs
            .iter()
            .any(|(key, value)| !key.objects().is_empty() || !value.objects().is_empty());
        if refers && !self.refers {
            return Err("a dict that refers to objects says it does not".to_owned());
        }
        Ok(())
    }
}

/// How many pairs a call may add; nothing for one that neither adds nor removes any, or all.
#[expect(clippy::inline_always, reason = "where the operation is known, so is this")]
#[inline(always)]
fn added(op: &DictOp<'_>) -> Option<usize> {
    match *op {
        DictOp::Insert { .. } | DictOp::Setdefault { .. } | DictOp::CompareAndSet { .. } | DictOp::FetchAdd { .. } => {
            Some(1)
        }
        DictOp::Pop { .. } | DictOp::Popitem {} | DictOp::Delete { .. } => Some(0),
        DictOp::Update { pairs } => Some(pairs.len()),
        _ => None,
    }
}

/// The form in which equal keys have equal bytes: the key's own, or one that is written to `other`.
#[expect(clippy::inline_always, reason = "nearly always a look at one byte")]
#[inline(always)]
fn canonical<'k>(key: Raw<'k>, other: &'k mut Vec<u8>) -> Result<&'k [u8], Box<Fault>> {
    match value::canonical_key(key, other) {
        Ok(false) => Ok(key.bytes()),
        Ok(true) => Ok(other),
        Err(error) => Err(no_key(&error).into()),
    }
}

#[cold]
fn no_key(error: &DecodeError) -> Fault {
    Fault::new(FaultCode::BadArgument, format!("this can't be a key: {error}"))
}
