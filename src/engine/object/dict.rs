//! A dict: cells by cells in the order of insertion.
//!
//! Keys are kept in their canonical form, in which equal keys have equal bytes. Every operation is either short and done at once, or
//! long and left to a job, which runs the very same code; moving all pairs to make room or to close gaps is long too.

use super::effects::sum;
use super::{Contents, Effects, HEADER_BYTES_MAX, Step};
use crate::engine::cell::Cell;
use crate::engine::ordered::{OrderedMap, Place};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{DictOp, Pairs};
use byproxy_proto::value::{self, Raw};
use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

/// The dict object.
#[derive(Debug, Default)]
pub(crate) struct DictObject {
    pairs: OrderedMap,
    /// Grows when keys come or go.
    version: u64,
    /// Whether a key or value may refer to an object.
    refers: bool,
}

/// What of each pair an answer lists.
#[derive(Clone, Copy, Debug)]
enum Part {
    Keys,
    Values,
    Pairs,
}

/// A dict above this many entries grows as a job: moving them all takes longer than a call may.
const GROWS_SHORT_MAX: usize = 16 << 10;

impl DictObject {
    /// A dict of these pairs, or an empty one.
    pub(crate) fn create(pairs: Option<Pairs<'_>>, effects: &mut Effects<'_>) -> Result<Self, Fault> {
        let mut dict = Self::default();
        if let Some(pairs) = pairs {
            dict.insert_all(pairs, effects)?;
        }
        Ok(dict)
    }

    /// Does a call, unless it is too long to be done at once.
    #[inline]
    pub(crate) fn call(&mut self, op: &DictOp<'_>, effects: &mut Effects<'_>) -> Result<Step, Fault> {
        if self.steps(op) > effects.settings.small_steps {
            return Ok(Step::Long);
        }
        self.run(op, effects)?;
        Ok(Step::Done)
    }

    /// Does a call, however long it takes.
    #[inline]
    pub(crate) fn run(&mut self, op: &DictOp<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        self.keep_up(op);
        match *op {
            DictOp::Insert { key, value } => self.insert(key, value, effects),
            DictOp::Get { key } => self.get(key, effects),
            DictOp::Pop { key } => self.pop(key, effects),
            DictOp::Popitem {} => self.popitem(effects),
            DictOp::Setdefault { key, value } => self.setdefault(key, value, effects),
            DictOp::Update { pairs } => self.update(pairs, effects),
            DictOp::Keys {} => self.write_all(Part::Keys, effects),
            DictOp::Values {} => self.write_all(Part::Values, effects),
            DictOp::Items {} => self.write_all(Part::Pairs, effects),
            DictOp::Len {} => self.len(effects),
            DictOp::Contains { key } => self.contains(key, effects),
            DictOp::Delete { key } => self.delete(key, effects),
            DictOp::Clear {} => self.clear(effects),
            DictOp::Copy {} => self.copy(effects),
            DictOp::Chunk {
                cursor,
                items_max,
                backwards,
            } => self.chunk(cursor, items_max, backwards, effects),
            DictOp::CompareAndSet { key, expected, value } => self.compare_and_set(key, expected, value, effects),
            DictOp::FetchAdd {
                key,
                delta,
                lowest,
                highest,
                initial,
            } => self.fetch_add(key, delta, &(lowest..=highest), initial, effects),
            DictOp::Never(never, _) => match never {},
        }
    }

    /// How many pairs a call touches, about.
    #[inline]
    fn steps(&self, op: &DictOp<'_>) -> usize {
        let touched = match *op {
            DictOp::Update { pairs } => pairs.len(),
            DictOp::Keys {} | DictOp::Values {} | DictOp::Items {} | DictOp::Clear {} | DictOp::Copy {} => {
                self.pairs.entries()
            }
            _ => 1,
        };
        match added(op) {
            Some(more) if self.must_move(more) => touched + self.pairs.entries(),
            _ => touched,
        }
    }

    /// Whether all entries move before so many pairs more may come, or before one may go.
    #[inline]
    fn must_move(&self, more: usize) -> bool {
        self.pairs.is_gappy() || (more > 0 && self.pairs.entries() > GROWS_SHORT_MAX && self.pairs.must_grow(more))
    }

    /// Closes gaps and makes room, before positions are looked up.
    #[inline]
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

