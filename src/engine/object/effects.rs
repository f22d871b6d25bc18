//! What an operation does to references and bytes: the only way cells are made, handed out and dropped.
//!
//! Everything that can be refused is refused before anything changes: [`Effects::cell`] and [`Effects::cells`] charge memory and take
//! references, [`Effects::room`] holds a reply against its limit; what comes after can't fail. An operation that fails after it made
//! cells gives them back with [`Effects::discard`].

use super::Contents;
use crate::engine::cell::{Cell, HANDED_BYTES_MAX};
use crate::engine::outputs::Answer;
use crate::engine::registry::Registry;
use crate::engine::types::{ObjectId, Settings};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::value::{self, Raw, Value};
use std::ops::RangeInclusive;

/// The answer that is being written, and the world's references and bytes.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) registry: &'a Registry,
    pub(crate) answer: &'a mut Answer,
    /// References to give up after the object is unlocked.
    pub(crate) dropped: &'a mut Vec<ObjectId>,
    /// Whether the arguments hold any proxy; if not, cells are made without looking for one.
    pub(crate) proxies: bool,
}

impl Effects<'_> {
    /// The result's bytes so far, to append headers and scalars to.
    #[inline]
    pub(crate) fn result(&mut self) -> &mut Vec<u8> {
        &mut self.answer.result
    }

    /// Holds what is still to be written against the limit of a reply.
    ///
    /// # Errors
    /// [`FaultCode::TooLarge`].
    #[expect(clippy::inline_always, reason = "two additions")]
    #[inline(always)]
    pub(crate) fn room(&self, bytes: usize) -> Result<(), Box<Fault>> {
        let limit = self.settings.reply_bytes_max;
        let written = self.answer.result.len().saturating_sub(self.answer.start);
        let alone = written.saturating_add(bytes);
        if alone.saturating_add(self.answer.taken) <= limit {
            return Ok(());
        }
        let fault = if alone <= limit {
            crowded_out()
        } else {
            too_large_reply(bytes, limit)
        };
        Err(fault.into())
    }

    /// What handing an argument over would take in a reply.
    pub(crate) fn reply_bytes(&self, raw: Raw<'_>) -> usize {
        raw.bytes().len() + HANDED_BYTES_MAX * self.tokens(raw)
    }

    /// Makes a cell of an argument: its bytes are charged, its references taken.
    ///
    /// # Errors
    /// [`FaultCode::TooLarge`] when the server's memory is full.
    #[inline]
    pub(crate) fn cell(&mut self, raw: Raw<'_>) -> Result<Cell, Box<Fault>> {
        self.cell_of(raw.bytes())
    }

    /// Makes a cell of a part of an argument, or of an argument in another form.
    ///
    /// # Errors
    /// As [`Effects::cell`].
    #[inline]
    pub(crate) fn cell_of(&mut self, value: &[u8]) -> Result<Cell, Box<Fault>> {
        let cell = self.uncharged_cell(value);
        match self.registry.memory.charge(cell.cost()) {
            Ok(()) => Ok(cell),
            Err(fault) => {
                self.give_up(&cell);
                Err(fault)
            }
        }
    }

    /// Makes cells of arguments, all or none.
    ///
    /// # Errors
    /// As [`Effects::cell`].
    pub(crate) fn cells<'r>(&mut self, raws: impl Iterator<Item = Raw<'r>> + Clone) -> Result<Vec<Cell>, Box<Fault>> {
        // Charged before anything is allocated: many short items take far more memory here than on the wire.
        let (mut count, mut cost) = (0, 0);
        for raw in raws.clone() {
            count += 1;
            cost += Cell::cost_of(raw.bytes().len(), self.tokens(raw));
        }
        self.registry.memory.charge(cost)?;
        let mut cells = Vec::with_capacity(count);
        cells.extend(raws.map(|raw| self.uncharged_cell(raw.bytes())));
        Ok(cells)
    }

    /// Makes further cells of the same values, the whole row so many times over: charged, with references of their own, all or none.
    ///
    /// # Errors
    /// As [`Effects::cell`].
    pub(crate) fn duplicates<'c, C: Default + Extend<Cell>>(
        &mut self,
        cells: impl Iterator<Item = &'c Cell> + Clone,
        times: u64,
    ) -> Result<C, Box<Fault>> {
        let cost: u64 = cells.clone().map(Cell::cost).sum();
        self.registry.memory.charge(cost.saturating_mul(times))?;
        let mut copies = C::default();
        for _ in 0..if cost == 0 { 0 } else { times } {
            copies.extend(cells.clone().map(|cell| {
                self.take_references(cell);
                cell.clone()
            }));
        }
        Ok(copies)
    }

    /// Makes an object of contents whose cells are accounted for, and answers with a reference to it.
    ///
    /// # Errors
    /// [`FaultCode::TooMany`] at the limit of objects; the contents are discarded.
    pub(crate) fn create(&mut self, contents: Contents) -> Result<(), Box<Fault>> {
        match self.registry.add(contents, 1, self.settings.objects_max) {
            Ok(slot) => {
                value::write_token(&mut self.answer.result, slot.token(self.registry.instance));
                self.answer.handed.push(slot.id.0);
                Ok(())
            }
            Err(refused) => {
                let (fault, contents) = *refused;
                self.discard_contents(contents);
                Err(fault.into())
            }
        }
    }

    /// Adds to the integer in a cell and returns what it was.
    ///
    /// # Errors
    /// [`FaultCode::WrongType`] and [`FaultCode::Overflow`], the latter also for an integer beyond an `i128`.
    pub(crate) fn add_to(
        &mut self,
        cell: &mut Cell,
        delta: i128,
        bounds: &RangeInclusive<i128>,
    ) -> Result<i128, Box<Fault>> {
        let raw = Raw::assume_checked(cell.bytes());
        let old = raw.as_int().ok_or_else(|| no_addend(raw))?;
        let sum = self.uncharged_cell_of_int(sum(old, delta, bounds)?);
        let old_sum = self.put_in_place_of(cell, sum)?;
        self.let_go(old_sum);
        Ok(old)
    }

    /// Puts an argument in the place of a value: only what it costs more is charged. The value comes back, which is charged no longer; its
    /// references are to be [handed over](Effects::pass_out_some) or [given up](Effects::let_go).
    ///
    /// # Errors
    /// As [`Effects::cell`].
    #[expect(clippy::inline_always, reason = "one of the steps that most calls take")]
    #[inline(always)]
    pub(crate) fn replace(&mut self, held: &mut Cell, value: Raw<'_>) -> Result<Cell, Box<Fault>> {
        let cell = self.uncharged_cell(value.bytes());
        self.put_in_place_of(held, cell)
    }

    /// Appends a cell's value to the result; the receiver gets references of its own. The cell stays.
    #[inline]
    pub(crate) fn copy_out(&mut self, cell: &Cell) {
        cell.write(&mut self.answer.result);
        self.hand_copies(cell);
    }

    /// As [`Effects::copy_out`], as a value that is there: with the Some tag where its own first byte demands one.
    #[expect(clippy::inline_always, reason = "two moves for nearly every cell")]
    #[inline(always)]
    pub(crate) fn copy_out_some(&mut self, cell: &Cell) {
        cell.write_some(&mut self.answer.result);
        self.hand_copies(cell);
    }

    /// Appends a cell's value to the result; the receiver gets the cell's references, and its bytes are no longer charged.
    #[inline]
    pub(crate) fn move_out(&mut self, cell: Cell) {
        self.registry.memory.discharge(cell.cost());
        cell.write(&mut self.answer.result);
        self.hand_own(&cell);
    }

    /// As [`Effects::move_out`], as a value that is there.
    #[inline]
    pub(crate) fn move_out_some(&mut self, cell: Cell) {
        self.registry.memory.discharge(cell.cost());
        self.pass_out_some(cell);
    }

    /// As [`Effects::move_out_some`], of a cell that [`Effects::replace`] took out.
    #[expect(clippy::inline_always, reason = "two moves for nearly every cell")]
    #[inline(always)]
    pub(crate) fn pass_out_some(&mut self, cell: Cell) {
        cell.write_some(&mut self.answer.result);
        self.hand_own(&cell);
    }

    /// Drops a cell: its bytes are no longer charged, its references go after the object is unlocked.
    #[inline]
    pub(crate) fn discard(&mut self, cell: Cell) {
        self.registry.memory.discharge(cell.cost());
        self.let_go(cell);
    }

    /// Drops a cell that [`Effects::replace`] took out.
    #[inline]
    pub(crate) fn let_go(&mut self, cell: Cell) {
        self.give_up(&cell);
    }

    /// Drops cells.
    pub(crate) fn discard_all(&mut self, cells: impl IntoIterator<Item = Cell>) {
        for cell in cells {
            self.discard(cell);
        }
    }

    /// Drops an object's contents: what they were charged for is charged no longer once it is gone.
    pub(crate) fn discard_contents(&mut self, contents: Contents) {
        let cost = contents.own_cost();
        contents.take_cells(&mut |cell| self.discard(cell));
        if !seeded!("memory_stays_charged") {
            self.registry.memory.discharge(cost);
        }
    }

    /// The same effects with another answer: for a call that waited.
    pub(crate) fn answering<'b>(&'b mut self, answer: &'b mut Answer) -> Effects<'b> {
        Effects {
            settings: self.settings,
            registry: self.registry,
            answer,
            dropped: self.dropped,
            proxies: self.proxies,
        }
    }

    fn tokens(&self, raw: Raw<'_>) -> usize {
        if self.proxies { raw.tokens().count() } else { 0 }
    }

    #[expect(clippy::inline_always, reason = "one of the steps that most calls take")]
    #[inline(always)]
    fn uncharged_cell(&mut self, bytes: &[u8]) -> Cell {
        if self.proxies {
            return self.cell_with_proxies(bytes);
        }
        Cell::new(bytes, &[])
    }

    #[inline(never)]
    fn cell_with_proxies(&mut self, bytes: &[u8]) -> Cell {
        // References to every object in the arguments are held until the call is over, so each of these is there.
        let objects: Vec<u64> = Raw::assume_checked(bytes).tokens().map(|token| token.object).collect();
        let cell = Cell::new(bytes, &objects);
        self.take_references(&cell);
        cell
    }

    /// A cell of an integer, which is written where the answer will be: that has room already.
    fn uncharged_cell_of_int(&mut self, int: i128) -> Cell {
        let result = &mut self.answer.result;
        let start = result.len();
        value::write_int(result, int);
        let cell = Cell::new(&result[start..], &[]);
        result.truncate(start);
        cell
    }

    #[expect(clippy::inline_always, reason = "one of the steps that most calls take")]
    #[inline(always)]
    fn put_in_place_of(&mut self, held: &mut Cell, cell: Cell) -> Result<Cell, Box<Fault>> {
        match self.registry.memory.exchange(held.cost(), cell.cost()) {
            Ok(()) => Ok(std::mem::replace(held, cell)),
            Err(fault) => {
                self.give_up(&cell);
                Err(fault)
            }
        }
    }

    #[inline]
    fn take_references(&self, cell: &Cell) {
        if seeded!("skip_reference_on_copy") {
            return;
        }
        for &object in cell.objects() {
            self.registry.take(ObjectId(object));
        }
    }

    #[inline]
    fn give_up(&mut self, cell: &Cell) {
        if cell.objects().is_empty() {
            return;
        }
        self.dropped
            .extend(cell.objects().iter().map(|&object| ObjectId(object)));
        if seeded!("drop_reference_twice") {
            self.dropped
                .extend(cell.objects().iter().map(|&object| ObjectId(object)));
        }
    }

    #[inline]
    fn hand_own(&mut self, cell: &Cell) {
        if !cell.objects().is_empty() {
            self.hand_own_some(cell);
        }
    }

    fn hand_own_some(&mut self, cell: &Cell) {
        self.answer.handed.extend_from_slice(cell.objects());
    }

    #[inline]
    fn hand_copies(&mut self, cell: &Cell) {
        if !cell.objects().is_empty() {
            self.hand_some_copies(cell);
        }
    }

    fn hand_some_copies(&mut self, cell: &Cell) {
        for &object in cell.objects() {
            // An object that a rogue client freed below its holders is not handed over: its proxy will be dead.
            if self.registry.take(ObjectId(object)) {
                self.answer.handed.push(object);
            }
        }
    }
}

