//! A list as a vector.

use super::{Answer, Step, as_int, done, encode, fault, int, items};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Value, compare};

/// One possible state of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListModel {
    pub(crate) items: Vec<Value>,
    history: History,
    /// The versions that snapshots told, each with the history until then.
    versions: Vec<(Value, History)>,
}

/// What happened to a list so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct History {
    /// How often the contents changed: the version must grow.
    changes: u64,
    /// How many calls might have changed them, such as setting an item to what it was: the version may grow.
    writes: u64,
}

impl ListModel {
    pub(crate) fn new(items: Vec<Value>) -> Self {
        Self {
            items,
            history: History::default(),
            versions: Vec::new(),
        }
    }

    /// Every outcome that a call may have; with `reply` given, results that the model can't know are taken from there.
    pub(crate) fn step(&self, operation: Operation, arguments: &[Value], reply: Option<&Answer>) -> Vec<Step<Self>> {
        let mut next = self.clone();
        let before = self.items.clone();
        let answer = match (operation, arguments) {
            (Operation::ListSnapshot, []) => return self.snapshot(reply),
            (Operation::ListReplace, [version, new]) => return self.replace(version, new),
            (Operation::ListChunk, [start, count]) => return vec![(self.chunk(start, count, reply), next)],
            _ => next.apply(operation, arguments),
        };
        next.history.changes += u64::from(next.items != before);
        next.history.writes += u64::from(operation.properties().mutates);
        vec![(answer, next)]
    }

    fn apply(&mut self, operation: Operation, arguments: &[Value]) -> Answer {
        use Operation as O;
        let len = self.items.len();
        match (operation, arguments) {
            (O::ListAppend, [item]) => self.items.push(item.clone()),
            (O::ListExtend, [new]) => self.items.extend(items(new)),
            (O::ListInsert, [index, item]) => self.items.insert(clamp(index, len), item.clone()),
            (O::ListPop, []) => return done(self.items.pop().map_or(Value::None, Value::some)),
            (O::ListPopAt, [index]) => {
                let Some(index) = position(index, len) else {
                    return out_of_range();
                };
                return done(self.items.remove(index));
            }
            (O::ListRemove, [item]) => {
                let found = self.items.iter().position(|held| held == item);
                found.map(|index| self.items.remove(index));
                return done(Value::from(found.is_some()));
            }
            (O::ListIndex, [item, start, stop]) => {
                let (start, stop) = range(start, stop, len);
                let found = (start..stop).find(|&index| self.items[index] == *item);
                return done(found.map_or(Value::None, int));
            }
            (O::ListCount, [item]) => return done(int(self.items.iter().filter(|held| *held == item).count())),
            (O::ListReverse, []) => self.items.reverse(),
            (O::ListSort, [descending]) => {
                // Ints by themselves; the order of other values is `proto`'s, and tested there.
                self.items.sort_by(|a, b| match (as_int(a), as_int(b)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    _ => compare(&encode(a), &encode(b)),
                });
                if *descending == Value::from(true) {
                    self.items.reverse();
                }
            }
            (O::ListLen, []) => return done(int(len)),
            (O::ListContains, [item]) => return done(Value::from(self.items.contains(item))),
            (O::ListGet, [index]) => {
                return position(index, len).map_or(out_of_range(), |index| done(self.items[index].clone()));
            }
            (O::ListSet, [index, item]) => {
                let Some(index) = position(index, len) else {
                    return out_of_range();
                };
                self.items[index] = item.clone();
            }
            (O::ListDelete, [index]) => {
                let Some(index) = position(index, len) else {
                    return out_of_range();
                };
                self.items.remove(index);
            }
            (O::ListSlice, [start, stop]) => {
                let (start, stop) = range(start, stop, len);
                return done(Value::List(self.items[start..stop].to_vec()));
            }
            (O::ListSetSlice, [start, stop, new]) => {
                let (start, stop) = range(start, stop, len);
                self.items.splice(start..stop, items(new));
            }
            (O::ListDeleteSlice, [start, stop]) => {
                let (start, stop) = range(start, stop, len);
                self.items.drain(start..stop);
            }
            (O::ListClear, []) => self.items.clear(),
            (O::ListRepeat, [times]) => {
                let times = usize::try_from(as_int(times).unwrap_or(0)).unwrap_or(0);
                self.items = std::iter::repeat_n(self.items.clone(), times).flatten().collect();
            }
            (O::ListCompareAndSet, [index, expected, item]) => {
                let Some(index) = position(index, len) else {
                    return out_of_range();
                };
                let same = self.items[index] == *expected;
                if same {
                    self.items[index] = item.clone();
                }
                return done(Value::from(same));
            }
            (O::ListFetchAdd, [index, delta, lowest, highest]) => {
                let Some(index) = position(index, len) else {
                    return out_of_range();
                };
                return fetch_add(&mut self.items[index], delta, lowest, highest);
            }
            _ => panic!("the model of lists does not know {operation:?} with {arguments:?}"),
        }
        done(Value::None)
    }

