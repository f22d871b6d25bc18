//! The dict operations that change nothing.

use super::{DictObject, canonical};
use crate::engine::cell::Cell;
use crate::engine::object::{Contents, Effects, HEADER_BYTES_MAX};
use crate::engine::ordered::OrderedMap;
use byproxy_proto::fault::Fault;
use byproxy_proto::value::{self, Raw};

/// What of each pair an answer lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Keys,
    Values,
    Pairs,
}

impl DictObject {
    #[expect(clippy::inline_always, reason = "one of the operations that most calls ask for")]
    #[inline(always)]
    pub(super) fn get(&self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        match self.pairs.get(self.pairs.place(key)) {
            Some(cell) => {
                effects.room(cell.reply_bytes() + 1)?;
                effects.copy_out_some(cell);
            }
            None => value::write_none(effects.result()),
        }
        Ok(())
    }

    pub(super) fn len(&self, effects: &mut Effects<'_>) {
        value::write_uint(effects.result(), self.pairs.len() as u64);
    }

    pub(super) fn contains(&self, key: Raw<'_>, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let mut other = Vec::new();
        let key = canonical(key, &mut other)?;
        value::write_bool(effects.result(), self.pairs.place(key).is_taken());
        Ok(())
    }

    pub(super) fn copy(&self, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let keys: Vec<Cell> = effects.duplicates(self.pairs.iter().map(|(key, _)| key), 1)?;
        let values = match effects.duplicates::<Vec<Cell>>(self.pairs.iter().map(|(_, value)| value), 1) {
            Ok(values) => values,
            Err(fault) => {
                effects.discard_all(keys);
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

    pub(super) fn chunk(
        &self,
        cursor: Option<u64>,
        items_max: u64,
        backwards: bool,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        let items_max = usize::try_from(items_max)
            .unwrap_or(usize::MAX)
            .clamp(1, effects.settings.small_steps);
        let (mut forward, mut backward);
        let pairs: &mut dyn Iterator<Item = (u64, &Cell, &Cell)> = if backwards {
            backward = self.pairs.before(cursor.unwrap_or(u64::MAX));
            &mut backward
        } else {
            forward = self.pairs.starting_at(cursor.unwrap_or(0));
            &mut forward
        };
        let mut chunk = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for (sequence, key, value) in pairs {
            bytes += key.reply_bytes() + value.reply_bytes();
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

    /// Writes the keys or the values as a List, or the pairs as a Dict.
    pub(super) fn write_all(&self, part: Part, effects: &mut Effects<'_>) -> Result<(), Box<Fault>> {
        let cells = || self.pairs.iter().flat_map(|(key, value)| part.of(key, value)).flatten();
        let bytes: usize = cells().map(Cell::reply_bytes).sum();
        effects.room(bytes + HEADER_BYTES_MAX)?;
        match part {
            Part::Keys | Part::Values => value::write_list_header(effects.result(), self.pairs.len()),
            Part::Pairs => value::write_dict_header(effects.result(), self.pairs.len()),
        }
        cells().for_each(|cell| effects.copy_out(cell));
        Ok(())
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