/// The sum, if it stays in bounds.
///
/// # Errors
/// [`FaultCode::Overflow`].
pub(crate) fn sum(old: i128, delta: i128, bounds: &RangeInclusive<i128>) -> Result<i128, Box<Fault>> {
    old.checked_add(delta)
        .filter(|sum| bounds.contains(sum))
        .ok_or_else(|| {
            let message = format!(
                "{old} + {delta} is outside {} to {}: nothing was added; use a larger type of integer",
                bounds.start(),
                bounds.end()
            );
            Fault::new(FaultCode::Overflow, message).into()
        })
}

/// Why a value can't be added to.
#[cold]
fn no_addend(raw: Raw<'_>) -> Fault {
    if raw.type_name() == "int" {
        let message =
            format!("{raw} is too large to be added to: sums are reckoned with 127 bits and a sign, so use modify");
        return Fault::new(FaultCode::Overflow, message);
    }
    let message = format!("only integers can be added to, and this is {}", raw.type_name());
    Fault::new(FaultCode::WrongType, message)
}

/// What a call of a batch is refused with that would have had room in a reply of its own. No client sees it: its batch ends there.
#[cold]
fn crowded_out() -> Fault {
    let message = "the calls before it fill the reply: make it in another batch";
    Fault::new(FaultCode::TooLarge, message).with_detail(CROWDED_OUT)
}

/// Whether a call was refused by [`crowded_out`].
pub(crate) fn is_crowded_out(fault: &Fault) -> bool {
    fault.code == FaultCode::TooLarge && fault.detail == Value::from(CROWDED_OUT)
}

/// The detail by which the engine knows that fault again.
const CROWDED_OUT: bool = true;

#[cold]
fn too_large_reply(bytes: usize, limit: usize) -> Fault {
    let message = format!("the reply would be {bytes} bytes, over the limit of {limit}: ask for it in chunks");
    Fault::new(FaultCode::TooLarge, message)
}
