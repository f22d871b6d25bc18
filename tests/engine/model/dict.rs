//! A dict as a vector of pairs.

use super::{Answer, Step, as_int, done, fault, int, list};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::Value;

/// One possible state of a dict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DictModel {
    pub(crate) pairs: Vec<(Value, Value)>,
}

impl DictModel {
    pub(crate) fn new(pairs: Vec<(Value, Value)>) -> Self {
        Self { pairs }
    }

    /// Every outcome that a call may have; with `reply` given, results that the model can't know are taken from there.
    pub(crate) fn step(&self, operation: Operation, arguments: &[Value], reply: Option<&Answer>) -> Vec<Step<Self>> {
        let mut next = self.clone();
        let answer = match (operation, arguments) {
            (Operation::DictChunk, [_, count, backwards]) => next.chunk(count, backwards, reply),
            _ => next.apply(operation, arguments),
        };
        vec![(answer, next)]
    }

    fn apply(&mut self, operation: Operation, arguments: &[Value]) -> Answer {
        use Operation as O;
        let optional = |value: Option<Value>| done(value.map_or(Value::None, Value::some));
        match (operation, arguments) {
            (O::DictInsert, [key, value]) => return optional(self.insert(key, value)),
            (O::DictGet, [key]) => return optional(self.get(key)),
            (O::DictPop, [key]) => return optional(self.remove(key)),
            (O::DictPopitem, []) => {
                let newest = self.pairs.pop();
                return optional(newest.map(|(key, value)| Value::List(vec![key, value])));
            }
            (O::DictSetdefault, [key, value]) => {
                if self.get(key).is_none() {
                    self.insert(key, value);
                }
                return done(self.get(key).expect("it has one now"));
            }
            (O::DictUpdate, [Value::Dict(pairs)]) => {
                for (key, value) in pairs {
                    self.insert(key, value);
                }
            }
            (O::DictKeys, []) => return done(Value::List(self.pairs.iter().map(|(key, _)| key.clone()).collect())),
            (O::DictValues, []) => {
                return done(Value::List(self.pairs.iter().map(|(_, value)| value.clone()).collect()));
            }
            (O::DictItems, []) => return done(Value::Dict(self.pairs.clone())),
            (O::DictLen, []) => return done(int(self.pairs.len())),
            (O::DictContains, [key]) => return done(Value::from(self.get(key).is_some())),
            (O::DictDelete, [key]) => return done(Value::from(self.remove(key).is_some())),
            (O::DictClear, []) => self.pairs.clear(),
            (O::DictCompareAndSet, [key, expected, value]) => {
                let same = self.get(key).map_or(Value::None, Value::some) == *expected;
                match value {
                    Value::None if same => drop(self.remove(key)),
                    Value::Some(inner) if same => drop(self.insert(key, inner)),
                    value if same => drop(self.insert(key, value)),
                    _ => {}
                }
                return done(Value::from(same));
            }
            (O::DictFetchAdd, [key, delta, lowest, highest, initial]) => {
                return self.fetch_add(key, delta, lowest, highest, initial);
            }
            _ => panic!("the model of dicts does not know {operation:?} with {arguments:?}"),
        }
        done(Value::None)
    }

    /// The front (or, backwards, the end) of the dict; where it stops is the server's business, but it must not stop for nothing.
    fn chunk(&self, count: &Value, backwards: &Value, reply: Option<&Answer>) -> Answer {
        let Some(Answer::Done(Value::List(parts))) = reply else {
            return done(Value::None);
        };
        let [version, cursor, Value::Dict(told)] = parts.as_slice() else {
            return done(Value::None);
        };
        let mut pairs = self.pairs.clone();
        if *backwards == Value::from(true) {
            pairs.reverse();
        }
        pairs.truncate(
            usize::try_from(as_int(count).unwrap_or(0))
                .unwrap_or(0)
                .min(told.len().max(1)),
        );
        // Equality of dicts ignores the order of pairs, which is the very point here.
        let in_order = told.iter().zip(&pairs).all(|(told, pair)| told == pair) && told.len() == pairs.len();
        let at_end = pairs.len() == self.pairs.len();
        if !in_order || (*cursor == Value::None && !at_end) {
            return done(Value::Dict(pairs));
        }
        done(Value::List(vec![version.clone(), cursor.clone(), Value::Dict(pairs)]))
    }

    fn fetch_add(&mut self, key: &Value, delta: &Value, lowest: &Value, highest: &Value, initial: &Value) -> Answer {
        if let Some((_, held)) = self.pairs.iter_mut().find(|(held, _)| held == key) {
            return list::fetch_add(held, delta, lowest, highest);
        }
        if *initial == Value::None {
            return fault(FaultCode::KeyMissing);
        }
        let mut value = initial.clone();
        let answer = list::fetch_add(&mut value, delta, lowest, highest);
        if matches!(answer, Answer::Done(_)) {
            self.insert(key, &value);
        }
        answer
    }

    fn get(&self, key: &Value) -> Option<Value> {
        self.pairs
            .iter()
            .find(|(held, _)| held == key)
            .map(|(_, value)| value.clone())
    }

    fn insert(&mut self, key: &Value, value: &Value) -> Option<Value> {
        if let Some((_, held)) = self.pairs.iter_mut().find(|(held, _)| held == key) {
            return Some(std::mem::replace(held, value.clone()));
        }
        self.pairs.push((key.clone(), value.clone()));
        None
    }

    fn remove(&mut self, key: &Value) -> Option<Value> {
        let index = self.pairs.iter().position(|(held, _)| held == key)?;
        Some(self.pairs.remove(index).1)
    }
}