    /// As many items as asked for, or fewer if the server likes, but not none for nothing.
    fn chunk(&self, start: &Value, count: &Value, reply: Option<&Answer>) -> Answer {
        let natural = |value: &Value| usize::try_from(as_int(value).unwrap_or(0)).unwrap_or(0);
        let mut chunk: Vec<Value> = self
            .items
            .iter()
            .skip(natural(start))
            .take(natural(count))
            .cloned()
            .collect();
        if let Some(Answer::Done(told)) = reply {
            chunk.truncate(items(told).len().max(1));
        }
        done(Value::List(chunk))
    }

    /// Equal versions mean equal contents, and the other way round as long as nothing may have changed.
    fn snapshot(&self, reply: Option<&Answer>) -> Vec<Step<Self>> {
        let Some(Answer::Done(Value::List(parts))) = reply else {
            return vec![(done(Value::None), self.clone())];
        };
        let [version, _] = parts.as_slice() else {
            return Vec::new();
        };
        let fits = |(seen, then): &(Value, History)| {
            let same = seen == version;
            if same {
                then.changes == self.history.changes
            } else {
                then.writes < self.history.writes
            }
        };
        if !self.versions.iter().all(fits) {
            return Vec::new();
        }
        let mut next = self.clone();
        next.versions.push((version.clone(), self.history));
        let answer = Value::List(vec![version.clone(), Value::List(self.items.clone())]);
        vec![(done(answer), next)]
    }

    /// Replaces what has not changed since the version was told, and nothing that has.
    fn replace(&self, version: &Value, new: &Value) -> Vec<Step<Self>> {
        let mut replaced = self.clone();
        replaced.items = items(new);
        replaced.history.changes += 1;
        replaced.history.writes += 1;
        let replaced = (done(Value::from(true)), replaced);
        let kept = (done(Value::from(false)), self.clone());
        match self.versions.iter().find(|(seen, _)| seen == version) {
            Some((_, then)) if then.writes == self.history.writes => vec![replaced],
            Some((_, then)) if then.changes == self.history.changes => vec![replaced, kept],
            _ => vec![kept],
        }
    }
}

pub(super) fn fetch_add(held: &mut Value, delta: &Value, lowest: &Value, highest: &Value) -> Answer {
    let (Some(old), Some(delta)) = (as_int(held), as_int(delta)) else {
        return fault(FaultCode::WrongType);
    };
    let bounds = as_int(lowest).unwrap_or(i64::MIN)..=as_int(highest).unwrap_or(i64::MAX);
    if !bounds.contains(&(old + delta)) {
        return fault(FaultCode::Overflow);
    }
    *held = int(old + delta);
    done(int(old))
}

fn out_of_range() -> Answer {
    fault(FaultCode::IndexOutOfRange)
}

/// As Python: a negative index counts from the end.
fn position(index: &Value, len: usize) -> Option<usize> {
    let index = as_int(index)?;
    let len = i64::try_from(len).ok()?;
    let index = if index < 0 { index + len } else { index };
    if index < len { usize::try_from(index).ok() } else { None }
}

fn clamp(index: &Value, len: usize) -> usize {
    let len = i64::try_from(len).expect("short");
    let index = as_int(index).unwrap_or(len);
    let index = if index < 0 { index + len } else { index };
    usize::try_from(index.clamp(0, len)).expect("clamped")
}

fn range(start: &Value, stop: &Value, len: usize) -> (usize, usize) {
    let start = clamp(start, len);
    (start, clamp(stop, len).max(start))
}