    fn insert(&mut self, key: Raw<'_>, value: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        let place = self.pairs.place(&key);
        let Some(old) = self.pairs.get(place) else {
            self.add(place, &key, value.bytes(), effects)?;
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(old.bytes().len() + 1)?;
        let cell = effects.cell(value)?;
        self.refers |= effects.proxies;
        match self.pairs.replace(place, cell) {
            Ok(old) => effects.move_out_some(old),
            Err(unused) => effects.discard(unused),
        }
        Ok(())
    }

    #[inline]
    fn get(&self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        match self.pairs.get(self.pairs.place(&key)) {
            Some(cell) => {
                effects.room(cell.bytes().len() + 1)?;
                effects.copy_out_some(cell);
            }
            None => value::write_none(effects.result()),
        }
        Ok(())
    }

    fn pop(&mut self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        let place = self.pairs.place(&key);
        let Some(cell) = self.pairs.get(place) else {
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(cell.bytes().len() + 1)?;
        if let Some((key, value)) = self.take(place) {
            effects.discard(key);
            effects.move_out_some(value);
        }
        Ok(())
    }

    fn popitem(&mut self, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let Some((key, value)) = self.pairs.newest() else {
            value::write_none(effects.result());
            return Ok(());
        };
        effects.room(key.bytes().len() + value.bytes().len() + HEADER_BYTES_MAX)?;
        if let Some((key, value)) = self.pairs.pop_newest() {
            self.version += 1;
            value::write_list_header(effects.result(), 2);
            effects.move_out(key);
            effects.move_out(value);
        }
        Ok(())
    }

    fn setdefault(&mut self, key: Raw<'_>, value: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        let place = self.pairs.place(&key);
        if let Some(held) = self.pairs.get(place) {
            effects.room(held.bytes().len())?;
            effects.copy_out(held);
            return Ok(());
        }
        effects.room(value.bytes().len())?;
        self.add(place, &key, value.bytes(), effects)?;
        if let Some(held) = self.pairs.get(self.pairs.place(&key)) {
            effects.copy_out(held);
        }
        Ok(())
    }

    fn update(&mut self, pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        self.insert_all(pairs, effects)?;
        value::write_none(effects.result());
        Ok(())
    }

    fn len(&self, effects: &mut Effects<'_>) -> Result<(), Fault> {
        value::write_uint(effects.result(), self.pairs.len() as u64);
        Ok(())
    }

    fn contains(&self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        value::write_bool(effects.result(), self.pairs.place(&key).is_taken());
        Ok(())
    }

    fn delete(&mut self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let key = canonical(key)?;
        let removed = self.take(self.pairs.place(&key));
        value::write_bool(effects.result(), removed.is_some());
        if let Some((key, value)) = removed {
            effects.discard(key);
            effects.discard(value);
        }
        Ok(())
    }

    fn clear(&mut self, effects: &mut Effects<'_>) -> Result<(), Fault> {
        for (key, value) in self.pairs.take_all() {
            effects.discard(key);
            effects.discard(value);
        }
        self.version += 1;
        self.refers = false;
        value::write_none(effects.result());
        Ok(())
    }

    fn copy(&self, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let keys: Vec<Cell> = effects.duplicates(self.pairs.iter().map(|(key, _)| key), 1)?;
        let values = match effects.duplicates::<Vec<Cell>>(self.pairs.iter().map(|(_, value)| value), 1) {
            Ok(values) => values,
            Err(fault) => {
                keys.into_iter().for_each(|key| effects.discard(key));
                return Err(fault);
            }
        };
        let mut pairs = OrderedMap::default();
        pairs.reserve(keys.len());
        for (key, value) in keys.into_iter().zip(values) {
            pairs.push(pairs.place(key.bytes()), key, value);
        }
        effects.create(Contents::Dict(Self {
            pairs,
            version: 0,
            refers: self.refers,
        }))
    }

    fn chunk(
        &self,
        cursor: Option<u64>,
        items_max: u64,
        backwards: bool,
        effects: &mut Effects<'_>,
    ) -> Result<(), Fault> {
        let items_max = usize::try_from(items_max)
            .unwrap_or(usize::MAX)
            .clamp(1, effects.settings.small_steps);
        let (mut forward, mut backward);
        let pairs: &mut dyn Iterator<Item = (u64, &Cell, &Cell)> = if backwards {
            backward = self.pairs.before_sequence(cursor.unwrap_or(u64::MAX));
            &mut backward
        } else {
            forward = self.pairs.from_sequence(cursor.unwrap_or(0));
            &mut forward
        };
        let mut chunk = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for (sequence, key, value) in pairs {
            bytes += key.bytes().len() + value.bytes().len();
            if chunk.len() == items_max || (bytes > effects.settings.chunk_bytes && !chunk.is_empty()) {
                // A cursor forwards names the next pair, a cursor backwards the one it must stay before.
                next = Some(if backwards { sequence + 1 } else { sequence });
                break;
            }
            chunk.push((key, value));
        }
        effects.room(bytes + 2 * HEADER_BYTES_MAX)?;
        let result = effects.result();
        value::write_list_header(result, 3);
        value::write_uint(result, self.version);
        match next {
            Some(next) => value::write_uint(result, next),
            None => value::write_none(result),
        }
        value::write_dict_header(result, chunk.len());
        for (key, value) in chunk {
            effects.copy_out(key);
            effects.copy_out(value);
        }
        Ok(())
    }

    fn compare_and_set(
        &mut self,
        key: Raw<'_>,
        expected: Option<Raw<'_>>,
        value: Option<Raw<'_>>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Fault> {
        let key = canonical(key)?;
        let place = self.pairs.place(&key);
        let same = self.pairs.get(place).map(Cell::bytes) == expected.map(Raw::bytes);
        match value {
            Some(value) if same => self.set(place, &key, value.bytes(), effects)?,
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

    fn fetch_add(
        &mut self,
        key: Raw<'_>,
        delta: i128,
        bounds: &RangeInclusive<i128>,
        initial: Option<i128>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Fault> {
        let key = canonical(key)?;
        let place = self.pairs.place(&key);
        let old = match (self.pairs.get_mut(place), initial) {
            (Some(cell), _) => effects.add_to(cell, delta, bounds)?,
            (None, Some(initial)) => {
                let mut first = Vec::with_capacity(24);
                value::write_int(&mut first, sum(initial, delta, bounds)?);
                self.add(place, &key, &first, effects)?;
                initial
            }
            (None, None) => {
                let message = format!("the dict has no key {} to add to", Raw::assume_checked(&key));
                return Err(Fault::new(FaultCode::KeyMissing, message));
            }
        };
        value::write_int(effects.result(), old);
        Ok(())
    }

    /// Sets the value at a key's place, taken or not.
    fn set(&mut self, place: Place, key: &[u8], value: &[u8], effects: &mut Effects<'_>) -> Result<(), Fault> {
        if !place.is_taken() {
            return self.add(place, key, value, effects);
        }
        let cell = effects.cell_of(value)?;
        self.refers |= effects.proxies;
        let (Ok(unused) | Err(unused)) = self.pairs.replace(place, cell);
        effects.discard(unused);
        Ok(())
    }

    /// Adds a pair at a key's place, which is not taken.
    fn add(&mut self, place: Place, key: &[u8], value: &[u8], effects: &mut Effects<'_>) -> Result<(), Fault> {
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
    fn take(&mut self, place: Place) -> Option<(Cell, Cell)> {
        let pair = self.pairs.remove(place)?;
        self.version += 1;
        Some(pair)
    }

    /// Inserts pairs, all or none.
    fn insert_all(&mut self, pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let values = effects.cells(pairs.iter().map(|(_, value)| value))?;
        let keys = match Self::keys(pairs, effects) {
            Ok(keys) => keys,
            Err(fault) => {
                values.into_iter().for_each(|value| effects.discard(value));
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
    fn keys(pairs: Pairs<'_>, effects: &mut Effects<'_>) -> Result<Vec<Cell>, Fault> {
        let mut keys = Vec::new();
        for (key, _) in pairs.iter() {
            match canonical(key).and_then(|key| effects.cell_of(&key)) {
                Ok(key) => keys.push(key),
                Err(fault) => {
                    keys.into_iter().for_each(|key| effects.discard(key));
                    return Err(fault);
                }
            }
        }
        Ok(keys)
    }

    /// Writes the keys or the values as a List, or the pairs as a Dict.
    fn write_all(&self, part: Part, effects: &mut Effects<'_>) -> Result<(), Fault> {
        let cells = || self.pairs.iter().flat_map(|(key, value)| part.of(key, value)).flatten();
        let bytes: usize = cells().map(|cell| cell.bytes().len()).sum();
        effects.room(bytes + HEADER_BYTES_MAX)?;
        match part {
            Part::Keys | Part::Values => value::write_list_header(effects.result(), self.pairs.len()),
            Part::Pairs => value::write_dict_header(effects.result(), self.pairs.len()),
        }
        cells().for_each(|cell| effects.copy_out(cell));
        Ok(())
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
#[inline]
fn added(op: &DictOp<'_>) -> Option<usize> {
    match *op {
        DictOp::Insert { .. } | DictOp::Setdefault { .. } => Some(1),
        DictOp::CompareAndSet { .. } | DictOp::FetchAdd { .. } => Some(1),
        DictOp::Pop { .. } | DictOp::Popitem {} | DictOp::Delete { .. } => Some(0),
        DictOp::Update { pairs } => Some(pairs.len()),
        _ => None,
    }
}

impl Part {
    fn of<'c>(self, key: &'c Cell, value: &'c Cell) -> [Option<&'c Cell>; 2] {
        match self {
            Self::Keys => [Some(key), None],
            Self::Values => [Some(value), None],
            Self::Pairs => [Some(key), Some(value)],
        }
    }
}

/// The form in which equal keys have equal bytes.
#[inline]
fn canonical(key: Raw<'_>) -> Result<Cow<'_, [u8]>, Fault> {
    let mut other = Vec::new();
    match value::canonical_key(key, &mut other) {
        Ok(false) => Ok(Cow::Borrowed(key.bytes())),
        Ok(true) => Ok(Cow::Owned(other)),
        Err(error) => Err(Fault::new(
            FaultCode::BadArgument,
            format!("this can't be a key: {error}"),
        )),
    }
}
