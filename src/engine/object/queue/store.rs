//! The items that wait in a queue, in the queue's order.
//!
//! Every item has a sequence number for life, given when the queue accepted it. An item that was taken and comes back goes to the place
//! its number says, not to an end: before all younger ones in a FIFO queue, under all younger ones in a LIFO queue, among its equals in
//! a priority queue.

use crate::engine::cell::Cell;
use byproxy_proto::op::QueueOrder;
use byproxy_proto::value;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

/// One accepted value.
#[derive(Debug)]
pub(super) struct Item {
    /// Its number: the items of one queue are numbered in the order in which they were accepted.
    pub(super) sequence: u64,
    /// How often it was handed out before and came back.
    pub(super) times: u64,
    /// The value.
    pub(super) cell: Cell,
}

/// The waiting items of one queue.
#[derive(Debug)]
pub(super) enum Store {
    /// First in, first out, or with `newest_first` last in, first out: always sorted by sequence.
    Line { items: VecDeque<Item>, newest_first: bool },
    /// The smallest value first, equal ones by sequence.
    Ranks(BinaryHeap<Reverse<Ranked>>),
}

/// An item by the order of its value.
#[derive(Debug)]
pub(super) struct Ranked(Item);

/// How many items are sorted for printing.
const SORTED_MAX: usize = 4096;

impl Store {
    pub(super) fn new(order: QueueOrder) -> Self {
        match order {
            QueueOrder::Fifo => Self::Line {
                items: VecDeque::new(),
                newest_first: false,
            },
            QueueOrder::Lifo => Self::Line {
                items: VecDeque::new(),
                newest_first: true,
            },
            QueueOrder::Priority => Self::Ranks(BinaryHeap::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Line { items, .. } => items.len(),
            Self::Ranks(heap) => heap.len(),
        }
    }

    /// Adds a new item, whose sequence is above all others'.
    pub(super) fn push(&mut self, item: Item) {
        match self {
            Self::Line { items, .. } => items.push_back(item),
            Self::Ranks(heap) => heap.push(Reverse(Ranked(item))),
        }
    }

    /// The item that [`pop`](Self::pop) would remove.
    pub(super) fn peek(&self) -> Option<&Item> {
        match self {
            Self::Line {
                items,
                newest_first: false,
            } => items.front(),
            Self::Line {
                items,
                newest_first: true,
            } => items.back(),
            Self::Ranks(heap) => heap.peek().map(|Reverse(Ranked(item))| item),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        match self {
            Self::Line {
                items,
                newest_first: false,
            } => items.pop_front(),
            Self::Line {
                items,
                newest_first: true,
            } => items.pop_back(),
            Self::Ranks(heap) => heap.pop().map(|Reverse(Ranked(item))| item),
        }
    }

    /// Puts items that were popped back to where their sequence says.
    pub(super) fn give_back(&mut self, returned: Vec<Item>) {
        if seeded!("forget_requeue") {
            return;
        }
        match self {
            Self::Line { items, .. } if seeded!("requeue_at_tail") => items.extend(returned),
            Self::Line { items, .. } => put_back(items, returned),
            Self::Ranks(heap) => heap.extend(returned.into_iter().map(|item| Reverse(Ranked(item)))),
        }
    }

    /// Takes all items out as a store of their own.
    pub(super) fn take(&mut self) -> Self {
        match self {
            Self::Line { items, newest_first } => Self::Line {
                items: std::mem::take(items),
                newest_first: *newest_first,
            },
            Self::Ranks(heap) => Self::Ranks(std::mem::take(heap)),
        }
    }

    /// Removes all items.
    pub(super) fn take_all(&mut self) -> Vec<Item> {
        match self {
            Self::Line { items, .. } => std::mem::take(items).into(),
            Self::Ranks(heap) => std::mem::take(heap)
                .into_iter()
                .map(|Reverse(Ranked(item))| item)
                .collect(),
        }
    }

    /// All items, in no particular order.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = &Item> + '_> {
        match self {
            Self::Line { items, .. } => Box::new(items.iter()),
            Self::Ranks(heap) => Box::new(heap.iter().map(|Reverse(Ranked(item))| item)),
        }
    }

    /// All items in the order in which they would be popped; of a long priority queue only the first is sure to be in its place,
    /// because sorting it takes long.
    pub(super) fn in_order(&self) -> Box<dyn Iterator<Item = &Item> + '_> {
        match self {
            Self::Line {
                items,
                newest_first: true,
            } => Box::new(items.iter().rev()),
            Self::Ranks(heap) if heap.len() <= SORTED_MAX => {
                let mut items: Vec<&Item> = self.iter().collect();
                items.sort_by(|a, b| rank(a, b));
                Box::new(items.into_iter())
            }
            _ => self.iter(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Line { items, .. } if !items.iter().is_sorted_by(|a, b| a.sequence < b.sequence) => {
                Err("Q3: the waiting items are not in the order of their numbers".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Sorts items into a line that is sorted already.
fn put_back(line: &mut VecDeque<Item>, returned: Vec<Item>) {
    let place = |line: &VecDeque<Item>, sequence| line.partition_point(|waiting| waiting.sequence < sequence);
    let Some(oldest) = returned.iter().map(|item| item.sequence).min() else {
        return;
    };
    let Some(newest) = returned.iter().map(|item| item.sequence).max() else {
        return;
    };
    // What comes back was near an end when it left. One by one, each item moves only those between its place and that end; where these
    // are many, one pass over the whole line is less.
    let from_end = place(line, newest).min(line.len() - place(line, oldest));
    if (from_end + returned.len()).saturating_mul(returned.len()) > line.len() {
        line.extend(returned);
        line.make_contiguous().sort_by_key(|item| item.sequence);
        return;
    }
    for item in returned {
        line.insert(place(line, item.sequence), item);
    }
}

fn rank(a: &Item, b: &Item) -> Ordering {
    value::compare(a.cell.bytes(), b.cell.bytes()).then(a.sequence.cmp(&b.sequence))
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(&self.0, &other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(sequence: u64, value: i64) -> Item {
        let mut bytes = Vec::new();
        value::write_int(&mut bytes, value.into());
        Item {
            sequence,
            times: 0,
            cell: Cell::new(&bytes, &[]),
        }
    }

    proptest! {
        #[test]
        fn what_comes_back_is_in_its_place(
            puts in 0..60_u64,
            takes in 0..60_usize,
            back in proptest::collection::vec(0..60_usize, 0..40),
            more in 0..60_u64,
        ) {
            for order in [QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Priority] {
                let mut store = Store::new(order);
                (0..puts).for_each(|sequence| store.push(item(sequence, 0)));
                let mut away: Vec<Option<Item>> = (0..takes).map_while(|_| store.pop()).map(Some).collect();
                (puts..puts + more).for_each(|sequence| store.push(item(sequence, 0)));
                let returned = back.iter().filter_map(|&index| away.get_mut(index)?.take());
                store.give_back(returned.collect());
                prop_assert_eq!(store.check(), Ok(()));

                let away: Vec<u64> = away.into_iter().flatten().map(|item| item.sequence).collect();
                let mut expected: Vec<u64> = (0..puts + more).filter(|sequence| !away.contains(sequence)).collect();
                if order == QueueOrder::Lifo {
                    expected.reverse();
                }
                let got: Vec<u64> = std::iter::from_fn(|| store.pop()).map(|item| item.sequence).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
